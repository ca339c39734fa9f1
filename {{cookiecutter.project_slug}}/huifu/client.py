"""Talk to Huifu's gateway: sign, send, verify, and name every way it can end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa

from . import sign, transport
from .errors import (
    FAILED,
    HuifuNotProved,
    HuifuRefused,
    HuifuSignatureInvalid,
    HuifuUnknown,
    Malformed,
)

HOST = "https://api.huifu.com"
MOST_BYTES = 4 * 1024 * 1024  # of one answer
ACCEPTED = ("00000000", "00000100")
_UNKNOWN = (*FAILED, "20000001")  # "too frequent" does not say that nothing was done
_NOT_DONE = (912, 921, 922)


@dataclass(frozen=True)
class HuifuClient:
    """One merchant's connection; `http` is yours to configure and to close."""

    http: httpx.AsyncClient
    sys_id: str
    product_id: str
    huifu_id: str
    private_key: rsa.RSAPrivateKey = field(repr=False)
    public_key: rsa.RSAPublicKey = field(repr=False)
    host: str = HOST

    async def call(self, path: str, data: Mapping[str, str]) -> dict[str, Any]:
        """Send data, every value a string; return the proved `data` of an accepted answer.

        Accepted is not paid: only trans_stat tells. Raises HuifuRefused, and HuifuUnknown for
        everything that may have been done (HuifuNotProved: the key does not fit).
        """
        if not all(isinstance(value, str) for value in data.values()):
            raise ValueError("data: strings only, a number may be signed as another one")
        text = sign.request_text(data)
        common = {"sys_id": self.sys_id, "product_id": self.product_id}
        common["sign"] = sign.sign(self.private_key, text)
        body = json.dumps({**common, "data": json.loads(text)}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json;charset=UTF-8"}
        try:
            status, answered = await transport.fetch(
                self.http,
                "POST",
                self.host + path,
                content=body,
                headers=headers,
                most_bytes=MOST_BYTES,
            )
        except httpx.HTTPError as error:
            raise HuifuUnknown(f"no answer ({type(error).__name__})") from error
        if status in _NOT_DONE:
            raise HuifuRefused(str(status), "the gateway refused the request")
        if status != 200:
            raise HuifuUnknown(f"HTTP {status}", code=str(status))
        return self._proved(answered)

    def _proved(self, body: bytes) -> dict[str, Any]:
        try:
            text, signature = sign.answer_text(body)
            sign.check(self.public_key, text, signature)
        except (Malformed, HuifuSignatureInvalid) as error:
            raise HuifuNotProved(f"the answer is not proved: {error}") from error
        data: dict[str, Any] = sign.fields(body)["data"]
        code = str(data.get("resp_code", ""))
        words = str(data.get("resp_desc", ""))
        if code in _UNKNOWN:
            raise HuifuUnknown(f"{code} {words}", code=code)
        if code not in ACCEPTED:
            raise HuifuRefused(code, words)
        return data
