"""How APIv2 is spoken: XML in, XML out, always HTTP 200, signed unless the transport failed."""

import re
import secrets
from collections.abc import Callable
from datetime import datetime

from sanic import HTTPResponse, Request

from ..checks import check_appid
from ..clock import BEIJING
from ..exchange import PRODUCT_OFF, RESTRICTED, deliver, read_call
from ..refund_error import RefundError
from ..wire import Answer, Call, RefusalError
from ..world import World
from . import _v2_xml as v2_xml

Fields = dict[str, str]
Handler = Callable[[World, Fields, str], Fields | bytes]
NEEDED = {
    "unifiedorder": "body out_trade_no total_fee spbill_create_ip notify_url trade_type",
    "orderquery": "",
    "closeorder": "out_trade_no",
    "refund": "out_refund_no total_fee refund_fee",
    "refundquery": "out_refund_no",
    "downloadbill": "bill_date",
}
#: codes of APIv3 that have another name here
CODES = {
    "PARAM_ERROR": "PARAM_ERROR",
    "ORDER_PAID": "ORDERPAID",
    "ORDER_CLOSED": "ORDERCLOSED",
    "NOT_ENOUGH": "NOTENOUGH",
    "RESOURCE_NOT_EXISTS": "ORDERNOTEXIST",
    "NO_AUTH": "NOAUTH",
    "SYSTEM_ERROR": "SYSTEMERROR",
}
#: why a refund is not accepted; there is no HTTP 429 here
OF_REFUNDS = {
    "differs": ("REFUND_FEE_MISMATCH", "订单金额或退款金额与之前请求不一致，请核实后再试"),
    "overdue": ("TRADE_OVERDUE", "订单已经超过退款期限"),
    "user_account_abnormal": ("USER_ACCOUNT_ABNORMAL", "退款请求失败"),
    "not_enough": ("NOTENOUGH", "基本账户余额不足，请充值后重新发起"),
    "order_not_ready": ("ORDER_NOT_READY", "订单处理中，暂时无法退款，请稍后再试"),
    "frequency_limited": ("FREQUENCY_LIMITED", "频率限制"),
    "invalid_req_too_much": ("INVALID_REQ_TOO_MUCH", "无效请求过多"),
    "bizerr_need_retry": ("BIZERR_NEED_RETRY", "退款业务流程错误，需要商户触发重试来解决"),
}
#: answers that may be asked for instead of an order
OF_PREPAY = {
    "number_used": ("OUT_TRADE_NO_USED", "商户订单号重复"),
    "already_paid": ("ORDERPAID", "该订单已支付"),
    "product_off": ("NOAUTH", PRODUCT_OFF + "。"),
    "receiving_restricted": ("NOAUTH", RESTRICTED),
    "merchant_unavailable": ("NOAUTH", "商户不可用"),
    "service_unavailable": ("SYSTEMERROR", "系统繁忙，请稍后再试"),
}
#: of these WeChat says return_code FAIL, without a sign
UNSIGNED = {
    "openid_mismatch": "appid and openid not match",
    "openid_not_matching": "appid and openid not match",
    "openid_invalid": "无效的openid",
}
LONGEST_NONCE = 32


