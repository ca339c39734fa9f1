"""Logins: code2Session of mini programs and the calls of web OAuth (api.weixin.qq.com/sns/*).

developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-login/code2Session.html,
developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html;
`errcodes` says how they fail.
"""

import base64
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errcodes import LoginError
from .keys import KINDS, App, stable_openid
from .models import Code, Token
from .state import State
from .wire import Call

ACCESS_LIFETIME = 7200  # seconds
REFRESH_LIFETIME = 30 * 24 * 3600

Parameters = Mapping[str, str]


def code2session(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /sns/jscode2session: openid, session_key, unionid if there is one."""
    _check_app(state, call.query, code="js_code")
    code = _spend(state, call.query["js_code"], "login", call.query["appid"])
    session_key = base64.b64encode(secrets.token_bytes(16)).decode()
    state.session_keys[code.appid, code.openid] = session_key
    answer = {"session_key": session_key, "openid": code.openid}
    return answer | _unionid(state, code.appid, code.openid)


def exchange(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /sns/oauth2/access_token; a snapshot user gets a made-up openid."""
    _check_app(state, call.query, code="code")
    code = _spend(state, call.query["code"], "oauth", call.query["appid"])
    if not code.snapshot:
        return _issue(state, code.appid, code.openid, code.scope)
    openid = stable_openid(code.appid, f"snapshot {code.openid}")
    state.add_person("", openid, None)  # a person of no app: nobody can order in this name
    return _issue(state, code.appid, openid, code.scope) | {"is_snapshotuser": 1}


def refresh(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /sns/oauth2/refresh_token; the refresh token stays the same."""
    need(call.query, ("appid", 41002), ("refresh_token", 41003))
    if call.query.get("grant_type") != "refresh_token":
        raise LoginError(40002)
    refresh_token = call.query["refresh_token"]
    token = state.refresh_tokens.get(refresh_token)
    if token is None or token.appid != call.query["appid"]:
        raise LoginError(40030)
    if state.clock.now() >= token.refresh_until:
        raise LoginError(42002)
    return _issue(state, token.appid, token.openid, token.scope, refresh_token)


def userinfo(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /sns/userinfo, for tokens of scope snsapi_userinfo."""
    token = _token(state, call.query)
    if token.scope != "snsapi_userinfo":
        raise LoginError(48001)
    person = {
        "openid": token.openid,
        "nickname": "沙箱买家",
        "sex": 0,
        "province": "",
        "city": "",
        "country": "",
        "headimgurl": "",
        "privilege": [],
    }
    return person | _unionid(state, token.appid, token.openid)


def auth(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /sns/auth: is this access_token still good."""
    _token(state, call.query)
    return {"errcode": 0, "errmsg": "ok"}


#: path → its name in the fault menu and who answers
CALLS: dict[str, tuple[str, Callable[[State, Call], dict[str, Any]]]] = {
    "/sns/jscode2session": ("code2session", code2session),
    "/sns/oauth2/access_token": ("oauth", exchange),
    "/sns/oauth2/refresh_token": ("oauth", refresh),
    "/sns/userinfo": ("oauth", userinfo),
    "/sns/auth": ("oauth", auth),
}


def need(parameters: Parameters, *names: tuple[str, int]) -> None:
    """Raise the errcode of the first parameter that is missing."""
    for name, errcode in names:
        if not parameters.get(name):
            raise LoginError(errcode)


def check_secret(state: State, parameters: Parameters, kinds: Collection[str] = KINDS) -> App:
    """Return the app, one of these kinds, whose secret was brought."""
    app = state.app(parameters["appid"])
    if app is None or app.kind not in kinds:
        raise LoginError(40013)
    if not secrets.compare_digest(app.secret.encode(), parameters["secret"].encode()):
        raise LoginError(40125)
    return app


def _check_app(state: State, parameters: Parameters, code: str) -> None:
    need(parameters, ("appid", 41002), ("secret", 41004), (code, 41008))
    if parameters.get("grant_type") != "authorization_code":
        raise LoginError(40002)
    check_secret(state, parameters)


def _spend(state: State, text: str, kind: str, appid: str) -> Code:
    """Use a code up; it is bound to its app and kind and lives five minutes."""
    code = state.codes.get(text)
    if code is None or (code.kind, code.appid) != (kind, appid):
        raise LoginError(40029)
    if text in state.used_codes:
        raise LoginError(40163)
    if state.clock.now() >= code.expires_at:
        raise LoginError(40029)
    state.used_codes.add(text)
    return code


def _issue(
    state: State, appid: str, openid: str, scope: str, refresh_token: str = ""
) -> dict[str, Any]:
    now = state.clock.now()
    access_token = secrets.token_urlsafe(64)
    refresh_token = refresh_token or secrets.token_urlsafe(64)
    token = Token(
        appid=appid,
        openid=openid,
        scope=scope,
        access_until=now + ACCESS_LIFETIME,
        refresh_until=now + REFRESH_LIFETIME,
    )
    state.access_tokens[access_token] = token
    state.refresh_tokens.setdefault(refresh_token, token)
    answer = {
        "access_token": access_token,
        "expires_in": ACCESS_LIFETIME,
        "refresh_token": refresh_token,
        "openid": openid,
        "scope": scope,
    }
    return answer | (_unionid(state, appid, openid) if scope == "snsapi_userinfo" else {})


def _unionid(state: State, appid: str, openid: str) -> dict[str, str]:
    unionid = state.people.get((appid, openid))
    return {"unionid": unionid} if unionid else {}


def _token(state: State, parameters: Parameters) -> Token:
    need(parameters, ("access_token", 41001), ("openid", 41009))
    token = state.access_tokens.get(parameters["access_token"])
    if token is None:
        raise LoginError(40001)
    if state.clock.now() >= token.access_until:
        raise LoginError(42001)
    if token.openid != parameters["openid"]:
        raise LoginError(40003)
    return token
