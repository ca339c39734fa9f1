"""Logins: code2Session of mini programs and the calls of web OAuth (api.weixin.qq.com/sns/*).

Failures come with HTTP 200 and errcode; bodies are JSON declared as text/plain, as WeChat's are.
"""

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from .keys import stable_openid
from .wire import Answer, compact
from .world import Code, Token, World

ERRORS = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40013: "invalid appid",
    40029: "invalid code",
    40030: "invalid refresh_token",
    40125: "invalid appsecret",
    40163: "code been used",
    40226: "code blocked",
    41001: "access_token missing",
    41002: "appid missing",
    41003: "refresh_token missing",
    41004: "appsecret missing",
    41008: "missing code",
    41009: "missing openid",
    42001: "access_token expired",
    42002: "refresh_token expired",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    48001: "api unauthorized",
}
FAULTS = {
    "code2session": {"500": -1, "429": 45011, "refuse": 40226},
    "oauth": {"500": -1, "429": 45011, "refuse": 40029},
}
ACCESS_LIFETIME = 7200
REFRESH_LIFETIME = 30 * 24 * 3600

Parameters = Mapping[str, str]


class LoginError(Exception):
    """Raised with an errcode; the answer is 200 all the same."""

    def __init__(self, errcode: int) -> None:
        super().__init__(f"errcode {errcode}: {ERRORS[errcode]}")
        self.errcode = errcode

    def answer(self) -> Answer:
        """Build the body, with the request id that WeChat's support asks for."""
        rid = f"{secrets.token_hex(4)}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
        message = f"{ERRORS[self.errcode]}, rid: {rid}"
        return login_answer({"errcode": self.errcode, "errmsg": message}, str(self))


def login_answer(body: Mapping[str, Any], verdict: str = "passed") -> Answer:
    """Build an answer of /sns/*."""
    return Answer(200, compact(body), {"Content-Type": "text/plain"}, verdict)


def code2session(world: World, asked: Parameters) -> dict[str, Any]:
    """Answer GET /sns/jscode2session: openid, session_key, unionid if there is one."""
    _check_app(world, asked, code="js_code")
    code = _spend(world, asked["js_code"], "login", asked["appid"])
    session_key = base64.b64encode(secrets.token_bytes(16)).decode()
    answer = {"session_key": session_key, "openid": code.openid}
    unionid = world.people.get((code.appid, code.openid))
    return answer | ({"unionid": unionid} if unionid else {})


def exchange(world: World, asked: Parameters) -> dict[str, Any]:
    """Answer GET /sns/oauth2/access_token; a snapshot user gets a made-up openid."""
    _check_app(world, asked, code="code")
    code = _spend(world, asked["code"], "oauth", asked["appid"])
    if not code.snapshot:
        return _issue(world, code.appid, code.openid, code.scope)
    openid = stable_openid(code.appid, f"snapshot {code.openid}")
    world.meet("", openid, None)  # a person of no app: nobody can order in this name
    return _issue(world, code.appid, openid, code.scope) | {"is_snapshotuser": 1}


def refresh(world: World, asked: Parameters) -> dict[str, Any]:
    """Answer GET /sns/oauth2/refresh_token; the refresh token stays the same."""
    _need(asked, ("appid", 41002), ("refresh_token", 41003))
    if asked.get("grant_type") != "refresh_token":
        raise LoginError(40002)
    token = world.refresh_tokens.get(asked["refresh_token"])
    if token is None or token.appid != asked["appid"]:
        raise LoginError(40030)
    if world.clock.now() >= token.refresh_until:
        raise LoginError(42002)
    return _issue(world, token.appid, token.openid, token.scope, asked["refresh_token"])


def userinfo(world: World, asked: Parameters) -> dict[str, Any]:
    """Answer GET /sns/userinfo, for tokens of scope snsapi_userinfo."""
    token = _token(world, asked)
    if token.scope != "snsapi_userinfo":
        raise LoginError(48001)
    person = {"openid": token.openid, "nickname": "沙箱买家", "sex": 0, "province": "", "city": ""}
    person |= {"country": "", "headimgurl": "", "privilege": []}
    unionid = world.people.get((token.appid, token.openid))
    return person | ({"unionid": unionid} if unionid else {})


def auth(world: World, asked: Parameters) -> dict[str, Any]:
    """Answer GET /sns/auth: is this access_token still good."""
    _token(world, asked)
    return {"errcode": 0, "errmsg": "ok"}


CALLS: dict[str, tuple[str, Callable[[World, Parameters], dict[str, Any]]]] = {
    "/sns/jscode2session": ("code2session", code2session),
    "/sns/oauth2/access_token": ("oauth", exchange),
    "/sns/oauth2/refresh_token": ("oauth", refresh),
    "/sns/userinfo": ("oauth", userinfo),
    "/sns/auth": ("oauth", auth),
}


def _need(asked: Parameters, *names: tuple[str, int]) -> None:
    for name, errcode in names:
        if not asked.get(name):
            raise LoginError(errcode)


def _check_app(world: World, asked: Parameters, code: str) -> None:
    _need(asked, ("appid", 41002), ("secret", 41004), (code, 41008))
    if asked.get("grant_type") != "authorization_code":
        raise LoginError(40002)
    app = world.app(asked["appid"])
    if app is None:
        raise LoginError(40013)
    if not secrets.compare_digest(app.secret.encode(), asked["secret"].encode()):
        raise LoginError(40125)


def _spend(world: World, text: str, kind: str, appid: str) -> Code:
    """Use a code up; it is bound to its app and kind and lives five minutes."""
    code = world.codes.get(text)
    if code is None or (code.kind, code.appid) != (kind, appid):
        raise LoginError(40029)
    if text in world.used_codes:
        raise LoginError(40163)
    if world.clock.now() >= code.expires_at:
        raise LoginError(40029)
    world.used_codes.add(text)
    return code


def _issue(
    world: World, appid: str, openid: str, scope: str, refresh_token: str = ""
) -> dict[str, Any]:
    now = world.clock.now()
    access, renewal = secrets.token_urlsafe(64), refresh_token or secrets.token_urlsafe(64)
    token = Token(appid, openid, scope, now + ACCESS_LIFETIME, now + REFRESH_LIFETIME)
    world.access_tokens[access] = token
    world.refresh_tokens.setdefault(renewal, token)
    answer = {"access_token": access, "expires_in": ACCESS_LIFETIME, "refresh_token": renewal}
    answer |= {"openid": openid, "scope": scope}
    unionid = world.people.get((appid, openid))
    shown = unionid and scope == "snsapi_userinfo"
    return answer | ({"unionid": unionid} if shown else {})


def _token(world: World, asked: Parameters) -> Token:
    _need(asked, ("access_token", 41001), ("openid", 41009))
    token = world.access_tokens.get(asked["access_token"])
    if token is None:
        raise LoginError(40001)
    if world.clock.now() >= token.access_until:
        raise LoginError(42001)
    if token.openid != asked["openid"]:
        raise LoginError(40003)
    return token
