"""A proxy between shop and sandbox: it replaces the answer of a call by one that was captured."""

import base64
import itertools
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from huifu import sign as huifu_sign
from kit.wechat import load_key
from sandbox.protocols import _v2_xml as xml
from sandbox.testing import serve
from sanic import HTTPResponse, Request, Sanic

METHODS = ("GET", "POST")
#: where each verb arrives
VERBS = {
    "prepay": r"POST /v3/pay/transactions/jsapi",
    "query": r"GET /v3/pay/transactions/out-trade-no/\w+",
    "close": r"POST /v3/pay/transactions/out-trade-no/\w+/close",
    "refund": r"POST /v3/refund/domestic/refunds",
    "refund_query": r"GET /v3/refund/domestic/refunds/\w+",
    "bill": r"GET /v3/bill/tradebill",
    "v2 prepay": r"POST /pay/unifiedorder",
    "v2 query": r"POST /pay/orderquery",
    "v2 close": r"POST /pay/closeorder",
    "v2 refund": r"POST /secapi/pay/refund",
    "v2 refund_query": r"POST /pay/refundquery",
    "v2 bill": r"POST /pay/downloadbill",
    "huifu prepay": r"POST /v2/trade/payment/jspay",
    "huifu query": r"POST /v\d/trade/payment/scanpay/query",
    "huifu close": r"POST /v2/trade/payment/scanpay/close",
    "huifu refund": r"POST /v\d/trade/payment/scanpay/refund",
}
_names = itertools.count(1)
Answer = dict[str, Any]


@dataclass
class Proxy:
    """Passes calls on, but those of a verb in `instead`: these get that answer, and no further.

    `done_first`: they reach the sandbox, and only their answer is replaced.
    """

    behind: httpx.AsyncClient
    url: str = ""
    instead: dict[str, Callable[[], HTTPResponse]] = field(default_factory=dict)
    done_first: bool = False
    replaced: list[str] = field(default_factory=list)
    credentials: dict[str, Any] = field(default_factory=dict)

    async def answer(self, request: Request, path: str = "") -> HTTPResponse:
        """Answer one call."""
        call = f"{request.method} {request.path}"
        verb = next((v for v in self.instead if re.fullmatch(VERBS[v], call)), None)
        if verb is None or self.done_first:
            passed_on = await self._pass_on(request)
        if verb is None:
            return passed_on
        self.replaced.append(call)
        return self.instead[verb]()

    async def _pass_on(self, request: Request) -> HTTPResponse:
        headers = [(k, v) for k, v in request.headers.items() if k.lower() != "content-length"]
        target = request.path + (f"?{request.query_string}" if request.query_string else "")
        try:
            answer = await self.behind.request(
                request.method, target, content=request.body, headers=headers
            )
        except httpx.HTTPError:  # the sandbox hung up
            return HTTPResponse(status=502)
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("content-length", "connection", "transfer-encoding", "content-encoding")
        }
        return HTTPResponse(answer.content, answer.status_code, kept)

    def replay(self, captured: Answer, verb: str = "") -> None:
        """Answer a verb with a captured answer, by default the verb that it was an answer to."""
        writers = {"v2": self._of_v2, "huifu": self._of_huifu}
        call = verb or captured["call"]
        write = writers.get(call.partition(" ")[0], self._of_v3)
        self.instead = {call: lambda: write(captured)}

    def html(self, *verbs: str, status: int = 403) -> None:
        """Answer verbs with a page of somebody's web server."""
        page = "<html><body>Forbidden</body></html>"
        for verb in verbs:
            self.instead[verb] = lambda: HTTPResponse(page, status, content_type="text/html")

    def unsigned(self, code: str, status: int, *verbs: str) -> None:
        """Answer verbs with a code of WeChat's that nobody signed."""
        body = json.dumps({"code": code, "message": "x"})
        for verb in verbs:
            self.instead[verb] = lambda: HTTPResponse(body, status, content_type="application/json")

    def mend(self) -> None:
        """Pass everything on."""
        self.instead = {}
        self.done_first = False

    def _of_v3(self, captured: Answer) -> HTTPResponse:
        """Write an answer of APIv3; WeChat signs all but 401 and what no API of its answers."""
        body = b""
        if "body" in captured:
            body = json.dumps(captured["body"], ensure_ascii=False).encode()
        elif "text" in captured:
            body = captured["text"].encode()
        headers = {"Request-ID": request_id(captured), "Content-Type": "application/json"}
        if captured["status"] != 401 and captured["means"] != "not explained":
            headers |= self._signature(body)
        return HTTPResponse(body, captured["status"], headers)

    def _signature(self, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        nonce = secrets.token_hex(16)
        text = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        key = load_key(self.credentials["wechat_private_key_pem"])
        signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": base64.b64encode(signature).decode(),
            "Wechatpay-Serial": self.credentials["public_key_id"],
        }

    def _of_v2(self, captured: Answer) -> HTTPResponse:
        """Write an answer of APIv2; only return_code SUCCESS is signed."""
        fields = xml.parse(captured["xml"].encode())
        if fields["return_code"] == "SUCCESS":
            fields = {**fields, "nonce_str": secrets.token_hex(8)}
            fields["sign"] = xml.sign(fields, self.credentials["apiv2_key"], "MD5")
        return HTTPResponse(xml.build(fields), 200, content_type="text/xml")

    def _of_huifu(self, captured: Answer) -> HTTPResponse:
        """Write an answer of Huifu, signed."""
        text = huifu_sign.request_text(captured["body"])
        key = huifu_sign.private_key(self.credentials["huifu"]["huifu_private_key"])
        body = f'{{"data":{text},"sign":"{huifu_sign.sign(key, text)}"}}'
        return HTTPResponse(body, captured["status"], content_type="application/json")


def request_id(captured: Answer) -> str:
    """Write the Request-ID of a captured answer; its number is what is known of it."""
    return f"08E9C9C4CD0610-{captured.get('request_id_number', '0')}"


@asynccontextmanager
async def proxy_to(sandbox_url: str) -> AsyncIterator[Proxy]:
    """Serve a proxy in front of a sandbox."""
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=20) as behind:
        proxy = Proxy(behind)
        proxy.credentials = (await behind.get("/_sandbox/credentials")).json()
        app = Sanic(f"proxy-{next(_names)}")
        app.config.TOUCHUP = False
        app.config.MOTD = False
        app.add_route(proxy.answer, "/<path:path>", methods=METHODS)
        async with serve(app) as proxy.url:
            yield proxy
