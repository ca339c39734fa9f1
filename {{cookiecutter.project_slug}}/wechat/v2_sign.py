"""The sign of APIv2: one secret that both sides know, MD5 or HMAC-SHA256.

Follows pay.weixin.qq.com/wiki/doc/api/jsapi.php?chapter=4_3. Whoever learns the key can forge
every notification: prefer APIv3, where WeChat signs with a key that only WeChat has.
"""

import hashlib
import hmac
from collections.abc import Mapping

from .errors import KeyMaterialError, SignatureInvalid

SIGN_TYPES = ("MD5", "HMAC-SHA256")


def apiv2_key(text: str) -> str:
    """Return the APIv2 key; raise KeyMaterialError unless it has 32 letters and digits."""
    if len(text) != 32 or not (text.isascii() and text.isalnum()):
        raise KeyMaterialError("the APIv2 key has 32 letters and digits: API安全 → APIv2密钥")
    return text


def text_to_sign(fields: Mapping[str, str], key: str) -> str:
    """Join all fields but sign and empty ones, by ASCII order, with the key at the end."""
    pairs = [f"{name}={fields[name]}" for name in sorted(fields) if name != "sign" and fields[name]]
    return "&".join([*pairs, f"key={key}"])


def sign(fields: Mapping[str, str], key: str, sign_type: str) -> str:
    """Sign fields; `sign_type` is MD5 or HMAC-SHA256."""
    text = text_to_sign(fields, key).encode()
    if sign_type == "HMAC-SHA256":
        return hmac.new(key.encode(), text, hashlib.sha256).hexdigest().upper()
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()


def check(fields: Mapping[str, str], key: str, sign_type: str) -> None:
    """Prove that who wrote these fields knows the key; raise SignatureInvalid with its reason.

    A sign of the other type is refused, whatever the message says about itself.
    """
    signature = fields.get("sign", "")
    if not signature:
        raise SignatureInvalid("missing_header", "there is no sign")
    if (fields.get("sign_type") or sign_type) != sign_type:
        raise SignatureInvalid("bad_signature", f"sign_type is not {sign_type}")
    if not hmac.compare_digest(signature.encode(), sign(fields, key, sign_type).encode()):
        raise SignatureInvalid("bad_signature", "the sign does not fit")
