"""The v3 client: what is sent, and every way an answer can end."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from wechat import sign
from wechat.client import Client, to_json
from wechat.errors import (
    AnswerNotProved,
    ApiError,
    NotExplained,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refused,
    TryAgain,
    WeChatError,
)

PATH = "/v3/pay/transactions/jsapi"
MAIN = "api.mch.weixin.qq.com"
STANDBY = "standby.test"


class Network:
    """Answer each request with the next thing in the list; exceptions are raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, httpx.Response)
        return answer

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.requests]


async def failing(call: Any, kind: type[WeChatError]) -> Any:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind
    return caught.value


async def test_a_post_is_signed_over_the_very_bytes_that_leave(world: Any) -> None:
    network = Network(world.answer({"prepay_id": "wx1"}))
    body = '{"z":1, "a" : "茶"}'.encode()
    assert await world.client(network).post(PATH, body) == {"prepay_id": "wx1"}
    request = network.requests[0]
    assert request.content == body
    fields = dict(
        pair.split("=", 1)
        for pair in request.headers["Authorization"].removeprefix(f"{sign.SCHEME} ").split(",")
    )
    fields = {name: value.strip('"') for name, value in fields.items()}
    message = f"POST\n{PATH}\n{fields['timestamp']}\n{fields['nonce_str']}\n{body.decode()}\n"
    sign.check(world.merchant.private_key.public_key(), message, fields["signature"])
    assert fields["timestamp"] == str(int(world.now))
    assert (fields["mchid"], fields["serial_no"]) == ("1900007291", "4" * 40)


async def test_a_get_signs_path_and_query_as_sent(world: Any) -> None:
    network = Network(world.answer({"a": 1}))
    await world.client(network).get("/v3/x/a%7Cb", {"mchid": "1 9&", "d": "2026-01-01"})
    assert network.requests[0].url.raw_path == b"/v3/x/a%7Cb?mchid=1%209%26&d=2026-01-01"
    assert world.exchanges[0].target == "/v3/x/a%7Cb?mchid=1%209%26&d=2026-01-01"
    assert world.exchanges[0].signed_message.startswith(f"GET\n{world.exchanges[0].target}\n")


async def test_every_request_carries_the_headers_wechat_wants(world: Any) -> None:
    network = Network(world.answer({"a": 1}), world.answer({"a": 1}))
    client = world.client(network)
    await client.get("/v3/x")
    await client.post("/v3/x", b"{}")
    for request in network.requests:
        assert request.headers["Accept"] == "application/json"
        assert request.headers["User-Agent"]
        assert request.headers["Wechatpay-Serial"] == client.trust.serial_for_requests
    assert "Content-Type" not in network.requests[0].headers
    assert network.requests[1].headers["Content-Type"] == "application/json"


def test_a_mapping_is_written_compact_and_in_utf8() -> None:
    assert to_json({"a": "茶", "b": [1, True]}) == '{"a":"茶","b":[1,true]}'.encode()
    with pytest.raises(ValueError):
        to_json({"a": float("nan")})


async def test_a_verified_204_is_an_empty_mapping(world: Any) -> None:
    assert await world.client(Network(world.answer(b"", 204))).post(PATH, b"{}") == {}


ERRORS = [(400, Refused), (401, Refused), (403, Refused), (404, Refused), (429, RateLimited)]


@pytest.mark.parametrize(("status", "kind"), [*ERRORS, (202, TryAgain)])
async def test_an_error_answer_keeps_what_wechat_said(world: Any, status: int, kind: Any) -> None:
    problem = {
        "code": "PARAM_ERROR",
        "message": "值低于最小值 1",
        "detail": {"field": "/body/amount"},
    }
    answer = httpx.Response(status, json=problem, headers={"Request-ID": "08F-268435461"})
    error = await failing(world.client(Network(answer)).post(PATH, b"{}"), kind)
    assert (error.status, error.code, error.message) == (status, "PARAM_ERROR", "值低于最小值 1")
    assert error.detail == {"field": "/body/amount"}
    assert error.request_id == "08F-268435461"
    assert "PARAM_ERROR" in str(error)
    assert "08F-268435461" in str(error)


