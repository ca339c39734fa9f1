"""What an error means for its number: later, paid, closed, unknown, taken, or a wrong openid.

WeChat says some things in several forms: as a code, as INVALID_REQUEST with a sentence, as the
number at the end of Request-ID. Each question here knows all of its forms; every error of this
folder may be asked. None of the answers is proved unless the error is: see its `proved`.
"""

import re

from .errors import (
    ApiError,
    OutcomeUnknown,
    RateLimited,
    Refused,
    TryAgain,
    WeChatError,
)

#: codes that mean "later, with the same number" 稍后用原单号重试; NOT_ENOUGH is said of refunds
LATER = (
    "NOT_ENOUGH",
    "FREQUENCY_LIMITED",
    "RATELIMIT_EXCEEDED",
    "ORDER_NOT_READY",
    "INVALID_REQ_TOO_MUCH",
    "BIZERR_NEED_RETRY",
    "SYSTEM_ERROR",
    "STATEMENT_CREATING",
)
_RATE_CODES = ("FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED")
_NOT_READY = re.compile("订单处理中.{0,2}暂时无法退款")
_COME_BACK = re.compile("稍[后候等]|(秒|分钟|小时)后|繁忙|频繁|频率|处理中|正在处理")
_NO_FUNDS = re.compile("(余额|资金)不足")
_MISMATCH = re.compile(
    "openid.{0,12}不匹配|无效的 ?openid|openid ?(无效|错误|not match|is invalid)|invalid openid",
    re.IGNORECASE,
)
_OTHER_PARAMETERS = re.compile("参数与首次请求时不一致|商户订单号重复|重复下单且结算信息不一致")


def is_code(text: str) -> bool:
    """Tell whether a text looks like a code of WeChat's, not like what a proxy writes."""
    return bool(re.fullmatch("[A-Z][A-Z0-9_]*", text))


def kind_of(status: int, code: str, message: str) -> type[ApiError]:
    """Choose the error of an answer that is neither a success nor unknown."""
    if status == 202 or _NOT_READY.search(message):
        return TryAgain
    if status == 429 or code in _RATE_CODES:
        return RateLimited
    return Refused


def is_later(error: WeChatError) -> bool:
    """Tell whether the same number shall be tried again later; after OutcomeUnknown query first.

    A sentence that asks to come back counts, whatever its code: later is never taken for no.
    """
    if is_openid_mismatch(error):  # one of its forms is a 500
        return False
    if isinstance(error, RateLimited | TryAgain) or _is(error, *LATER):
        return True
    if _number(error) == 268447840 or _COME_BACK.search(_message(error)):
        return True
    if is_no_funds(error):
        return True
    return isinstance(error, OutcomeUnknown) and (error.status or 0) >= 500


def is_no_funds(error: WeChatError) -> bool:
    """Tell whether a refund waits until the merchant's account has money again."""
    return _is(error, "NOT_ENOUGH") or bool(_NO_FUNDS.search(_message(error)))


def is_openid_mismatch(error: WeChatError) -> bool:
    """Tell whether the openid is another appid's, or nobody's; calling again never helps."""
    by_code = _is(error, "OPENID_MISMATCH", "OPENID_ERROR")
    return by_code or bool(_MISMATCH.search(_message(error)))


def is_same_number_other_parameters(error: WeChatError) -> bool:
    """Tell whether the number was sent before with other parameters: query it, and alarm."""
    by_code = _is(error, "OUT_TRADE_NO_USED") or _number(error) == 268498688
    return by_code or bool(_OTHER_PARAMETERS.search(_message(error)))


def is_paid(error: WeChatError) -> bool:
    """Tell whether the order is paid already: query it and record the payment."""
    by_code = _is(error, "ORDER_PAID") or _number(error) in (268449538, 268498689)
    return by_code or "订单已支付" in _message(error)


def is_closed(error: WeChatError) -> bool:
    """Tell whether the order is closed or has expired: its number cannot be ordered again."""
    by_code = _is(error, "ORDER_CLOSED") or _number(error) == 268447914
    return by_code or "订单已关闭" in _message(error)


def is_unknown_number(error: WeChatError) -> bool:
    """Tell whether WeChat does not know the order or the refund."""
    codes = ("ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS", "REFUND_NOT_EXIST")
    return _is(error, *codes) or _number(error) == 268512771


def _is(error: WeChatError, *codes: str) -> bool:
    return isinstance(error, ApiError | OutcomeUnknown) and error.is_code(*codes)


def _message(error: WeChatError) -> str:
    return error.message if isinstance(error, ApiError | OutcomeUnknown) else ""


def _number(error: WeChatError) -> int | None:
    return error.wechat_number if isinstance(error, ApiError | OutcomeUnknown) else None
