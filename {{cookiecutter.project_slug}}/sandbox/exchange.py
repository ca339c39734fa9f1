"""One exchange from the first byte to the log: gate, fault, call, signature, and the cut wire."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from sanic import HTTPResponse, Request

from . import login
from .errcodes import LoginError, login_answer
from .gate import authenticate, is_order
from .schema import check_query
from .sealing import answer_signer, signature_headers
from .wire import (
    OTHER_PARAMETERS,
    TOO_FREQUENT,
    UNPUBLISHED,
    Answer,
    Call,
    RefusalError,
    json_answer,
)
from .world import World

HANG_SECONDS = 60
PASSED = "the merchant's certificate verifies this text"
REFUSALS = {
    "prepay": (403, "NO_AUTH", "商家暂时没有此类交易权限"),
    "query": (403, "RULE_LIMIT", "业务规则限制"),
    "close": (403, "RULE_LIMIT", "业务规则限制"),
    "refund": (400, "INVALID_REQUEST", "请求参数符合参数格式，但不符合业务规则"),
    "refund_query": (403, "NO_AUTH", "商户无权限"),
    "bill": (400, "INVALID_REQUEST", "请求参数符合参数格式，但不符合业务规则"),
    "certificates": (403, "NO_AUTH", "商户无权限"),
}
PRODUCT_OFF = "商户号该产品权限未开通，请前往商户平台>产品中心检查后重试"
RESTRICTED = "此商家的收款功能已被限制，暂无法支付。"
#: status, code, message and number of the refusals that can be asked for instead of an order
OF_PREPAY = {
    "openid_mismatch": (500, "OPENID_MISMATCH", "openid和appid不匹配", UNPUBLISHED),
    "openid_not_matching": (400, "INVALID_REQUEST", "appid与openid不匹配", UNPUBLISHED),
    "openid_invalid": (400, "PARAM_ERROR", "无效的openid", UNPUBLISHED),
    "number_used": (403, "OUT_TRADE_NO_USED", "商户订单号重复", OTHER_PARAMETERS),
    "already_paid": (400, "INVALID_REQUEST", "该订单已支付", 268498689),
    "product_off": (403, "NO_AUTH", PRODUCT_OFF, UNPUBLISHED),
    "receiving_restricted": (403, "NO_AUTH", RESTRICTED, 268448010),
    "merchant_unavailable": (403, "NO_AUTH", "商户不可用", 268443715),
    "service_unavailable": (503, "SERVICE_UNAVAILABLE", "服务不可用", UNPUBLISHED),
}


async def v3(
    world: World,
    name: str,
    handler: Callable[[World, Call], Answer],
    query: Collection[str],
    request: Request,
    **path: str,
) -> HTTPResponse:
    """Answer a signed call: `name` in the fault menu, `query` lists its query parameters."""
    call, fault = read_call(request, path), None
    try:
        authenticate(world.keys, call)
        fault = world.faults.for_call(name)
        answer = _instead(name, fault) or _answer(world, handler, query, call)
        answer.verdict += f": {PASSED}" if answer.verdict == "passed" else ""
    except RefusalError as refusal:
        answer = refusal.answer()
    _sign(world, call, answer, fault)
    return await deliver(world, request, call, answer, fault)


async def sns(
    world: World,
    name: str,
    handler: Callable[[World, login.Parameters], dict[str, Any]],
    request: Request,
) -> HTTPResponse:
    """Answer a login call: unsigned, always 200."""
    return await _unsigned(world, name, request, {}, lambda call: handler(world, call.query))


async def cgi(
    world: World,
    name: str,
    handler: Callable[[World, Call], dict[str, Any]],
    request: Request,
    **path: str,
) -> HTTPResponse:
    """Answer a call about the tokens of apps, or one that brings such a token: likewise."""
    return await _unsigned(world, name, request, path, partial(handler, world))


async def _unsigned(
    world: World,
    name: str,
    request: Request,
    path: dict[str, str],
    act: Callable[[Call], dict[str, Any]],
) -> HTTPResponse:
    call, fault = read_call(request, path), world.faults.for_call(name)
    try:
        if fault in login.FAULTS[name]:
            raise LoginError(login.FAULTS[name][fault])
        reset = fault == "reset_before"
        answer = Answer(None) if reset else login_answer(act(call))
    except LoginError as error:
        answer = error.answer()
    return await deliver(world, request, call, answer, fault)


def read_call(request: Request, path: dict[str, str]) -> Call:
    """Take from the framework what the protocol needs, the target in the bytes of the wire."""
    query = dict(request.get_query_args(keep_blank_values=True))
    headers = {name.lower(): _clean(value) for name, value in request.headers.items()}
    target = request.raw_url.decode(errors="replace")
    return Call(request.method, target, headers, request.body, path, query)


def write_log(world: World, call: Call, answer: Answer) -> None:
    """Put the exchange into the log."""
    world.log.add(
        "request",
        call.method,
        call.target,
        request=(call.headers, call.body),
        answer=(answer.status, answer.headers, answer.body),
        signed_message=call.signed_message,
        verdict=answer.verdict,
    )


def _answer(
    world: World, handler: Callable[[World, Call], Answer], query: Collection[str], call: Call
) -> Answer:
    check_query(call.query, query)
    return handler(world, call)


def _instead(name: str, fault: str | None) -> Answer | None:
    """Answer instead of the call: in all of these nothing happens."""
    match fault:
        case "500":
            raise RefusalError(500, "SYSTEM_ERROR", "系统异常，请稍后重试")
        case "429":
            raise RefusalError(
                429, "FREQUENCY_LIMITED", "频率过高，请稍后重试", number=TOO_FREQUENT
            )
        case str() if fault == "refuse" or fault in OF_PREPAY:
            raise _refusal(name, fault)
        case "202" if name == "close":
            return json_answer(202, {"code": "USER_PAYING", "message": "用户支付中，请稍后再试"})
        case "202":
            return json_answer(202, {"code": "ACCEPTED", "message": "已受理，请使用原参数重复请求"})
        case "reset_before":
            return Answer(None)
    return None


def _refusal(name: str, fault: str) -> RefusalError:
    status, code, message, number = OF_PREPAY.get(fault, (*REFUSALS[name], UNPUBLISHED))
    return RefusalError(status, code, message, number=number)


def _sign(world: World, call: Call, answer: Answer, fault: str | None) -> None:
    """Sign every answer to a merchant who has proved to be one, refusals too.

    A 401 is never signed, and one about an order has no Request-ID either.
    """
    if answer.status == 401 and is_order(call):
        del answer.headers["Request-ID"]
    if answer.signed and answer.status and call.mchid:
        signing = world.faults.menu["signing"]
        wanted = call.headers.get("wechatpay-serial", "")
        signer = answer_signer(world.keys, signing, wanted, world.clock.now())
        answer.headers |= signature_headers(signer, answer.body, fault or "good")[0]


async def deliver(
    world: World, request: Request, call: Call, answer: Answer, fault: str | None
) -> HTTPResponse:
    if fault:
        answer.verdict += f" (fault: {fault})"
    cut = fault in ("hang", "reset_before", "reset_after")
    if cut:
        answer = Answer(
            None, verdict=f"{answer.verdict}; no answer left, it would have been {answer.status}"
        )
    write_log(world, call, answer)
    if fault == "hang":
        await asyncio.sleep(HANG_SECONDS)
    if answer.cut:
        await _send_half(request, answer)
    if cut or answer.cut:
        _cut(request)
    return HTTPResponse(answer.body, answer.status or 500, answer.headers)


def _clean(text: str) -> str:
    """Undo the surrogates that the framework makes of bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


async def _send_half(request: Request, answer: Answer) -> None:
    headers = answer.headers | {"Content-Length": str(len(answer.body))}
    response = await request.respond(status=answer.status or 500, headers=headers)
    await response.send(answer.body[: len(answer.body) // 2])
    await asyncio.sleep(0.05)  # let it leave before the connection is gone


def _cut(request: Request) -> None:
    transport = request.transport
    if isinstance(transport, asyncio.Transport):  # None when the caller has gone already
        transport.abort()
