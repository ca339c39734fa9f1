"""WeChat Pay for the bench: checks the signature of every request and signs every answer.

A process of its own, about as fast as RSA allows. `POST /_bench/delay?60` lets every later answer
of APIv3 take 60 ms longer.
"""

import asyncio
import base64
import json
import re
import secrets
import sys
import time
from typing import cast

import httptools
import uvloop
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from bench import credentials

PAIR = re.compile(r'(\w+)="([^"]*)"')


class WeChat:
    """What this WeChat knows, and how it answers."""

    def __init__(self, keys: credentials.JSON) -> None:
        merchant = load_pem_public_key(keys["merchant_public_key_pem"].encode())
        own = load_pem_private_key(keys["wechat_private_key_pem"].encode(), None)
        assert isinstance(merchant, RSAPublicKey)
        assert isinstance(own, RSAPrivateKey)
        self.delay = 0.0
        self._merchant = merchant
        self._own = own
        self._key_id: str = keys["public_key_id"]
        self._appid: str = keys["appid"]

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Return status and body; 401 when the signature does not hold."""
        if target.startswith("/sns/jscode2session"):
            code = target.partition("js_code=")[2].partition("&")[0]
            return 200, json.dumps({"openid": f"o{code}", "session_key": "c2Vzc2lvbg=="}).encode()
        if target.startswith("/_bench/delay?"):
            self.delay = int(target.partition("?")[2]) / 1000
            return 204, b""
        if not target.startswith("/v3/pay/transactions/"):
            return 404, b'{"code":"RESOURCE_NOT_EXISTS","message":"no such path"}'
        if not self._is_signed(method, target, headers, body):
            return 401, b'{"code":"SIGN_ERROR","message":"the signature does not hold"}'
        return self._pay(method, target, body)

    def _pay(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path = target.partition("?")[0]
        if path.endswith("/close"):
            return 204, b""
        if method == "POST":
            assert json.loads(body)["amount"]["total"] > 0
            return 200, json.dumps({"prepay_id": f"wx{secrets.token_hex(17)}"}).encode()
        number = path.rpartition("/")[2]
        mchid = target.partition("mchid=")[2]
        trade = {"mchid": mchid, "appid": self._appid, "out_trade_no": number}
        return 200, json.dumps({**trade, "trade_state": "NOTPAY"}).encode()

    def _is_signed(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bool:
        fields = dict(PAIR.findall(headers.get("authorization", "")))
        try:
            message = f"{method}\n{target}\n{fields['timestamp']}\n{fields['nonce_str']}\n".encode()
            signature = base64.b64decode(fields["signature"])
            self._merchant.verify(signature, message + body + b"\n", PKCS1v15(), SHA256())
        except (KeyError, InvalidSignature):
            return False
        return True

    def signed(self, body: bytes) -> str:
        """Return the header lines that prove an answer."""
        timestamp = int(time.time())
        nonce = secrets.token_hex(16)
        message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = base64.b64encode(self._own.sign(message, PKCS1v15(), SHA256())).decode()
        return (
            f"Wechatpay-Timestamp: {timestamp}\r\nWechatpay-Nonce: {nonce}\r\n"
            f"Wechatpay-Serial: {self._key_id}\r\nWechatpay-Signature: {signature}\r\n"
            "Wechatpay-Signature-Type: WECHATPAY2-SHA256-RSA2048\r\n"
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection; a request is answered before the next is read."""

    def __init__(self, wechat: WeChat) -> None:
        self._wechat = wechat
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target = ""
        self._body = b""
        self._headers = dict[str, str]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Take the target."""
        self._target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer, at once or after the delay."""
        method = self._parser.get_method().decode()
        status, body = self._wechat.answer(method, self._target, self._headers, self._body)
        is_api = self._target.startswith("/v3/")
        self._begin()
        proof = self._wechat.signed(body) if is_api else ""
        head = f"HTTP/1.1 {status} X\r\nRequest-ID: {secrets.token_hex(8)}-0\r\n{proof}"
        if status != 204:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        answer = f"{head}\r\n".encode() + body
        if is_api and self._wechat.delay:
            asyncio.get_running_loop().call_later(self._wechat.delay, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(port: int) -> None:
    """Answer until this process is stopped."""
    wechat = WeChat(credentials.of_environment())
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(wechat), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
