"""Verify the Authorization of a v3 call: headers, pairs, signature, in WeChat's order.

doc/v3/merchant/4012365336; the wording of each answer was published or probed there.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

from .keys import Keys, Merchant
from .sealing import SIGNATURE_TYPE, verifies
from .wire import BAD_SIGNATURE, ILLEGAL_PARAMETER, Call, RefusalError

WINDOW = 300  # seconds
LONGEST_NONCE = 32
PAIR_NAMES = {"mchid", "nonce_str", "timestamp", "serial_no", "signature"}
FORMAT = "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》"


def verify(keys: Keys, call: Call) -> None:
    """Fill `call.mchid` and `call.signed_message`, or raise RefusalError.

    Orders look at Authorization first; every other call looks for Accept and User-Agent first.
    """
    if not is_order(call):
        _check_headers(call)
    pairs = _pairs(call)
    _check_timestamp(pairs["timestamp"])
    merchant = keys.merchant(pairs["mchid"])
    if merchant is None or pairs["serial_no"] not in (merchant.signer.serial, *merchant.serials):
        raise _sign_error("商户证书序列号有误。请使用签名私钥匹配的证书序列号")
    _check_signature(merchant, call, pairs)
    call.mchid = pairs["mchid"]  # from here on every answer is signed, refusals too
    _check_headers(call)


def is_order(call: Call) -> bool:
    """Tell whether a call is one of the order API's."""
    return call.target.startswith(("/v3/pay/", "/v3/combine-transactions/"))


def _check_headers(call: Call) -> None:
    if not call.headers.get("user-agent", "").strip() or not call.headers.get("accept"):
        message = "Http头缺少Accept或User-Agent"
        raise RefusalError(400, "INVALID_REQUEST", message, number=ILLEGAL_PARAMETER)
    media = call.headers.get("content-type", "").split(";")[0].strip().lower()
    if call.body and media != "application/json":
        message = "Http头Content-Type应为application/json"
        raise RefusalError(400, "INVALID_REQUEST", message, number=ILLEGAL_PARAMETER)


def _pairs(call: Call) -> dict[str, str]:
    scheme, _, rest = call.headers.get("authorization", "").partition(" ")
    if not scheme.startswith("WECHATPAY2-"):
        raise _sign_error("签名信息错误，验签失败" if is_order(call) else FORMAT)
    if scheme != SIGNATURE_TYPE:
        raise _sign_error("HTTP头Authorization认证类型不正确")
    matches = [re.fullmatch(r'(\w+)="([^"]+)"', pair) for pair in rest.split(",")]
    pairs = {match[1]: match[2] for match in matches if match}
    if len(matches) != len(PAIR_NAMES) or pairs.keys() != PAIR_NAMES:
        raise _sign_error(FORMAT)
    if len(pairs["nonce_str"]) > LONGEST_NONCE:
        raise _sign_error(FORMAT)
    return pairs


def _check_timestamp(text: str) -> None:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise _sign_error(FORMAT)
    if abs(int(time.time()) - int(text)) > WINDOW:
        raise _sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")


def _check_signature(merchant: Merchant, call: Call, pairs: dict[str, str]) -> None:
    head = f"{call.method}\n{call.target}\n{pairs['timestamp']}\n{pairs['nonce_str']}\n"
    message = head.encode() + call.body + b"\n"
    call.signed_message = message.decode(errors="replace")
    if not verifies(merchant.signer.key.public_key(), pairs["signature"], message):
        raise _not_matching(call)


def _not_matching(call: Call) -> RefusalError:
    detail = {
        "field": "signature",
        "location": "authorization",
        "detail": {"issue": "sign not match"},
        "sign_information": {
            "method": call.method,
            "url": call.target,
            "sign_message_length": len(call.signed_message.encode()),
            "truncated_sign_message": call.signed_message[:120],
        },
    }
    explanation = f"signature does not match; the sandbox built this text: {call.signed_message!r}"
    return _sign_error("签名错误", detail, explanation)


def _sign_error(message: str, detail: dict[str, Any] | None = None, why: str = "") -> RefusalError:
    return RefusalError(
        401, "SIGN_ERROR", message, number=BAD_SIGNATURE, detail=detail, explanation=why
    )


def check_mchid(call: Call, parameters: Mapping[str, Any], location: str) -> None:
    """Refuse when body or query name another merchant than Authorization does."""
    name = next(name for name in ("combine_mchid", "sp_mchid", "mchid") if name in parameters)
    if parameters[name] != call.mchid:
        message = f"http header中的mchid与post payload中的{name}不匹配"
        detail = {
            "field": f"/{location}/{name}",
            "value": parameters[name],
            "issue": "不匹配",
            "location": location,
        }
        raise RefusalError(400, "PARAM_ERROR", message, number=ILLEGAL_PARAMETER, detail=detail)
