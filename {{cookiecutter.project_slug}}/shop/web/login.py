"""Sessions: the mini program's code, the OAuth round trip, guests, and who am I."""

import html
import re
import secrets
from urllib.parse import quote

from sanic import HTTPResponse, Request

from accounts import errors
from accounts.login import STATE_LASTS
from accounts.models import Identity
from accounts.sessions import SECONDS
from checkout import log
from shop.shop import Shop
from shop.web.api import UNIT_SECONDS, Api, Call, JsonAnswer, failure, identify
from shop.web.cookies import SESSION, read_cookie, set_cookie
from shop.web.shapes import IdentityView, LoginCode, Me, Nothing, Session

api = Api("login")
BROWSER = "shop_oauth"
AGAIN = "shop_oauth_again"
PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>
<link rel="stylesheet" href="/h5/style.css"><main class="notice"><h1>{title}</h1><p>{text}</p>
<p><a href="/oauth/start?return_to=/">重新登录 Log in again</a></p>
<small>{request_id}</small></main>
"""


@api(
    "POST",
    "/api/sessions/miniprogram",
    takes=LoginCode,
    gives={200: Session},
    who="anyone",
)
async def miniprogram_session(call: Call[LoginCode]) -> JsonAnswer:
    """Log in with the code of wx.login."""
    buyer_id = await call.shop.login.miniprogram(call.body.code)
    return JsonAnswer(200, Session(call.shop.sessions.issue(buyer_id), SECONDS))


@api("POST", "/api/sessions/guest", gives={200: Session}, who="anyone")
async def guest_session(call: Call[Nothing]) -> JsonAnswer:
    """Begin without an openid, for the scenes h5, native and app."""
    _check_origin(call)
    token = call.shop.sessions.issue(await call.shop.login.guest())
    return JsonAnswer(200, Session(token, SECONDS), session=token)


@api("POST", "/api/sessions/end", gives={204: None}, who="anyone")
async def end_session(call: Call[Nothing]) -> JsonAnswer:
    """Log out: the cookie is cleared; a token that was given out holds until it expires."""
    _check_origin(call)
    return JsonAnswer(204, session="")


@api("GET", "/api/me", gives={200: Me})
async def me(call: Call[Nothing]) -> JsonAnswer:
    """Say who is logged in; openids stay on the server."""
    kinds = await Identity.filter(buyer_id=call.buyer_id).order_by("id").values_list("kind")
    return JsonAnswer(200, Me(call.buyer_id, [IdentityView(kind) for (kind,) in kinds]))


def _check_origin(call: Call[Nothing]) -> None:
    """Let nobody else's page replace or clear the cookie. Raises LoginRequired."""
    ours = call.shop.settings.public_url
    if call.request.headers.get("origin", ours) != ours:
        raise errors.LoginRequired("a session begins and ends on SHOP_PUBLIC_URL")


@api.blueprint.get("/oauth/start", name="oauth_start")
async def start(request: Request) -> HTTPResponse:
    """Send the browser to WeChat's page."""
    shop: Shop = request.app.ctx.shop
    browser = _browser(request) or secrets.token_hex(16)
    unit = shop.login.begin(browser, request.args.get("return_to", "/"))
    try:
        address = await shop.checkout.work.run(unit, seconds=UNIT_SECONDS)
    except errors.AccountsError as error:
        return _page(error, "现在不能登录 Login is not possible")
    response = _away(address)
    lasts = int(STATE_LASTS.total_seconds())
    set_cookie(request, response, BROWSER, browser, seconds=lasts)
    return response


@api.blueprint.get("/oauth/callback", name="oauth_callback")
async def callback(request: Request) -> HTTPResponse:
    """Take the browser back from WeChat's page, and log it in."""
    shop: Shop = request.app.ctx.shop
    state = request.args.get("state", "")
    code = request.args.get("code", "")
    if not code or len(code) > 256 or not re.fullmatch("[0-9a-f]{64}", state):
        return _page(errors.LoginRequired("no code"), "没有授权 Login was cancelled")
    browser = _browser(request)
    try:
        buyer_id, return_to = await shop.checkout.work.run(
            shop.login.finish(browser, state, code), seconds=UNIT_SECONDS
        )
    except errors.LoginCodeInvalid as error:
        unit = shop.login.way_back(browser, state)
        back = await shop.checkout.work.run(unit, seconds=UNIT_SECONDS)
        return await _once_more(request, shop, back, error)
    except errors.SnapshotUser as error:
        return _page(error, "请点右下角「使用完整服务」 Tap “full service” below")
    except (errors.AccountsError, TimeoutError) as error:
        return _page(error, "登录没有成功 Login failed")
    response = _away(return_to)
    token = shop.sessions.issue(buyer_id)
    set_cookie(request, response, SESSION, token, seconds=SECONDS)
    return response


async def _once_more(
    request: Request, shop: Shop, back: str, error: errors.LoginCodeInvalid
) -> HTTPResponse:
    """Go on with the session there is; without one ask WeChat for another code, once."""
    try:
        identify("buyer", request, shop)
    except errors.LoginRequired:
        if read_cookie(request, AGAIN):
            return _page(error, "登录没有成功 Login failed")
        response = _away(f"/oauth/start?return_to={quote(back, safe='')}")
        set_cookie(request, response, AGAIN, "1", seconds=60)
        return response
    return _away(back)


def _browser(request: Request) -> str:
    """Return the id that we gave this browser, if it sends one of ours."""
    browser = read_cookie(request, BROWSER)
    return browser if re.fullmatch("[0-9a-f]{32}", browser) else ""


def _away(address: str) -> HTTPResponse:
    return HTTPResponse(b"", 302, {"Location": address, "Cache-Control": "no-store"})


def _page(error: BaseException, title: str) -> HTTPResponse:
    status, problem, _ = failure(error)
    body = PAGE.format(
        title=html.escape(title),
        text=html.escape(problem.message),
        request_id=html.escape(log.request_id.get()),
    )
    return HTTPResponse(
        body, status, {"Cache-Control": "no-store"}, content_type="text/html; charset=utf-8"
    )
