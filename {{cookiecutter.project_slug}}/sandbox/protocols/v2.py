"""APIv2: the old XML calls of api.mch.weixin.qq.com, on the same orders as APIv3.

pay.weixin.qq.com/wiki/doc/api/jsapi.php?chapter=9_1. Every answer is HTTP 200. A real refund needs
the merchant's certificate; on one plain port there is no TLS to ask for it.
"""

import gzip
import ipaddress
import re
from datetime import date, datetime, timedelta
from typing import Any

from sanic import Sanic

from ..bill_lines import trade_bill
from ..bills import BILL_TYPES
from ..checks import check_openid, is_notify_url
from ..clock import BEIJING
from ..models import SEVEN_DAYS, Order, Purchase, Refund
from ..orders import check_again, new_code_url, new_h5_url, new_prepay_id
from ..refunds import give_back
from ..state import State
from ..wire import OTHER_PARAMETERS, RefusalError
from ._v2_notify import REFUND_STATES, ApiV2, paid_fields, refund_fields
from ._v2_wire import (
    NO_BILL,
    UNSIGNED,
    BusinessError,
    Fields,
    Handler,
    TransportError,
    fen,
    local,
    named,
    view,
)

CLOSABLE_AFTER = 300  # seconds
SOONEST_EXPIRY = 300
#: what refundquery says of each refund; its number is put behind the name
LISTED = (
    "out_refund_no",
    "refund_id",
    "refund_fee",
    "settlement_refund_fee",
    "coupon_refund_fee",
    "coupon_refund_count",
    "coupon_type_0",
    "coupon_refund_id_0",
    "coupon_refund_fee_0",
)
#: what refundquery finds refunds by; the first that is sent counts
REFUND_NUMBERS = ("refund_id", "out_refund_no", "transaction_id", "out_trade_no")
REFUNDS_A_PAGE = 10
RECHARGED = "RECHARGE_REFUND"  # the bill of refunds of recharged money, which nobody has here
#: what of a refund's request makes it the same again
REFUND_FIELDS = ("transaction_id", "out_trade_no", "out_refund_no", "refund_desc", "notify_url")
PRODUCTS = {"JSAPI": "jsapi", "NATIVE": "native", "MWEB": "h5", "APP": "app"}
TOTAL_FEE = "标价金额"
#: WeChat's name of a field and how many bytes it holds
LIMITS = {
    "body": ("商品描述", 127),
    "out_trade_no": ("商户订单号", 32),
    "attach": ("附加数据", 127),
    "openid": ("用户标识", 128),
    "notify_url": ("通知地址", 256),
    "refund_desc": ("退款原因", 80),
}


def attach(app: Sanic[Any, Any], state: State) -> None:
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
        route_name = path.strip("/").replace("/", "_")
        answer = view(state, name, handler)
        methods = ["POST", "GET"]
        app.add_route(answer, path, methods, name=route_name, error_format="text")


def unified_order(state: State, parameters: Fields, host: str) -> Fields:
    """Answer POST /pay/unifiedorder (统一下单): prepay_id, code_url or mweb_url."""
    product = PRODUCTS.get(parameters["trade_type"])
    if product is None:
        raise BusinessError("PARAM_ERROR", "trade_type参数错误")
    _check_order(state, parameters, product)
    purchase = _purchase(state, parameters, product)
    prepay_id = new_prepay_id(state, purchase)
    answer = {"trade_type": parameters["trade_type"], "prepay_id": prepay_id}
    if product == "native":
        answer["code_url"] = new_code_url(state, purchase)
    if product == "h5":
        answer["mweb_url"] = new_h5_url(state, prepay_id, host)
    return answer


def query(state: State, parameters: Fields, host: str) -> Fields:
    """Answer POST /pay/orderquery (查询订单), by either number."""
    order = _find(state, parameters)
    trade_state = order.trade_state(state.clock.now())
    answer = {
        "out_trade_no": order.out_trade_no,
        "trade_state": trade_state,
        "trade_state_desc": trade_state,
    }
    if "attach" in order.body:
        answer["attach"] = order.body["attach"]
    if order.transactions:
        answer |= paid_fields(order)
    return answer


def close(state: State, parameters: Fields, host: str) -> Fields:
    """Answer POST /pay/closeorder (关闭订单), not before five minutes."""
    purchase = _find(state, parameters).purchase
    now = state.clock.now()
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


def refund(state: State, parameters: Fields, host: str) -> Fields:
    """Answer POST /secapi/pay/refund (申请退款): accepted, not yet refunded."""
    if bool(parameters.get("transaction_id")) == bool(parameters.get("out_trade_no")):
        raise BusinessError("PARAM_ERROR", "transaction_id和out_trade_no必须二选一")
    _check_lengths(parameters)
    amount = {**_refund_amounts(parameters), "currency": "CNY"}
    kept = {name: parameters[name] for name in REFUND_FIELDS if parameters.get(name)}
    body = {**kept, "amount": amount}
    api = ApiV2(state, parameters.get("sign_type", "MD5"))
    order, given_back = give_back(state, parameters["mch_id"], body, api)
    return refund_fields(order, given_back)


