"""Play WeChat against the shop: notifications signed and sealed with the sandbox's own keys."""

import base64
import json
import secrets
import time
import uuid
from functools import cache
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from checkout.models import Payment, Share
from kit.running import RunningShop

PATH = "/notify/wechat/payment"


@cache
def load_key(pem: str) -> Any:
    """Load a private key once: parsing one takes longer than a whole test."""
    return serialization.load_pem_private_key(pem.encode(), None)


class WeChat:
    """Makes notifications: true ones, and correctly signed wrong ones."""

    def __init__(self, running: RunningShop) -> None:
        self.running = running
        self.credentials = running.credentials

    async def trade(self, out_trade_no: str, **changes: Any) -> dict[str, Any]:
        """Build what WeChat says of a paid number of ours; a change to None removes the field."""
        share = await Share.get(out_trade_no=out_trade_no)
        payment = await Payment.get(id=share.payment_id)
        trade = {
            **payment.parties,
            "out_trade_no": out_trade_no,
            "transaction_id": f"4200{secrets.randbelow(10**20):020}",
            "trade_type": "JSAPI",
            "trade_state": "SUCCESS",
            "trade_state_desc": "支付成功",
            "bank_type": "OTHERS",
            "success_time": "2026-01-02T03:04:05+08:00",
            "payer": {"openid": payment.payer},
        }
        if "sp_mchid" in payment.parties:
            trade["payer"] = {"sp_openid": payment.payer or "oSomebody"}
        total = share.total_fen
        trade["amount"] = {"total": total, "payer_total": total, "currency": "CNY"}
        trade["amount"] |= changes.pop("amount", {})
        return {k: v for k, v in (trade | changes).items() if v is not None}

    def seal(self, trade: dict[str, Any], *, key: str = "", **envelope: Any) -> bytes:
        """Encrypt a trade into the body of a notification."""
        nonce = secrets.token_hex(6)
        kind = envelope.pop("original_type", "transaction")
        cipher = AESGCM((key or self.credentials["apiv3_key"]).encode())
        sealed = cipher.encrypt(nonce.encode(), json.dumps(trade).encode(), b"transaction")
        resource = {
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "nonce": nonce,
            "associated_data": "transaction",
            "original_type": kind,
        }
        body = {
            "id": str(uuid.uuid4()),
            "create_time": "2026-01-02T03:04:06+08:00",
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": resource,
        }
        return json.dumps(body | envelope).encode()

    def headers(self, body: bytes, *, age: int = 0, pem: str = "", **changes: Any) -> Any:
        """Sign a body; `changes` replaces headers afterwards, None removes one."""
        timestamp = str(int(time.time()) - age)
        nonce = secrets.token_hex(16)
        key = load_key(pem or self.credentials["wechat_private_key_pem"])
        text = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = base64.b64encode(key.sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()
        headers = {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": signature,
            "Wechatpay-Serial": self.credentials["public_key_id"],
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Content-Type": "application/json",
        }
        headers |= {f"Wechatpay-{name.title()}": value for name, value in changes.items()}
        return {name: value for name, value in headers.items() if value is not None}

    async def send(self, body: bytes, **signing: Any) -> httpx.Response:
        """Deliver a body with a fresh signature."""
        headers = self.headers(body, **signing)
        return await self.running.http.post(PATH, content=body, headers=headers)

    async def notify(self, trade: dict[str, Any], **sealing: Any) -> httpx.Response:
        """Seal and deliver a trade."""
        return await self.send(self.seal(trade, **sealing))
