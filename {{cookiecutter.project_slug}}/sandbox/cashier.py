"""The cashier: what WeChat's client does when a page or a mini program invokes payment 调起支付.

doc/v3/merchant/4012365339 (JSAPI) and 4012365341 (mini program): what paySign covers.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .clock import BEIJING
from .orders import order_object
from .sealing import holds
from .world import Order, Transaction, World

PREPAY_LIFETIME = 2 * 3600
SIGNED = ("appId", "timeStamp", "nonceStr", "package")
OPTIONS = {"openid", "outcome", "coupon_fen", "page_url", "force"}
OUTCOMES = ("ok", "cancel", "fail", "typing")


class DeclinedError(Exception):
    """Raised when the client would show a failure; the text says why."""


def signed_text(form: Mapping[str, Any]) -> str:
    """Build the four lines that paySign covers (doc/v3/merchant/4012365339)."""
    return "".join(f"{form.get(name, '')}\n" for name in SIGNED)


def pay(world: World, form: Mapping[str, Any], person: str | None = None) -> dict[str, str]:
    """Play the cashier and answer what the client's callback gets.

    `form` is the invoke object with the options of POST /_sandbox/pay; `person` is the openid of
    the cookie. Without any openid the buyer who ordered is the one who pays.
    """
    if (open_order := _order_of(world, form)) and form.get("outcome") != "typing":
        open_order.typing = False  # the password screen is gone, whatever comes of this call
    try:
        order = _check_invoke(world, form)
        _check_options(form, order.total)
        _check_page(world, form)
        openid = form.get("openid") or person or order.openid
        if openid != order.openid:
            raise DeclinedError(f"下单账号与支付账号不一致: the order is for {order.openid}")
        if not form.get("force"):
            _check_payable(order, world.clock.now())
        outcome = form.get("outcome", "ok")
        order.typing = outcome == "typing"
        if outcome == "fail":
            raise DeclinedError("the buyer's payment failed, as asked")
    except DeclinedError as declined:
        return _result(world, form, "fail", str(declined))
    if outcome != "ok":
        return _result(world, form, outcome)
    paid = _take_money(world, order, form.get("coupon_fen", 0))
    return _result(world, form, "ok") | {"transaction_id": paid.transaction_id}


def preview(world: World, form: Mapping[str, Any]) -> dict[str, Any] | None:
    """Answer what the payment sheet shows, total in fen, None for an unknown prepay_id."""
    order = _order_of(world, form)
    if order is None:
        return None
    merchant = f"沙箱商户 {order.body['mchid']}"
    return {"merchant": merchant, "description": order.body["description"], "total": order.total}


def _order_of(world: World, form: Mapping[str, Any]) -> Order | None:
    prepay_id = str(form.get("package", "")).removeprefix("prepay_id=")
    return world.prepays[prepay_id][0] if prepay_id in world.prepays else None


def _check_invoke(world: World, form: Mapping[str, Any]) -> Order:
    """Check types, paySign, prepay_id and its age, and that the app is the order's."""
    _check_types(form)
    text = signed_text(form)
    if not holds(world.keys.merchant.key.public_key(), form["paySign"], text.encode()):
        raise DeclinedError(
            f"支付验证签名失败: the merchant's key did not sign this text: {text!r}"
        )
    order = _order_of(world, form)
    if order is None or not form["package"].startswith("prepay_id="):
        raise DeclinedError(f"package names no prepay_id of ours: {form['package']}")
    if form["appId"] != order.body["appid"]:
        raise DeclinedError(
            f"appId is {form['appId']}, the order was made for {order.body['appid']}"
        )
    _, made_at = world.prepays[form["package"].removeprefix("prepay_id=")]
    if world.clock.now() >= made_at + PREPAY_LIFETIME and not form.get("force"):
        raise DeclinedError("prepay_id has expired: it lives two hours")
    return order


def _check_types(form: Mapping[str, Any]) -> None:
    for name in (*SIGNED, "signType", "paySign"):
        if not isinstance(form.get(name), str) or not form[name]:
            found = type(form.get(name)).__name__
            raise DeclinedError(
                f"parameter error: parameter.{name} should be String instead of {found}"
            )
    if len(form["nonceStr"]) > 32 or len(form["package"]) > 128:
        raise DeclinedError("parameter error: nonceStr is at most 32 characters, package 128")
    if form["signType"] != "RSA":
        raise DeclinedError(f"signType of APIv3 is RSA, not {form['signType']}")


def _check_options(form: Mapping[str, Any], total: int) -> None:
    unknown = form.keys() - OPTIONS - {*SIGNED, "signType", "paySign"}
    if unknown:
        raise DeclinedError(f"unknown keys: {', '.join(sorted(unknown))}")
    if form.get("outcome", "ok") not in OUTCOMES:
        raise DeclinedError(f"outcome is one of {', '.join(OUTCOMES)}")
    coupon = form.get("coupon_fen", 0)
    if isinstance(coupon, bool) or not isinstance(coupon, int) or not 0 <= coupon <= total:
        raise DeclinedError(f"coupon_fen is a whole number, 0 to {total}")
    if not isinstance(form.get("force", False), bool):
        raise DeclinedError("force is true or false")


def _check_page(world: World, form: Mapping[str, Any]) -> None:
    app = world.app(str(form["appId"]))
    url = form.get("page_url")
    if url and app and app.kind == "official_account" and not is_loopback_page(str(url)):
        raise DeclinedError(f"当前页面的URL未注册：{url}")


def is_loopback_page(url: str) -> bool:
    """Tell whether a page lies in the configured domains: the loopback origins, any port."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")


def _check_payable(order: Order, now: float) -> None:
    if order.transactions:
        raise DeclinedError("该订单已支付")
    if order.state(now) == "CLOSED":
        raise DeclinedError("订单已关闭")
    if order.is_expired(now):
        raise DeclinedError("订单已过期: time_expire has passed")


def _take_money(world: World, order: Order, coupon_fen: int) -> Transaction:
    now = world.clock.now()
    number = f"4200{datetime.fromtimestamp(now, BEIJING):%Y%m%d}{secrets.randbelow(10**16):016}"
    paid = Transaction(number, now, order.total - coupon_fen, coupon_fen)
    order.transactions.append(paid)
    order.notified = False
    payload, url = order_object(order, now, paid), str(order.body["notify_url"])
    made = world.outbox.announce(order, url, "TRANSACTION.SUCCESS", payload)
    world.notifications[order.out_trade_no] = made
    return paid


def _result(world: World, form: Mapping[str, Any], outcome: str, why: str = "") -> dict[str, str]:
    app = world.app(str(form.get("appId")))
    if app is not None and app.kind == "miniprogram":
        failures = {"cancel": "fail cancel", "fail": f"fail ({why})"}
        result = {"err_msg": f"requestPayment:{failures.get(outcome, outcome)}"}
    else:
        result = {"err_msg": f"get_brand_wcpay_request:{outcome}"}
    return result | ({"err_desc": why} if why else {})
