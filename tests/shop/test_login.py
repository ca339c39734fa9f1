"""Who the buyer is: login codes, the OAuth round trip, sessions, identities."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from accounts.models import Buyer, Identity, OAuthState
from kit.buyers import Browser
from kit.logs import Diary
from kit.running import BuyerClient, RunningShop

KEY = "secret-key-of-the-tests-0123456789abcdef"


@pytest.fixture
async def browser(running: RunningShop) -> AsyncIterator[Browser]:
    browser = Browser(running, "oReader")
    yield browser
    await browser.http.aclose()


async def test_the_oauth_round_trip_ends_in_a_session_cookie_and_a_clean_url(
    browser: Browser,
) -> None:
    answer = await browser.http.get(await browser.start("/?order=1"))
    assert (answer.status_code, answer.headers["location"]) == (302, "/?order=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie  # the test's public URL is http
    assert (await browser.me()).json()["identities"] == [{"kind": "official_account"}]
    assert "oReader" not in (await browser.me()).text


async def test_the_authorize_address_keeps_wechats_parameter_order(browser: Browser) -> None:
    answer = await browser.http.get("/oauth/start")
    address = urlsplit(answer.headers["location"])
    names = [pair.split("=")[0] for pair in address.query.split("&")]
    assert names[:5] == ["appid", "redirect_uri", "response_type", "scope", "state"]
    assert address.fragment == "wechat_redirect"


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_callback_that_one_browser_loads_twice_ends_in_one_session(
    browser: Browser, at_once: bool
) -> None:
    callback = await browser.start()
    if at_once:
        answers = await asyncio.gather(*(browser.http.get(callback) for _ in range(3)))
    else:
        answers = [await browser.http.get(callback) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {302}
    assert await Buyer.all().count() == 1
    assert (await browser.me()).status_code == 200


async def test_another_browser_cannot_use_the_callback(
    running: RunningShop, browser: Browser
) -> None:
    callback = await browser.start()
    thief = Browser(running, "oThief")
    await thief.start()
    answer = await thief.http.get(callback)
    assert answer.status_code == 400
    assert "shop_session" not in answer.headers.get("set-cookie", "")
    assert (await thief.me()).status_code == 401
    assert (await browser.http.get(callback)).status_code == 302
    await thief.http.aclose()


async def test_a_state_is_used_once(browser: Browser) -> None:
    callback = await browser.start()
    await browser.http.get(callback)
    state = parse_qs(urlsplit(callback).query)["state"][0]
    again = await browser.http.get(f"/oauth/callback?code={await browser.code()}&state={state}")
    assert again.status_code == 400


async def test_a_state_waits_ten_minutes(running: RunningShop, browser: Browser) -> None:
    callback = await browser.start()
    await running.advance(601)
    assert (await browser.http.get(callback)).status_code == 400


@pytest.mark.parametrize("query", ["", "state=abc", "code=abc", "code=a&state=%ff", "code=&state="])
async def test_a_callback_without_code_or_state_is_a_page_that_explains(
    browser: Browser, query: str
) -> None:
    answer = await browser.http.get(f"/oauth/callback?{query}")
    assert answer.status_code in (400, 401)
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_snapshot_user_gets_no_session(running: RunningShop, browser: Browser) -> None:
    callback = await browser.start()
    state = parse_qs(urlsplit(callback).query)["state"][0]
    code = await browser.code(scope="snsapi_userinfo", snapshot=True)
    answer = await browser.http.get(f"/oauth/callback?code={code}&state={state}")
    assert answer.status_code == 403
    assert "使用完整服务" in answer.text
    assert (await browser.me()).status_code == 401
    assert await Buyer.all().count() == 0


@pytest.mark.parametrize(
    "return_to",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nX: y", "x", "/" * 600],
)
async def test_the_way_back_stays_on_this_origin(browser: Browser, return_to: str) -> None:
    answer = await browser.http.get(await browser.start(return_to))
    assert answer.headers["location"] == "/"


async def test_a_login_code_is_good_once(running: RunningShop) -> None:
    appid = running.app("miniprogram")["appid"]
    code = (await running.control("login-code", appid=appid, openid="oBuyer"))["code"]
    assert (await running.http.post("/api/sessions/miniprogram", json={"code": code})).is_success
    again = await running.http.post("/api/sessions/miniprogram", json={"code": code})
    assert (again.status_code, again.json()["code"]) == (401, "LOGIN_CODE_INVALID")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("refuse", 403, "LOGIN_REFUSED"),
        ("429", 429, "TOO_MANY_REQUESTS"),
        ("reset_before", 503, "OUTCOME_UNKNOWN"),
    ],
)
async def test_what_wechat_says_of_a_login_has_an_answer_of_its_own(
    running: RunningShop, fault: str, status: int, code: str
) -> None:
    appid = running.app("miniprogram")["appid"]
    login = await running.control("login-code", appid=appid, openid="oBuyer")
    await running.control("faults", answers={"code2session": fault})
    answer = await running.http.post("/api/sessions/miniprogram", json={"code": login["code"]})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


class TestWrongSecret:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_MINIPROGRAM_SECRET": "0" * 32}

    async def test_a_wrong_appsecret_is_our_fault_not_the_buyers(
        self, running: RunningShop, diary: Diary
    ) -> None:
        answer = await running.http.post("/api/sessions/miniprogram", json={"code": "x"})
        assert (answer.status_code, answer.json()["code"]) == (502, "WECHAT_REFUSED")
        assert answer.json()["wechat_code"] == "40125"
        [alarm] = diary.fields("WeChat refuses the app that buyers log in with")
        assert (alarm["code"], alarm["alarm"]) == ("40125", True)
        assert ", rid: " in alarm["why"]


async def test_one_person_who_logs_in_many_times_at_once_is_one_buyer(running: RunningShop) -> None:
    await asyncio.gather(*(running.buyer("oBuyer") for _ in range(8)))
    assert await Buyer.all().count() == 1
    assert await Identity.all().count() == 1


async def test_only_an_equal_unionid_joins_two_apps(running: RunningShop, browser: Browser) -> None:
    mini, official = (running.app(kind)["appid"] for kind in ("miniprogram", "official_account"))
    for openid, unionid in (("oMini", "u1"), ("oOther", "u2")):
        made = await running.control("login-code", appid=mini, openid=openid, unionid=unionid)
        await running.http.post("/api/sessions/miniprogram", json={"code": made["code"]})
    callback = await browser.start()
    state = parse_qs(urlsplit(callback).query)["state"][0]
    asked = {"openid": "oPage", "unionid": "u1", "scope": "snsapi_userinfo"}
    code = (await running.control("oauth-code", appid=official, **asked))["code"]
    await browser.http.get(f"/oauth/callback?code={code}&state={state}")
    kinds = {row["kind"] for row in (await browser.me()).json()["identities"]}
    assert kinds == {"miniprogram", "official_account"}
    assert await Buyer.all().count() == 2


async def test_a_scene_needs_the_identity_of_its_app(
    running: RunningShop, browser: Browser
) -> None:
    mini = await running.buyer()
    order = await mini.order()
    answer = await mini.start(order["order_no"], "jsapi")
    assert (answer.status_code, answer.json()["code"]) == (409, "OPENID_REQUIRED")
    assert answer.json()["login"] == "/oauth/start"


async def test_a_guest_has_a_session_but_no_openid(running: RunningShop) -> None:
    answer = await running.http.post("/api/sessions/guest", json={})
    assert list(answer.json()) == ["token", "expires_in"]
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert (await running.http.get("/api/me", headers=headers)).json()["identities"] == []


def token(sub: str, key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    body = {"sub": sub, "aud": "shop", "iat": now, "exp": now + 60} | claims
    return jwt.encode({k: v for k, v in body.items() if v is not None}, key, algorithm)


def tampered(sub: str) -> str:
    """Take the signature of one token for the claims of another."""
    return token(sub).rpartition(".")[0] + "." + token("somebody-else").rpartition(".")[2]


BAD_TOKENS = {
    "of another key": lambda sub: token(sub, "another-key-of-the-tests-0123456789abcd"),
    "run out": lambda sub: token(sub, exp=int(time.time()) - 60),
    "for another audience": lambda sub: token(sub, aud="elsewhere"),
    "for nobody in particular": lambda sub: token(sub, aud=None),
    "without end": lambda sub: token(sub, exp=None),
    "unsigned": lambda sub: token(sub, "", "none"),
    "without its signature": lambda sub: token(sub).rpartition(".")[0] + ".",
    "tampered": tampered,
    "garbage": lambda _: "a.b.c",
}


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_a_session_that_does_not_hold_is_401(running: RunningShop, case: str) -> None:
    sub = await running.shop.login.guest()
    good = await running.http.get("/api/me", headers={"Authorization": f"Bearer {token(sub)}"})
    assert (good.status_code, good.json()["buyer"]) == (200, sub)
    headers = {"Authorization": f"Bearer {BAD_TOKENS[case](sub)}"}
    answer = await running.http.get("/api/me", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "LOGIN_REQUIRED")


async def test_a_token_of_a_buyer_who_is_gone_sees_nothing(running: RunningShop) -> None:
    """The token proves itself: no look into the database says that nobody is behind it."""
    somebody = await running.buyer()
    order_no = (await somebody.order())["order_no"]
    gone = BuyerClient(running, {"Authorization": f"Bearer {token('0123456789abcdef')}"}, "")
    assert (await gone.get("/api/me")).json()["identities"] == []
    assert (await gone.get("/api/orders")).json() == {"orders": [], "next": None}
    assert (await gone.get(f"/api/orders/{order_no}")).status_code == 404
    assert (await gone.start(order_no)).status_code == 404
    assert (await gone.post(f"/api/orders/{order_no}/cancel")).status_code == 404
    needs_openid = await gone.start((await gone.order())["order_no"])
    assert (needs_openid.status_code, needs_openid.json()["code"]) == (409, "OPENID_REQUIRED")
    assert needs_openid.json()["login"] == "/api/sessions/miniprogram"


async def test_the_end_of_a_session_clears_the_cookie_and_nothing_else(
    running: RunningShop, browser: Browser
) -> None:
    await browser.http.get(await browser.start())
    token_of_cookie = browser.http.cookies["shop_session"]
    ours = {"Origin": running.origin, "Content-Type": "application/json"}
    answer = await browser.http.post("/api/sessions/end", content=b"{}", headers=ours)
    assert (answer.status_code, answer.content) == (204, b"")
    cleared = answer.headers["set-cookie"].split("; ")
    assert {'shop_session=""', "Path=/", "Max-Age=0", "HttpOnly", "SameSite=Lax"} == set(cleared)
    assert "shop_session" not in browser.http.cookies
    assert (await browser.me()).json()["code"] == "LOGIN_REQUIRED"
    bearer = {"Authorization": f"Bearer {token_of_cookie}"}  # holds until it expires
    assert (await running.http.get("/api/me", headers=bearer)).status_code == 200
    assert (await browser.http.post("/api/sessions/end", headers=ours)).status_code == 204


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_page_of_another_origin_does_not_end_a_session(
    running: RunningShop, browser: Browser, origin: str
) -> None:
    await browser.http.get(await browser.start())
    answer = await browser.http.post("/api/sessions/end", headers={"Origin": origin})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert (await browser.me()).status_code == 200


async def test_a_cookie_counts_for_a_change_only_from_our_own_page(
    running: RunningShop, browser: Browser
) -> None:
    await browser.http.get(await browser.start())
    body = {"items": [{"sku": "cup", "quantity": 1}]}
    key = {"Idempotency-Key": "k"}
    for origin in (None, "https://evil.example", "null"):
        headers = key | ({"Origin": origin} if origin else {})
        answer = await browser.http.post("/api/orders", json=body, headers=headers)
        assert answer.status_code == 401
    form = {**key, "Origin": running.origin, "Content-Type": "text/plain"}
    assert (await browser.http.post("/api/orders", content=b"{}", headers=form)).status_code == 415
    ours = {**key, "Origin": running.origin}
    assert (await browser.http.post("/api/orders", json=body, headers=ours)).status_code == 201


async def test_states_that_ran_out_are_swept_away(running: RunningShop, browser: Browser) -> None:
    await browser.start()
    await running.advance(700)
    await running.shop.forget()
    assert await OAuthState.all().count() == 0
