"""The calls that issue an app's access token, /cgi-bin/…, and those that ask for one, /wxa/….

developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
"""

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from .app_tokens import LIFETIME, AppToken
from .errcodes import LoginError
from .login import check_secret, need
from .models import Order
from .state import State
from .wire import Call

OK = {"errcode": 0, "errmsg": "ok"}
KINDS = ("miniprogram", "official_account")
PAID_LATELY = 300  # seconds


def token(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /cgi-bin/token (获取接口调用凭据): every call replaces the token before."""
    appid = _client(state, call.query)
    return _token_answer(state, state.app_tokens.renew(appid, state.clock.now()))


def stable_token(state: State, call: Call) -> dict[str, Any]:
    """Answer POST /cgi-bin/stable_token (获取稳定版接口调用凭据), a JSON body."""
    if call.method != "POST":
        raise LoginError(43002)
    body = _json(call.body)
    appid = _client(state, body)
    force = body.get("force_refresh", False)
    if not isinstance(force, bool):
        raise LoginError(47001)
    issue = state.app_tokens.force if force else state.app_tokens.stable
    return _token_answer(state, issue(appid, state.clock.now()))


def ticket(state: State, call: Call) -> dict[str, Any]:
    """Answer GET /cgi-bin/ticket/getticket: the ticket that signs wx.config."""
    _check_token(state, call)
    if call.query.get("type") != "jsapi":
        raise LoginError(40097)
    return {**OK, "ticket": secrets.token_urlsafe(64), "expires_in": LIFETIME}


def wxa(state: State, call: Call) -> dict[str, Any]:
    """Answer /wxa/…: nothing without a token, then what the sandbox plays of it."""
    appid = _check_token(state, call)
    handler = WXA_CALLS.get(call.path["call"])
    if handler is None:
        raise LoginError(40066)
    return handler(state, appid, call.query)


def check_session(state: State, appid: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Answer GET /wxa/checksession (检验登录态): the session_key signed the empty text."""
    need(parameters, ("openid", 41009), ("signature", 87009))
    session_key = state.session_keys.get((appid, parameters["openid"]))
    if session_key is None:
        raise LoginError(87007)
    if parameters.get("sig_method") != "hmac_sha256":
        raise LoginError(87008)
    expected = hmac.digest(session_key.encode(), b"", "sha256").hex()
    if not hmac.compare_digest(expected.encode(), parameters["signature"].encode()):
        raise LoginError(87009)
    return dict(OK)


def paid_unionid(state: State, appid: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Answer GET /wxa/getpaidunionid: the unionid of who paid in the last five minutes."""
    need(parameters, ("openid", 41009))
    openid = parameters["openid"]
    payments = [
        transaction
        for order in state.orders.values()
        if _is_named(order, parameters)
        for transaction in order.transactions
        if transaction.openid == openid
    ]
    if not payments or state.clock.now() > payments[-1].paid_at + PAID_LATELY:
        raise LoginError(89300)
    unionid = state.people.get((appid, openid))
    if not unionid:
        raise LoginError(89002)
    return {**OK, "unionid": unionid}


WXA_CALLS: dict[str, Callable[[State, str, Mapping[str, str]], dict[str, Any]]] = {
    "checksession": check_session,
    "getpaidunionid": paid_unionid,
}
#: path → its name in the fault menu and who answers
CALLS: dict[str, tuple[str, Callable[[State, Call], dict[str, Any]]]] = {
    "/cgi-bin/token": ("token", token),
    "/cgi-bin/stable_token": ("token", stable_token),
    "/cgi-bin/ticket/getticket": ("wxa", ticket),
    "/wxa/<call:path>": ("wxa", wxa),
}


def _client(state: State, parameters: Mapping[str, Any]) -> str:
    """Check grant_type, appid and secret; return the appid."""
    texts = {name: value for name, value in parameters.items() if isinstance(value, str)}
    need(texts, ("appid", 41002), ("secret", 41004))
    if texts.get("grant_type") != "client_credential":
        raise LoginError(40002)
    return check_secret(state, texts, KINDS).appid


def _check_token(state: State, call: Call) -> str:
    """Return whose token the call brings; a user's own token is of another kind."""
    need(call.query, ("access_token", 41001))
    text = call.query["access_token"]
    if text in state.access_tokens:
        raise LoginError(40013)
    return state.app_tokens.check(text, state.clock.now())


def _token_answer(state: State, token: AppToken) -> dict[str, Any]:
    return {"access_token": token.text, "expires_in": round(token.until - state.clock.now())}


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise LoginError(47001) from None
    if not isinstance(parsed, dict):
        raise LoginError(47001)
    return parsed


def _is_named(order: Order, parameters: Mapping[str, str]) -> bool:
    """Tell whether an order is the one that transaction_id, or mch_id and out_trade_no, name."""
    transaction_id = parameters.get("transaction_id")
    if transaction_id:
        numbers = [transaction.transaction_id for transaction in order.transactions]
        return transaction_id in numbers
    named = (parameters.get("mch_id"), parameters.get("out_trade_no"))
    return (order.mchid, order.out_trade_no) == named
