"""Login codes, the OAuth page, and the calls behind it."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

CALLBACK = "http://127.0.0.1:8000/oauth/callback"


def code2session(merchant, code, **changes):
    asked = {"appid": merchant.mini["appid"], "secret": merchant.mini["secret"]}
    asked |= {"js_code": code, "grant_type": "authorization_code"} | changes
    return get(merchant, "/sns/jscode2session", **asked)


def exchange(merchant, code, **changes):
    asked = {"appid": merchant.official["appid"], "secret": merchant.official["secret"]}
    asked |= {"code": code, "grant_type": "authorization_code"} | changes
    return get(merchant, "/sns/oauth2/access_token", **asked)


async def get(merchant, path, **asked):
    answer = await merchant.http.get(path, params={k: v for k, v in asked.items() if v})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain"
    return answer.json()


def login_code(merchant, **more):
    return merchant.control("login-code", appid=merchant.mini["appid"], openid="oBuyer", **more)


def oauth_code(merchant, **more):
    return merchant.control(
        "oauth-code", appid=merchant.official["appid"], openid="oReader", **more
    )


def authorize(merchant, **changes):
    asked = {
        "appid": merchant.official["appid"],
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "snsapi_base",
        "state": "abc123",
    }
    return merchant.http.get("/connect/oauth2/authorize?" + urlencode(asked | changes))


async def test_a_login_code_is_an_openid_once(merchant):
    code = (await login_code(merchant, unionid="uBuyer"))["code"]
    answer = await code2session(merchant, code)
    assert (answer["openid"], answer["unionid"]) == ("oBuyer", "uBuyer")
    assert len(answer["session_key"]) == 24
    again = await code2session(merchant, code)
    assert again["errcode"] == 40163
    assert ", rid: " in again["errmsg"]


async def test_a_code_lives_five_virtual_minutes(merchant):
    code = (await login_code(merchant))["code"]
    await merchant.control("clock", advance_seconds=300)
    assert (await code2session(merchant, code))["errcode"] == 40029


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"appid": ""}, 41002),
        ({"secret": ""}, 41004),
        ({"js_code": ""}, 41008),
        ({"grant_type": "code"}, 40002),
        ({"appid": "wx0"}, 40013),
        ({"secret": "0" * 32}, 40125),
        ({"js_code": "unknown"}, 40029),
    ],
)
async def test_a_wrong_login_call_has_its_errcode(merchant, changes, errcode):
    code = (await login_code(merchant))["code"]
    assert (await code2session(merchant, code, **changes))["errcode"] == errcode


async def test_codes_of_one_kind_do_not_work_for_the_other(merchant):
    login = (await login_code(merchant))["code"]
    oauth = (await oauth_code(merchant))["code"]
    assert (await code2session(merchant, oauth))["errcode"] == 40029
    assert (await exchange(merchant, login))["errcode"] == 40029
    official = {key: merchant.official[key] for key in ("appid", "secret")}
    assert (await code2session(merchant, oauth, **official))["errcode"] == 40029
    mini = {key: merchant.mini[key] for key in ("appid", "secret")}
    assert (await exchange(merchant, login, **mini))["errcode"] == 40029


async def test_web_login_gives_tokens_and_userinfo_only_in_its_scope(merchant):
    base = await exchange(merchant, (await oauth_code(merchant, unionid="uReader"))["code"])
    assert base["openid"] == "oReader"
    assert "unionid" not in base
    asked = {"access_token": base["access_token"], "openid": "oReader"}
    assert (await get(merchant, "/sns/userinfo", **asked))["errcode"] == 48001
    assert (await get(merchant, "/sns/auth", **asked))["errcode"] == 0
    code = (await oauth_code(merchant, scope="snsapi_userinfo"))["code"]
    full = await exchange(merchant, code)
    assert full["unionid"] == "uReader"
    asked = {"access_token": full["access_token"], "openid": "oReader"}
    assert (await get(merchant, "/sns/userinfo", **asked))["unionid"] == "uReader"
    assert (await get(merchant, "/sns/userinfo", **asked | {"openid": "o"}))["errcode"] == 40003


async def test_tokens_end_and_can_be_refreshed_for_thirty_days(merchant):
    token = await exchange(merchant, (await oauth_code(merchant))["code"])
    asked = {"access_token": token["access_token"], "openid": "oReader"}
    await merchant.control("clock", advance_seconds=7200)
    assert (await get(merchant, "/sns/auth", **asked))["errcode"] == 42001
    renew = {"appid": merchant.official["appid"], "grant_type": "refresh_token"}
    renew["refresh_token"] = token["refresh_token"]
    fresh = await get(merchant, "/sns/oauth2/refresh_token", **renew)
    asked["access_token"] = fresh["access_token"]
    assert (await get(merchant, "/sns/auth", **asked))["errcode"] == 0
    await merchant.control("clock", advance_seconds=30 * 24 * 3600)
    assert (await get(merchant, "/sns/oauth2/refresh_token", **renew))["errcode"] == 42002


async def test_a_snapshot_user_has_a_made_up_openid_that_cannot_order(merchant):
    answer = await exchange(merchant, (await oauth_code(merchant, snapshot=True))["code"])
    assert answer["is_snapshotuser"] == 1
    assert answer["openid"] != "oReader"
    body = merchant.order(appid=merchant.official["appid"], payer={"openid": answer["openid"]})
    refused = await merchant.call("POST", "/v3/pay/transactions/jsapi", body)
    assert refused.json()["code"] == "OPENID_MISMATCH"


async def test_silent_authorization_comes_back_at_once_with_a_code(merchant):
    answer = await authorize(merchant, redirect_uri=CALLBACK + "?to=/cart")
    assert answer.status_code == 302
    back = urlsplit(answer.headers["location"])
    asked = parse_qs(back.query)
    assert answer.headers["location"].startswith(CALLBACK + "?to=/cart&code=")
    assert asked["state"] == ["abc123"]
    default = await exchange(merchant, asked["code"][0])
    assert len(default["openid"]) == 28
    merchant.http.cookies.set("sandbox_openid", "oSomebody")
    back = urlsplit((await authorize(merchant)).headers["location"])
    chosen = await exchange(merchant, parse_qs(back.query)["code"][0])
    assert chosen["openid"] == "oSomebody"


async def test_userinfo_asks_for_consent(merchant):
    page = await authorize(merchant, scope="snsapi_userinfo")
    assert page.status_code == 200
    assert "允许" in page.text
    assert f'href="{CALLBACK}?state=abc123"' in page.text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"redirect_uri": "https://shop.example.com/callback"}, "10003"),
        ({"redirect_uri": "http://127.0.0.1@example.com/"}, "10003"),
        ({"appid": "wx0"}, "10003"),
        ({"scope": "snsapi_everything"}, "10005"),
        ({"response_type": "token"}, "10005"),
        ({"surprise": "1"}, "10005"),
        ({"state": "a-b"}, "state"),
        ({"state": "a" * 129}, "state"),
    ],
)
async def test_a_wrong_authorize_link_shows_wechats_error_page(merchant, changes, shown):
    page = await authorize(merchant, **changes)
    assert page.status_code == 200
    assert shown in page.text
    assert shown in (await merchant.control("log"))["entries"][-1]["verdict"]


async def test_the_order_of_the_parameters_matters(merchant):
    asked = {"scope": "snsapi_base", "appid": merchant.official["appid"], "state": "1"}
    asked |= {"redirect_uri": CALLBACK, "response_type": "code"}
    page = await merchant.http.get("/connect/oauth2/authorize?" + urlencode(asked))
    assert "10005" in page.text


async def test_secrets_are_starred_in_the_log(merchant):
    code = (await login_code(merchant))["code"]
    answer = await code2session(merchant, code)
    token = await exchange(merchant, (await oauth_code(merchant))["code"])
    await get(merchant, "/sns/auth", access_token=token["access_token"], openid="oReader")
    text = (await merchant.http.get("/_sandbox/log")).text
    for secret in (
        merchant.mini["secret"],
        merchant.official["secret"],
        answer["session_key"],
        token["access_token"],
        token["refresh_token"],
    ):
        assert secret not in text
