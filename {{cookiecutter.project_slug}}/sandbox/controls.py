"""The controls of the sandbox itself, /_sandbox/*; README.md lists them."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import cashier, h5, payment, refunds
from .clock import rfc3339
from .keys import Keys, Merchant
from .models import Order, Refund, Transaction
from .state import State
from .wire import RefusalError

PAGE = 1_000
TEN_YEARS = 3650 * 24 * 3600  # seconds
OPENID = r"[0-9A-Za-z_\-]{1,128}"
Control = Callable[[State, dict[str, Any]], Any]


class ControlError(Exception):
    """Raised when a control is called wrongly: answered 400, or the status given."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_json(body: bytes) -> dict[str, Any]:
    """Parse the body of a control; an empty one is {}."""
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ControlError("the body is not JSON") from error
    if not isinstance(value, dict):
        raise ControlError("the body is not a JSON object")
    return value


def credentials(state: State, _: Mapping[str, Any]) -> dict[str, Any]:
    """Hand out every key of both sides, so that anybody can play either.

    `sp` is a service provider 服务商, `sub` its sub merchants 特约商户 without keys of their own;
    `others` are merchants bound to the same apps, for combined orders.
    """
    keys = state.keys
    own, *others, provider = keys.merchants
    return {
        **_merchant(keys, own),
        "apiv2_key": keys.apiv2_key,
        "public_key_id": keys.public_key.serial,
        "public_key_pem": keys.public_key.public_pem(),
        "wechat_private_key_pem": keys.public_key.private_pem(),
        "platform_certificates": [
            {
                "serial": signer.serial,
                "certificate_pem": signer.certificate_pem(),
                "private_key_pem": signer.private_pem(),
            }
            for signer in keys.platform
        ],
        "sp": _merchant(keys, provider),
        "sub": [{"mchid": sub, "apps": _apps(keys, sub)} for sub in provider.subs],
        "others": [_merchant(keys, other) for other in others],
        **state.credentials,
    }


def _merchant(keys: Keys, merchant: Merchant) -> dict[str, Any]:
    return {
        "mchid": merchant.mchid,
        "merchant_serial": merchant.signer.serial,
        "merchant_private_key_pem": merchant.signer.private_pem(),
        "merchant_certificate_pem": merchant.signer.certificate_pem(),
        "apiv3_key": merchant.apiv3_key,
        "apps": _apps(keys, merchant.mchid),
    }


def _apps(keys: Keys, mchid: str) -> list[dict[str, str]]:
    apps = keys.apps_of(mchid)
    return [{"kind": app.kind, "appid": app.appid, "secret": app.secret} for app in apps]


def login_code(state: State, form: dict[str, Any]) -> dict[str, str]:
    """Issue the code that wx.login would give this person: {appid, openid, unionid?}."""
    appid, openid = _person(state, form, "miniprogram", {"unionid"})
    return {"code": state.new_login_code(appid, openid)}


def oauth_code(state: State, form: dict[str, Any]) -> dict[str, str]:
    """Issue the code of the OAuth page: {appid, openid, scope?, snapshot?, unionid?}."""
    appid, openid = _person(state, form, "official_account", {"scope", "snapshot", "unionid"})
    scope = form.get("scope", "snsapi_base")
    snapshot = form.get("snapshot", False)
    if scope not in ("snsapi_base", "snsapi_userinfo"):
        raise ControlError("scope is snsapi_base or snsapi_userinfo")
    if not isinstance(snapshot, bool):
        raise ControlError("snapshot is true or false")
    return {"code": state.new_oauth_code(appid, openid, scope=scope, snapshot=snapshot)}


def preview(state: State, form: dict[str, Any]) -> dict[str, Any]:
    """Show what the payment sheet shows: {merchant, description, total}, total in fen."""
    ticket = str(form.get("code_url") or cashier.prepay_id(form))
    purchase = payment.find_purchase(state, ticket)
    if purchase is None:
        raise ControlError("package names no prepay_id of ours", 404)
    return payment.preview(purchase)


def set_faults(state: State, form: dict[str, Any]) -> dict[str, Any]:
    """Set the named keys of the fault menu, {} resets; answers the whole menu."""
    try:
        state.faults.set(form)
    except ValueError as error:
        raise ControlError(str(error)) from error
    if form.get("rotate_certificates"):
        state.keys.rotate(state.clock.now())
    if form.get("leading_zero_serials"):
        state.keys.lead_with_zero()
    return state.faults.menu


