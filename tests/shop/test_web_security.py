"""Cookies, headers and NUL characters: what a browser and an attacker see of the web side."""

import asyncio
import re
from urllib.parse import urlsplit

import httpx
import pytest
from kit.answers import check_failure
from kit.buyers import JSON
from kit.running import RunningShop

HTTPS = "https://shop.example.com"
NUL = b"\0"


class TestOnHttps:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_PUBLIC_URL": HTTPS}

    async def test_the_session_cookie_is_bound_to_the_host(self, running: RunningShop) -> None:
        answer = await running.http.post("/api/sessions/guest", json={})
        words = answer.headers["set-cookie"].split("; ")
        assert words[0].startswith("__Host-shop_session=ey")
        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} < set(words)
        assert not any(word.startswith("Domain") for word in words)

    async def test_a_cookie_without_the_prefix_is_no_session(self, running: RunningShop) -> None:
        token = (await running.http.post("/api/sessions/guest", json={})).json()["token"]
        async with httpx.AsyncClient(base_url=running.http.base_url, trust_env=False) as http:
            planted = {"Cookie": f"shop_session={token}"}
            bound = {"Cookie": f"__Host-shop_session={token}"}
            assert (await http.get("/api/me", headers=planted)).status_code == 401
            assert (await http.get("/api/me", headers=bound)).status_code == 200

    async def test_log_out_clears_the_cookie_that_was_set(self, running: RunningShop) -> None:
        headers = {"Origin": HTTPS, **JSON}
        answer = await running.http.post("/api/sessions/end", content=b"{}", headers=headers)
        words = answer.headers["set-cookie"].split("; ")
        assert {"Max-Age=0", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"} < set(words)
        assert re.fullmatch('__Host-shop_session=(?:"")?', words[0])

    async def test_the_login_of_a_browser_uses_bound_cookies_too(
        self, running: RunningShop
    ) -> None:
        answer = await running.http.get("/oauth/start?return_to=/")
        assert answer.headers["set-cookie"].startswith("__Host-shop_oauth=")


async def test_on_plain_http_the_cookie_has_its_plain_name(running: RunningShop) -> None:
    answer = await running.http.post("/api/sessions/guest", json={})
    words = answer.headers["set-cookie"].split("; ")
    assert words[0].startswith("shop_session=ey")
    assert "Secure" not in words


async def test_personal_answers_are_kept_by_nobody(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    for path in ("/api/me", "/api/orders", f"/api/orders/{order['order_no']}", "/api/nothing"):
        answer = await buyer.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    session = await running.http.post("/api/sessions/guest", json={})
    assert session.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/docs", "/oauth/callback"])
async def test_a_page_runs_no_inline_script_and_stands_in_no_frame(
    running: RunningShop, path: str
) -> None:
    answer = await running.http.get(path)
    policy = dict(
        words.strip().split(" ", 1)
        for words in answer.headers["Content-Security-Policy"].split(";")
    )
    assert "unsafe" not in policy["script-src"]
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert str(running.sandbox.base_url).rstrip("/") in policy["script-src"]
    scripts = re.findall(r"<script[^>]*>[^<]", answer.text)
    handlers = re.findall(r"\son\w+=", answer.text)
    assert (scripts, handlers) == ([], [])


async def raw(running: RunningShop, request: bytes) -> int:
    """Send these bytes; return the status of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(running.origin).port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/orders/%00",
        b"GET /api/orders/26%002",
        b"GET /api/orders?after=%00",
        b"GET /oauth/start?return_to=/%00",
        b"GET /h5/%00.js",
        b"GET /MP_verify_%00.txt",
    ],
)
async def test_a_nul_in_an_address_is_400(running: RunningShop, head: bytes) -> None:
    assert await raw(running, head + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == 400


@pytest.mark.parametrize("name", [b"Idempotency-Key", b"Authorization", b"Cookie", b"X-Other"])
async def test_a_nul_in_a_header_is_400(running: RunningShop, name: bytes) -> None:
    head = b"GET /api/products HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    assert await raw(running, head + name + b": a" + NUL + b"b\r\n\r\n") == 400
    assert await raw(running, head + name + b": ab\r\n\r\n") == 200


async def test_a_nul_in_a_text_is_400_and_named(running: RunningShop) -> None:
    buyer = await running.buyer()
    headers = {**buyer.headers, **JSON, "Idempotency-Key": "k"}
    body = rb'{"items":[{"sku":"sample\u0000","quantity":1}]}'
    answer = await running.http.post("/api/orders", content=body, headers=headers)
    assert check_failure(answer, 400)["field"] == "items[0].sku"
    escaped = rb'{"items":[{"sku":"a\\u0000","quantity":1}]}'  # six plain characters
    answer = await running.http.post("/api/orders", content=escaped, headers=headers)
    assert check_failure(answer, 400)["message"] == "no such product"
