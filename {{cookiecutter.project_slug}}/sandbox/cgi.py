"""The calls that issue an app's access token, /cgi-bin/…, and those that ask for one, /wxa/…."""

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from .app_tokens import LIFETIME, AppToken
from .errcodes import LoginError
from .login import check_secret, need
from .wire import Call
from .world import Order, World

KINDS = ("miniprogram", "official_account")
PAID_LATELY = 300


def token(world: World, call: Call) -> dict[str, Any]:
    """Answer GET /cgi-bin/token (获取接口调用凭据): every call replaces the token before."""
    appid = _client(world, call.query)
    return _token_answer(world, world.tokens.renew(appid, world.clock.now()))


def stable_token(world: World, call: Call) -> dict[str, Any]:
    """Answer POST /cgi-bin/stable_token (获取稳定版接口调用凭据), a JSON body."""
    if call.method != "POST":
        raise LoginError(43002)
    asked = _json(call.body)
    appid, force = _client(world, asked), asked.get("force_refresh", False)
    if not isinstance(force, bool):
        raise LoginError(47001)
    issue = world.tokens.force if force else world.tokens.stable
    return _token_answer(world, issue(appid, world.clock.now()))


def ticket(world: World, call: Call) -> dict[str, Any]:
    """Answer GET /cgi-bin/ticket/getticket: the ticket that signs wx.config."""
    _appid(world, call)
    if call.query.get("type") != "jsapi":
        raise LoginError(40097)
    return {**OK, "ticket": secrets.token_urlsafe(64), "expires_in": LIFETIME}


def wxa(world: World, call: Call) -> dict[str, Any]:
    """Answer /wxa/…: nothing without a token, then what the sandbox plays of it."""
    appid = _appid(world, call)
    play = PLAYED.get(call.path["call"])
    if play is None:
        raise LoginError(40066)
    return play(world, appid, call.query)


def check_session(world: World, appid: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """Answer GET /wxa/checksession (检验登录态): the session_key signed the empty text."""
    need(asked, ("openid", 41009), ("signature", 87009))
    session_key = world.session_keys.get((appid, asked["openid"]))
    if session_key is None:
        raise LoginError(87007)
    if asked.get("sig_method") != "hmac_sha256":
        raise LoginError(87008)
    signature = hmac.digest(session_key.encode(), b"", "sha256").hex()
    if not hmac.compare_digest(signature, asked["signature"].encode("ascii", "replace").decode()):
        raise LoginError(87009)
    return dict(OK)


def paid_unionid(world: World, appid: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """Answer GET /wxa/getpaidunionid: the unionid of who paid in the last five minutes."""
    need(asked, ("openid", 41009))
    orders = [order for order in world.orders.values() if _is_meant(order, asked)]
    paid = [one for order in orders for one in order.transactions if one.openid == asked["openid"]]
    if not paid or world.clock.now() > paid[-1].paid_at + PAID_LATELY:
        raise LoginError(89300)
    if not (unionid := world.people.get((appid, asked["openid"]))):
        raise LoginError(89002)
    return {**OK, "unionid": unionid}


OK = {"errcode": 0, "errmsg": "ok"}
PLAYED: dict[str, Callable[[World, str, Mapping[str, str]], dict[str, Any]]] = {
    "checksession": check_session,
    "getpaidunionid": paid_unionid,
}
#: path → its name in the fault menu and who answers
CALLS: dict[str, tuple[str, Callable[[World, Call], dict[str, Any]]]] = {
    "/cgi-bin/token": ("token", token),
    "/cgi-bin/stable_token": ("token", stable_token),
    "/cgi-bin/ticket/getticket": ("wxa", ticket),
    "/wxa/<call:path>": ("wxa", wxa),
}


def _client(world: World, asked: Mapping[str, Any]) -> str:
    """Check grant_type, appid and secret; return the appid."""
    texts = {name: value for name, value in asked.items() if isinstance(value, str)}
    need(texts, ("appid", 41002), ("secret", 41004))
    if texts.get("grant_type") != "client_credential":
        raise LoginError(40002)
    return check_secret(world, texts, KINDS).appid


def _appid(world: World, call: Call) -> str:
    """Return whose token the call brings; a user's own token is of another kind."""
    need(call.query, ("access_token", 41001))
    text = call.query["access_token"]
    if text in world.access_tokens:
        raise LoginError(40013)
    return world.tokens.check(text, world.clock.now())


def _token_answer(world: World, issued: AppToken) -> dict[str, Any]:
    return {"access_token": issued.text, "expires_in": round(issued.until - world.clock.now())}


def _json(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise LoginError(47001) from None
    if not isinstance(asked, dict):
        raise LoginError(47001)
    return asked


def _is_meant(order: Order, asked: Mapping[str, str]) -> bool:
    if number := asked.get("transaction_id"):
        return any(one.transaction_id == number for one in order.transactions)
    return (order.mchid, order.out_trade_no) == (asked.get("mch_id"), asked.get("out_trade_no"))