def read_faults(state: State, _: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the whole fault menu."""
    return state.faults.menu


def read_choices(state: State, _: Mapping[str, Any]) -> dict[str, Any]:
    """List what each key of the fault menu can be."""
    return state.faults.choices()


def advance_clock(state: State, form: dict[str, Any]) -> dict[str, Any]:
    """Push the virtual clock: {advance_seconds}, a whole number that is not negative."""
    seconds = form.get("advance_seconds")
    if form.keys() != {"advance_seconds"} or isinstance(seconds, bool):
        raise ControlError("advance_seconds is the one key")
    if not isinstance(seconds, int) or not 0 <= seconds <= TEN_YEARS - state.clock.offset:
        raise ControlError("advance_seconds is a whole number of seconds, 0 or more")
    state.clock.advance(seconds)
    state.outbox.wake()
    return read_clock(state, {})


def read_clock(state: State, _: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {offset_seconds, now}."""
    return {"offset_seconds": state.clock.offset, "now": rfc3339(state.clock.now())}


def orders(state: State, form: Mapping[str, Any]) -> dict[str, Any]:
    """List every order as it truly is; `next` is None when nothing came."""
    after = _cursor(form)
    page = [order for order in state.orders.values() if order.n > after][:PAGE]
    rows = [row for order in page for row in _rows(order, state.clock.now())]
    return {"orders": rows, "next": page[-1].n if page else None}


def log(state: State, form: Mapping[str, Any]) -> dict[str, Any]:
    """List what crossed the wire after entry n; `next` is None when nothing came."""
    entries = state.log.after(_cursor(form))
    return {"entries": entries, "next": entries[-1]["n"] if entries else None}


def notify(state: State, form: dict[str, Any]) -> dict[str, str]:
    """Send a notification again: of the payment {out_trade_no} or of a refund {out_refund_no}."""
    name = "out_refund_no" if "out_refund_no" in form else "out_trade_no"
    number = str(form.get(name))
    if number not in state.notifications:
        raise ControlError(f"{name} names nothing that was notified", 404)
    state.outbox.repeat(state.notifications[number])
    return {name: number}


def refund(state: State, form: dict[str, Any]) -> dict[str, str]:
    """Refund in the merchant platform: {out_trade_no, refund}, fen; the number is made there."""
    order = state.find_order(str(form.get("out_trade_no")))
    fen = form.get("refund")
    if order is None or not order.transactions:
        raise ControlError("out_trade_no names no paid order", 404)
    if form.keys() != {"out_trade_no", "refund"} or type(fen) is not int or fen < 1:
        raise ControlError("refund is a whole number of fen, and the only other key")
    try:
        refunded = refunds.refund_in_platform(state, order, fen)
    except RefusalError as refusal:
        raise ControlError(str(refusal)) from refusal
    return {"out_refund_no": refunded.out_refund_no, "refund_id": refunded.refund_id}


READS: dict[str, Control] = {
    "credentials": credentials,
    "faults": read_faults,
    "choices": read_choices,
    "clock": read_clock,
    "orders": orders,
    "log": log,
}
ACTS: dict[str, Control] = {
    "login-code": login_code,
    "oauth-code": oauth_code,
    "preview": preview,
    "faults": set_faults,
    "clock": advance_clock,
    "notify": notify,
    "refund": refund,
    "scan": h5.scan,
    "h5": h5.open_link,
}


def _person(state: State, form: dict[str, Any], kind: str, optional: set[str]) -> tuple[str, str]:
    unknown = form.keys() - {"appid", "openid"} - optional
    if unknown:
        raise ControlError(f"unknown keys: {', '.join(sorted(unknown))}")
    app = state.app(str(form.get("appid")))
    openid = form.get("openid")
    unionid = form.get("unionid")
    if app is None or app.kind != kind:
        raise ControlError(f"appid is not a {kind} of this sandbox")
    if not isinstance(openid, str) or not re.fullmatch(OPENID, openid):
        raise ControlError("openid is 1 to 128 of [0-9A-Za-z_-]")
    if unionid is not None and not (isinstance(unionid, str) and unionid):
        raise ControlError("unionid is a string")
    state.add_person(app.appid, openid, unionid)
    return app.appid, openid


def _cursor(form: Mapping[str, Any]) -> int:
    after = form.get("after", "0")
    if not re.fullmatch(r"[0-9]{1,15}", after, re.ASCII):
        raise ControlError("after is a number that `next` gave")
    return int(after)


def _rows(order: Order, now: float) -> list[dict[str, Any]]:
    """Make one row, or one for each time the money came (force)."""
    row: dict[str, Any] = {
        "mchid": order.mchid,
        "out_trade_no": order.out_trade_no,
        "transaction_id": None,
        "trade_state": order.trade_state(now),
        "total": order.total,
        "payer_total": None,
        "refunds": [],
        "notified": order.purchase.notified,
    }
    if order.purchase.combined:
        row["combine_out_trade_no"] = order.purchase.number
    if order.provider_id:
        row["provider_id"] = order.provider_id
    if "sub_mchid" in order.parties:
        row["sub_mchid"] = order.parties["sub_mchid"]
    if not order.transactions:
        return [row]
    return [row | _money(order, paid, now) for paid in order.transactions]


def _money(order: Order, paid: Transaction, now: float) -> dict[str, Any]:
    return {
        "transaction_id": order.provider_id or paid.transaction_id,
        "payer_total": paid.payer_total,
        "refunds": [_refund(refund, now) for refund in order.refunds_of(paid)],
    }


def _refund(refund: Refund, now: float) -> dict[str, Any]:
    return {
        "out_refund_no": refund.out_refund_no,
        "refund": refund.refund,
        "status": refund.status(now),
    }
