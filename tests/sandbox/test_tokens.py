"""Access tokens of apps: lifetimes on the virtual clock, quotas, and who must bring one."""

import hmac

import pytest
from sandbox.app_tokens import Tokens
from sandbox.errcodes import LoginError

DAY = 24 * 3600
CREDENTIAL = "client_credential"


def asked(app, **changes):
    fields = {"grant_type": CREDENTIAL, "appid": app["appid"], "secret": app["secret"]} | changes
    return {name: value for name, value in fields.items() if value is not None}


async def token(merchant, app=None, **changes):
    answer = await merchant.http.get(
        "/cgi-bin/token", params=asked(app or merchant.mini, **changes)
    )
    assert answer.status_code == 200
    return answer.json()


async def stable(merchant, app=None, **changes):
    body = asked(app or merchant.mini, **changes)
    answer = await merchant.http.post("/cgi-bin/stable_token", json=body)
    assert answer.status_code == 200
    return answer.json()


async def errcode(merchant, text, path="/wxa/anything"):
    """Bring a token to a call of which the sandbox plays nothing but the asking for it."""
    answer = await merchant.http.post(path, params={"access_token": text}, json={})
    assert answer.status_code == 200
    return answer.json()["errcode"]


GOOD = 40066  # the token was good, the address is not one that is played


async def test_every_token_replaces_the_one_before_which_lives_five_minutes_more(merchant):
    first, second = await token(merchant), await token(merchant)
    assert first["access_token"] != second["access_token"]
    assert (first["expires_in"], second["expires_in"]) == (7200, 7200)
    assert await errcode(merchant, first["access_token"]) == GOOD
    await merchant.control("clock", advance_seconds=300)
    assert await errcode(merchant, first["access_token"]) == 40001
    assert await errcode(merchant, second["access_token"]) == GOOD


async def test_a_token_lives_two_virtual_hours(merchant):
    text = (await token(merchant))["access_token"]
    await merchant.control("clock", advance_seconds=7199)
    assert await errcode(merchant, text) == GOOD
    await merchant.control("clock", advance_seconds=1)
    assert await errcode(merchant, text) == 42001


async def test_the_stable_token_stays_until_its_last_five_minutes(merchant):
    first = await stable(merchant)
    await merchant.control("clock", advance_seconds=6899)
    again = await stable(merchant, force_refresh=False)
    assert again["access_token"] == first["access_token"]
    assert 300 <= again["expires_in"] <= 301
    await merchant.control("clock", advance_seconds=2)
    fresh = await stable(merchant)
    assert fresh["access_token"] != first["access_token"]
    assert fresh["expires_in"] == 7200
    for token_text in (first, fresh):  # both are good while the old one ends
        assert await errcode(merchant, token_text["access_token"]) == GOOD


async def test_the_two_calls_do_not_disturb_each_other(merchant):
    calm = await stable(merchant)
    for _ in range(2):
        await token(merchant)
    await merchant.control("clock", advance_seconds=600)
    assert await errcode(merchant, calm["access_token"]) == GOOD


async def test_a_forced_refresh_ends_the_token_at_once_but_not_twice_in_thirty_seconds(merchant):
    first = (await stable(merchant))["access_token"]
    second = (await stable(merchant, force_refresh=True))["access_token"]
    assert await errcode(merchant, first) == 40001
    await merchant.control("clock", advance_seconds=29)
    assert (await stable(merchant, force_refresh=True))["access_token"] == second
    await merchant.control("clock", advance_seconds=1)
    third = (await stable(merchant, force_refresh=True))["access_token"]
    assert third != second
    assert await errcode(merchant, second) == 40001
    assert (await stable(merchant))["access_token"] == third


async def test_twenty_forced_refreshes_a_day_are_too_many_from_the_next_on(merchant):
    now = (await merchant.control("clock"))["now"]
    to_midnight = DAY - sum(
        int(part) * unit for part, unit in zip(now[11:19].split(":"), (3600, 60, 1), strict=True)
    )
    await merchant.control("clock", advance_seconds=to_midnight)
    for _ in range(20):
        assert "access_token" in await stable(merchant, force_refresh=True)
        await merchant.control("clock", advance_seconds=30)
    assert (await stable(merchant, force_refresh=True))["errcode"] == 45009
    assert "access_token" in await stable(merchant)
    await merchant.control("clock", advance_seconds=DAY)
    assert "access_token" in await stable(merchant, force_refresh=True)


@pytest.mark.parametrize(
    ("call", "most", "code", "pause"),
    [("renew", 2_000, 45009, DAY), ("stable", 10_000, 45011, 60)],
)
def test_calls_have_quotas_by_day_and_by_minute(call, most, code, pause):
    tokens = Tokens()
    start = 1_700_000_000 // 60 * 60
    for _ in range(most):
        getattr(tokens, call)("wx9", start)
    with pytest.raises(LoginError) as refused:
        getattr(tokens, call)("wx9", start)
    assert refused.value.errcode == code
    assert getattr(tokens, call)("wx8", start).appid == "wx8"
    assert getattr(tokens, call)("wx9", start + pause).appid == "wx9"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"appid": None}, 41002),
        ({"secret": None}, 41004),
        ({"grant_type": "authorization_code"}, 40002),
        ({"grant_type": None}, 40002),
        ({"appid": "wx0"}, 40013),
        ({"secret": "0" * 32}, 40125),
    ],
)
async def test_whoever_is_no_client_gets_an_errcode(merchant, changes, code):
    assert (await token(merchant, **changes))["errcode"] == code
    answer = await stable(merchant, **changes)
    assert answer["errcode"] == code
    assert ", rid: " in answer["errmsg"]


