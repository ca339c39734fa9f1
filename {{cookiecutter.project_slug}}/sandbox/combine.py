"""Combined orders 合单: prepay, query, close; the whole order, or nothing of it.

doc/v3/merchant/4012556926 and doc/v3/partner/4012757938.
"""

import math
from typing import Any

from . import combine_fields
from .checks import (
    check_appid,
    check_direct,
    check_openid,
    check_sub_mchid,
    check_time,
    check_values,
    parse_time,
)
from .gate import check_mchid
from .objects import combined_object
from .orders import again, answer, burn, close_purchase, expiry, not_found, number_used
from .schema import Rule, read_body
from .wire import OUT_OF_RANGE, Answer, Call, RefusalError, json_answer, parameter_error
from .world import Order, Purchase, World

MOST = 50
NAMES = ("mchid", "sub_mchid", "sub_appid")
AT = "/uri_template/combine_out_trade_no"
Numbers = list[tuple[Any, ...]]


def prepay(world: World, call: Call, product: str) -> Answer:
    """Answer POST /v3/combine-transactions/{product}: 200 prepay_id, h5_url or code_url."""
    rule = combine_fields.prepay(product)
    body = read_body(call.body, rule)
    check_values(body, rule.fields, world.clock.now())
    _check_times(body, rule.fields["time_start"])
    check_mchid(call, body, "body")
    openid = _payer(body, product)
    _check_parties(world, body, openid)
    return answer(world, call, _purchase(world, product, body, openid))


def query(world: World, call: Call) -> Answer:
    """Answer GET …/out-trade-no/{combine_out_trade_no} (合单查询订单): 200, all sub orders."""
    return json_answer(200, combined_object(_found(world, call), world.clock.now()))


def close(world: World, call: Call) -> Answer:
    """Answer POST …/out-trade-no/{combine_out_trade_no}/close: 204 if all sub orders are named."""
    body = read_body(call.body, combine_fields.CLOSE)
    number = call.path["combine_out_trade_no"]
    combine_fields.NUMBER.check(AT, number)
    if (call.mchid, number) not in world.combined:
        return burn(world, call.mchid, number)
    purchase = _found(world, call)
    if body["combine_appid"] != purchase.appid or _numbers(body) != _numbers(purchase.body):
        message = "关单的子单信息必须与下单时完全一致"
        raise RefusalError(400, "INVALID_REQUEST", message)
    return close_purchase(world, purchase)


def _check_times(body: dict[str, Any], rule: Rule) -> None:
    start, end = body.get("time_start"), body.get("time_expire")
    if start:
        check_time("time_start", start, rule, math.inf)
    if start and end and (parse_time(end) or 0) < (parse_time(start) or 0) + 60:
        raise parameter_error("/body/time_expire", end, "应晚于time_start至少1分钟")


def _payer(body: dict[str, Any], product: str) -> str:
    payer = body.get("combine_payer_info", {})
    if product != "jsapi":
        return ""
    if not payer.get("openid"):  # sub_openid is for sub_appid, which nobody here sends
        at, message = "/body/combine_payer_info/openid", "JSAPI支付必须传openid"
        raise parameter_error(at, None, "此字段为必填项", message, number=268501013)
    return str(payer["openid"])


def _check_parties(world: World, body: dict[str, Any], openid: str) -> None:
    subs = body["sub_orders"]
    if len(subs) < 2 and "sub_mchid" not in subs[0]:
        issue = f"直连商户的子单数应在 2 到 {MOST} 之间"
        raise parameter_error("/body/sub_orders", len(subs), issue, number=OUT_OF_RANGE)
    if "subsidy_info" in body or "identity" in body.get("combine_payer_info", {}):
        raise RefusalError(403, "NO_AUTH", "商家暂时没有此类交易权限")
    check_appid(world, body["combine_appid"], body["combine_mchid"])
    for one in subs:
        check_appid(world, body["combine_appid"], one["mchid"])
        if "sub_mchid" in one:
            check_sub_mchid(world, one["mchid"], one["sub_mchid"])
        else:
            check_direct(world, one["mchid"])
        if "sub_appid" in one:
            check_appid(world, one["sub_appid"], one.get("sub_mchid", one["mchid"]))
    if openid:
        check_openid(world, body["combine_appid"], openid)


def _purchase(world: World, product: str, body: dict[str, Any], openid: str) -> Purchase:
    now, mchid, number = world.clock.now(), body["combine_mchid"], body["combine_out_trade_no"]
    if (mchid, number) in world.burnt:
        raise number_used()
    if known := world.combined.get((mchid, number)):
        again(known, product, body, now)
        return known
    numbers = [(one["mchid"], one["out_trade_no"]) for one in body["sub_orders"]]
    taken = any(one in world.orders or one in world.burnt for one in numbers)
    if taken or len(set(numbers)) < len(numbers):
        raise number_used()
    appid, until = body["combine_appid"], expiry(body, now)
    made = Purchase(mchid, number, product, body, appid, openid, now, until)
    for one in body["sub_orders"]:
        parties = {name: one[name] for name in NAMES if name in one}
        order = Order(len(world.orders) + 1, made, one, parties)
        world.orders[one["mchid"], one["out_trade_no"]] = order
        made.orders.append(order)
    world.combined[mchid, number] = made
    return made


def _found(world: World, call: Call) -> Purchase:
    number = call.path["combine_out_trade_no"]
    combine_fields.NUMBER.check(AT, number)
    if (found := world.combined.get((call.mchid, number))) is None:
        raise not_found()
    return found


def _numbers(body: dict[str, Any]) -> Numbers:
    """Return what tells the sub orders apart, in an order of its own."""
    names = (*NAMES, "out_trade_no")
    return sorted(tuple(one.get(name, "") for name in names) for one in body["sub_orders"])