class BusinessError(Exception):
    """Raised with an err_code: the answer is signed and says result_code FAIL."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code} {words}")
        self.code, self.words = code, words


class TransportError(Exception):
    """Raised when the answer is return_code FAIL, without a sign."""


async def serve(world: World, name: str, handler: Handler, request: Request) -> HTTPResponse:
    """Answer a call: XML, sign, fault, the call itself; always HTTP 200."""
    call, fault = read_call(request, {}), None
    asked: Fields = {}
    try:
        asked = _read(world, call)
        _check_needed(world, asked, call.target.rpartition("/")[2])
        fault = world.faults.for_call(name)
        said = {} if _instead(fault) else handler(world, asked, request.host)
        answer = _answer(world, asked, said, fault)
    except (TransportError, v2_xml.BadXmlError) as error:
        body = v2_xml.build({"return_code": "FAIL", "return_msg": str(error)} | _error_code(error))
        answer = Answer(200, body, {"Content-Type": "text/plain"}, f"return_code FAIL: {error}")
    except (BusinessError, RefusalError) as error:
        code, words = named(error)
        failed = {"result_code": "FAIL", "err_code": code, "err_code_des": words}
        answer = _answer(world, asked, failed, fault)
        answer.verdict = f"{code} {words}"
    return await deliver(world, request, call, answer, fault)


def _read(world: World, call: Call) -> Fields:
    asked = v2_xml.parse(call.body)
    if not re.fullmatch("[0-9]{1,32}", asked.get("mch_id", ""), re.ASCII):
        raise TransportError("mch_id参数格式错误")  # an XML root that is not xml ends here, too
    if asked["mch_id"] != world.keys.merchants[0].mchid:
        raise TransportError("商户号mch_id与appid不匹配")
    if len(asked.get("nonce_str", "")) > LONGEST_NONCE:
        raise TransportError("nonce_str参数长度有误")
    sign_type = asked.get("sign_type", "MD5")
    if sign_type not in v2_xml.SIGN_TYPES:
        raise TransportError("签名类型错误")
    call.signed_message = v2_xml.text_to_sign(asked, "***")
    if asked.get("sign") != v2_xml.sign(asked, world.keys.apiv2_key, sign_type):
        raise TransportError("签名错误")
    call.mchid = asked["mch_id"]
    return asked


def _error_code(error: Exception) -> Fields:
    return {"error_code": "20002"} if str(error) == "No Bill Exist" else {}


def _check_needed(world: World, asked: Fields, name: str) -> None:
    missing = [one for one in f"appid nonce_str {NEEDED[name]}".split() if not asked.get(one)]
    if missing:
        raise BusinessError("LACK_PARAMS", f"缺少必填参数{missing[0]}")
    try:
        check_appid(world, asked["appid"], asked["mch_id"])
    except RefusalError as error:
        raise BusinessError("APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配") from error


def _instead(fault: str | None) -> bool:
    """Tell whether nothing is to happen; raise what is answered instead of the call."""
    match fault:
        case "500" | "202":
            raise BusinessError("SYSTEMERROR", "系统错误")
        case "429":
            raise BusinessError("FREQUENCY_LIMITED", "频率限制")
        case "refuse":
            raise BusinessError("NOAUTH", "商户无此接口权限")
        case str() if fault in OF_PREPAY:
            raise BusinessError(*OF_PREPAY[fault])
        case str() if fault in UNSIGNED:
            raise TransportError(UNSIGNED[fault])
    return fault == "reset_before"


def _answer(world: World, asked: Fields, said: Fields | bytes, fault: str | None) -> Answer:
    if isinstance(said, bytes):
        return Answer(200, said, {"Content-Type": "text/plain"}, "passed: the bill")
    whole = {"return_code": "SUCCESS", "return_msg": "OK", "result_code": "SUCCESS"}
    whole |= {"appid": asked.get("appid", ""), "mch_id": asked["mch_id"]} | said
    whole["nonce_str"] = secrets.token_hex(16)
    key = world.keys.apiv2_key if fault not in ("signtest", "wrong_key") else "wrong"
    whole["sign"] = v2_xml.sign(whole, key, asked.get("sign_type", "MD5"))
    return Answer(200, v2_xml.build(whole), {"Content-Type": "text/plain"}, "passed: the sign fits")


def named(error: BusinessError | RefusalError) -> tuple[str, str]:
    """Name an error as APIv2 does."""
    if isinstance(error, BusinessError):
        return error.code, error.words
    if isinstance(error, RefundError) and (error.reason in OF_REFUNDS or error.reason.isdigit()):
        return OF_REFUNDS.get(error.reason, OF_REFUNDS["order_not_ready"])
    return CODES.get(error.code, error.code), error.message


def fen(asked: Fields, name: str) -> int:
    """Read an amount: 1 or more, digits alone."""
    text = asked.get(name, "")
    if not re.fullmatch(r"[1-9][0-9]{0,11}", text, re.ASCII):
        raise BusinessError("PARAM_ERROR", f"{name}参数格式有误")
    return int(text)


def local(moment: float, form: str) -> str:
    """Write a moment in Beijing."""
    return datetime.fromtimestamp(moment, BEIJING).strftime(form)
