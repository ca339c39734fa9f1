"""Orders of every product: prepay 下单, query 查单, close 关单, by WeChat's rules.

A merchant's own orders and a service provider's differ in the names of their parties alone.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import fields
from .addresses import h5_page
from .checks import (
    check_appid,
    check_direct,
    check_openid,
    check_sub_mchid,
    check_values,
    parse_time,
)
from .clock import BEIJING
from .gate import check_mchid
from .objects import order_object
from .schema import read_body
from .wire import (
    OTHER_PARAMETERS,
    Answer,
    Call,
    RefusalError,
    api_headers,
    json_answer,
    parameter_error,
)
from .world import SEVEN_DAYS, Order, Purchase, World

UNKNOWN_ORDER, OTHER_MERCHANT, OTHER_SUB_MERCHANT = 268512771, 268447843, 268447845
NAMES = ("appid", "mchid", "sp_appid", "sp_mchid", "sub_appid", "sub_mchid")


def prepay(world: World, call: Call, product: str, partner: bool) -> Answer:
    """Answer POST /v3/pay/[partner/]transactions/{product}: 200 prepay_id, h5_url or code_url.

    doc/v3/merchant/4012525167 and doc/v3/partner/4012523579.
    """
    rule = fields.prepay(product, partner=partner)
    body = read_body(call.body, rule)
    payer = _payer(body, product)
    check_values(body, rule.fields, world.clock.now())
    check_mchid(call, body, "body")
    _check_parties(world, body, payer)
    return answer(world, call, _purchase(world, product, body, payer))


def query(world: World, call: Call) -> Answer:
    """Answer GET …/out-trade-no/{out_trade_no} (商户订单号查询): 200, the order object."""
    number = call.path["out_trade_no"]
    fields.OUT_TRADE_NO.check("/uri_template/out_trade_no", number)
    named = _named(world, call, call.query, "query")
    return json_answer(200, order_object(_found(world, call, number, named), world.clock.now()))


def query_by_id(world: World, call: Call) -> Answer:
    """Answer GET …/id/{transaction_id} (微信支付订单号查询): 200, the order object."""
    wanted = call.path["transaction_id"]
    fields.TRANSACTION_ID.check("/uri_template/transaction_id", wanted)
    named = _named(world, call, call.query, "query")
    for order in world.orders.values():
        for paid in order.transactions:
            if paid.transaction_id == wanted:
                _check_owner(call, order)
                _found(world, call, order.out_trade_no, named)
                return json_answer(200, order_object(order, world.clock.now(), paid))
    raise not_found()


def close(world: World, call: Call) -> Answer:
    """Answer POST …/out-trade-no/{out_trade_no}/close (doc/v3/merchant/4012556398): 204.

    Closing again is accepted; 202 USER_PAYING while the password screen is open.
    """
    number = call.path["out_trade_no"]
    fields.OUT_TRADE_NO.check("/uri_template/out_trade_no", number)
    body = read_body(call.body, fields.close(partner=_is_partner(call)))
    named = _named(world, call, body, "body")
    if (call.mchid, number) not in world.orders:
        return burn(world, call.mchid, number)
    return close_purchase(world, _found(world, call, number, named).purchase)


def answer(world: World, call: Call, purchase: Purchase) -> Answer:
    """Say what opens the cashier; a new code_url makes the one before useless."""
    now, secret = world.clock.now(), secrets.token_hex(9)
    prefix = "up_wx" if purchase.product == "scannedpos" else "wx"
    prepay_id = f"{prefix}{datetime.fromtimestamp(now, BEIJING):%Y%m%d%H%M%S}{secret}00"
    if purchase.product == "native":
        purchase.code_url = f"weixin://wxpay/bizpayurl?pr={secrets.token_urlsafe(6)}"
        world.prepays[purchase.code_url] = purchase, now
        return json_answer(200, {"code_url": purchase.code_url})
    world.prepays[prepay_id] = purchase, now
    if purchase.product != "h5":
        return json_answer(200, {"prepay_id": prepay_id})
    package = world.packages[prepay_id] = f"{secrets.randbelow(10**10):010}"
    page = h5_page(call.headers["host"])
    return json_answer(200, {"h5_url": f"{page}?prepay_id={prepay_id}&package={package}"})


def burn(world: World, mchid: str, number: str) -> Answer:
    """Close a number that was never ordered: accepted, and it cannot be ordered afterwards."""
    world.burnt.add((mchid, number))
    return Answer(
        204, b"", api_headers(), "passed: this number was never ordered, and now cannot be"
    )


def close_purchase(world: World, purchase: Purchase) -> Answer:
    """Close what is not paid."""
    if purchase.paid:
        raise RefusalError(400, "ORDER_PAID", "订单已支付", number=268449538)
    if purchase.typing and purchase.state(world.clock.now()) == "NOTPAY":
        paying = {"code": "USER_PAYING", "message": "用户支付中，请稍后再试"}
        return json_answer(202, paying, verdict="the buyer is typing the password")
    purchase.closed = True
    return Answer(204, b"", api_headers())


def again(purchase: Purchase, product: str, body: dict[str, Any], now: float) -> None:
    """Apply the re-order rules: the same number again needs the same parameters."""
    if purchase.paid:
        raise RefusalError(400, "ORDER_PAID", "该订单已支付", number=268449538)
    if purchase.state(now) == "CLOSED" or purchase.is_expired(now):
        raise RefusalError(400, "ORDER_CLOSED", "订单已关闭", number=268447914)
    if (purchase.product, purchase.body) != (product, body):
        raise number_used()


def expiry(body: dict[str, Any], now: float) -> float:
    """Return the last moment to pay: a time_expire too near is raised to one minute."""
    expires = body.get("time_expire")
    moment = parse_time(expires) if expires else None
    return now + SEVEN_DAYS if moment is None else max(moment, now + 60)


def number_used() -> RefusalError:
    """Refuse a number that belongs to another order, in the words that WeChat is seen to use.

    Its pages list 403 OUT_TRADE_NO_USED for this.
    """
    message = "请求重入时，参数与首次请求时不一致，请核对后重试"
    return RefusalError(400, "INVALID_REQUEST", message, number=OTHER_PARAMETERS)


def not_found(number: int = UNKNOWN_ORDER) -> RefusalError:
    """Refuse a number that was never accepted, or that is of another merchant.

    Only the numbers of the latter are published: OTHER_MERCHANT, OTHER_SUB_MERCHANT.
    """
    return RefusalError(404, "ORDER_NOT_EXIST", "订单不存在", number=number)


def _payer(body: dict[str, Any], product: str) -> dict[str, str]:
    """Return the openid that must pay; only what is paid inside WeChat names one."""
    given = body.get("payer", {})
    payer = {name: value for name, value in given.items() if name.endswith("openid")}
    if product not in ("jsapi", "scannedpos"):
        return {}
    if not payer:
        message = "JSAPI支付必须传openid"
        at = "/body/payer/openid"
        raise parameter_error(at, None, "此字段为必填项", message, number=268501013)
    for name in payer:
        appid = name.replace("openid", "appid")
        if appid not in body:
            raise parameter_error(f"/body/{appid}", None, f"传{name}时此字段为必填项")
    return payer


def _check_parties(world: World, body: dict[str, Any], payer: dict[str, str]) -> None:
    if "identity" in body.get("payer", {}) or "subsidy_info" in body:
        raise RefusalError(403, "NO_AUTH", "商家暂时没有此类交易权限")
    if "sp_mchid" in body:
        check_sub_mchid(world, body["sp_mchid"], body["sub_mchid"])
    else:
        check_direct(world, body["mchid"])
    for appid, mchid in (("appid", "mchid"), ("sp_appid", "sp_mchid"), ("sub_appid", "sub_mchid")):
        if appid in body:
            check_appid(world, body[appid], body[mchid])
    for name, openid in payer.items():
        check_openid(world, body[name.replace("openid", "appid")], openid)


def _purchase(world: World, product: str, body: dict[str, Any], payer: dict[str, str]) -> Purchase:
    now, parties = world.clock.now(), {name: body[name] for name in NAMES if name in body}
    mchid = parties.get("sp_mchid") or parties["mchid"]
    number = mchid, body["out_trade_no"]
    if number in world.burnt:
        raise number_used()
    if known := world.orders.get(number):
        if known.purchase.combined:
            raise number_used()
        again(known.purchase, product, body, now)
        return known.purchase
    # the app that shows the cashier: the sub merchant's if the payer is named by its openid
    subs = "sub_openid" in payer or (product == "app" and "sub_appid" in parties)
    appid = parties["sub_appid"] if subs else parties.get("appid") or parties["sp_appid"]
    openid = payer.get("sub_openid") or next(iter(payer.values()), "")
    made = Purchase(mchid, number[1], product, body, appid, openid, now, expiry(body, now))
    order = Order(len(world.orders) + 1, made, body, parties)
    made.orders, world.orders[number] = [order], order
    return made


def _check_owner(call: Call, order: Order) -> None:
    if order.mchid != call.mchid:
        raise not_found(number=OTHER_MERCHANT)


def _is_partner(call: Call) -> bool:
    return "/partner/" in call.target


def _named(world: World, call: Call, given: Mapping[str, Any], where: str) -> dict[str, str]:
    """Read the merchant numbers that query and close must name."""
    wanted = ("sp_mchid", "sub_mchid") if _is_partner(call) else ("mchid",)
    for name in wanted:
        if given.get(name) is None:
            raise fields.MCHID.missing(f"/{where}/{name}")
        fields.MCHID.check(f"/{where}/{name}", given[name])
    check_mchid(call, given, where)
    if not _is_partner(call):
        check_direct(world, call.mchid)
    return {name: given[name] for name in wanted}


def _found(world: World, call: Call, number: str, named: Mapping[str, str]) -> Order:
    """Find the order; a sub order is only known by its combined one."""
    order = world.orders.get((call.mchid, number))
    if order is None or order.purchase.combined:
        raise not_found()
    if not named.items() <= order.parties.items():
        raise not_found(number=OTHER_SUB_MERCHANT)
    return order
