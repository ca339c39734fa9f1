"""The OAuth page of open.weixin.qq.com: silent, with consent, or an error page 网页授权.

developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
"""

import re
from collections.abc import Sequence
from html import escape
from urllib.parse import quote, urlsplit

from sanic import HTTPResponse, Request, html, redirect

from .cashier import is_loopback_page
from .exchange import read_call, write_log
from .state import State
from .wire import Answer

ORDER = ("appid", "redirect_uri", "response_type", "scope", "state")
EXTRAS = ("forcePopup", "forceSnapShot", "connect_redirect")
SCOPES = ("snsapi_base", "snsapi_userinfo")
PAGE = """<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>body{{font:16px/1.6 system-ui,sans-serif;text-align:center;margin:18vh auto 0;max-width:22em;
padding:0 1em;color:#191919}}h1{{font-size:20px}}p{{color:#666}}a{{display:block;border-radius:8px;
padding:10px;margin:12px auto;max-width:12em;background:#07c160;color:#fff;text-decoration:none}}
a.no{{background:#f2f2f2;color:#06ae56}}</style><h1>{title}</h1>{body}</html>"""


async def page(state: State, request: Request) -> HTTPResponse:
    """Answer GET /connect/oauth2/authorize with 302, the consent page, or an error page."""
    response, verdict = _answer(state, request)
    answer = Answer(response.status, b"", dict(response.headers), verdict)
    write_log(state, read_call(request, {}), answer)
    return response


def _answer(state: State, request: Request) -> tuple[HTTPResponse, str]:
    pairs = request.get_query_args(keep_blank_values=True)
    problem = _problem(state, pairs)
    if problem:
        return _error_page(problem), problem
    parameters = dict(pairs)
    appid = parameters["appid"]
    openid = request.cookies.get("sandbox_openid") or state.default_openid(appid)
    if not re.fullmatch(r"[0-9A-Za-z_\-]{1,128}", openid):
        return _error_page("cookie sandbox_openid"), "the cookie sandbox_openid is not an openid"
    scope = parameters["scope"]
    snapshot = scope == "snsapi_userinfo" and parameters.get("forceSnapShot") == "true"
    state.add_person(appid, openid, None)
    code = state.new_oauth_code(appid, openid, scope=scope, snapshot=snapshot)
    accepted = _back(parameters["redirect_uri"], parameters["state"], code)
    if scope == "snsapi_base" and parameters.get("forcePopup") != "true":
        return redirect(accepted), f"passed: silent, for {openid}"
    denied = _back(parameters["redirect_uri"], parameters["state"])
    return html(_consent(accepted, denied)), f"passed: asks {openid} for consent"


def _error_page(problem: str) -> HTTPResponse:
    return html(PAGE.format(title=escape(problem), body="<p>WeChat sandbox 微信沙箱</p>"))


def _problem(state: State, pairs: Sequence[tuple[str, str]]) -> str:
    """Name what WeChat would refuse: order of the parameters, app, domain, scope, state."""
    names = tuple(name for name, _ in pairs)
    parameters = dict(pairs)
    if names[:5] != ORDER or not set(names[5:]) <= set(EXTRAS):
        return "Scope 参数错误或没有 Scope 权限 (10005)"
    app = state.app(parameters["appid"])
    if app is None or app.kind != "official_account":
        return "redirect_uri 域名与后台配置不一致，错误码：10003"
    if not is_loopback_page(parameters["redirect_uri"]):
        return "redirect_uri 域名与后台配置不一致，错误码：10003"
    if parameters["response_type"] != "code" or parameters["scope"] not in SCOPES:
        return "Scope 参数错误或没有 Scope 权限，错误码：10005"
    if not re.fullmatch(r"[a-zA-Z0-9]{0,128}", parameters["state"]):
        return "state 参数错误: [a-zA-Z0-9], at most 128 bytes"
    return ""


def _back(redirect_uri: str, oauth_state: str, code: str = "") -> str:
    address = urlsplit(redirect_uri)
    added = (f"code={code}&" if code else "") + f"state={quote(oauth_state)}"
    query = f"{address.query}&{added}" if address.query else added
    return address._replace(query=query).geturl()


def _consent(accepted: str, denied: str) -> str:
    body = (
        "<p>沙箱商城申请获得以下权限<br>获得你的公开信息（昵称、头像等）</p>"
        f'<a href="{escape(accepted)}">允许</a><a class="no" href="{escape(denied)}">拒绝</a>'
    )
    return PAGE.format(title="微信登录 · 沙箱", body=body)
