"""What goes wrong at a login, and how the buyer goes on from there."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from accounts.models import Buyer, Identity
from kit.books import calls
from kit.buyers import Browser
from kit.running import RunningShop
from sandbox.login import LoginError
from wechat import transport

from sandbox import login as sandbox_login


@pytest.fixture
async def browser(running: RunningShop) -> AsyncIterator[Browser]:
    browser = Browser(running, "oReader")
    yield browser
    await browser.http.aclose()


async def used_callback(browser: Browser, return_to: str = "/") -> str:
    """Begin a login whose code somebody else used up already."""
    callback = await browser.start(return_to)
    other = Browser(browser.running, browser.openid)
    state = parse_qs(urlsplit(await other.start()).query)["state"][0]
    code = parse_qs(urlsplit(callback).query)["code"][0]
    assert (await other.http.get(f"/oauth/callback?code={code}&state={state}")).status_code == 302
    await other.http.aclose()
    return callback


async def test_a_used_code_goes_on_with_the_session_there_is(browser: Browser) -> None:
    await browser.http.get(await browser.start())
    me = (await browser.me()).json()
    answer = await browser.http.get(await used_callback(browser, "/?order=1"))
    assert (answer.status_code, answer.headers["location"]) == (302, "/?order=1")
    assert (await browser.me()).json() == me


async def test_a_used_code_without_a_session_begins_the_login_again_but_once(
    browser: Browser,
) -> None:
    answer = await browser.http.get(await used_callback(browser, "/?order=1&x=2"))
    assert answer.status_code == 302
    assert answer.headers["location"] == "/oauth/start?return_to=%2F%3Forder%3D1%26x%3D2"
    assert (await browser.me()).status_code == 401
    refused = await browser.http.get(await used_callback(browser))
    assert refused.status_code == 401
    assert "重新登录" in refused.text
    done = await browser.http.get(await browser.start())
    assert (done.status_code, (await browser.me()).status_code) == (302, 200)


async def test_a_used_code_does_not_go_on_with_a_session_that_does_not_hold(
    browser: Browser,
) -> None:
    browser.http.cookies.set("shop_session", "a.b.c")
    answer = await browser.http.get(await used_callback(browser))
    assert answer.headers["location"].startswith("/oauth/start")


async def test_a_snapshot_page_loaded_three_times_explains_three_times(browser: Browser) -> None:
    state = parse_qs(urlsplit(await browser.start()).query)["state"][0]
    code = await browser.code(scope="snsapi_userinfo", snapshot=True)
    loads = (browser.http.get(f"/oauth/callback?code={code}&state={state}") for _ in range(3))
    for answer in await asyncio.gather(*loads):
        assert answer.status_code == 403
        assert "使用完整服务" in answer.text
    assert len(await calls(browser.running, "/sns/oauth2/access_token")) == 1
    assert await Buyer.all().count() == 0


async def test_two_loads_of_a_failing_callback_both_end_at_once(browser: Browser) -> None:
    callback = await used_callback(browser)
    async with asyncio.timeout(3):
        loads = [browser.http.get(callback) for _ in range(2)]
        assert {answer.status_code for answer in await asyncio.gather(*loads)} <= {302, 401}


@pytest.mark.parametrize("fault", ["500", "reset_before", "reset_after", "hang"])
async def test_a_silent_wechat_is_a_page_that_offers_the_login_again(
    running: RunningShop, browser: Browser, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(transport, "TOTAL_SECONDS", 0.3)
    callback = await browser.start()
    await running.control("faults", answers={"oauth": fault})
    answer = await browser.http.get(callback)
    assert answer.status_code == 503
    assert "/oauth/start" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("fault", ["500", "reset_before", "reset_after", "hang"])
async def test_a_silent_wechat_is_503_for_the_mini_program(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(transport, "TOTAL_SECONDS", 0.3)
    appid = running.app("miniprogram")["appid"]
    login = await running.control("login-code", appid=appid, openid="oBuyer")
    await running.control("faults", answers={"code2session": fault})
    answer = await running.http.post("/api/sessions/miniprogram", json={"code": login["code"]})
    assert (answer.status_code, answer.json()["code"]) == (503, "OUTCOME_UNKNOWN")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("errcode", "status", "code"),
    [
        (-1, 503, "OUTCOME_UNKNOWN"),
        (40029, 401, "LOGIN_CODE_INVALID"),
        (40163, 401, "LOGIN_CODE_INVALID"),
        (40226, 403, "LOGIN_REFUSED"),
        (45011, 429, "TOO_MANY_REQUESTS"),
        (40013, 502, "WECHAT_REFUSED"),
        (40125, 502, "WECHAT_REFUSED"),
    ],
)
async def test_each_errcode_of_a_login_has_its_answer(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, errcode: int, status: int, code: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LoginError(errcode)

    monkeypatch.setattr(sandbox_login, "_check_app", refuse)
    answer = await running.http.post("/api/sessions/miniprogram", json={"code": "x"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "rid" not in answer.text
    assert answer.json().get("wechat_code") == (str(errcode) if status == 502 else None)


async def test_the_session_key_is_neither_stored_nor_returned_nor_logged(
    running: RunningShop, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    appid = running.app("miniprogram")["appid"]
    code = (await running.control("login-code", appid=appid, openid="oBuyer"))["code"]
    answer = await running.http.post("/api/sessions/miniprogram", json={"code": code})
    (call,) = await calls(running, "/sns/jscode2session")
    key = httpx.Response(200, text=call["response_body"]).json()["session_key"]
    assert key not in answer.text
    assert set(answer.json()) == {"token", "expires_in"}
    rows = [dict(row) for model in (Buyer, Identity) for row in await model.all().values()]
    assert key not in repr(rows)
    assert key not in "".join(capfd.readouterr())


async def test_a_guest_session_of_another_origin_is_refused(running: RunningShop) -> None:
    for origin, status in (("https://evil.example", 401), ("null", 401), (running.origin, 200)):
        answer = await running.http.post("/api/sessions/guest", headers={"Origin": origin})
        assert answer.status_code == status
        assert ("set-cookie" in answer.headers) == (status == 200)


async def test_a_buyer_who_was_deleted_needs_another_login_to_pay(running: RunningShop) -> None:
    """A token holds until it expires; what it sees is what the buyer's rows say, nothing."""
    buyer = await running.buyer()
    assert (await buyer.get("/api/me")).json()["identities"] == [{"kind": "miniprogram"}]
    await Identity.all().delete()
    await Buyer.all().delete()
    assert (await buyer.get("/api/me")).json()["identities"] == []
    refused = await buyer.start((await buyer.order())["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "OPENID_REQUIRED")
    again = await running.buyer(buyer.openid)
    assert (await again.start((await again.order())["order_no"])).status_code == 201


async def test_a_bearer_token_needs_no_origin(running: RunningShop) -> None:
    buyer = await running.buyer()
    stranger = {"Origin": "https://servicewechat.com", "Idempotency-Key": "k"}
    body = {"items": [{"sku": "cup", "quantity": 1}]}
    assert (await buyer.post("/api/orders", body, **stranger)).status_code == 201


async def test_people_without_a_unionid_are_never_joined(
    running: RunningShop, browser: Browser
) -> None:
    await running.buyer("oOne")
    await running.buyer("oTwo")
    await browser.http.get(await browser.start())
    assert await Buyer.all().count() == 3
