"""A buyer pays, or does not: what a prepay_id, an h5_url and a code_url have in common."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .clock import BEIJING
from .models import Purchase, Transaction
from .state import State

LIFETIME = 2 * 3600  # seconds: a prepay_id and a code_url
H5_LIFETIME = 300
OPTIONS = {"openid", "outcome", "coupon_fen", "force"}
OUTCOMES = ("ok", "cancel", "fail", "typing")
#: links belong to the first WeChat user who opens one; the cashier tells a second one this
OPENED_BY_ANOTHER = {
    "native": "商家订单信息有误，请重新下单支付",  # doc/v3/merchant/4012791890
    "h5": "系统繁忙，请稍后再试",  # iOS says 签名验证失败
}
#: what the cashier says of a link after time_expire, as buyers have reported it
OVERDUE = "该订单已失效，请重新返回商户下单支付"


class DeclinedError(Exception):
    """Raised when the client would show a failure; the text says why."""


class Decision(NamedTuple):
    """What the person did: ok, cancel or typing; `transaction_id` is empty unless money came."""

    outcome: str
    transaction_id: str


def find_purchase(state: State, ticket: str) -> Purchase | None:
    """Find what a prepay_id or a code_url opens."""
    return state.prepays[ticket][0] if ticket in state.prepays else None


def is_fresh(state: State, purchase: Purchase, ticket: str) -> bool:
    """Tell whether a prepay_id or code_url still lives: two hours, for H5 five minutes."""
    _, made_at = state.prepays[ticket]
    lifetime = H5_LIFETIME if purchase.product == "h5" else LIFETIME
    return state.clock.now() < made_at + lifetime


def decide(
    state: State, purchase: Purchase, ticket: str, form: Mapping[str, Any], person: str | None
) -> Decision:
    """Let a person decide whether to pay.

    `form` has the options openid, outcome, coupon_fen (fen) and force; `person` is who decides
    when it has no openid. Raises DeclinedError, also when the payment is asked to fail.
    """
    _check_options(form, purchase.total)
    is_forced = form.get("force", False)
    if not is_forced and not is_fresh(state, purchase, ticket):
        raise DeclinedError("prepay_id has expired: it lives two hours")
    openid = _payer(state, purchase, ticket, form.get("openid") or person)
    if not is_forced:
        check_payable(purchase, state.clock.now())
    outcome = form.get("outcome", "ok")
    purchase.typing = outcome == "typing"
    if outcome == "fail":
        raise DeclinedError("the buyer's payment failed, as asked")
    if outcome != "ok":
        return Decision(outcome, transaction_id="")
    return Decision("ok", _receive_money(state, purchase, openid, form.get("coupon_fen", 0)))


def check_payable(purchase: Purchase, now: float) -> None:
    """Raise DeclinedError when nobody can pay this any more."""
    if purchase.paid:
        raise DeclinedError("该订单已支付")
    if purchase.trade_state(now) == "CLOSED":
        raise DeclinedError("订单已关闭")
    if purchase.is_expired(now):
        is_link = purchase.product in OPENED_BY_ANOTHER
        raise DeclinedError(OVERDUE if is_link else "订单已过期: time_expire has passed")


def preview(purchase: Purchase) -> dict[str, Any]:
    """Answer what the payment sheet shows: merchant, description, total in fen."""
    descriptions = [str(order.body["description"]) for order in purchase.orders]
    return {
        "merchant": f"沙箱商户 {purchase.mchid}",
        "description": "，".join(descriptions),
        "total": purchase.total,
    }


def _check_options(form: Mapping[str, Any], total: int) -> None:
    if form.get("outcome", "ok") not in OUTCOMES:
        raise DeclinedError(f"outcome is one of {', '.join(OUTCOMES)}")
    coupon_fen = form.get("coupon_fen", 0)
    is_integer = isinstance(coupon_fen, int) and not isinstance(coupon_fen, bool)
    if not is_integer or not 0 <= coupon_fen <= total:
        raise DeclinedError(f"coupon_fen is a whole number, 0 to {total}")
    if not isinstance(form.get("force", False), bool):
        raise DeclinedError("force is true or false")


def _payer(state: State, purchase: Purchase, ticket: str, openid: str | None) -> str:
    """Return who pays: whom the order names, or who opened the link or the code first."""
    if purchase.openid:
        if openid not in (None, "", purchase.openid):
            raise DeclinedError(f"下单账号与支付账号不一致: the order is for {purchase.openid}")
        return purchase.openid
    payer = openid or state.default_openid(purchase.appid)
    if purchase.product in OPENED_BY_ANOTHER:
        first_opener = state.first_openers.setdefault(ticket, payer)
        if first_opener != payer:
            raise DeclinedError(OPENED_BY_ANOTHER[purchase.product])
    return payer


def _receive_money(state: State, purchase: Purchase, openid: str, coupon_fen: int) -> str:
    """Pay every order of the purchase, tell the merchant once; return the first number."""
    now = state.clock.now()
    coupon_left = coupon_fen
    for order in purchase.orders:
        coupon = min(coupon_left, order.total)
        coupon_left -= coupon
        paid = Transaction(
            transaction_id=_transaction_id(now),
            paid_at=now,
            payer_total=order.total - coupon,
            coupon_fen=coupon,
            openid=openid,
        )
        order.transactions.append(paid)
    purchase.notified = False
    notification = purchase.api.notify_payment(purchase)
    for number in (purchase.number, *(order.out_trade_no for order in purchase.orders)):
        state.notifications[number] = notification
    return purchase.orders[0].transactions[-1].transaction_id


def _transaction_id(now: float) -> str:
    day = datetime.fromtimestamp(now, BEIJING)
    return f"4200{day:%Y%m%d}{secrets.randbelow(10**16):016}"
