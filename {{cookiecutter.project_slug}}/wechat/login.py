"""Learn who the buyer is: mini-program login and web OAuth 网页授权.

Follows developers.weixin.qq.com code2Session and the web authorization guide of official accounts.
Failures come as HTTP 200 with an errcode. The secret travels in the URL, as WeChat demands, so
URLs never reach an error, and the log lines of httpx lose their query.
"""

import json
import logging
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from . import fields
from .errors import Action, LoginRefused, OutcomeUnknown, WeChatError
from .transport import Answer, send

API_HOST = "https://api.weixin.qq.com"
OPEN_HOST = "https://open.weixin.qq.com"
ERRORS: dict[int, tuple[str, Action]] = {
    -1: ("WeChat is busy", "retry_later"),
    40001: ("the token is invalid", "login_again"),
    40002: ("the grant_type is wrong", "fix_settings"),
    40003: ("the openid does not fit the token", "login_again"),
    40013: ("the appid is invalid", "fix_settings"),
    40014: ("the token is invalid", "login_again"),
    40029: ("the login code is invalid or expired", "login_again"),
    40030: ("the refresh token is invalid", "login_again"),
    40125: ("the appsecret is wrong", "fix_settings"),
    40163: ("the login code was used before", "login_again"),
    40226: ("WeChat blocks this user as high risk", "refused"),
    41002: ("the appid is missing", "fix_settings"),
    41003: ("the refresh token is missing", "fix_settings"),
    41004: ("the appsecret is missing", "fix_settings"),
    41008: ("the login code is missing", "login_again"),
    42001: ("the token has expired", "login_again"),
    42002: ("the refresh token has expired", "login_again"),
    42003: ("the login code has expired", "login_again"),
    42007: ("the user changed the password", "login_again"),
    45009: ("today's quota of calls is used up", "fix_settings"),
    45011: ("too many calls this minute", "retry_later"),
    48001: ("this account or scope may not use the interface", "fix_settings"),
    61003: ("the account has not authorised this platform", "fix_settings"),
}


@dataclass(frozen=True)
class MiniProgramLogin:
    """Who called wx.login; the session_key is dropped, because nothing here needs it."""

    openid: str
    unionid: str | None


@dataclass(frozen=True)
class WebLogin:
    """Who came back from the OAuth page; a snapshot user 快照页 is virtual and must not buy."""

    openid: str
    unionid: str | None
    scope: str
    is_snapshotuser: bool
    access_token: str = field(repr=False)


@dataclass(frozen=True)
class UserInfo:
    """The public profile; WeChat no longer fills in sex and places."""

    openid: str
    unionid: str | None
    nickname: str
    headimgurl: str


def authorize_url(
    *,
    appid: str,
    redirect_uri: str,
    state: str,
    scope: str = "snsapi_base",
    host: str = OPEN_HOST,
) -> str:
    """Return the OAuth page's URL; its parameter order and fragment are matched by WeChat.

    `state` is 1 to 128 letters and digits. A checkout needs only snsapi_base.
    """
    if not (state.isascii() and state.isalnum() and len(state) <= 128):
        raise ValueError("state: 1 to 128 letters and digits")
    return (
        f"{host}/connect/oauth2/authorize?appid={quote(appid, safe='')}"
        f"&redirect_uri={quote(redirect_uri, safe='')}&response_type=code"
        f"&scope={quote(scope, safe='')}&state={state}&connect_redirect=1#wechat_redirect"
    )


async def code2session(
    http: httpx.AsyncClient, *, appid: str, secret: str, code: str, host: str = API_HOST
) -> MiniProgramLogin:
    """Exchange the code of wx.login, good once and for 5 minutes.

    Raises LoginRefused, NotSent, OutcomeUnknown (log in again: the code may be used up).
    """
    asked = {"appid": appid, "secret": secret, "js_code": code, "grant_type": "authorization_code"}
    answer = await _ask(http, f"{host}/sns/jscode2session", asked)
    return MiniProgramLogin(fields.string(answer, "openid"), fields.optional(answer, "unionid"))


async def exchange_code(
    http: httpx.AsyncClient, *, appid: str, secret: str, code: str, host: str = API_HOST
) -> WebLogin:
    """Exchange the code of the OAuth page; raises what code2session raises."""
    asked = {"appid": appid, "secret": secret, "code": code, "grant_type": "authorization_code"}
    answer = await _ask(http, f"{host}/sns/oauth2/access_token", asked)
    return WebLogin(
        openid=fields.string(answer, "openid"),
        unionid=fields.optional(answer, "unionid"),
        scope=fields.string(answer, "scope"),
        is_snapshotuser=bool(answer.get("is_snapshotuser")),
        access_token=fields.string(answer, "access_token"),
    )


async def userinfo(
    http: httpx.AsyncClient, *, access_token: str, openid: str, host: str = API_HOST
) -> UserInfo:
    """Read the profile; needs a token of scope snsapi_userinfo. Raises as code2session."""
    asked = {"access_token": access_token, "openid": openid, "lang": "zh_CN"}
    answer = await _ask(http, f"{host}/sns/userinfo", asked)
    nickname = str(answer.get("nickname", ""))
    image = str(answer.get("headimgurl", ""))
    return UserInfo(
        fields.string(answer, "openid"), fields.optional(answer, "unionid"), nickname, image
    )


async def stable_token(
    http: httpx.AsyncClient, *, appid: str, secret: str, host: str = API_HOST
) -> str:
    """Get the app's access token; asking disturbs no other holder of it, and proves the secret.

    developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken. Raises LoginRefused
    (40125 and 40001 the secret, 40013 the appid, 40164 the IP allow-list), NotSent,
    OutcomeUnknown.
    """
    asked = {"grant_type": "client_credential", "appid": appid, "secret": secret}
    url = httpx.URL(f"{host}/cgi-bin/stable_token")
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    answer = await send(http, "POST", url, headers, json.dumps(asked).encode())
    return fields.string(_read(answer), "access_token")


class _HideQuery(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg
                for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_HideQuery())


async def _ask(http: httpx.AsyncClient, address: str, params: dict[str, str]) -> dict[str, Any]:
    url = httpx.URL(f"{address}?{urlencode(params, quote_via=quote)}")
    try:
        answer = await send(http, "GET", url, {"Accept": "application/json"}, b"")
    except WeChatError as error:
        raise error from None  # the cause holds the URL, and with it the secret
    return _read(answer)


def _read(answer: Answer) -> dict[str, Any]:
    try:  # the type is often text/plain, and nicknames hold raw control characters
        data: dict[str, Any] = json.loads(answer.body.decode("utf-8", "replace"), strict=False)
        errcode = int(data.get("errcode") or 0)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise OutcomeUnknown("the answer is not a JSON object", status=answer.status) from None
    if errcode:
        unknown: tuple[str, Action] = ("WeChat refused the login", "fix_settings")
        raise LoginRefused(errcode, str(data.get("errmsg", "")), *ERRORS.get(errcode, unknown))
    return data
