"""Sign as WeChat signs and seal as WeChat seals."""

import base64
import secrets
import time
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .keys import Keys, Signer

SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"
#: a key that belongs to nobody: the fault wrong_key signs with it
_nobodys_key = rsa.generate_private_key(65537, 2048)


def sign(key: rsa.RSAPrivateKey, message: bytes) -> str:
    """Sign with RSASSA-PKCS1-v1_5 and SHA-256, in base64."""
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


def verifies(key: rsa.RSAPublicKey, signature: str, message: bytes) -> bool:
    """Tell whether a base64 signature fits; anything undecodable does not."""
    try:
        decoded = base64.b64decode(signature, validate=True)
        key.verify(decoded, message, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


def signature_headers(
    signer: Signer, body: bytes, fault: str = "good"
) -> tuple[dict[str, str], str]:
    """Build the Wechatpay-* headers over `timestamp\\nnonce\\nbody\\n` and return that text too.

    The time is always the real one (doc/v3/merchant/4013053420). `fault` falsifies on purpose:
    signtest, wrong_key, unknown_serial, stale.
    """
    timestamp = str(int(time.time()) - (600 if fault == "stale" else 0))
    nonce = secrets.token_hex(16)
    message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signature = sign(_nobodys_key if fault == "wrong_key" else signer.key, message)
    serial = secrets.token_hex(20).upper() if fault == "unknown_serial" else signer.serial
    headers = {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": _probe(signature) if fault == "signtest" else signature,
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": SIGNATURE_TYPE,
    }
    return headers, message.decode()


def _probe(signature: str) -> str:
    """Make a probe value (探测流量); every second one is not even valid base64."""
    return "WECHATPAY/SIGNTEST/" + signature[: -19 - secrets.randbelow(2)]


def answer_signer(keys: Keys, signing: str, wanted: str, now: float) -> Signer:
    """Choose who signs an answer, as the request's Wechatpay-Serial asks where there is a choice.

    A platform certificate that is listed signs whenever it is asked for, as long as it is valid.
    """
    if signing == "public_key" or (signing == "mixed" and wanted.startswith("PUB_KEY_ID_")):
        return keys.public_key
    return keys.platform_signer(now, wanted)


def seal(apiv3_key: str, plaintext: bytes, associated_data: str) -> dict[str, Any]:
    """Encrypt with AEAD_AES_256_GCM under the APIv3 key (doc/v3/merchant/4012071382)."""
    nonce = secrets.token_hex(6)
    sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plaintext, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(sealed).decode(),
        "nonce": nonce,
        "associated_data": associated_data,
    }
