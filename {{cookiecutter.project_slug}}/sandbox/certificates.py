"""GET /v3/certificates: the platform certificates, sealed with the merchant's APIv3 key."""

from typing import Any

from .clock import rfc3339
from .keys import Signer
from .sealing import seal
from .wire import Answer, Call, RefusalError, json_answer, parameter_error
from .world import World


def certificates(world: World, call: Call) -> Answer:
    """Answer the list (获取平台证书列表); a merchant of public-key mode has none: 404."""
    algorithm = call.query.get("algorithm_type", "RSA")
    if algorithm not in ("RSA", "SM2", "ALL"):
        at = "/query/algorithm_type"
        raise parameter_error(at, algorithm, "值应为 RSA、SM2、ALL 之一")
    if world.faults.menu["signing"] == "public_key" or algorithm == "SM2":
        message = "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。"
        raise RefusalError(404, "RESOURCE_NOT_EXISTS", message)
    merchant = world.keys.merchant(call.mchid)
    assert merchant is not None
    listed = [_listed(signer, merchant.apiv3_key) for signer in world.keys.platform]
    return json_answer(200, {"data": listed})


def _listed(signer: Signer, apiv3_key: str) -> dict[str, Any]:
    assert signer.certificate is not None
    return {
        "serial_no": signer.serial,
        "effective_time": rfc3339(signer.certificate.not_valid_before_utc.timestamp()),
        "expire_time": rfc3339(signer.certificate.not_valid_after_utc.timestamp()),
        "encrypt_certificate": seal(apiv3_key, signer.certificate_pem().encode(), "certificate"),
    }
