"""How Huifu's gateway is spoken: JSON in an envelope, signed both ways."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sanic import HTTPResponse, Request

from ..clock import BEIJING
from ..exchange import View, deliver, read_call
from ..sealing import sign, verifies
from ..state import State
from ..wire import Answer
from ._huifu_keys import HUIFU_ID, PRODUCT_ID, SYS_ID, keys

Data = dict[str, Any]
Handler = Callable[[State, Data, str], Data]
REFUSED_SIGNATURE = 922  # an HTTP status of their own


class GatewayError(Exception):
    """Raised with a resp_code; the answer is signed all the same."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


def view(state: State, name: str, handler: Handler) -> View:
    """Make the view of a call, `name` in the fault menu: both envelopes are signed."""

    async def answer_call(request: Request) -> HTTPResponse:
        call = read_call(request, {})
        asked = _read(request)
        if asked is None:
            verdict = "the merchant's key did not sign this"
            answer = Answer(REFUSED_SIGNATURE, b"{}", verdict=verdict)
            return await deliver(state, request, call, answer, fault=None)
        fault = None
        verdict = "passed"
        try:
            if not (request.content_type or "").startswith("application/json"):
                raise GatewayError("10000000", "Content-Type is application/json")
            fault = state.faults.for_call(name)
            _refuse(fault)
            data = handler(state, asked, request.host)
        except GatewayError as error:
            data = {"resp_code": error.code, "resp_desc": error.message}
            verdict = str(error)
        body = compact(_signed(data, fault)).encode()
        answer = Answer(200, body, {"Content-Type": "application/json"}, verdict)
        return await deliver(state, request, call, answer, fault)

    return answer_call


def compact(data: Data) -> str:
    """Write data as it is signed."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def yuan(fen: int) -> str:
    """Write fen as yuan."""
    return f"{fen // 100}.{fen % 100:02}"


def day_of(moment: float) -> str:
    """Write a moment in Beijing."""
    return f"{datetime.fromtimestamp(moment, BEIJING):%Y%m%d%H%M%S}"


def finished(moment: float) -> dict[str, str]:
    """Say when a trade was completed, in the words of both generations."""
    return {"trans_finish_time": day_of(moment), "end_time": day_of(moment)}


def _read(request: Request) -> Data | None:
    """Return the data of a request that our merchant signed, or None."""
    try:
        envelope = json.loads(request.body)
        data = envelope["data"]
        names = (envelope["sys_id"], envelope["product_id"], data["huifu_id"])
    except (ValueError, KeyError, TypeError):
        return None
    if names != (SYS_ID, PRODUCT_ID, HUIFU_ID):
        return None
    signed = {name: data[name] for name in sorted(data) if data[name] not in (None, "", {}, [])}
    key = keys().merchant.public_key()
    if not verifies(key, str(envelope.get("sign")), compact(signed).encode()):
        return None
    return signed


def _signed(data: Data, fault: str | None) -> Data:
    data = {name: data[name] for name in sorted(data)}
    key = keys().merchant if fault in ("wrong_key", "signtest") else keys().gateway
    return {"data": data, "sign": sign(key, compact(data).encode())}


def _refuse(fault: str | None) -> None:
    """Raise what is answered instead of the call: in all of these nothing happens."""
    match fault:
        case "500" | "reset_before":
            raise GatewayError("99999999", "系统错误")
        case "202":
            raise GatewayError("98888888", "系统错误")
        case "service_unavailable":
            raise GatewayError("91111119", "通道异常")
        case "429":
            raise GatewayError("20000001", "too many requests")
        case "refuse" | "product_off" | "receiving_restricted" | "merchant_unavailable":
            raise GatewayError("22000004", "no permission")
        case "number_used" | "already_paid":
            raise GatewayError("20000000", "duplicate req_seq_id")
        case "openid_mismatch" | "openid_not_matching" | "openid_invalid":
            raise GatewayError("90000000", "sub_openid does not belong to sub_appid")
