"""A merchant for the sandbox's tests, written from WeChat's pages with cryptography alone."""

import asyncio
import base64
import json
import secrets
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate
from kit.wechat import load_key
from sanic import HTTPResponse, Request

ORDERS = "/v3/pay/transactions"
REFUNDS = "/v3/refund/domestic/refunds"


class Shop:
    """A place notifications go to: it keeps what came, answers `statuses` in turn, then 204.

    While `open` is cleared it does not answer.
    """

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def notify(self, request: Request) -> HTTPResponse:
        self.received.append((dict(request.headers), request.body))
        await self.open.wait()
        return HTTPResponse(status=self.statuses.pop(0) if self.statuses else 204)


class Merchant:
    """Signs, calls and verifies with the keys of /_sandbox/credentials."""

    def __init__(self, http: httpx.AsyncClient, credentials: dict[str, Any], shop: Shop) -> None:
        self.http = http
        self.credentials = credentials
        self.shop = shop
        self.key = load_key(credentials["merchant_private_key_pem"])
        self.mchid = credentials["mchid"]
        apps = {app["kind"]: app for app in credentials["apps"]}
        self.mini = apps["miniprogram"]
        self.official = apps["official_account"]

    def sign(self, message: bytes) -> str:
        signed = self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signed).decode()

    def authorization(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        age: int = 0,
        nonce: str = "",
        **changes: str,
    ) -> str:
        """Build the header; `changes` replaces pairs and the scheme after signing."""
        timestamp = str(int(time.time()) - age)
        nonce = nonce or secrets.token_hex(16)
        signed = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
        pairs = {
            "mchid": self.mchid,
            "nonce_str": nonce,
            "timestamp": timestamp,
            "serial_no": self.credentials["merchant_serial"],
            "signature": self.sign(signed),
        }
        scheme = changes.pop("scheme", "WECHATPAY2-SHA256-RSA2048")
        return f"{scheme} " + ",".join(f'{k}="{v}"' for k, v in (pairs | changes).items())

    async def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        **changes: Any,
    ) -> httpx.Response:
        """Send one signed call; a body of bytes goes out as it is."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        sent = {
            "Authorization": self.authorization(method, target, content, **changes),
            "Accept": "application/json",
            "User-Agent": "sandbox-tests",
        }
        if content:
            sent["Content-Type"] = "application/json"
        sent = {k: v for k, v in (sent | (headers or {})).items() if v}
        request = self.http.build_request(method, target, content=content, headers=sent)
        for name, value in (headers or {}).items():
            if not value:
                request.headers.pop(name, None)
        return await self.http.send(request)

    def order(self, **changes: Any) -> dict[str, Any]:
        """Build a valid prepay body of the mini program; a change to None removes the field."""
        body = {
            "appid": self.mini["appid"],
            "mchid": self.mchid,
            "description": "一盒茶",
            "out_trade_no": "S" + secrets.token_hex(8),
            "notify_url": self.shop.url,
            "amount": {"total": 990, "currency": "CNY"},
            "payer": {"openid": "oBuyer"},
        }
        return {k: v for k, v in (body | changes).items() if v is not None}

    async def prepay(self, body: dict[str, Any] | None = None) -> tuple[dict[str, Any], str]:
        """Order, and give the body and the prepay_id."""
        body = body or self.order()
        response = await self.call("POST", f"{ORDERS}/jsapi", body)
        assert response.status_code == 200, response.text
        self.verify(response)
        return body, response.json()["prepay_id"]

    def become(self, whose: dict[str, Any]) -> "Merchant":
        """Be another merchant of the same sandbox, with the keys and apps it was given."""
        return Merchant(self.http, {**self.credentials, **whose}, self.shop)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a call that must succeed, and give its proved answer."""
        response = await self.call("POST", path, body)
        assert response.status_code == 200, response.text
        self.verify(response)
        return response.json()

    async def query(self, number: str) -> httpx.Response:
        return await self.call("GET", f"{ORDERS}/out-trade-no/{number}?mchid={self.mchid}")

    async def close(self, number: str) -> httpx.Response:
        path = f"{ORDERS}/out-trade-no/{number}/close"
        return await self.call("POST", path, {"mchid": self.mchid})

    def invoke(self, prepay_id: str, appid: str | None = None) -> dict[str, Any]:
        """Build what a page hands to WeChat, signed."""
        appid = appid or self.mini["appid"]
        timestamp = "1700000000"
        nonce = secrets.token_hex(16)
        package = f"prepay_id={prepay_id}"
        signature = self.sign(f"{appid}\n{timestamp}\n{nonce}\n{package}\n".encode())
        return {
            "appId": appid,
            "timeStamp": timestamp,
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": signature,
        }

    async def pay(self, prepay_id: str, **options: Any) -> dict[str, Any]:
        return await self.control("pay", **(self.invoke(prepay_id) | options))

    async def control(self, name: str, **form: Any) -> Any:
        """Turn a control of the sandbox; without a form it is read."""
        method = "POST" if form else "GET"
        response = await self.http.request(method, f"/_sandbox/{name}", json=form or None)
        assert response.status_code == 200, response.text
        return response.json()

    async def faults(self, **menu: Any) -> dict[str, Any]:
        """Set the fault menu; without keys it is reset."""
        return (await self.http.post("/_sandbox/faults", json=menu)).json()

    def verify(self, message: httpx.Response | tuple[dict[str, str], bytes]) -> str:
        """Verify an answer or a notification, and tell the serial that signed; raises if bad."""
        if isinstance(message, httpx.Response):
            headers = message.headers
            body = message.content
        else:
            headers = httpx.Headers(message[0])
            body = message[1]
        text = f"{headers['wechatpay-timestamp']}\n{headers['wechatpay-nonce']}\n".encode()
        assert abs(time.time() - int(headers["wechatpay-timestamp"])) < 300
        assert headers["wechatpay-signature-type"] == "WECHATPAY2-SHA256-RSA2048"
        serial = headers["wechatpay-serial"]
        signature = base64.b64decode(headers["wechatpay-signature"], validate=True)
        key = self._wechat_key(serial)
        key.verify(signature, text + body + b"\n", padding.PKCS1v15(), hashes.SHA256())
        return serial

    def _wechat_key(self, serial: str) -> Any:
        if serial == self.credentials["public_key_id"]:
            return serialization.load_pem_public_key(self.credentials["public_key_pem"].encode())
        for listed in self.credentials["platform_certificates"]:
            if listed["serial"] == serial:
                return load_pem_x509_certificate(listed["certificate_pem"].encode()).public_key()
        raise LookupError(serial)

    def open(self, body: bytes) -> dict[str, Any]:
        """Decrypt a notification's resource."""
        return json.loads(self.unseal(json.loads(body)["resource"]))

    def unseal(self, resource: dict[str, str]) -> bytes:
        cipher = AESGCM(self.credentials["apiv3_key"].encode())
        sealed = base64.b64decode(resource["ciphertext"])
        nonce = resource["nonce"].encode()
        data = resource["associated_data"].encode()
        return cipher.decrypt(nonce, sealed, data)


