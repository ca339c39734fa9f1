"""WeChat's side of a notification, written with cryptography alone and the keys of the sandbox."""

import base64
import json
import secrets
import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

JSON = dict[str, Any]


@cache
def private_key(pem: str) -> rsa.RSAPrivateKey:
    """Parse a key once: that takes longer than signing a hundred times."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def payment(credentials: JSON, appid: str, number: str, total_fen: int) -> JSON:
    """Write the transaction of a payment that nobody made."""
    return {
        "mchid": credentials["mchid"],
        "appid": appid,
        "out_trade_no": number,
        "transaction_id": f"42{secrets.randbelow(10**26):026}",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "trade_type": "JSAPI",
        "bank_type": "OTHERS",
        "success_time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "amount": {"total": total_fen, "payer_total": total_fen, "currency": "CNY"},
        "payer": {"openid": "oNobody"},
    }


def seal(credentials: JSON, transaction: JSON) -> bytes:
    """Encrypt a transaction and put it into an envelope: the body of a notification."""
    nonce = secrets.token_hex(6)
    plain = json.dumps(transaction).encode()
    cipher = AESGCM(credentials["apiv3_key"].encode())
    sealed = cipher.encrypt(nonce.encode(), plain, b"transaction")
    envelope = {
        "id": secrets.token_hex(16),
        "create_time": transaction["success_time"],
        "event_type": "TRANSACTION.SUCCESS",
        "resource_type": "encrypt-resource",
        "resource": {
            "algorithm": "AEAD_AES_256_GCM",
            "original_type": "transaction",
            "associated_data": "transaction",
            "nonce": nonce,
            "ciphertext": base64.b64encode(sealed).decode(),
        },
    }
    return json.dumps(envelope).encode()


def sign(
    credentials: JSON, body: bytes, timestamp: int, key: rsa.RSAPrivateKey | None = None
) -> dict[str, str]:
    """Sign as WeChat does, by default with its own key; return the headers."""
    key = key or private_key(credentials["wechat_private_key_pem"])
    nonce = secrets.token_hex(16)
    message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signed = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return {
        "Content-Type": "application/json",
        "Wechatpay-Timestamp": str(timestamp),
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": credentials["public_key_id"],
        "Wechatpay-Signature": base64.b64encode(signed).decode(),
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }
