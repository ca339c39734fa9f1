"""One exchange from the first byte to the log: Authorization, fault, call, signature, the wire."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from sanic import HTTPResponse, Request

from .authorization import is_order, verify
from .errcodes import LoginError, login_answer
from .schema import check_query
from .sealing import answer_signer, signature_headers
from .state import State
from .wire import (
    OTHER_PARAMETERS,
    TOO_FREQUENT,
    UNPUBLISHED,
    Answer,
    Call,
    RefusalError,
    json_answer,
)

HANG_SECONDS = 60
PASSED = "the merchant's certificate verifies this text"
#: status, code and message of the fault `refuse` by the call's name in the menu
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
#: errcode of a fault by the call's name in the menu
LOGIN_FAULTS = {
    "code2session": {"500": -1, "429": 45011, "refuse": 40226},
    "oauth": {"500": -1, "429": 45011, "refuse": 40029},
    "token": {"500": -1, "429": 45009, "refuse": 40164},
    "wxa": {"500": -1, "429": 45009, "refuse": 48001},
}
View = Callable[..., Coroutine[Any, Any, HTTPResponse]]
Handler = Callable[[State, Call], Answer]
LoginHandler = Callable[[State, Call], dict[str, Any]]


class Route(NamedTuple):
    """One call of the v3 API: `name` in the fault menu, `query` lists its query parameters."""

    method: str
    path: str
    name: str
    handler: Handler
    query: tuple[str, ...] = ()


def signed_view(state: State, route: Route) -> View:
    """Make the view of a call that both sides sign."""

    async def view(request: Request, **path: str) -> HTTPResponse:
        call = read_call(request, path)
        fault = None
        try:
            verify(state.keys, call)
            fault = state.faults.for_call(route.name)
            answer = _instead(route.name, fault) or _answer(state, route, call)
            if answer.verdict == "passed":
                answer.verdict = f"passed: {PASSED}"
        except RefusalError as refusal:
            answer = refusal.answer()
        _sign(state, call, answer, fault)
        return await deliver(state, request, call, answer, fault)

    return view


def login_view(state: State, name: str, handler: LoginHandler) -> View:
    """Make the view of a call of api.weixin.qq.com: unsigned, always 200."""

    async def view(request: Request, **path: str) -> HTTPResponse:
        call = read_call(request, path)
        fault = state.faults.for_call(name)
        try:
            answer = _login_answer(state, name, handler, call, fault)
        except LoginError as error:
            answer = error.answer()
        return await deliver(state, request, call, answer, fault)

    return view


def read_call(request: Request, path: dict[str, str]) -> Call:
    """Take from the framework what the protocol needs, the target in the bytes of the wire."""
    return Call(
        method=request.method,
        target=request.raw_url.decode(errors="replace"),
        headers={name.lower(): _clean(value) for name, value in request.headers.items()},
        body=request.body,
        path=path,
        query=dict(request.get_query_args(keep_blank_values=True)),
    )


def write_log(state: State, call: Call, answer: Answer) -> None:
    """Put the exchange into the log."""
    state.log.add(
        "request",
        call.method,
        call.target,
        request=(call.headers, call.body),
        answer=(answer.status, answer.headers, answer.body),
        signed_message=call.signed_message,
        verdict=answer.verdict,
    )


async def deliver(
    state: State, request: Request, call: Call, answer: Answer, fault: str | None
) -> HTTPResponse:
    """Log the answer and send it, or do to the connection what the fault says."""
    if fault:
        answer.verdict += f" (fault: {fault})"
    is_lost = fault in ("hang", "reset_before", "reset_after")
    if is_lost:
        verdict = f"{answer.verdict}; no answer left, it would have been {answer.status}"
        answer = Answer(status=None, verdict=verdict)
    write_log(state, call, answer)
    if fault == "hang":
        await asyncio.sleep(HANG_SECONDS)
    if answer.cut:
        await _send_half(request, answer)
    if is_lost or answer.cut:
        _abort(request)
    return HTTPResponse(answer.body, answer.status or 500, answer.headers)


def _answer(state: State, route: Route, call: Call) -> Answer:
    check_query(call.query, route.query)
    return route.handler(state, call)


def _login_answer(
    state: State, name: str, handler: LoginHandler, call: Call, fault: str | None
) -> Answer:
    if fault in LOGIN_FAULTS[name]:
        raise LoginError(LOGIN_FAULTS[name][fault])
    if fault == "reset_before":
        return Answer(status=None)
    return login_answer(handler(state, call))


def _instead(name: str, fault: str | None) -> Answer | None:
    """Answer instead of the call: in all of these nothing happens."""
    match fault:
        case "500":
            raise RefusalError(500, "SYSTEM_ERROR", "系统异常，请稍后重试")
        case "429":
            message = "频率过高，请稍后重试"
            raise RefusalError(429, "FREQUENCY_LIMITED", message, number=TOO_FREQUENT)
        case "refuse":
            status, code, message = REFUSALS[name]
            raise RefusalError(status, code, message)
        case str() if fault in OF_PREPAY:
            status, code, message, number = OF_PREPAY[fault]
            raise RefusalError(status, code, message, number=number)
        case "202" if name == "close":
            return json_answer(202, {"code": "USER_PAYING", "message": "用户支付中，请稍后再试"})
        case "202":
            return json_answer(202, {"code": "ACCEPTED", "message": "已受理，请使用原参数重复请求"})
        case "reset_before":
            return Answer(status=None)
    return None


def _sign(state: State, call: Call, answer: Answer, fault: str | None) -> None:
    """Sign every answer to a merchant who has proved to be one, refusals too.

    A 401 is never signed, and one about an order has no Request-ID either.
    """
    if answer.status == 401 and is_order(call):
        del answer.headers["Request-ID"]
    if not (answer.signed and answer.status and call.mchid):
        return
    signer = answer_signer(
        state.keys,
        signing=state.faults.menu["signing"],
        wanted=call.headers.get("wechatpay-serial", ""),
        now=state.clock.now(),
    )
    headers, _ = signature_headers(signer, answer.body, fault or "good")
    answer.headers |= headers


def _clean(text: str) -> str:
    """Undo the surrogates that the framework makes of bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


async def _send_half(request: Request, answer: Answer) -> None:
    headers = answer.headers | {"Content-Length": str(len(answer.body))}
    response = await request.respond(status=answer.status or 500, headers=headers)
    await response.send(answer.body[: len(answer.body) // 2])
    await asyncio.sleep(0.05)  # let it leave before the connection is gone


def _abort(request: Request) -> None:
    transport = request.transport
    if isinstance(transport, asyncio.Transport):  # None when the caller has gone already
        transport.abort()
