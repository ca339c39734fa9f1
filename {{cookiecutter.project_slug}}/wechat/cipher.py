"""Open what WeChat encrypts (AES-256-GCM), and seal or open single sensitive fields (RSA-OAEP).

Follows pay.weixin.qq.com/doc/v3/merchant/4012071382 (resources); for fields the official SDKs.
"""

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1

from .errors import DecryptFailed

# One help page says SHA-256; every official SDK and the live service use SHA-1 here.
_OAEP = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303


def open_resource(apiv3_key: bytes, resource: Mapping[str, Any]) -> bytes:
    """Decrypt {algorithm, nonce, associated_data, ciphertext}; raise DecryptFailed."""
    if resource.get("algorithm", "AEAD_AES_256_GCM") != "AEAD_AES_256_GCM":
        raise DecryptFailed(f"resource.algorithm {resource['algorithm']!r} is not supported")
    try:
        sealed = base64.b64decode(resource["ciphertext"], validate=True)
        nonce = resource["nonce"].encode()
        extra = (resource.get("associated_data") or "").encode()
        return AESGCM(apiv3_key).decrypt(nonce, sealed, extra)
    except InvalidTag:
        raise DecryptFailed("decryption failed: is this the APIv3 key of this merchant?") from None
    except (KeyError, AttributeError, TypeError, ValueError):
        raise DecryptFailed("resource.nonce or resource.ciphertext is missing or wrong") from None


def seal_field(public_key: RSAPublicKey, text: str) -> str:
    """Encrypt a name or number for WeChat; at most 214 UTF-8 bytes, else ValueError."""
    data = text.encode()
    if len(data) > 214:
        raise ValueError(f"a sealed field holds at most 214 bytes, this one has {len(data)}")
    return base64.b64encode(public_key.encrypt(data, _OAEP)).decode()


def open_field(private_key: RSAPrivateKey, text: str) -> str:
    """Decrypt a field WeChat sealed for the merchant; raise DecryptFailed."""
    try:
        return private_key.decrypt(base64.b64decode(text, validate=True), _OAEP).decode()
    except ValueError:
        raise DecryptFailed("the field cannot be opened with this merchant's private key") from None
