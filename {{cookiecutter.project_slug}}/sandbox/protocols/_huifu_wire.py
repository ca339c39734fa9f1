"""How Huifu's gateway is spoken: JSON in an envelope, signed both ways."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sanic import HTTPResponse, Request

from ..clock import BEIJING
from ..exchange import deliver, read_call
from ..sealing import holds, sign
from ..wire import Answer
from ..world import World
from ._huifu_keys import HUIFU_ID, PRODUCT_ID, SYS_ID, keys

Data = dict[str, Any]
Handler = Callable[[World, Data, str], Data]
REFUSED_SIGNATURE = 922


class GatewayError(Exception):
    """Raised with a resp_code; the answer is signed all the same."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code} {words}")
        self.code, self.words = code, words


async def serve(world: World, name: str, handler: Handler, request: Request) -> HTTPResponse:
    """Answer a call: envelope, signature, fault, the call itself, the answer's signature."""
    call, fault, asked = read_call(request, {}), None, _read(request)
    if asked is None:
        answer = Answer(REFUSED_SIGNATURE, b"{}", {}, "the merchant's key did not sign this")
        return await deliver(world, request, call, answer, None)
    try:
        if not (request.content_type or "").startswith("application/json"):
            raise GatewayError("10000000", "Content-Type is application/json")
        fault = world.faults.for_call(name)
        said = _instead(fault) or handler(world, asked, request.host)
        verdict = "passed"
    except GatewayError as error:
        said, verdict = {"resp_code": error.code, "resp_desc": error.words}, str(error)
    body = json.dumps(_signed(said, fault), ensure_ascii=False, separators=(",", ":")).encode()
    answer = Answer(200, body, {"Content-Type": "application/json"}, verdict)
    return await deliver(world, request, call, answer, fault)


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
        whole = json.loads(request.body)
        data = whole["data"]
        named = (whole["sys_id"], whole["product_id"], data["huifu_id"])
    except (ValueError, KeyError, TypeError):
        return None
    kept = {name: data[name] for name in sorted(data) if data[name] not in (None, "", {}, [])}
    text, key = compact(kept).encode(), keys().merchant.public_key()
    ours = named == (SYS_ID, PRODUCT_ID, HUIFU_ID) and holds(key, str(whole.get("sign")), text)
    return kept if ours else None


def _signed(said: Data, fault: str | None) -> Data:
    data = {name: said[name] for name in sorted(said)}
    key = keys().merchant if fault in ("wrong_key", "signtest") else keys().gateway
    return {"data": data, "sign": sign(key, compact(data).encode())}


def _instead(fault: str | None) -> Data | None:
    """Answer instead of the call: in all of these nothing happens."""
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
    return None