def app_invoke(merchant: Merchant, prepay_id: str, appid: str, **changes: Any) -> dict[str, Any]:
    """Build what an App hands to WeChat's SDK, signed."""
    signed = merchant.sign(f"{appid}\n1700000000\nnonce\n{prepay_id}\n".encode())
    return {
        "appId": appid,
        "partnerId": merchant.mchid,
        "prepayId": prepay_id,
        "packageValue": "Sign=WXPay",
        "nonceStr": "nonce",
        "timeStamp": "1700000000",
        "sign": signed,
    } | changes


def in_minutes(minutes: int) -> str:
    """Write a time_expire."""
    moment = datetime.now(timezone(timedelta(hours=8))) + timedelta(minutes=minutes)
    return moment.isoformat(timespec="seconds")


async def paid(merchant, **order):
    """Pay an order of 990 fen; give its number and the transaction_id."""
    body, prepay_id = await merchant.prepay(merchant.order(**order))
    result = await merchant.pay(prepay_id)
    return body["out_trade_no"], result["transaction_id"]


def request(merchant, number, fen=100, **changes):
    body = {
        "out_trade_no": number,
        "out_refund_no": "R" + secrets.token_hex(8),
        "reason": "少发一件",
        "notify_url": merchant.shop.url,
        "amount": {"refund": fen, "total": 990, "currency": "CNY"},
    } | changes
    return {name: value for name, value in body.items() if value is not None}


async def refund(merchant, number, fen=100, **changes):
    return await merchant.call("POST", REFUNDS, request(merchant, number, fen, **changes))
