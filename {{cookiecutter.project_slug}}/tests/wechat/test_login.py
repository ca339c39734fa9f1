"""Mini-program login and web OAuth: every errcode, strange bodies, and no secret anywhere."""

import logging
import traceback
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from wechat import login
from wechat.errors import LoginRefused, MalformedAnswer, NotSent, OutcomeUnknown, WeChatError

SECRET = "5ecret5ecret5ecret5ecret5ecret00"
KEYS = {"appid": "wx0000000000000001", "secret": SECRET, "code": "0a1B2c"}
# reference of code2Session, sns/oauth2/access_token and sns/userinfo
ACTIONS = {
    "login_again": {40001, 40003, 40014, 40029, 40030, 40163, 41008, 42001, 42002, 42003, 42007},
    "retry_later": {-1, 45011},
    "refused": {40226},
    "fix_settings": {40002, 40013, 40125, 41002, 41003, 41004, 45009, 48001, 61003},
}


def answering(content: Any, status: int = 200, kind: str = "text/plain") -> httpx.AsyncClient:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(content, Exception):
            raise content
        requests.append(request)
        return httpx.Response(status, headers={"Content-Type": kind}, **body)

    requests: list[httpx.Request] = []
    body: Any = {"content": content} if isinstance(content, bytes) else {"json": content}
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    client.requests = requests  # type: ignore[attr-defined]
    return client


async def refused(http: httpx.AsyncClient, kind: type[WeChatError]) -> Any:
    with pytest.raises(kind) as caught:
        await login.code2session(http, **KEYS)
    return caught.value


def test_the_authorize_url_is_the_documented_one(vectors: Any) -> None:
    vector = vectors["oauth.authorize_url"]
    assert login.authorize_url(**vector["input"]) == vector["expected_url"]


@pytest.mark.parametrize("state", ["", "a-b", "a_b", "中", "a" * 129, "a b"])
def test_a_state_outside_wechats_alphabet_is_refused(state: str) -> None:
    with pytest.raises(ValueError, match="state"):
        login.authorize_url(appid="wx1", redirect_uri="https://a.test/", state=state)


async def test_a_mini_program_code_becomes_an_openid_and_the_session_key_is_dropped() -> None:
    http = answering({"openid": "o1", "session_key": "c2Vzc2lvbg==", "unionid": "u1"})
    person = await login.code2session(http, **KEYS)
    assert person == login.MiniProgramLogin(openid="o1", unionid="u1")
    assert "c2Vzc2lvbg" not in repr(vars(person))
    request = http.requests[0]  # type: ignore[attr-defined]
    assert request.method == "GET"
    assert request.url.host == "api.weixin.qq.com"
    assert request.url.path == "/sns/jscode2session"
    assert parse_qs(request.url.query.decode()) == {
        "appid": ["wx0000000000000001"],
        "secret": [SECRET],
        "js_code": ["0a1B2c"],
        "grant_type": ["authorization_code"],
    }


async def test_a_code_with_special_characters_stays_one_parameter() -> None:
    http = answering({"openid": "o1"})
    await login.code2session(http, appid="wx1", secret=SECRET, code="a&secret=b#c d")
    query = http.requests[0].url.query.decode()  # type: ignore[attr-defined]
    assert parse_qs(query)["js_code"] == ["a&secret=b#c d"]


async def test_a_web_code_becomes_an_openid_and_a_token() -> None:
    answer = {"access_token": "T0ken", "openid": "o1", "scope": "snsapi_base", "errcode": 0}
    http = answering(answer)
    person = await login.exchange_code(http, **KEYS)
    assert (person.openid, person.unionid, person.scope) == ("o1", None, "snsapi_base")
    assert (person.access_token, person.is_snapshotuser) == ("T0ken", False)
    assert "T0ken" not in repr(person)
    assert http.requests[0].url.path == "/sns/oauth2/access_token"  # type: ignore[attr-defined]


async def test_a_snapshot_user_is_marked() -> None:
    answer = {"access_token": "T", "openid": "o", "scope": "snsapi_userinfo", "is_snapshotuser": 1}
    assert (await login.exchange_code(answering(answer), **KEYS)).is_snapshotuser is True


async def test_a_profile_is_read_whatever_the_content_type_and_with_control_characters() -> None:
    body = '{"openid":"o1","nickname":"a\nb\u0001茶","headimgurl":"https://x/0","sex":0}'.encode()
    for kind in ("text/plain", "application/json; charset=ISO-8859-1", "text/html; charset=gbk"):
        http = answering(body, kind=kind)
        person = await login.userinfo(http, access_token="T", openid="o1")
        assert person == login.UserInfo("o1", None, "a\nb\u0001茶", "https://x/0")


@pytest.mark.parametrize(
    ("errcode", "action"), [(code, action) for action, codes in ACTIONS.items() for code in codes]
)
async def test_every_error_code_says_whose_turn_it_is(errcode: int, action: str) -> None:
    error = await refused(
        answering({"errcode": errcode, "errmsg": "wrong, rid: 1-2-3"}), LoginRefused
    )
    assert (error.errcode, error.errmsg, error.action) == (errcode, "wrong, rid: 1-2-3", action)
    assert len(error.sentence) > 10
    assert "rid: 1-2-3" in str(error)


def test_the_table_has_exactly_the_codes_of_the_reference() -> None:
    assert {code: action for code, (_, action) in login.ERRORS.items()} == {
        code: action for action, codes in ACTIONS.items() for code in codes
    }


async def test_an_unknown_error_code_is_a_failure_for_a_person() -> None:
    error = await refused(answering({"errcode": "99999", "errmsg": "new"}), LoginRefused)
    assert (error.errcode, error.action) == (99999, "fix_settings")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"errcode":"x"}', b"[" * 99999])
async def test_an_answer_that_is_no_json_object_is_unknown(body: bytes) -> None:
    error = await refused(answering(body, status=502), OutcomeUnknown)
    assert error.status == 502


@pytest.mark.parametrize("content", [{}, {"openid": ""}, {"openid": 5}, {"errcode": 0}])
async def test_success_without_an_openid_is_named(content: Any) -> None:
    assert (await refused(answering(content), MalformedAnswer)).field == "openid"


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (httpx.ConnectError(f"https://x/?secret={SECRET}"), NotSent),
        (httpx.ReadTimeout(f"https://x/?secret={SECRET}"), OutcomeUnknown),
        (ValueError(f"https://x/?secret={SECRET}"), OutcomeUnknown),
    ],
)
async def test_no_secret_in_any_error(broken: Exception, kind: type[WeChatError]) -> None:
    error = await refused(answering(broken), kind)
    text = "".join(traceback.format_exception(error))
    assert SECRET not in text
    assert SECRET not in repr(error)


async def test_no_secret_in_the_log_of_httpx(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await login.code2session(answering({"openid": "o1"}), **KEYS)
        await refused(answering({"errcode": 40125, "errmsg": "invalid appsecret"}), LoginRefused)
    assert "/sns/jscode2session" in caplog.text
    assert SECRET not in caplog.text
    assert "0a1B2c" not in caplog.text
