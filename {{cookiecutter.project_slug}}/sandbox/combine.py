"""Combined orders 合单: prepay, query, close; the whole order, or nothing of it.

doc/v3/merchant/4012556926 and doc/v3/partner/4012757938.
"""

import math
from typing import Any

from . import combine_fields
from .apiv3 import ApiV3
from .authorization import check_mchid
from .checks import (
    check_appid,
    check_direct,
    check_openid,
    check_sub_mchid,
    check_time,
    check_values,
    parse_time,
)
from .models import Order, Purchase
from .objects import SUB_ORDER_PARTIES, combined_object
from .orders import (
    check_again,
    close_purchase,
    close_unordered,
    expiry,
    not_found,
    number_used,
    prepay_answer,
)
from .schema import Rule, read_body
from .state import State
from .wire import OUT_OF_RANGE, Answer, Call, RefusalError, json_answer, parameter_error

MOST = 50
NUMBER_AT = "/uri_template/combine_out_trade_no"


def prepay(state: State, call: Call, product: str) -> Answer:
    """Answer POST /v3/combine-transactions/{product}: 200 prepay_id, h5_url or code_url."""
    rule = combine_fields.prepay(product)
    body = read_body(call.body, rule)
    check_values(body, rule.fields, state.clock.now())
    _check_times(body, rule.fields["time_start"])
    check_mchid(call, body, "body")
    openid = _openid(body, product)
    _check_parties(state, body, openid)
    return prepay_answer(state, call, _purchase(state, product, body, openid))


def query(state: State, call: Call) -> Answer:
    """Answer GET …/out-trade-no/{combine_out_trade_no} (合单查询订单): 200, all sub orders."""
    return json_answer(200, combined_object(_find(state, call), state.clock.now()))


def close(state: State, call: Call) -> Answer:
    """Answer POST …/out-trade-no/{combine_out_trade_no}/close: 204 if all sub orders are named."""
    body = read_body(call.body, combine_fields.CLOSE)
    number = call.path["combine_out_trade_no"]
    combine_fields.NUMBER.check(NUMBER_AT, number)
    if (call.mchid, number) not in state.combined:
        return close_unordered(state, call.mchid, number)
    purchase = _find(state, call)
    is_same = _sub_numbers(body) == _sub_numbers(purchase.body)
    if body["combine_appid"] != purchase.appid or not is_same:
        message = "关单的子单信息必须与下单时完全一致"
        raise RefusalError(400, "INVALID_REQUEST", message)
    return close_purchase(state, purchase)


def _check_times(body: dict[str, Any], rule: Rule) -> None:
    start = body.get("time_start")
    end = body.get("time_expire")
    if start:
        check_time("time_start", start, rule, math.inf)
    if start and end and (parse_time(end) or 0) < (parse_time(start) or 0) + 60:
        raise parameter_error("/body/time_expire", end, "应晚于time_start至少1分钟")


def _openid(body: dict[str, Any], product: str) -> str:
    if product != "jsapi":
        return ""
    payer = body.get("combine_payer_info", {})
    if not payer.get("openid"):  # sub_openid is for sub_appid, which nobody here sends
        at = "/body/combine_payer_info/openid"
        message = "JSAPI支付必须传openid"
        raise parameter_error(at, None, "此字段为必填项", message, number=268501013)
    return str(payer["openid"])


def _check_parties(state: State, body: dict[str, Any], openid: str) -> None:
    sub_orders = body["sub_orders"]
    if len(sub_orders) < 2 and "sub_mchid" not in sub_orders[0]:
        issue = f"直连商户的子单数应在 2 到 {MOST} 之间"
        raise parameter_error("/body/sub_orders", len(sub_orders), issue, number=OUT_OF_RANGE)
    if "subsidy_info" in body or "identity" in body.get("combine_payer_info", {}):
        raise RefusalError(403, "NO_AUTH", "商家暂时没有此类交易权限")
    check_appid(state, body["combine_appid"], body["combine_mchid"])
    for sub_order in sub_orders:
        _check_sub_order(state, sub_order, body["combine_appid"])
    if openid:
        check_openid(state, body["combine_appid"], openid)


def _check_sub_order(state: State, sub_order: dict[str, Any], appid: str) -> None:
    mchid = sub_order["mchid"]
    check_appid(state, appid, mchid)
    if "sub_mchid" in sub_order:
        check_sub_mchid(state, mchid, sub_order["sub_mchid"])
    else:
        check_direct(state, mchid)
    if "sub_appid" in sub_order:
        check_appid(state, sub_order["sub_appid"], sub_order.get("sub_mchid", mchid))


def _purchase(state: State, product: str, body: dict[str, Any], openid: str) -> Purchase:
    """Return the purchase of this number, a new one if there is none."""
    now = state.clock.now()
    mchid = body["combine_mchid"]
    number = body["combine_out_trade_no"]
    if (mchid, number) in state.closed_unordered:
        raise number_used()
    earlier = state.combined.get((mchid, number))
    if earlier:
        check_again(earlier, product, body, now)
        return earlier
    _check_sub_numbers(state, body)
    purchase = Purchase(
        api=ApiV3(state),
        mchid=mchid,
        number=number,
        product=product,
        body=body,
        appid=body["combine_appid"],
        openid=openid,
        created_at=now,
        expires_at=expiry(body, now),
    )
    for sub_order in body["sub_orders"]:
        parties = {name: sub_order[name] for name in SUB_ORDER_PARTIES if name in sub_order}
        n = len(state.orders) + 1
        order = Order(n=n, purchase=purchase, body=sub_order, parties=parties)
        state.orders[order.mchid, order.out_trade_no] = order
        purchase.orders.append(order)
    state.combined[mchid, number] = purchase
    return purchase


def _check_sub_numbers(state: State, body: dict[str, Any]) -> None:
    """Refuse a sub order's number that was used before, or twice here."""
    numbers = [(sub["mchid"], sub["out_trade_no"]) for sub in body["sub_orders"]]
    used = any(number in state.orders or number in state.closed_unordered for number in numbers)
    if used or len(set(numbers)) < len(numbers):
        raise number_used()


def _find(state: State, call: Call) -> Purchase:
    number = call.path["combine_out_trade_no"]
    combine_fields.NUMBER.check(NUMBER_AT, number)
    purchase = state.combined.get((call.mchid, number))
    if purchase is None:
        raise not_found()
    return purchase


def _sub_numbers(body: dict[str, Any]) -> list[tuple[str, ...]]:
    """List what tells the sub orders apart, sorted."""
    names = (*SUB_ORDER_PARTIES, "out_trade_no")
    return sorted(
        tuple(sub_order.get(name, "") for name in names) for sub_order in body["sub_orders"]
    )
