"""How APIv2 is spoken: XML in, XML out, always HTTP 200, signed unless the transport failed."""

import re
import secrets
from collections.abc import Callable
from datetime import datetime

from sanic import HTTPResponse, Request

from ..checks import check_appid
from ..clock import BEIJING
from ..exchange import PRODUCT_OFF, RESTRICTED, View, deliver, read_call
from ..refund_error import RefundError
from ..state import State
from ..wire import Answer, Call, RefusalError
from . import _v2_xml as v2_xml

Fields = dict[str, str]
Handler = Callable[[State, Fields, str], Fields | bytes]
#: what a call needs besides appid and nonce_str, by the end of its path
NEEDED: dict[str, tuple[str, ...]] = {
    "unifiedorder": (
        "body",
        "out_trade_no",
        "total_fee",
        "spbill_create_ip",
        "notify_url",
        "trade_type",
    ),
    "orderquery": (),
    "closeorder": ("out_trade_no",),
    "refund": ("out_refund_no", "total_fee", "refund_fee"),
    "refundquery": (),
    "downloadbill": ("bill_date",),
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
    "user_account_abnormal": ("USER_ACCOUNT_ABNORMAL", "用户账户异常或已注销"),
    "exceeds": ("INVALID_REQUEST", "refund_fee大于可退金额"),
    "nothing_left": ("ERROR", "订单已全额退款"),
    "not_enough": ("NOTENOUGH", "基本账户余额不足，请充值后重新发起"),
    "order_not_ready": ("ORDER_NOT_READY", "订单处理中，暂时无法退款，请稍后再试"),
    "frequency_limited": ("FREQUENCY_LIMITED", "频率限制"),
    "invalid_req_too_much": ("INVALID_REQ_TOO_MUCH", "无效请求过多"),
    "bizerr_need_retry": ("BIZERR_NEED_RETRY", "退款业务流程错误，需要商户触发重试来解决"),
}
WHERE_TO_LOOK = "商家可登录微信商户平台/微信支付商家助手小程序/经营账户页面查看原因和解决方案。"
#: answers that may be parameters for instead of an order
OF_PREPAY = {
    "number_used": ("OUT_TRADE_NO_USED", "商户订单号重复"),
    "already_paid": ("ORDERPAID", "该订单已支付"),
    "product_off": ("NOAUTH", PRODUCT_OFF + "。"),
    "receiving_restricted": ("NOAUTH", RESTRICTED + WHERE_TO_LOOK),
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
NO_BILL = "No Bill Exist"


class BusinessError(Exception):
    """Raised with an err_code: the answer is signed and says result_code FAIL."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class TransportError(Exception):
    """Raised when the answer is return_code FAIL, without a sign."""


def view(state: State, name: str, handler: Handler) -> View:
    """Make the view of a call, `name` in the fault menu; it always answers HTTP 200."""

    async def answer_call(request: Request) -> HTTPResponse:
        call = read_call(request, {})
        parameters: Fields = {}
        fault = None
        try:
            parameters = _read(state, call)
            _check_needed(state, parameters, call.target.rpartition("/")[2])
            fault = state.faults.for_call(name)
            is_prevented = _instead(fault)
            result = {} if is_prevented else handler(state, parameters, request.host)
            answer = _answer(state, parameters, result, fault)
        except (TransportError, v2_xml.BadXmlError) as error:
            answer = _unsigned_answer(error)
        except (BusinessError, RefusalError) as error:
            code, message = named(error)
            failure = {"result_code": "FAIL", "err_code": code, "err_code_des": message}
            answer = _answer(state, parameters, failure, fault)
            answer.verdict = f"{code} {message}"
        return await deliver(state, request, call, answer, fault)

    return answer_call


def _read(state: State, call: Call) -> Fields:
    if call.method != "POST":
        raise TransportError("请使用post方法")
    if not call.body:
        raise TransportError("post数据为空")
    parameters = v2_xml.parse(call.body)
    if not re.fullmatch("[0-9]{1,32}", parameters.get("mch_id", ""), re.ASCII):
        raise TransportError("mch_id参数格式错误")  # an XML root that is not xml ends here, too
    if parameters["mch_id"] != state.keys.merchants[0].mchid:
        raise TransportError("商户号mch_id与appid不匹配")
    if len(parameters.get("nonce_str", "")) > LONGEST_NONCE:
        raise TransportError("nonce_str参数长度有误")
    sign_type = parameters.get("sign_type", "MD5")
    if sign_type not in v2_xml.SIGN_TYPES:
        raise TransportError("签名类型错误")
    call.signed_message = v2_xml.text_to_sign(parameters, "***")
    if parameters.get("sign") != v2_xml.sign(parameters, state.keys.apiv2_key, sign_type):
        raise TransportError("签名错误")
    call.mchid = parameters["mch_id"]
    return parameters


def _unsigned_answer(error: Exception) -> Answer:
    fields = {"return_code": "FAIL", "return_msg": str(error)}
    if str(error) == NO_BILL:
        fields["error_code"] = "20002"
    verdict = f"return_code FAIL: {error}"
    return Answer(200, v2_xml.build(fields), {"Content-Type": "text/plain"}, verdict)


def _check_needed(state: State, parameters: Fields, call: str) -> None:
    for name in ("appid", "nonce_str", *NEEDED[call]):
        if not parameters.get(name):
            code = "LACK_PARAMS" if call == "unifiedorder" else "PARAM_ERROR"
            raise BusinessError(code, f"缺少必填参数{name}")
    try:
        check_appid(state, parameters["appid"], parameters["mch_id"])
    except RefusalError as error:
        raise BusinessError("APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配") from error


def _instead(fault: str | None) -> bool:
    """Tell whether nothing is to happen; raise what is answered instead of the call."""
    match fault:
        case "500" | "202":
            raise BusinessError("SYSTEMERROR", "System Error")
        case "429":
            raise BusinessError("FREQUENCY_LIMITED", "频率限制")
        case "refuse":
            raise BusinessError("NOAUTH", "商户无此接口权限")
        case str() if fault in OF_PREPAY:
            code, message = OF_PREPAY[fault]
            raise BusinessError(code, message)
        case str() if fault in UNSIGNED:
            raise TransportError(UNSIGNED[fault])
    return fault == "reset_before"


def _answer(state: State, parameters: Fields, result: Fields | bytes, fault: str | None) -> Answer:
    headers = {"Content-Type": "text/plain"}
    if isinstance(result, bytes):
        return Answer(200, result, headers, "passed: the bill")
    fields = {
        "return_code": "SUCCESS",
        "return_msg": "OK",
        "result_code": "SUCCESS",
        "appid": parameters.get("appid", ""),
        "mch_id": parameters["mch_id"],
        **result,
        "nonce_str": secrets.token_hex(16),
    }
    key = "wrong" if fault in ("signtest", "wrong_key") else state.keys.apiv2_key
    fields["sign"] = v2_xml.sign(fields, key, parameters.get("sign_type", "MD5"))
    return Answer(200, v2_xml.build(fields), headers, "passed: the sign fits")


def named(error: BusinessError | RefusalError) -> tuple[str, str]:
    """Return err_code and err_code_des of an error."""
    if isinstance(error, BusinessError):
        return error.code, error.message
    if isinstance(error, RefundError) and (error.reason in OF_REFUNDS or error.reason.isdigit()):
        return OF_REFUNDS.get(error.reason, OF_REFUNDS["order_not_ready"])
    return CODES.get(error.code, error.code), error.message


def fen(parameters: Fields, name: str, label: str) -> int:
    """Read an amount in fen, 1 or more; `label` is WeChat's name of it."""
    text = parameters.get(name, "")
    at = f"“/body/xml/{name}”"
    if not re.fullmatch("-?[0-9]{1,18}", text, re.ASCII):
        wanted = "此字段需要一个合法的 64 位有符号整数"
        raise TransportError(f"无法将输入源{at}映射到目标字段“{label}”中，{wanted}")
    if int(text) < 1:
        issue = "值低于最小值 1"
        raise TransportError(f"输入源{at}映射到数值字段“{label}”规则校验失败，{issue}")
    return int(text)


def local(moment: float, form: str) -> str:
    """Write a moment in Beijing."""
    return datetime.fromtimestamp(moment, BEIJING).strftime(form)
