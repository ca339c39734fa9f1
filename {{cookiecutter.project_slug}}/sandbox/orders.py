"""JSAPI and mini-program orders: prepay 下单, query 查单, close 关单, by WeChat's rules."""

import ipaddress
import re
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from . import fields
from .clock import BEIJING, rfc3339
from .gate import check_mchid
from .schema import read_body
from .wire import Answer, Call, RefusalError, api_headers, json_answer, parameter_error
from .world import SEVEN_DAYS, Order, Transaction, World

LONGEST_EXPIRY = 90 * 24 * 3600
STATE_DESCRIPTIONS = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
}


def prepay(world: World, call: Call) -> Answer:
    """Answer POST /v3/pay/transactions/jsapi (doc/v3/merchant/4012525182): 200 prepay_id."""
    body = read_body(call.body, fields.PREPAY)
    _check_payer_is_there(body)
    _check_values(body, world.clock.now())
    check_mchid(call, body["mchid"], "body")
    _check_parties(world, body)
    order = _order_for(world, body)
    now = world.clock.now()
    prepay_id = f"wx{datetime.fromtimestamp(now, BEIJING):%Y%m%d%H%M%S}{secrets.token_hex(9)}00"
    world.prepays[prepay_id] = (order, now)
    return json_answer(200, {"prepay_id": prepay_id})


def query(world: World, call: Call) -> Answer:
    """Answer GET …/out-trade-no/{out_trade_no}?mchid= (商户订单号查询): 200, the order object."""
    fields.OUT_TRADE_NO.check("/url/out_trade_no", call.path["out_trade_no"])
    _check_query(call)
    order = world.orders.get((call.mchid, call.path["out_trade_no"]))
    return json_answer(200, order_object(_existing(order), world.clock.now()))


def query_by_id(world: World, call: Call) -> Answer:
    """Answer GET …/id/{transaction_id}?mchid= (微信支付订单号查询): 200, the order object."""
    wanted = call.path["transaction_id"]
    fields.TRANSACTION_ID.check("/url/transaction_id", wanted)
    _check_query(call)
    for order in world.orders.values():
        for paid in order.transactions:
            if paid.transaction_id == wanted:
                return json_answer(200, order_object(order, world.clock.now(), paid))
    raise _existing_error()


def close(world: World, call: Call) -> Answer:
    """Answer POST …/out-trade-no/{out_trade_no}/close (doc/v3/merchant/4012556398): 204.

    Closing again is accepted; 202 USER_PAYING while the password screen is open.
    """
    fields.OUT_TRADE_NO.check("/url/out_trade_no", call.path["out_trade_no"])
    body = read_body(call.body, fields.CLOSE)
    check_mchid(call, body["mchid"], "body")
    order = _existing(world.orders.get((call.mchid, call.path["out_trade_no"])))
    if order.transactions:
        raise RefusalError(400, "ORDER_PAID", "订单已支付", number=268449538)
    if order.typing and order.state(world.clock.now()) == "NOTPAY":
        paying = {"code": "USER_PAYING", "message": "用户支付中，请稍后再试"}
        return json_answer(202, paying, verdict="the buyer is typing the password")
    order.closed = True
    return Answer(204, b"", api_headers())


def order_object(order: Order, now: float, paid: Transaction | None = None) -> dict[str, Any]:
    """Build the order object of query and notification: what is only known once paid is absent."""
    body, state = order.body, order.state(now)
    paid = paid or (order.transactions[-1] if order.transactions else None)
    amount = {"total": order.total, "currency": "CNY"}
    found = {
        "appid": body["appid"],
        "mchid": body["mchid"],
        "out_trade_no": order.out_trade_no,
        "trade_state": state,
        "trade_state_desc": STATE_DESCRIPTIONS[state],
        "amount": amount,
    }
    if "device_id" in body.get("scene_info", {}):
        found["scene_info"] = {"device_id": body["scene_info"]["device_id"]}
    if paid:
        amount |= {"payer_total": paid.payer_total, "payer_currency": "CNY"}
        found |= _paid_fields(order, paid)
    return found


