"""Sign requests and check signatures: RSASSA-PKCS1-v1_5 with SHA-256, base64 in one line.

Follows pay.weixin.qq.com/doc/v3/merchant/4012365336 (requests) and 4013053420 (answers and
notifications). The two `*_message` functions return the exact texts that are signed.
"""

import base64
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from .errors import SignatureInvalid
from .keys import Merchant

SCHEME = "WECHATPAY2-SHA256-RSA2048"
SIGNTEST = "WECHATPAY/SIGNTEST/"
MOST_NONCE = 32


def request_message(method: str, target: str, timestamp: int, nonce: str, body: bytes) -> str:
    """Return the five lines a merchant signs; `target` is path?query exactly as sent."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n{_text(body)}\n"


def response_message(timestamp: str, nonce: str, body: bytes) -> str:
    """Return the three lines WeChat signs; a 204 has an empty body and still its line."""
    return f"{timestamp}\n{nonce}\n{_text(body)}\n"


def authorization(
    merchant: Merchant, method: str, target: str, body: bytes, *, timestamp: int, nonce: str
) -> str:
    """Return the Authorization header for one request; `timestamp` is Unix seconds.

    Raises ValueError for a nonce that WeChat would refuse.
    """
    check_nonce(nonce)
    signature = sign(merchant.private_key, request_message(method, target, timestamp, nonce, body))
    pairs = {
        "mchid": merchant.mchid,
        "nonce_str": nonce,
        "timestamp": timestamp,
        "serial_no": merchant.serial,
        "signature": signature,
    }
    return f"{SCHEME} " + ",".join(f'{name}="{value}"' for name, value in pairs.items())


def sign(private_key: RSAPrivateKey, message: str) -> str:
    """Sign a text; returns base64."""
    return base64.b64encode(private_key.sign(_bytes(message), PKCS1v15(), SHA256())).decode()


def check(public_key: RSAPublicKey, message: str, signature: str) -> None:
    """Check a base64 signature; raise SignatureInvalid (signtest, undecodable, bad_signature).

    WeChat's probes 探测流量 begin with WECHATPAY/SIGNTEST/. They get no way of their own: they fail
    here like any wrong signature, and only the reason is named differently.
    """
    probe = signature.startswith(SIGNTEST)
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        reason = "signtest" if probe else "undecodable"
        raise SignatureInvalid(reason, "Wechatpay-Signature is not base64") from None
    try:
        public_key.verify(raw, _bytes(message), PKCS1v15(), SHA256())
    except InvalidSignature:
        reason = "signtest" if probe else "bad_signature"
        raise SignatureInvalid(reason, "the signature does not fit the message") from None


def check_nonce(nonce: str) -> None:
    """Raise ValueError unless WeChat takes the nonce: 1 to 32 characters."""
    if not 1 <= len(nonce) <= MOST_NONCE:
        raise ValueError(f"nonce: 1 to {MOST_NONCE} characters, not {len(nonce)}")


def new_nonce() -> str:
    """Return 32 random hex digits, fresh for every signature."""
    return secrets.token_hex(16)


def _text(body: bytes) -> str:
    return body.decode("utf-8", "surrogateescape")  # any bytes survive the way there and back


def _bytes(message: str) -> bytes:
    return message.encode("utf-8", "surrogateescape")
