"""The keys of both sides, made once per run; the names are those of the sandbox's credentials."""

import json
import os
import secrets
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

JSON = dict[str, Any]
VARIABLE = "BENCH_CREDENTIALS"


def make() -> JSON:
    """Make an RSA key for the merchant and one for WeChat."""
    merchant, wechat = _new_key(), _new_key()
    return {
        "mchid": "9000000001",
        "appid": "wx0000000000000001",
        "app_secret": secrets.token_hex(16),
        "apiv3_key": secrets.token_hex(16),
        "merchant_serial": secrets.token_hex(20).upper(),
        "merchant_private_key_pem": _private_pem(merchant),
        "merchant_public_key_pem": _public_pem(merchant),
        "wechat_private_key_pem": _private_pem(wechat),
        "public_key_id": "PUB_KEY_ID_9000000001202611200000000000000000",
        "public_key_pem": _public_pem(wechat),
    }


def of_environment() -> JSON:
    """Read what the bench handed on to this process."""
    credentials: JSON = json.loads(os.environ[VARIABLE])
    return credentials


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