def _paid_fields(order: Order, paid: Transaction) -> dict[str, Any]:
    found: dict[str, Any] = {
        "transaction_id": paid.transaction_id,
        "trade_type": "JSAPI",
        "bank_type": "OTHERS",
        "success_time": rfc3339(paid.paid_at),
        "payer": {"openid": order.openid},
    }
    if "attach" in order.body:
        found["attach"] = order.body["attach"]
    if paid.coupon_fen:
        coupon = {"coupon_id": "9" + paid.transaction_id[-9:], "name": "沙箱代金券"}
        kind = {"scope": "GLOBAL", "type": "NOCASH", "currency": "CNY"}
        found["promotion_detail"] = [coupon | kind | {"amount": paid.coupon_fen}]
    return found


def _check_payer_is_there(body: dict[str, Any]) -> None:
    if not body.get("payer", {}).get("openid"):
        message = "JSAPI支付必须传openid"
        at = "/body/payer/openid"
        raise parameter_error(at, None, "此字段为必填项", message, number=268501013)


def _check_values(body: dict[str, Any], now: float) -> None:
    rules = fields.PREPAY.fields
    if not is_notify_url(body["notify_url"]):
        issue = "应为https地址，不能携带查询参数"
        raise rules["notify_url"].refuse("/body/notify_url", body["notify_url"], issue)
    if "time_expire" in body and not 0 < parse_time(body["time_expire"]) <= now + LONGEST_EXPIRY:
        issue = "应为yyyy-MM-DDTHH:mm:ss+08:00格式，且不超过90天"
        raise rules["time_expire"].refuse("/body/time_expire", body["time_expire"], issue)
    scene = body.get("scene_info")
    if scene and not _is_ip(scene["payer_client_ip"]):
        at = "/body/scene_info/payer_client_ip"
        raise parameter_error(at, scene["payer_client_ip"], "应为IPv4或IPv6地址")
    store = scene.get("store_info") if scene else None
    if (
        store is not None
        and "id" not in store
        and not {"name", "area_code", "address"} <= set(store)
    ):
        raise parameter_error("/body/scene_info/store_info/id", None, "此字段为必填项")


def is_notify_url(url: str) -> bool:
    """Accept https without query; plain http on a loopback address is the sandbox's relaxation."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    loopback = host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)
    wire_safe = re.fullmatch(r"[!-~]+", url) and not set("?#\\@") & set(url)
    return bool(wire_safe and host and port != 0) and (
        parts.scheme == "https" or (parts.scheme == "http" and loopback)
    )


def parse_time(text: str) -> float:
    """Read RFC 3339 with an offset and without fractions into Unix seconds, 0 when it is not."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", text, re.ASCII):
        return 0
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0


def _is_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _check_parties(world: World, body: dict[str, Any]) -> None:
    if "identity" in body["payer"] or "subsidy_info" in body:
        raise RefusalError(403, "NO_AUTH", "商家暂时没有此类交易权限")
    if world.app(body["appid"]) is None:
        message = "appid和mch_id不匹配，请检查后再试"
        raise RefusalError(400, "APPID_MCHID_NOT_MATCH", message, number=268445527)
    if not world.knows(body["appid"], body["payer"]["openid"]):
        raise RefusalError(500, "OPENID_MISMATCH", "openid和appid不匹配")


def _order_for(world: World, body: dict[str, Any]) -> Order:
    """Apply the re-order rules: the same number again needs the same parameters."""
    now = world.clock.now()
    number = (body["mchid"], body["out_trade_no"])
    order = world.orders.get(number)
    if order is None:
        expires = body.get("time_expire")
        limit = max(parse_time(expires), now + 60) if expires else now + SEVEN_DAYS
        order = world.orders[number] = Order(len(world.orders) + 1, body, now, limit)
    elif order.transactions:
        raise RefusalError(400, "ORDER_PAID", "该订单已支付", number=268449538)
    elif order.state(now) == "CLOSED" or order.is_expired(now):
        raise RefusalError(400, "ORDER_CLOSED", "订单已关闭", number=268447914)
    elif order.body != body:
        raise RefusalError(403, "OUT_TRADE_NO_USED", "商户订单号重复", number=268498688)
    return order


def _check_query(call: Call) -> None:
    mchid = call.query.get("mchid")
    if mchid is None:
        raise fields.MCHID.refuse("/query/mchid", None, "此字段为必填项")
    fields.MCHID.check("/query/mchid", mchid)
    check_mchid(call, mchid, "query")


def _existing(order: Order | None) -> Order:
    if order is None:
        raise _existing_error()
    return order


def _existing_error() -> RefusalError:
    return RefusalError(404, "ORDER_NOT_EXIST", "订单不存在", number=268512771)
