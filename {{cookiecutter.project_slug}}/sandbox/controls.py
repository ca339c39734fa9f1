"""The handles of the sandbox itself, /_sandbox/*: what a test or the console turns."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import cashier, h5, refunds, till
from .clock import rfc3339
from .keys import Keys, Merchant
from .wire import RefusalError
from .world import Order, Refund, World

PAGE = 1_000
TEN_YEARS = 3650 * 24 * 3600
Control = Callable[[World, dict[str, Any]], Any]


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


def credentials(world: World, _: Mapping[str, Any]) -> dict[str, Any]:
    """Hand out every key of both sides, so that anybody can play either.

    `sp` is a service provider 服务商, `sub` its sub merchants 特约商户 without keys of their own;
    `others` are merchants bound to the same apps, for combined orders.
    """
    keys = world.keys
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
        **world.credentials,
    }


def _merchant(keys: Keys, one: Merchant) -> dict[str, Any]:
    return {
        "mchid": one.mchid,
        "merchant_serial": one.signer.serial,
        "merchant_private_key_pem": one.signer.private_pem(),
        "merchant_certificate_pem": one.signer.certificate_pem(),
        "apiv3_key": one.apiv3_key,
        "apps": _apps(keys, one.mchid),
    }


def _apps(keys: Keys, mchid: str) -> list[dict[str, str]]:
    apps = keys.apps_of(mchid)
    return [{"kind": app.kind, "appid": app.appid, "secret": app.secret} for app in apps]


def login_code(world: World, form: dict[str, Any]) -> dict[str, str]:
    """Issue the code that wx.login would give this person: {appid, openid, unionid?}."""
    appid, openid = _person(world, form, "miniprogram", {"unionid"})
    return {"code": world.new_code("login", appid, openid)}


def oauth_code(world: World, form: dict[str, Any]) -> dict[str, str]:
    """Issue the code of the OAuth page: {appid, openid, scope?, snapshot?, unionid?}."""
    appid, openid = _person(world, form, "official_account", {"scope", "snapshot", "unionid"})
    scope, snapshot = form.get("scope", "snsapi_base"), form.get("snapshot", False)
    if scope not in ("snsapi_base", "snsapi_userinfo"):
        raise ControlError("scope is snsapi_base or snsapi_userinfo")
    if not isinstance(snapshot, bool):
        raise ControlError("snapshot is true or false")
    return {"code": world.new_code("oauth", appid, openid, scope=scope, snapshot=snapshot)}


def preview(world: World, form: dict[str, Any]) -> dict[str, Any]:
    """Show what the payment sheet shows: {merchant, description, total}, total in fen."""
    found = till.preview(world, str(form.get("code_url") or cashier.prepay_id(form)))
    if found is None:
        raise ControlError("package names no prepay_id of ours", 404)
    return found


def set_faults(world: World, form: dict[str, Any]) -> dict[str, Any]:
    """Set the named keys of the fault menu, {} resets; answers the whole menu."""
    try:
        world.faults.set(form)
    except ValueError as error:
        raise ControlError(str(error)) from error
    if form.get("rotate_certificates"):
        world.keys.rotate(world.clock.now())
    if form.get("leading_zero_serials"):
        world.keys.lead_with_zero()
    return world.faults.menu


def read_faults(world: World, _: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the whole fault menu."""
    return world.faults.menu


def advance_clock(world: World, form: dict[str, Any]) -> dict[str, Any]:
    """Push the virtual clock: {advance_seconds}, a whole number that is not negative."""
    seconds = form.get("advance_seconds")
    if form.keys() != {"advance_seconds"} or isinstance(seconds, bool):
        raise ControlError("advance_seconds is the one key")
    if not isinstance(seconds, int) or not 0 <= seconds <= TEN_YEARS - world.clock.offset:
        raise ControlError("advance_seconds is a whole number of seconds, 0 or more")
    world.clock.advance(seconds)
    world.outbox.wake()
    return read_clock(world, {})


def read_clock(world: World, _: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {offset_seconds, now}."""
    return {"offset_seconds": world.clock.offset, "now": rfc3339(world.clock.now())}


def orders(world: World, form: Mapping[str, Any]) -> dict[str, Any]:
    """List every order as it truly is; `next` is None when nothing came."""
    after = _cursor(form)
    page = [order for order in world.orders.values() if order.n > after][:PAGE]
    rows = [row for order in page for row in _rows(order, world.clock.now())]
    return {"orders": rows, "next": page[-1].n if page else None}


def log(world: World, form: Mapping[str, Any]) -> dict[str, Any]:
    """List what crossed the wire after entry n; `next` is None when nothing came."""
    entries = world.log.after(_cursor(form))
    return {"entries": entries, "next": entries[-1]["n"] if entries else None}


def notify(world: World, form: dict[str, Any]) -> dict[str, str]:
    """Send a notification again: of the payment {out_trade_no} or of a refund {out_refund_no}."""
    name = "out_refund_no" if "out_refund_no" in form else "out_trade_no"
    number = str(form.get(name))
    if number not in world.notifications:
        raise ControlError(f"{name} names nothing that was notified", 404)
    world.outbox.repeat(world.notifications[number])
    return {name: number}


def refund(world: World, form: dict[str, Any]) -> dict[str, str]:
    """Refund in the merchant platform: {out_trade_no, refund}, fen; the number is WeChat's."""
    order, fen = world.find_order(str(form.get("out_trade_no"))), form.get("refund")
    if order is None or not order.transactions:
        raise ControlError("out_trade_no names no paid order", 404)
    if order.provider_id:
        raise ControlError("no merchant number of WeChat's was paid", 404)
    if form.keys() != {"out_trade_no", "refund"} or type(fen) is not int or fen < 1:
        raise ControlError("refund is a whole number of fen, and the only other key")
    try:
        made = refunds.refund_in_platform(world, order, fen)
    except RefusalError as refusal:
        raise ControlError(str(refusal)) from refusal
    return {"out_refund_no": made.out_refund_no, "refund_id": made.refund_id}


READS: dict[str, Control] = {
    "credentials": credentials,
    "faults": read_faults,
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


def _person(world: World, form: dict[str, Any], kind: str, optional: set[str]) -> tuple[str, str]:
    unknown = form.keys() - {"appid", "openid"} - optional
    if unknown:
        raise ControlError(f"unknown keys: {', '.join(sorted(unknown))}")
    app, openid, unionid = (
        world.app(str(form.get("appid"))),
        form.get("openid"),
        form.get("unionid"),
    )
    if app is None or app.kind != kind:
        raise ControlError(f"appid is not a {kind} of this sandbox")
    if not isinstance(openid, str) or not re.fullmatch(r"[0-9A-Za-z_\-]{1,128}", openid):
        raise ControlError("openid is 1 to 128 of [0-9A-Za-z_-]")
    if unionid is not None and not (isinstance(unionid, str) and unionid):
        raise ControlError("unionid is a string")
    world.meet(app.appid, openid, unionid)
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
        "trade_state": order.state(now),
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
    return [
        row
        | {
            "transaction_id": order.provider_id or paid.transaction_id,
            "payer_total": paid.payer_total,
        }
        | {
            "refunds": [
                _refund(r, now) for r in order.refunds if r.transaction_id == paid.transaction_id
            ]
        }
        for paid in order.transactions
    ] or [row]


def _refund(refund: Refund, now: float) -> dict[str, Any]:
    return {
        "out_refund_no": refund.out_refund_no,
        "refund": refund.refund,
        "status": refund.status(now),
    }
