"""GET /v3/certificates: the platform certificates, sealed with the merchant's APIv3 key."""

from typing import Any

from .clock import rfc3339
from .keys import Signer
from .sealing import seal
from .state import State
from .wire import (
    ILLEGAL_PARAMETER,
    Answer,
    Call,
    RefusalError,
    json_answer,
    parameter_error,
)


def certificates(state: State, call: Call) -> Answer:
    """Answer the list (获取平台证书列表); a merchant of public-key mode has none: 404."""
    _check_language(call)
    algorithm = call.query.get("algorithm_type", "RSA")
    if algorithm not in ("RSA", "SM2", "ALL"):
        at = "/query/algorithm_type"
        raise parameter_error(at, algorithm, "值应为 RSA、SM2、ALL 之一")
    if state.faults.menu["signing"] == "public_key" or algorithm == "SM2":
        message = "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。"
        raise RefusalError(404, "RESOURCE_NOT_EXISTS", message)
    merchant = state.keys.merchant(call.mchid)
    assert merchant is not None
    listed = [_listed(signer, merchant.apiv3_key) for signer in state.keys.platform]
    return json_answer(200, {"data": listed})


def _check_language(call: Call) -> None:
    """Refuse what the fetch of Node.js sends unless it is told otherwise: any language, *."""
    if call.headers.get("accept-language", "").strip() == "*":
        message = "传入了不支持的Accept-Language"
        raise RefusalError(406, "PARAM_ERROR", message, number=ILLEGAL_PARAMETER)


def _listed(signer: Signer, apiv3_key: str) -> dict[str, Any]:
    assert signer.certificate is not None
    return {
        "serial_no": signer.serial,
        "effective_time": rfc3339(signer.certificate.not_valid_before_utc.timestamp()),
        "expire_time": rfc3339(signer.certificate.not_valid_after_utc.timestamp()),
        "encrypt_certificate": seal(apiv3_key, signer.certificate_pem().encode(), "certificate"),
    }
