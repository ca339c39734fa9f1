"""The keys of Huifu's side and of its merchant, and the channel's key that signs pay_info."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..keys import make_rsa_key
from ..sealing import sign, verifies

HUIFU_ID = "9666000100000001"
SYS_ID = HUIFU_ID  # a merchant without an agency
PRODUCT_ID = "SANDBOX"


@dataclass
class Keys:
    """Three pairs: the merchant's, the gateway's, the upstream channel's."""

    merchant: rsa.RSAPrivateKey = field(repr=False)
    gateway: rsa.RSAPrivateKey = field(repr=False)
    channel: rsa.RSAPrivateKey = field(repr=False)

    def shown(self) -> dict[str, str]:
        """Write what a merchant gets: bare base64, as Huifu hands keys out."""
        return {
            "sys_id": SYS_ID,
            "product_id": PRODUCT_ID,
            "huifu_id": HUIFU_ID,
            "merchant_private_key": _private_text(self.merchant),
            "huifu_public_key": _public_text(self.gateway.public_key()),
            "huifu_private_key": _private_text(self.gateway),
        }

    def pay_info(self, appid: str, prepay_id: str, now: int) -> str:
        """Sign what opens WeChat's cashier with the channel's key: a JSON string."""
        form = {
            "appId": appid,
            "timeStamp": str(now),
            "nonceStr": secrets.token_hex(16),
            "package": f"prepay_id={prepay_id}",
            "signType": "RSA",
        }
        return json.dumps({**form, "paySign": sign(self.channel, _signed(form))})

    def is_ours(self, form: Mapping[str, Any]) -> bool:
        """Tell whether pay_info came back as it was signed."""
        return verifies(self.channel.public_key(), str(form.get("paySign", "")), _signed(form))


@cache
def keys() -> Keys:
    """Make the keys once in each process."""
    return Keys(merchant=make_rsa_key(), gateway=make_rsa_key(), channel=make_rsa_key())


def _signed(form: Mapping[str, Any]) -> bytes:
    names = ("appId", "timeStamp", "nonceStr", "package")
    return "".join(f"{form.get(name, '')}\n" for name in names).encode()


def _private_text(key: rsa.RSAPrivateKey) -> str:
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return base64.b64encode(der).decode()


def _public_text(key: rsa.RSAPublicKey) -> str:
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()
