"""Whatever arrives on whatever route: below 500, in our shape, and nothing of ours in it."""

import asyncio
import hmac
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from checkout.models import Order, Payment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.answers import check_failure
from kit.buyers import ADMIN, JSON
from kit.running import ADMIN_TOKEN, RunningShop

QUICK = settings(
    max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SKUS = st.sampled_from(["cup", "gold", "", None, 1])
QUANTITIES = st.sampled_from([1, 0, -1, 2**63, 1.5, True, "1", None])
ITEMS = st.fixed_dictionaries(
    {"sku": SKUS, "quantity": QUANTITIES}, optional={"price_fen": st.just(1)}
)
NEARLY = st.one_of(
    st.fixed_dictionaries({"items": st.lists(ITEMS, max_size=3) | VALUES}),
    st.fixed_dictionaries({"scene": st.sampled_from(["miniprogram", "jsapi", "pos", 1]) | VALUES}),
    st.fixed_dictionaries({"scene": st.just("miniprogram"), "channel": VALUES}),
    st.fixed_dictionaries({"code": st.text(max_size=300) | VALUES}),
    VALUES,
)


def fetch(running: RunningShop) -> Callable[..., httpx.Response]:
    """Return a function for the thread of hypothesis that asks on the loop of the test."""
    loop = asyncio.get_running_loop()

    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        asking = running.http.request(method, path, **more)
        return asyncio.run_coroutine_threadsafe(asking, loop).result(20)

    return ask


def harmless(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        check_failure(answer, answer.status_code)


async def test_json_that_is_nearly_right_is_answered_below_500(running: RunningShop) -> None:
    buyer = await running.buyer()
    ask = fetch(running)
    number = (await buyer.order())["order_no"]
    paths = ["/api/orders", "/api/sessions/miniprogram", "/api/sessions/guest"]
    paths += [f"/api/orders/{number}/payments", f"/api/orders/{number}/cancel"]
    paths += ["/api/admin/payments/S1/query", "/api/admin/notifications/1/replay"]

    @QUICK
    @given(path=st.sampled_from(paths), value=NEARLY, key=st.text("abc-_ é", max_size=8))
    def attack(path: str, value: Any, key: str) -> None:
        who = ADMIN if "admin" in path else buyer.headers
        headers = {**who, **JSON, "Idempotency-Key": key.strip().encode()}
        harmless(ask("POST", path, content=json.dumps(value), headers=headers))

    await asyncio.to_thread(attack)
    for order in await Order.all().prefetch_related("items"):
        assert order.total_fen == sum(item.quantity * item.price_fen for item in order.items) > 0
    assert {p.total_fen for p in await Payment.all()} <= {9900}


async def test_strange_addresses_and_headers_are_answered_below_500(running: RunningShop) -> None:
    buyer = await running.buyer()
    ask = fetch(running)
    number = (await buyer.order())["order_no"]
    paths = ["/api/orders", f"/api/orders/{number}", "/api/me", "/api/products", "/healthz"]
    paths += ["/api/admin/orders", "/api/admin/payments", "/api/admin/notifications"]
    paths += ["/oauth/start", "/oauth/callback", "/", "/h5/x", "/MP_verify_x.txt", "/docs"]
    names = st.sampled_from(["after", "state", "outcome", "refresh", "return_to", "code", "x"])
    words = st.text(max_size=40) | st.sampled_from(["\0", "9" * 40, "//x", "//[x", "a" * 700])
    heads = st.sampled_from(["Authorization", "Cookie", "Content-Type", "X-Request-ID", "Origin"])

    @QUICK
    @given(
        path=st.sampled_from(paths),
        query=st.dictionaries(names, words, max_size=3),
        headers=st.dictionaries(heads, st.binary(max_size=60), max_size=2),
        admin=st.booleans(),
        method=st.sampled_from(["GET", "GET", "DELETE", "PUT", "OPTIONS"]),
    )
    def attack(
        path: str, query: dict[str, str], headers: dict[str, bytes], admin: bool, method: str
    ) -> None:
        asked = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        sent = {n: re.sub(rb"[\x00-\x1f\x7f]", b"", v).strip() for n, v in headers.items()}
        who = {n: v.encode() for n, v in (ADMIN if admin else buyer.headers).items()}
        answer = ask(method, f"{path}?{asked}", headers=who | sent)
        assert answer.status_code < 500, answer.text
        assert answer.headers["X-Request-ID"]
        if answer.status_code >= 400 and not path.startswith("/oauth"):
            harmless(answer)

    await asyncio.to_thread(attack)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_a_method_that_is_not_offered_is_405_and_tells_which_are(
    running: RunningShop, method: str
) -> None:
    answer = await running.http.request(method, "/api/orders")
    assert answer.status_code == 405
    assert set(re.split(r",\s*", answer.headers["Allow"])) == {"GET", "POST"}
    if method != "HEAD":
        assert check_failure(answer, 405)["code"] == "METHOD_NOT_ALLOWED"


async def test_the_limit_of_a_body_is_64_kib_and_2_mib_for_a_notification(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    for size, status in ((65536, 400), (65537, 413), (2 * 1024 * 1024 + 1, 413)):
        body = b" " * size
        answer = await running.http.post("/api/orders", content=body, headers=buyer.headers | JSON)
        assert check_failure(answer, status)["code"] in ("BAD_REQUEST", "BODY_TOO_LARGE")
    for size, status in ((2 * 1024 * 1024, 401), (2 * 1024 * 1024 + 1, 413)):
        answer = await running.http.post("/notify/wechat/payment", content=b" " * size)
        assert answer.status_code == status
        assert answer.json()["code"] == "FAIL"


async def test_an_error_does_not_repeat_a_name_of_any_length(running: RunningShop) -> None:
    body = json.dumps({"x" * 60_000: 1}).encode()
    answer = await running.http.post("/api/sessions/miniprogram", content=body, headers=JSON)
    assert check_failure(answer, 400)["field"] == "x" * 100
    assert len(answer.text) < 1000


async def test_of_a_key_that_comes_twice_the_last_counts(running: RunningShop) -> None:
    buyer = await running.buyer()
    body = b'{"items":[{"sku":"longjing","quantity":9,"quantity":1,"sku":"sample"}]}'
    headers = {**buyer.headers, **JSON, "Idempotency-Key": "k"}
    answer = await running.http.post("/api/orders", content=body, headers=headers)
    assert (answer.status_code, answer.json()["total_fen"]) == (201, 1)


async def test_the_admin_token_is_compared_in_constant_time(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(sent: bytes, expected: bytes) -> bool:
        compared.append((sent, expected))
        return real(sent, expected)

    monkeypatch.setattr("shop.web.api.hmac.compare_digest", spy)
    answer = await running.http.get("/api/admin/orders", headers={"Authorization": "Bearer x"})
    assert check_failure(answer, 401)["code"] == "LOGIN_REQUIRED"
    assert compared == [(b"x", ADMIN_TOKEN.encode())]


async def test_a_foreign_order_leaves_no_trace_in_the_answer(running: RunningShop) -> None:
    number = (await (await running.buyer("oOne")).order())["order_no"]
    other = await running.buyer("oTwo")
    foreign = check_failure(await other.get(f"/api/orders/{number}"), 404)
    unknown = check_failure(await other.get("/api/orders/2601010000000000"), 404)
    assert {**foreign, "request_id": ""} == {**unknown, "request_id": ""}
