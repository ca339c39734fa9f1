"""The buyer pays, or does not: what every way to the cashier has in common."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .clock import BEIJING
from .notifications import Notification
from .objects import combined_object, order_object
from .world import Purchase, Transaction, World

LIFETIMES = {"h5": 300}
LIFETIME = 2 * 3600
OPTIONS = {"openid", "outcome", "coupon_fen", "force"}
OUTCOMES = ("ok", "cancel", "fail", "typing")
#: links belong to the first WeChat user who opens one; the cashier tells a second one this
STRANGER = {
    "native": "商家订单信息有误，请重新下单支付",  # doc/v3/merchant/4012791890
    "h5": "系统繁忙，请稍后再试",  # iOS says 签名验证失败
}
#: what the cashier says of a link after time_expire, as buyers have reported it
OVERDUE = "该订单已失效，请重新返回商户下单支付"


class DeclinedError(Exception):
    """Raised when the client would show a failure; the text says why."""


def find(world: World, ticket: str) -> Purchase | None:
    """Find what a prepay_id or a code_url opens."""
    return world.prepays[ticket][0] if ticket in world.prepays else None


def is_fresh(world: World, purchase: Purchase, ticket: str) -> bool:
    """Tell whether a prepay_id or code_url still lives: two hours, for H5 five minutes."""
    made_at = world.prepays[ticket][1]
    return world.clock.now() < made_at + LIFETIMES.get(purchase.product, LIFETIME)


def take(
    world: World, purchase: Purchase, ticket: str, form: Mapping[str, Any], person: str | None
) -> tuple[str, str]:
    """Let a person decide; return the outcome and, if money came, the transaction_id.

    `form` has the options openid, outcome, coupon_fen and force. Raises DeclinedError.
    """
    _check_options(form, purchase.total)
    if not form.get("force") and not is_fresh(world, purchase, ticket):
        raise DeclinedError("prepay_id has expired: it lives two hours")
    openid = _payer(world, purchase, ticket, form.get("openid") or person)
    if not form.get("force"):
        check_payable(purchase, world.clock.now())
    outcome = form.get("outcome", "ok")
    purchase.typing = outcome == "typing"
    if outcome == "fail":
        raise DeclinedError("the buyer's payment failed, as asked")
    if outcome != "ok":
        return outcome, ""
    return outcome, _take_money(world, purchase, openid, form.get("coupon_fen", 0))


def preview(world: World, ticket: str) -> dict[str, Any] | None:
    """Answer what the payment sheet shows, total in fen, None for an unknown prepay_id."""
    purchase = find(world, ticket)
    if purchase is None:
        return None
    what = [str(order.body["description"]) for order in purchase.orders]
    merchant = f"沙箱商户 {purchase.mchid}"
    return {"merchant": merchant, "description": "，".join(what), "total": purchase.total}


def _check_options(form: Mapping[str, Any], total: int) -> None:
    if form.get("outcome", "ok") not in OUTCOMES:
        raise DeclinedError(f"outcome is one of {', '.join(OUTCOMES)}")
    coupon = form.get("coupon_fen", 0)
    if isinstance(coupon, bool) or not isinstance(coupon, int) or not 0 <= coupon <= total:
        raise DeclinedError(f"coupon_fen is a whole number, 0 to {total}")
    if not isinstance(form.get("force", False), bool):
        raise DeclinedError("force is true or false")


def _payer(world: World, purchase: Purchase, ticket: str, openid: str | None) -> str:
    """Return who pays: whom the order names, or who opened the link or the code first."""
    if not purchase.openid:
        person = openid or world.default_openid(purchase.appid)
        bound = purchase.product in STRANGER
        if bound and world.openers.setdefault(ticket, person) != person:
            raise DeclinedError(STRANGER[purchase.product])
        return person
    if openid not in (None, "", purchase.openid):
        raise DeclinedError(f"下单账号与支付账号不一致: the order is for {purchase.openid}")
    return purchase.openid


def check_payable(purchase: Purchase, now: float) -> None:
    """Raise DeclinedError when nobody can pay this any more."""
    if purchase.paid:
        raise DeclinedError("该订单已支付")
    if purchase.state(now) == "CLOSED":
        raise DeclinedError("订单已关闭")
    if purchase.is_expired(now):
        is_link = purchase.product in STRANGER
        raise DeclinedError(OVERDUE if is_link else "订单已过期: time_expire has passed")


def _take_money(world: World, purchase: Purchase, openid: str, coupon_fen: int) -> str:
    """Pay every order of the purchase, and tell the merchant once."""
    now, left, numbers = world.clock.now(), coupon_fen, []
    for order in purchase.orders:
        number = f"4200{datetime.fromtimestamp(now, BEIJING):%Y%m%d}{secrets.randbelow(10**16):016}"
        coupon = min(left, order.total)
        left -= coupon
        paid = Transaction(number, now, order.total - coupon, coupon, openid)
        order.transactions.append(paid)
        numbers.append(number)
    purchase.notified = False
    made = (purchase.tell or _tell)(world, purchase)
    for name in (purchase.number, *(order.out_trade_no for order in purchase.orders)):
        world.notifications[name] = made
    return numbers[0]


def _tell(world: World, purchase: Purchase) -> Notification:
    """Announce a payment as APIv3 does."""
    now, first = world.clock.now(), purchase.orders[0]
    payload = (
        combined_object(purchase, now)
        if purchase.combined
        else order_object(first, now, first.transactions[-1])
    )
    merchant, url = world.keys.merchant(purchase.mchid), str(purchase.body["notify_url"])
    assert merchant is not None
    return world.outbox.announce(purchase, merchant, url, "TRANSACTION.SUCCESS", payload)
