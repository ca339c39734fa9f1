"""APIv2: the old XML calls of api.mch.weixin.qq.com, on the same orders as APIv3.

pay.weixin.qq.com/wiki/doc/api/jsapi.php?chapter=9_1. Every answer is HTTP 200. A real refund needs
the merchant's certificate; on one plain port there is no TLS to ask for it.
"""

import gzip
import ipaddress
import re
import secrets
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from sanic import Sanic

from ..addresses import h5_page
from ..bill_lines import trade_bill
from ..checks import check_openid, is_notify_url
from ..clock import BEIJING
from ..orders import again
from ..refunds import give_back
from ..wire import OTHER_PARAMETERS, RefusalError
from ..world import SEVEN_DAYS, Order, Purchase, World
from . import _v2_xml as v2_xml
from ._v2_notify import STATES, paid_fields, refund_fields, tell, tell_refund
from ._v2_wire import (
    UNSIGNED,
    BusinessError,
    Fields,
    Handler,
    TransportError,
    fen,
    local,
    named,
    serve,
)

CLOSABLE_AFTER = 300
SOONEST_EXPIRY = 300
#: what refundquery says of each refund; its number is put behind the name
LISTED = (
    *("out_refund_no", "refund_id", "refund_fee", "settlement_refund_fee", "coupon_refund_fee"),
    *("coupon_refund_count", "coupon_type_0", "coupon_refund_id_0", "coupon_refund_fee_0"),
)
PRODUCTS = {"JSAPI": "jsapi", "NATIVE": "native", "MWEB": "h5", "APP": "app"}
#: WeChat's name of a field and how many bytes it holds
LIMITS = {
    "body": ("商品描述", 127),
    "out_trade_no": ("商户订单号", 32),
    "attach": ("附加数据", 127),
    "openid": ("用户标识", 128),
    "notify_url": ("通知地址", 256),
    "refund_desc": ("退款原因", 80),
}


def attach(app: Sanic[Any, Any], world: World) -> None:
    """Add the paths of APIv2."""
    calls: list[tuple[str, str, Handler]] = [
        ("/pay/unifiedorder", "prepay", unified_order),
        ("/pay/orderquery", "query", query),
        ("/pay/closeorder", "close", close),
        ("/secapi/pay/refund", "refund", refund),
        ("/pay/refundquery", "refund_query", refund_query),
        ("/pay/downloadbill", "bill", download_bill),
    ]
    for path, name, handler in calls:
        view = partial(serve, world, name, handler)
        app.add_route(view, path, methods=["POST"], name=path.strip("/").replace("/", "_"))


def unified_order(world: World, asked: Fields, host: str) -> Fields:
    """Answer POST /pay/unifiedorder (统一下单): prepay_id, code_url or mweb_url."""
    product = PRODUCTS.get(asked["trade_type"])
    if product is None:
        raise BusinessError("PARAM_ERROR", "trade_type参数错误")
    now, number = world.clock.now(), (asked["mch_id"], asked["out_trade_no"])
    _check_order(world, asked, product, now)
    body = {k: v for k, v in asked.items() if k not in ("nonce_str", "sign")}
    if number in world.burnt:
        raise _number_used()
    if known := world.orders.get(number):
        purchase = known.purchase
        _again(purchase, product, _like_v3(body), now)
    else:
        purchase = _purchase(world, asked, product, _like_v3(body))
    prepay_id = f"wx{datetime.fromtimestamp(now, BEIJING):%Y%m%d%H%M%S}{secrets.token_hex(9)}00"
    world.prepays[prepay_id] = purchase, now
    said = {"trade_type": asked["trade_type"], "prepay_id": prepay_id}
    if product == "native":
        purchase.code_url = f"weixin://wxpay/bizpayurl?pr={secrets.token_urlsafe(6)}"
        world.prepays[purchase.code_url] = purchase, now
        said["code_url"] = purchase.code_url
    if product == "h5":
        package = world.packages[prepay_id] = f"{secrets.randbelow(10**10):010}"
        said["mweb_url"] = f"{h5_page(host)}?prepay_id={prepay_id}&package={package}"
    return said


def query(world: World, asked: Fields, host: str) -> Fields:
    """Answer POST /pay/orderquery (查询订单), by either number."""
    order = _found(world, asked)
    state = order.state(world.clock.now())
    said = {"out_trade_no": order.out_trade_no, "trade_state": state, "trade_state_desc": state}
    if "attach" in order.body:
        said["attach"] = order.body["attach"]
    return said | (paid_fields(order) if order.transactions else {})