async def test_a_mobile_app_has_no_such_token(merchant):
    app = next(app for app in merchant.credentials["apps"] if app["kind"] == "app")
    assert (await token(merchant, app))["errcode"] == 40013


async def test_the_stable_token_is_asked_for_by_post_and_json(merchant):
    answer = await merchant.http.get("/cgi-bin/stable_token", params=asked(merchant.mini))
    assert answer.json()["errcode"] == 43002
    for body in (b"grant_type=client_credential", b"[]", b""):
        answer = await merchant.http.post("/cgi-bin/stable_token", content=body)
        assert answer.json()["errcode"] == 47001
    assert (await stable(merchant, force_refresh="true"))["errcode"] == 47001


@pytest.mark.parametrize("path", ["/wxa/sec/order/get_order", "/cgi-bin/ticket/getticket"])
async def test_a_call_of_the_app_needs_its_token(merchant, path):
    answer = await merchant.http.post(path, json={})
    assert answer.json()["errcode"] == 41001
    for text, code in (("x", 40014), ("x" * 100, 40001)):
        assert await errcode(merchant, text, path) == code
    code = await merchant.control("oauth-code", appid=merchant.official["appid"], openid="oReader")
    app = {"appid": merchant.official["appid"], "secret": merchant.official["secret"]}
    users = await merchant.http.get(
        "/sns/oauth2/access_token",
        params={**app, "code": code["code"], "grant_type": "authorization_code"},
    )
    assert await errcode(merchant, users.json()["access_token"], path) == 40013


async def test_a_ticket_is_given_for_a_token(merchant):
    text = (await stable(merchant, merchant.official))["access_token"]
    params = {"access_token": text, "type": "jsapi"}
    answer = (await merchant.http.get("/cgi-bin/ticket/getticket", params=params)).json()
    assert (answer["errcode"], answer["expires_in"]) == (0, 7200)
    assert len(answer["ticket"]) > 40


async def test_the_login_of_a_mini_program_can_be_checked(merchant):
    app = {"appid": merchant.mini["appid"], "secret": merchant.mini["secret"]}
    code = await merchant.control("login-code", appid=app["appid"], openid="oBuyer")
    params = {**app, "js_code": code["code"], "grant_type": "authorization_code"}
    credentials = (await merchant.http.get("/sns/jscode2session", params=params)).json()
    right = hmac.new(credentials["session_key"].encode(), b"", "sha256").hexdigest()
    check = {
        "access_token": (await token(merchant))["access_token"],
        "openid": "oBuyer",
        "signature": right,
        "sig_method": "hmac_sha256",
    }
    for changes, errors in (
        ({}, 0),
        ({"signature": "0" * 64}, 87009),
        ({"sig_method": "md5"}, 87008),
        ({"openid": "oStranger"}, 87007),
    ):
        answer = await merchant.http.get("/wxa/checksession", params=check | changes)
        assert answer.json()["errcode"] == errors


async def test_the_unionid_of_a_payer_is_told_for_five_minutes(merchant):
    app = merchant.mini["appid"]
    await merchant.control("login-code", appid=app, openid="oBuyer", unionid="uBuyer")
    body, prepay_id = await merchant.prepay()
    params = {
        "access_token": (await token(merchant))["access_token"],
        "openid": "oBuyer",
        "mch_id": merchant.mchid,
        "out_trade_no": body["out_trade_no"],
    }

    async def paid_unionid():
        return (await merchant.http.get("/wxa/getpaidunionid", params=params)).json()

    assert (await paid_unionid())["errcode"] == 89300
    await merchant.pay(prepay_id)
    assert (await paid_unionid())["unionid"] == "uBuyer"
    await merchant.control("clock", advance_seconds=301)
    assert (await paid_unionid())["errcode"] == 89300


@pytest.mark.parametrize(("fault", "code"), [("500", -1), ("429", 45009), ("refuse", 40164)])
async def test_a_token_can_be_refused_on_purpose(merchant, fault, code):
    await merchant.faults(answers={"token": fault}, times=1)
    answer = await token(merchant)
    assert answer["errcode"] == code
    if code == 40164:
        assert "not in whitelist" in answer["errmsg"]
    assert "access_token" in await token(merchant)


async def test_neither_secret_nor_token_stands_in_the_log(merchant):
    made = [await token(merchant), await stable(merchant)]
    await errcode(merchant, made[0]["access_token"])
    text = (await merchant.http.get("/_sandbox/log")).text
    for secret in (merchant.mini["secret"], *(token_text["access_token"] for token_text in made)):
        assert secret not in text