NOT_WECHATS = [
    b"",
    b"<html><h1>404 Not Found</h1>nginx</html>",
    b"[]",
    b'"x"',
    b"[" * 100_000,
    b'{"code":5}',
    b'{"code":404,"message":"no route"}',
    b'{"code":"not_found"}',
    b'{"error":"forbidden"}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 413, 451])
@pytest.mark.parametrize("body", NOT_WECHATS)
async def test_a_4xx_without_wechats_own_code_is_unknown_not_a_refusal(
    world: Any, status: int, body: bytes
) -> None:
    network = Network(httpx.Response(status, content=body))
    client = world.client(network, standby=f"https://{STANDBY}")
    error = await failing(client.post(PATH, b"{}"), NotExplained)
    assert (error.status, error.detail, error.proved) == (status, None, False)
    assert network.hosts == [MAIN]


async def test_a_signed_4xx_without_a_code_is_still_wechats_refusal(world: Any) -> None:
    answer = httpx.Response(404, headers=world.signed(b""), content=b"")
    error = await failing(world.client(Network(answer)).post(PATH, b"{}"), Refused)
    assert (error.status, error.code, error.proved) == (404, "", True)


async def test_a_proxys_429_is_later_all_the_same(world: Any) -> None:
    await failing(
        world.client(Network(httpx.Response(429, content=b"<html>"))).get(PATH), RateLimited
    )


SAYS_NO = b'{"code":"PARAM_ERROR","message":"x","detail":[1]}'


@pytest.mark.parametrize(
    ("status", "kind"), [*ERRORS, (202, TryAgain), (500, OutcomeUnknown), (302, OutcomeUnknown)]
)
async def test_an_error_says_whether_it_is_proved(world: Any, status: int, kind: Any) -> None:
    signed = httpx.Response(status, headers=world.signed(SAYS_NO), content=SAYS_NO)
    error = await failing(world.client(Network(signed)).post(PATH, b"{}"), kind)
    assert (error.proved, error.code, error.detail) == (True, "PARAM_ERROR", [1])
    unsigned = httpx.Response(status, content=SAYS_NO)
    error = await failing(world.client(Network(unsigned)).post(PATH, b"{}"), kind)
    assert (error.proved, error.code, error.detail) == (False, "PARAM_ERROR", [1])


@pytest.mark.parametrize("status", [202, 400, 401, 404, 429, 500])
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"signature": "WECHATPAY/SIGNTEST/x"}, "signtest"),
        ({"timestamp": None}, "missing_header"),
        ({"age": 300}, "stale"),
        ({"serial": "PUB_KEY_ID_9"}, "unknown_serial"),
        ({"nonce": "other"}, "bad_signature"),
    ],
)
async def test_an_error_whose_signature_does_not_hold_decides_nothing(
    world: Any, status: int, changed: dict[str, Any], reason: str
) -> None:
    headers = world.signed(SAYS_NO, **changed)
    network = Network(httpx.Response(status, headers=headers, content=SAYS_NO))
    error = await failing(world.client(network).post(PATH, b"{}"), AnswerNotProved)
    assert (error.status, error.signature_reason, error.proved) == (status, reason, False)
    assert (error.code, error.message, error.request_id) == ("PARAM_ERROR", "x", "08F78BA-0")


async def test_a_wrong_key_and_a_broken_network_are_told_apart(world: Any) -> None:
    forged = world.answer({"prepay_id": "wx1"}, key=world.other_key)
    wrong_key = await failing(world.client(Network(forged)).post(PATH, b"{}"), AnswerNotProved)
    lost = await failing(
        world.client(Network(httpx.ReadTimeout("x"))).post(PATH, b"{}"), OutcomeUnknown
    )
    assert (wrong_key.status, wrong_key.request_id) == (200, "08F78BA-0")
    assert (lost.status, lost.request_id) == (None, None)


@pytest.mark.parametrize("status", [500, 502, 503, 301, 302, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
async def test_5xx_and_3xx_are_unknown_and_not_repeated(
    world: Any, status: int, method: str
) -> None:
    answer = httpx.Response(
        status,
        json={"code": "SYSTEM_ERROR", "message": "系统错误"},
        headers={"Location": "https://evil.test/", "Request-ID": "r"},
    )
    network = Network(answer)
    client = world.client(network, standby=f"https://{STANDBY}")
    call = client.get(PATH) if method == "get" else client.post(PATH, b"{}")
    error = await failing(call, OutcomeUnknown)
    assert (error.status, error.request_id) == (status, "r")
    assert (error.code, error.message) == ("SYSTEM_ERROR", "系统错误")
    assert "SYSTEM_ERROR" in error.reason
    assert network.hosts == [MAIN]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"signature": "WECHATPAY/SIGNTEST/x"}, "signtest"),
        ({"signature": None}, "missing_header"),
        ({"age": 300}, "stale"),
        ({"serial": "PUB_KEY_ID_9"}, "unknown_serial"),
        ({"nonce": "other"}, "bad_signature"),
    ],
)
async def test_a_2xx_that_is_not_proved_is_unknown_and_says_why(
    world: Any, method: str, status: int, changed: dict[str, Any], reason: str
) -> None:
    network = Network(world.answer({"a": 1} if status == 200 else b"", status, **changed))
    client = world.client(network, standby=f"https://{STANDBY}")
    call = client.get(PATH) if method == "get" else client.post(PATH, b"{}")
    error = await failing(call, AnswerNotProved)
    assert reason in error.reason
    assert (error.status, error.signature_reason) == (status, reason)
    assert network.hosts == [MAIN]


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"null", b"{}", b"[" * 100_000, b"\xff"])
async def test_a_proved_200_without_a_json_object_is_unknown(world: Any, body: bytes) -> None:
    await failing(world.client(Network(world.answer(body))).post(PATH, b"{}"), OutcomeUnknown)


