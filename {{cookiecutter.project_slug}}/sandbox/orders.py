"""Orders of every product: prepay 下单, query 查单, close 关单, by WeChat's rules.

A merchant's own orders and a service provider's differ in the names of their parties alone.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import fields
from .addresses import h5_page
from .apiv3 import ApiV3
from .authorization import check_mchid
from .checks import (
    check_appid,
    check_direct,
    check_openid,
    check_sub_mchid,
    check_values,
    parse_time,
)
from .clock import BEIJING
from .models import SEVEN_DAYS, Order, Purchase
from .objects import order_object
from .schema import read_body
from .state import State
from .wire import (
    ILLEGAL_PARAMETER,
    OTHER_PARAMETERS,
    Answer,
    Call,
    RefusalError,
    api_headers,
    json_answer,
    parameter_error,
)

UNKNOWN_ORDER = 268512771
OTHER_MERCHANT = 268447843
OTHER_SUB_MERCHANT = 268447845
PARTIES = ("appid", "mchid", "sp_appid", "sp_mchid", "sub_appid", "sub_mchid")
BOUND = (("appid", "mchid"), ("sp_appid", "sp_mchid"), ("sub_appid", "sub_mchid"))


def prepay(state: State, call: Call, product: str, partner: bool) -> Answer:
    """Answer POST /v3/pay/[partner/]transactions/{product}: 200 prepay_id, h5_url or code_url.

    doc/v3/merchant/4012525167 and doc/v3/partner/4012523579.
    """
    rule = fields.prepay(product, partner=partner)
    body = read_body(call.body, rule)
    openids = _openids(body, product)
    check_values(body, rule.fields, state.clock.now())
    check_mchid(call, body, "body")
    _check_parties(state, body, openids)
    return prepay_answer(state, call, _purchase(state, product, body, openids))


def query(state: State, call: Call) -> Answer:
    """Answer GET …/out-trade-no/{out_trade_no} (商户订单号查询): 200, the order object."""
    number = call.path["out_trade_no"]
    fields.OUT_TRADE_NO.check("/uri_template/out_trade_no", number)
    parties = _read_parties(state, call, call.query, "query")
    order = _find(state, call, number, parties)
    return json_answer(200, order_object(order, state.clock.now()))


def query_by_id(state: State, call: Call) -> Answer:
    """Answer GET …/id/{transaction_id} (微信支付订单号查询): 200, the order object."""
    transaction_id = call.path["transaction_id"]
    fields.TRANSACTION_ID.check("/uri_template/transaction_id", transaction_id)
    if not re.fullmatch(r"[0-9]+", transaction_id, re.ASCII):
        raise RefusalError(400, "PARAM_ERROR", "微信订单号非法", number=ILLEGAL_PARAMETER)
    parties = _read_parties(state, call, call.query, "query")
    for order in state.orders.values():
        for paid in order.transactions:
            if paid.transaction_id == transaction_id:
                if order.mchid != call.mchid:
                    raise not_found(number=OTHER_MERCHANT)
                _find(state, call, order.out_trade_no, parties)
                return json_answer(200, order_object(order, state.clock.now(), paid))
    raise not_found()


def close(state: State, call: Call) -> Answer:
    """Answer POST …/out-trade-no/{out_trade_no}/close (doc/v3/merchant/4012556398): 204.

    Closing again is accepted; 202 USER_PAYING while the password screen is open.
    """
    number = call.path["out_trade_no"]
    fields.OUT_TRADE_NO.check("/uri_template/out_trade_no", number)
    body = read_body(call.body, fields.close(partner=_is_partner(call)))
    parties = _read_parties(state, call, body, "body")
    if (call.mchid, number) not in state.orders:
        return close_unordered(state, call.mchid, number)
    return close_purchase(state, _find(state, call, number, parties).purchase)


def prepay_answer(state: State, call: Call, purchase: Purchase) -> Answer:
    """Tell what opens the cashier; a new code_url makes the one before useless."""
    if purchase.product == "native":
        return json_answer(200, {"code_url": new_code_url(state, purchase)})
    prepay_id = new_prepay_id(state, purchase)
    if purchase.product != "h5":
        return json_answer(200, {"prepay_id": prepay_id})
    return json_answer(200, {"h5_url": new_h5_url(state, prepay_id, call.headers["host"])})


def new_prepay_id(state: State, purchase: Purchase) -> str:
    """Make what opens the cashier of a purchase."""
    now = state.clock.now()
    prefix = "up_wx" if purchase.product == "scannedpos" else "wx"
    moment = datetime.fromtimestamp(now, BEIJING)
    prepay_id = f"{prefix}{moment:%Y%m%d%H%M%S}{secrets.token_hex(9)}00"
    state.prepays[prepay_id] = purchase, now
    return prepay_id


def new_code_url(state: State, purchase: Purchase) -> str:
    """Make what a phone scans."""
    purchase.code_url = f"weixin://wxpay/bizpayurl?pr={secrets.token_urlsafe(6)}"
    state.prepays[purchase.code_url] = purchase, state.clock.now()
    return purchase.code_url


def new_h5_url(state: State, prepay_id: str, host: str) -> str:
    """Make the link for a browser outside WeChat."""
    package = f"{secrets.randbelow(10**10):010}"
    state.h5_packages[prepay_id] = package
    return f"{h5_page(host)}?prepay_id={prepay_id}&package={package}"


def close_unordered(state: State, mchid: str, number: str) -> Answer:
    """Close a number that was never ordered: accepted, and it cannot be ordered afterwards."""
    state.closed_unordered.add((mchid, number))
    verdict = "passed: this number was never ordered, and now cannot be"
    return Answer(204, headers=api_headers(), verdict=verdict)


def close_purchase(state: State, purchase: Purchase) -> Answer:
    """Close what is not paid."""
    if purchase.paid:
        raise RefusalError(400, "ORDER_PAID", "订单已支付", number=268449538)
    if purchase.typing and purchase.trade_state(state.clock.now()) == "NOTPAY":
        paying = {"code": "USER_PAYING", "message": "用户支付中，请稍后再试"}
        return json_answer(202, paying, verdict="the buyer is typing the password")
    purchase.closed = True
    return Answer(204, headers=api_headers())


def check_again(purchase: Purchase, product: str, body: dict[str, Any], now: float) -> None:
    """Apply the re-order rules: the same number again needs the same parameters."""
    if purchase.paid:
        raise RefusalError(400, "ORDER_PAID", "该订单已支付", number=268449538)
    if purchase.trade_state(now) == "CLOSED" or purchase.is_expired(now):
        raise RefusalError(400, "ORDER_CLOSED", "订单已关闭", number=268447914)
    if (purchase.product, purchase.body) != (product, body):
        raise number_used()


def expiry(body: dict[str, Any], now: float) -> float:
    """Return the last moment to pay: a time_expire too near is raised to one minute."""
    time_expire = body.get("time_expire")
    moment = parse_time(time_expire) if time_expire else None
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


def _openids(body: dict[str, Any], product: str) -> dict[str, str]:
    """Return the openids that name who must pay; only what is paid inside WeChat has one."""
    if product not in ("jsapi", "scannedpos"):
        return {}
    payer = body.get("payer", {})
    openids = {name: value for name, value in payer.items() if name.endswith("openid")}
    if not openids:
        message = "JSAPI支付必须传openid"
        at = "/body/payer/openid"
        raise parameter_error(at, None, "此字段为必填项", message, number=268501013)
    for name in openids:
        appid = name.replace("openid", "appid")
        if appid not in body:
            raise parameter_error(f"/body/{appid}", None, f"传{name}时此字段为必填项")
    return openids


def _check_parties(state: State, body: dict[str, Any], openids: dict[str, str]) -> None:
    if "identity" in body.get("payer", {}) or "subsidy_info" in body:
        raise RefusalError(403, "NO_AUTH", "商家暂时没有此类交易权限")
    if "sp_mchid" in body:
        check_sub_mchid(state, body["sp_mchid"], body["sub_mchid"])
    else:
        check_direct(state, body["mchid"])
    for appid, mchid in BOUND:
        if appid in body:
            check_appid(state, body[appid], body[mchid])
    for name, openid in openids.items():
        check_openid(state, body[name.replace("openid", "appid")], openid)


def _purchase(
    state: State, product: str, body: dict[str, Any], openids: dict[str, str]
) -> Purchase:
    """Return the purchase of this number, a new one if there is none."""
    now = state.clock.now()
    parties = {name: body[name] for name in PARTIES if name in body}
    mchid = parties.get("sp_mchid") or parties["mchid"]
    number = body["out_trade_no"]
    if (mchid, number) in state.closed_unordered:
        raise number_used()
    earlier = state.orders.get((mchid, number))
    if earlier:
        if earlier.purchase.combined:
            raise number_used()
        check_again(earlier.purchase, product, body, now)
        return earlier.purchase
    purchase = Purchase(
        api=ApiV3(state),
        mchid=mchid,
        number=number,
        product=product,
        body=body,
        appid=_cashier_appid(product, parties, openids),
        openid=openids.get("sub_openid") or next(iter(openids.values()), ""),
        created_at=now,
        expires_at=expiry(body, now),
    )
    order = Order(n=len(state.orders) + 1, purchase=purchase, body=body, parties=parties)
    state.add_purchase(purchase, order)
    return purchase


def _cashier_appid(product: str, parties: dict[str, str], openids: dict[str, str]) -> str:
    """Return the app that shows the cashier: a sub merchant's if its openid names the payer."""
    if "sub_openid" in openids or (product == "app" and "sub_appid" in parties):
        return parties["sub_appid"]
    return parties.get("appid") or parties["sp_appid"]


def _is_partner(call: Call) -> bool:
    return "/partner/" in call.target


def _read_parties(
    state: State, call: Call, parameters: Mapping[str, Any], location: str
) -> dict[str, str]:
    """Read the merchant numbers that query and close must name."""
    names = ("sp_mchid", "sub_mchid") if _is_partner(call) else ("mchid",)
    for name in names:
        if parameters.get(name) is None:
            raise fields.MCHID.missing(f"/{location}/{name}")
        fields.MCHID.check(f"/{location}/{name}", parameters[name])
    check_mchid(call, parameters, location)
    if not _is_partner(call):
        check_direct(state, call.mchid)
    return {name: parameters[name] for name in names}


def _find(state: State, call: Call, number: str, parties: Mapping[str, str]) -> Order:
    """Find the order; a sub order is only known by its combined one."""
    order = state.orders.get((call.mchid, number))
    if order is None or order.purchase.combined:
        raise not_found()
    if not parties.items() <= order.parties.items():
        raise not_found(number=OTHER_SUB_MERCHANT)
    return order