def _refund_amounts(parameters: Fields) -> dict[str, int]:
    """Read what is refunded of how much; refunds say less than orders of what is wrong."""
    try:
        refund_fee = fen(parameters, "refund_fee", "退款金额")
        total_fee = fen(parameters, "total_fee", "订单金额")
    except TransportError as error:
        raise TransportError("0参数格式错误") from error
    if refund_fee > total_fee:
        raise TransportError("invalid refund_fee")
    return {"refund": refund_fee, "total": total_fee}


def refund_query(state: State, parameters: Fields, host: str) -> Fields:
    """Answer POST /pay/refundquery (查询退款) by any of the four numbers: every refund it names."""
    named = [name for name in REFUND_NUMBERS if parameters.get(name)]
    if not named:
        raise BusinessError("PARAM_ERROR", f"{'、'.join(REFUND_NUMBERS)}必须四选一")
    refunds = _refunds(state, parameters["mch_id"], named[0], parameters[named[0]])
    if not refunds:
        raise BusinessError("REFUNDNOTEXIST", "不存在的退款单号")
    offset = parameters.get("offset") or "0"
    if not re.fullmatch("[0-9]{1,3}", offset, re.ASCII):
        raise BusinessError("PARAM_ERROR", "offset参数格式有误")
    page = refunds[int(offset) :][:REFUNDS_A_PAGE]
    first = refund_fields(*refunds[0])
    answer = {name: value for name, value in first.items() if name not in LISTED}
    del answer["cash_refund_fee"]
    answer |= {"refund_count": str(len(page)), "total_refund_count": str(len(refunds))}
    for n, (order, listed) in enumerate(page):
        answer |= _numbered(n, order, listed, state.clock.now())
    return answer


def _refunds(state: State, mchid: str, name: str, number: str) -> list[tuple[Order, Refund]]:
    """Find the refunds of a merchant that a number names."""
    return [
        (order, refund)
        for (owner, _), (order, refund) in state.refunds.items()
        if owner == mchid and refund_fields(order, refund)[name] == number
    ]


def _numbered(n: int, order: Order, listed: Refund, now: float) -> Fields:
    """Write a refund with its number behind every name; a coupon's own number comes last."""
    fields = refund_fields(order, listed)
    numbered = {
        f"{name.removesuffix('_0')}_{n}_0" if name.endswith("_0") else f"{name}_{n}": fields[name]
        for name in LISTED
        if name in fields
    }
    status = listed.status(now)
    numbered[f"refund_status_{n}"] = REFUND_STATES.get(status, "PROCESSING")
    if status == "SUCCESS":
        moment = local(listed.finished_at, "%Y-%m-%d %H:%M:%S")
        numbered[f"refund_success_time_{n}"] = moment
    return numbered