async def test_codes_compare_without_underscores() -> None:
    error = ApiError(400, "ORDERPAID")
    assert error.is_code("ORDER_PAID")
    assert error.is_code("X", "ORDERPAID")
    assert not error.is_code("ORDER_CLOSED")
    assert not error.is_code()


BROKEN = [httpx.ReadTimeout("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x")]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda error: type(error).__name__)
async def test_a_post_that_may_have_arrived_is_never_repeated(world: Any, broken: Any) -> None:
    network = Network(broken)
    client = world.client(network, standby=f"https://{STANDBY}")
    error = await failing(client.post(PATH, b"{}"), OutcomeUnknown)
    assert error.status is None
    assert network.hosts == [MAIN]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda error: type(error).__name__)
async def test_a_get_is_repeated_at_the_standby_host(world: Any, broken: Any) -> None:
    network = Network(broken, world.answer({"a": 1}))
    assert await world.client(network, standby=f"https://{STANDBY}").get(PATH) == {"a": 1}
    assert network.hosts == [MAIN, STANDBY]
    first, second = (request.headers["Authorization"] for request in network.requests)
    assert first != second  # a fresh signature every time


async def test_a_post_that_was_not_sent_goes_to_the_standby_host(world: Any) -> None:
    network = Network(httpx.ConnectError("x"), world.answer({"a": 1}))
    assert await world.client(network, standby=f"https://{STANDBY}").post(PATH, b"{}") == {"a": 1}
    assert network.hosts == [MAIN, STANDBY]


async def test_when_no_host_can_be_reached_nothing_was_sent(world: Any) -> None:
    network = Network(httpx.ConnectError("x"), httpx.ConnectError("x"))
    await failing(world.client(network, standby=f"https://{STANDBY}").post(PATH, b"{}"), NotSent)
    await failing(world.client(Network(httpx.ConnectError("x"))).post(PATH, b"{}"), NotSent)


async def test_a_get_that_broke_stays_unknown_when_the_standby_host_is_away(world: Any) -> None:
    network = Network(httpx.ReadTimeout("x"), httpx.ConnectError("x"))
    client = world.client(network, standby=f"https://{STANDBY}")
    await failing(client.get(PATH), OutcomeUnknown)


async def test_the_standby_hosts_answer_counts_as_it_is(world: Any) -> None:
    network = Network(
        httpx.ConnectError("x"), httpx.Response(404, json={"code": "ORDER_NOT_EXIST"})
    )
    client = world.client(network, standby=f"https://{STANDBY}")
    error = await failing(client.post(PATH, b"{}"), Refused)
    assert error.is_code("ORDERNOTEXIST")


async def test_every_exchange_is_reported_without_secrets(world: Any) -> None:
    network = Network(
        world.answer({"a": 1}),
        httpx.Response(400, json={"code": "NO"}, headers={"Request-ID": "08F-268447914"}),
        httpx.ReadTimeout("x"),
    )
    client = world.client(network)
    await client.post(PATH, b'{"openid":"o"}')
    await failing(client.get(PATH), Refused)
    await failing(client.get(PATH), OutcomeUnknown)
    good, refused, lost = world.exchanges
    assert (good.method, good.target, good.status, good.error) == ("POST", PATH, 200, None)
    assert good.request_id == "08F78BA-0"
    assert good.seconds >= 0
    assert refused.status == 400
    assert (good.wechat_number, refused.wechat_number) == (None, 268447914)
    assert "NO" in str(refused.error)
    assert (lost.status, lost.request_id) == (None, None)
    assert "ReadTimeout" in str(lost.error)
    text = repr(world.exchanges)
    for request in network.requests:
        assert request.headers["Authorization"] not in text
        assert request.headers["Authorization"].split('signature="')[1][:20] not in text
    assert world.merchant.apiv3_key.decode() not in text


async def test_a_cancelled_call_is_reported_too(world: Any) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError(request)

    started = asyncio.Event()
    call = asyncio.create_task(world.client(hang).get(PATH))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert world.exchanges[0].error == "CancelledError"


async def test_a_real_server_gets_what_was_signed(world: Any, serve: Any) -> None:
    answer = world.answer({"prepay_id": "wx1"})
    lines = [f"{name}: {value}" for name, value in answer.headers.items()]
    raw = "\r\n".join(["HTTP/1.1 200 OK", *lines]).encode() + b"\r\n\r\n" + answer.content
    async with serve(raw) as (url, requests), httpx.AsyncClient(trust_env=False) as http:
        client = Client(http, world.merchant, world.trust(), host=url, now=lambda: world.now)
        assert await client.post(PATH, {"a": "茶"}) == {"prepay_id": "wx1"}
    assert json.loads(requests[0].split(b"\r\n\r\n")[1]) == {"a": "茶"}