def close(world: World, asked: Fields, host: str) -> Fields:
    """Answer POST /pay/closeorder (关闭订单), not before five minutes."""
    order = _found(world, asked)
    purchase, now = order.purchase, world.clock.now()
    if purchase.paid:
        raise BusinessError("ORDERPAID", "订单已支付，不能发起关单")
    if purchase.closed:
        raise BusinessError("ORDERCLOSED", "订单已关闭，无法重复关闭")
    if purchase.typing:
        raise BusinessError("TRADE_STATE_ERROR", "用户支付中，不能关单")
    if now < purchase.created_at + CLOSABLE_AFTER:
        raise BusinessError("TRADE_STATE_ERROR", "订单生成后不能马上关单，最短间隔为5分钟")
    purchase.closed = True
    return {"result_msg": "OK"}


def refund(world: World, asked: Fields, host: str) -> Fields:
    """Answer POST /secapi/pay/refund (申请退款): accepted, not yet refunded."""
    if bool(asked.get("transaction_id")) == bool(asked.get("out_trade_no")):
        raise BusinessError("PARAM_ERROR", "transaction_id和out_trade_no必须二选一")
    _check_lengths(asked)
    amount = {"refund": fen(asked, "refund_fee"), "total": fen(asked, "total_fee")}
    names = ("transaction_id", "out_trade_no", "out_refund_no", "refund_desc", "notify_url")
    body = {name: asked[name] for name in names if asked.get(name)}
    whole = body | {"amount": {**amount, "currency": "CNY"}}
    return refund_fields(*give_back(world, asked["mch_id"], whole, tell_refund))


def refund_query(world: World, asked: Fields, host: str) -> Fields:
    """Answer POST /pay/refundquery (查询退款) by the refund's own number."""
    known = world.refunds.get((asked["mch_id"], asked["out_refund_no"]))
    if known is None:
        raise BusinessError("REFUNDNOTEXIST", "不存在的退款单号")
    order, made = known
    status = made.status(world.clock.now())
    said = refund_fields(order, made)
    said.pop("cash_refund_fee")
    listed = {f"{name}_0": said.pop(name) for name in LISTED if name in said}
    listed |= {"refund_count": "1", "total_refund_count": "1"}
    listed["refund_status_0"] = STATES.get(status, "PROCESSING")
    if status == "SUCCESS":
        listed["refund_success_time_0"] = local(made.finished_at, "%Y-%m-%d %H:%M:%S")
    return said | listed