def download_bill(state: State, parameters: Fields, host: str) -> bytes:
    """Answer POST /pay/downloadbill (下载对账单): the same bill as APIv3, without a hash."""
    day = _bill_day(parameters["bill_date"])
    now = datetime.fromtimestamp(state.clock.now(), BEIJING)
    if not now.date() - timedelta(days=92) <= day < now.date():
        raise TransportError("invalid bill_date")
    if now.date() == day + timedelta(days=1) and now.hour < 10:
        raise TransportError("Bill Creating")
    kind = parameters.get("bill_type", "ALL")
    if kind not in (*BILL_TYPES, RECHARGED):
        raise TransportError("invalid bill_type")
    if parameters.get("tar_type", "GZIP") != "GZIP":
        raise TransportError("invalid tar_type: Only GZIP supported")
    content = b"" if kind == RECHARGED else trade_bill(state, parameters["mch_id"], None, day, kind)
    if not content:
        raise TransportError(NO_BILL)
    if parameters.get("tar_type") == "GZIP":
        content = gzip.compress(content)
    if state.faults.take("bill") in ("truncated", "cut"):
        content = content[: len(content) // 2]
    return content


def _bill_day(text: str) -> date:
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        raise TransportError("invalid bill_date")
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise TransportError("invalid bill_date") from None


def _moment(text: str) -> float:
    """Read yyyyMMddHHmmss of Beijing into Unix seconds."""
    try:
        if not re.fullmatch(r"\d{14}", text, re.ASCII):
            raise ValueError
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()
    except ValueError:
        raise BusinessError("PARAM_ERROR", "time_expire参数格式有误") from None


def _check_lengths(parameters: Fields) -> None:
    """Refuse what is too long before anything is signed, counted in bytes."""
    for name, (label, most) in LIMITS.items():
        length = len(parameters.get(name, "").encode())
        if length > most:
            issue = f"字节数 {length}，大于最大值 {most}"
            raise TransportError(
                f"输入源“/body/xml/{name}”映射到值字段“{label}”字符串规则校验失败，{issue}"
            )


def _check_order(state: State, parameters: Fields, product: str) -> None:
    _check_lengths(parameters)
    if not re.fullmatch(r"[0-9A-Za-z_\-|*]{6,32}", parameters["out_trade_no"], re.ASCII):
        raise BusinessError("PARAM_ERROR", "out_trade_no参数格式有误")
    if not is_notify_url(parameters["notify_url"]):
        raise BusinessError("PARAM_ERROR", "notify_url参数格式有误")
    fen(parameters, "total_fee", TOTAL_FEE)
    time_expire = parameters.get("time_expire")
    soonest = int(state.clock.now()) + SOONEST_EXPIRY
    if time_expire and _moment(time_expire) < soonest:
        raise BusinessError("PARAM_ERROR", "time_expire时间过短，刷卡至少1分钟，其他5分钟")
    _check_product(parameters, product)
    if product == "jsapi":
        if not parameters.get("openid"):
            raise BusinessError("PARAM_ERROR", "JSAPI支付必须传openid")
        _check_openid(state, parameters)


def _check_openid(state: State, parameters: Fields) -> None:
    try:
        check_openid(state, parameters["appid"], parameters["openid"])
    except RefusalError as error:
        raise TransportError(UNSIGNED["openid_mismatch"]) from error


def _check_product(parameters: Fields, product: str) -> None:
    try:
        address = ipaddress.ip_address(parameters["spbill_create_ip"])
    except ValueError:
        raise BusinessError("PARAM_ERROR", "spbill_create_ip参数格式有误") from None
    has_h5_info = "h5_info" in parameters.get("scene_info", "")
    if product == "h5" and (address.is_loopback or not has_h5_info):
        raise BusinessError("PARAM_ERROR", "scene_info或spbill_create_ip参数有误")
    if product == "native" and not parameters.get("product_id"):
        raise BusinessError("LACK_PARAMS", "NATIVE支付必须传product_id")


def _purchase(state: State, parameters: Fields, product: str) -> Purchase:
    """Return the purchase of this number, a new one if there is none."""
    now = state.clock.now()
    mchid = parameters["mch_id"]
    number = parameters["out_trade_no"]
    body = _like_v3(parameters)
    if (mchid, number) in state.closed_unordered:
        raise _number_used()
    earlier = state.orders.get((mchid, number))
    if earlier:
        _check_again(earlier.purchase, product, body, now)
        return earlier.purchase
    time_expire = parameters.get("time_expire")
    purchase = Purchase(
        api=ApiV2(state, parameters.get("sign_type", "MD5")),
        mchid=mchid,
        number=number,
        product=product,
        body=body,
        appid=parameters["appid"],
        openid=parameters["openid"] if product == "jsapi" else "",
        created_at=now,
        expires_at=_moment(time_expire) if time_expire else now + SEVEN_DAYS,
    )
    parties = {"appid": parameters["appid"], "mchid": mchid}
    order = Order(n=len(state.orders) + 1, purchase=purchase, body=body, parties=parties)
    state.add_purchase(purchase, order)
    return purchase


def _check_again(purchase: Purchase, product: str, body: dict[str, Any], now: float) -> None:
    try:
        check_again(purchase, product, body, now)
    except RefusalError as error:
        if error.number == OTHER_PARAMETERS:
            raise _number_used() from error
        code, message = named(error)
        raise BusinessError(code, message) from error


def _number_used() -> BusinessError:
    return BusinessError("OUT_TRADE_NO_USED", "商户订单号重复")


def _like_v3(parameters: Fields) -> dict[str, Any]:
    """Put the fields where the rest of the sandbox looks for them; all are kept to compare."""
    kept = {name: parameters[name] for name in parameters if name not in ("nonce_str", "sign")}
    body: dict[str, Any] = {
        "description": parameters["body"],
        "out_trade_no": parameters["out_trade_no"],
        "notify_url": parameters["notify_url"],
        "amount": {"total": fen(parameters, "total_fee", TOTAL_FEE)},
        "v2": kept,
    }
    if "attach" in parameters:
        body["attach"] = parameters["attach"]
    return body


def _find(state: State, parameters: Fields) -> Order:
    """Find an order by transaction_id, or else by out_trade_no."""
    transaction_id = parameters.get("transaction_id")
    number = parameters.get("out_trade_no")
    for order in state.orders.values():
        if order.mchid != parameters["mch_id"] or order.purchase.combined:
            continue
        numbers = [paid.transaction_id for paid in order.transactions]
        if transaction_id in numbers or (not transaction_id and order.out_trade_no == number):
            return order
    raise BusinessError("ORDERNOTEXIST", "订单不存在")
