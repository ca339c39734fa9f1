"""Logins: code2Session of mini programs and the calls of web OAuth (api.weixin.qq.com/sns/*).

`errcodes` says how they fail.
"""

import base64
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errcodes import LoginError
from .keys import KINDS, App, stable_openid
from .world import Code, Token, World

FAULTS = {
    "code2session": {"500": -1, "429": 45011, "refuse": 40226},
    "oauth": {"500": -1, "429": 45011, "refuse": 40029},
    "token": {"500": -1, "429": 45009, "refuse": 40164},
    "wxa": {"500": -1, "429": 45009, "refuse": 48001},
}
ACCESS_LIFETIME = 7200
REFRESH_LIFETIME = 30 * 24 * 3600

Parameters = Mapping[str, str]


def code2session(world: World, asked: Parameters) -> dict[str, Any]:
    """Answer GET /sns/jscode2session: openid, session_key, unionid if there is one."""
    _check_app(world, asked, code="js_code")
    code = _spend(world, asked["js_code"], "login", asked["appid"])
    session_key = base64.b64encode(secrets.token_bytes(16)).decode()
    world.session_keys[code.appid, code.openid] = session_key
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
    need(asked, ("appid", 41002), ("refresh_token", 41003))
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


def need(asked: Parameters, *names: tuple[str, int]) -> None:
    """Raise the errcode of the first parameter that is missing."""
    for name, errcode in names:
        if not asked.get(name):
            raise LoginError(errcode)


def _check_app(world: World, asked: Parameters, code: str) -> None:
    need(asked, ("appid", 41002), ("secret", 41004), (code, 41008))
    if asked.get("grant_type") != "authorization_code":
        raise LoginError(40002)
    check_secret(world, asked)


def check_secret(world: World, asked: Parameters, kinds: Collection[str] = KINDS) -> App:
    """Return the app, one of these kinds, whose secret was brought."""
    app = world.app(asked["appid"])
    if app is None or app.kind not in kinds:
        raise LoginError(40013)
    if not secrets.compare_digest(app.secret.encode(), asked["secret"].encode()):
        raise LoginError(40125)
    return app


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
    need(asked, ("access_token", 41001), ("openid", 41009))
    token = world.access_tokens.get(asked["access_token"])
    if token is None:
        raise LoginError(40001)
    if world.clock.now() >= token.access_until:
        raise LoginError(42001)
    if token.openid != asked["openid"]:
        raise LoginError(40003)
    return token