def download_bill(world: World, asked: Fields, host: str) -> bytes:
    """Answer POST /pay/downloadbill (下载对账单): the same bill as APIv3, without a hash."""
    now = datetime.fromtimestamp(world.clock.now(), BEIJING)
    text = asked["bill_date"]
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        raise TransportError("invalid bill_date")
    day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    if not now.date() - timedelta(days=92) <= day < now.date():
        raise TransportError("invalid bill_date")
    if now.date() == day + timedelta(days=1) and now.hour < 10:
        raise TransportError("Bill Creating")
    content = trade_bill(world, asked["mch_id"], None, day, asked.get("bill_type", "ALL"))
    if not content:
        raise TransportError("No Bill Exist")
    fault = world.faults.take("bill")
    packed = gzip.compress(content) if asked.get("tar_type") == "GZIP" else content
    return packed[: len(packed) // 2] if fault in ("truncated", "cut") else packed


def _moment(text: str) -> float:
    """Read yyyyMMddHHmmss of Beijing into Unix seconds."""
    try:
        if not re.fullmatch(r"\d{14}", text, re.ASCII):
            raise ValueError
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()
    except ValueError:
        raise BusinessError("PARAM_ERROR", "time_expire参数格式有误") from None


def _check_lengths(asked: Fields) -> None:
    """Refuse what is too long before anything is signed, counted in bytes."""
    for name, (label, most) in LIMITS.items():
        length = len(asked.get(name, "").encode())
        if length > most:
            issue = f"字节数 {length}，大于最大值 {most}"
            raise TransportError(
                f"输入源“/body/xml/{name}”映射到值字段“{label}”字符串规则校验失败，{issue}"
            )


def _check_order(world: World, asked: Fields, product: str, now: float) -> None:
    _check_lengths(asked)
    if not re.fullmatch(r"[0-9A-Za-z_\-|*]{6,32}", asked["out_trade_no"], re.ASCII):
        raise BusinessError("PARAM_ERROR", "out_trade_no参数格式有误")
    if not is_notify_url(asked["notify_url"]):
        raise BusinessError("PARAM_ERROR", "notify_url参数格式有误")
    fen(asked, "total_fee")
    if asked.get("time_expire") and _moment(asked["time_expire"]) < int(now) + SOONEST_EXPIRY:
        raise BusinessError("PARAM_ERROR", "time_expire时间过短，刷卡至少1分钟，其他5分钟")
    _check_product(asked, product)
    if product == "jsapi":
        if not asked.get("openid"):
            raise BusinessError("PARAM_ERROR", "JSAPI支付必须传openid")
        _check_openid(world, asked)


def _check_openid(world: World, asked: Fields) -> None:
    try:
        check_openid(world, asked["appid"], asked["openid"])
    except RefusalError as error:
        raise TransportError(UNSIGNED["openid_mismatch"]) from error


def _check_product(asked: Fields, product: str) -> None:
    try:
        address = ipaddress.ip_address(asked["spbill_create_ip"])
    except ValueError:
        raise BusinessError("PARAM_ERROR", "spbill_create_ip参数格式有误") from None
    if product == "h5" and ("h5_info" not in asked.get("scene_info", "") or address.is_loopback):
        raise BusinessError("PARAM_ERROR", "scene_info或spbill_create_ip参数有误")
    if product == "native" and not asked.get("product_id"):
        raise BusinessError("LACK_PARAMS", "NATIVE支付必须传product_id")


def _purchase(world: World, asked: Fields, product: str, body: dict[str, Any]) -> Purchase:
    now, until = world.clock.now(), asked.get("time_expire")
    expires = _moment(until) if until else now + SEVEN_DAYS
    openid = asked.get("openid", "") if product == "jsapi" else ""
    sign_type = asked.get("sign_type", "MD5")
    number = asked["out_trade_no"]
    made = Purchase(
        *(asked["mch_id"], number, product, body, asked["appid"], openid, now, expires),
        check=partial(_check_invoke, world.keys.apiv2_key, sign_type),
        tell=partial(tell, sign_type=sign_type),
        tell_refund=tell_refund,
    )
    parties = {"appid": asked["appid"], "mchid": asked["mch_id"]}
    order = Order(len(world.orders) + 1, made, body, parties)
    made.orders, world.orders[asked["mch_id"], number] = [order], order
    return made


def _again(purchase: Purchase, product: str, body: dict[str, Any], now: float) -> None:
    try:
        again(purchase, product, body, now)
    except RefusalError as error:
        other = error.number == OTHER_PARAMETERS
        raise (_number_used() if other else BusinessError(*named(error))) from error


def _number_used() -> BusinessError:
    return BusinessError("OUT_TRADE_NO_USED", "商户订单号重复")


def _check_invoke(key: str, sign_type: str, form: Mapping[str, Any]) -> str:
    """Say what is wrong with an invoke object: here signType is signed, and the order's."""
    if "prepayId" in form:
        return _check_app(key, sign_type, form)
    if form.get("signType") != sign_type:
        return f"signType is {form.get('signType')}, the order was signed with {sign_type}"
    names = ("appId", "timeStamp", "nonceStr", "package", "signType")
    signed = {name: str(form.get(name, "")) for name in names}
    if form.get("paySign") != v2_xml.sign(signed, key, sign_type):
        return "支付验证签名失败"
    return ""


def _check_app(key: str, sign_type: str, form: Mapping[str, Any]) -> str:
    """Say what is wrong with what an App hands on: its names are signed in lower case."""
    signed = {
        "appid": form["appId"],
        "partnerid": form["partnerId"],
        "prepayid": form["prepayId"],
        "package": form["packageValue"],
        "noncestr": form["nonceStr"],
        "timestamp": form["timeStamp"],
    }
    if form["sign"] != v2_xml.sign(signed, key, sign_type):
        return f"支付验证签名失败: {v2_xml.text_to_sign(signed, '***')}"
    return ""


def _like_v3(asked: Fields) -> dict[str, Any]:
    """Put the fields where the rest of the sandbox looks for them."""
    found: dict[str, Any] = {
        "description": asked["body"],
        "out_trade_no": asked["out_trade_no"],
        "notify_url": asked["notify_url"],
        "amount": {"total": fen(asked, "total_fee")},
        "v2": asked,
    }
    return found | ({"attach": asked["attach"]} if "attach" in asked else {})


def _found(world: World, asked: Fields) -> Order:
    wanted, number = asked.get("transaction_id"), asked.get("out_trade_no")
    for order in world.orders.values():
        if order.mchid != asked["mch_id"] or order.purchase.combined:
            continue
        paid = [one.transaction_id for one in order.transactions]
        if (wanted and wanted in paid) or (not wanted and order.out_trade_no == number):
            return order
    raise BusinessError("ORDERNOTEXIST", "订单不存在")
