"""The H5 shop's files, its pictures, and the file by which WeChat checks that a domain is yours."""

import html
import io
import re
from pathlib import Path
from typing import Any

import segno
from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound

from accounts.errors import LoginRequired
from shop.settings import ROOT
from shop.shop import Shop
from shop.web.api import SAFE, Api, Call, JsonAnswer, answer_failure, buyer_of
from shop.web.drawing import draw
from shop.web.shapes import CollectView, Nothing, ShopView

api = Api("pages")
PAGES = ROOT / "pages"
H5 = PAGES / "h5"
A_DAY = "public, max-age=86400"
FRESH = {"Cache-Control": "no-cache"}
SVG = "image/svg+xml"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": SVG,
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
}


@api("GET", "/api/shop", gives={200: ShopView}, who="anyone")
async def show_shop(call: Call[Nothing]) -> JsonAnswer:
    """Say what a page asks first: the name, whether there is a session, where to type amounts."""
    settings = call.shop.settings
    scenes = call.shop.checkout.payments.widget_scenes()
    limits = settings.collect_fen
    collect = CollectView(scenes, limits[0], limits[-1]) if scenes else None
    return JsonAnswer(200, ShopView(settings.name, _is_logged_in(call.request), collect))


def _is_logged_in(request: Request) -> bool:
    try:
        buyer_of(request)
    except LoginRequired:
        return False
    return True


def attach(app: Sanic[Any, Any], shop: Shop) -> None:
    """Add `/`, `/h5/<file>`, pictures, `/MP_verify_<token>.txt`, and a page for what is missing."""
    app.add_route(
        _verify, r"/<name:MP_verify_[A-Za-z0-9]{1,64}\.txt>", methods=SAFE, name="mp_verify"
    )
    app.add_route(_picture, "/picture.svg", methods=SAFE, name="page_picture")
    if not H5.is_dir():
        return

    async def index(_: Request) -> HTTPResponse:
        return HTTPResponse(_index(shop), headers=FRESH, content_type=TYPES[".html"])

    async def asset(_: Request, name: str) -> HTTPResponse:
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        return HTTPResponse(_file(H5, name), headers=FRESH, content_type=kind)

    async def missing(request: Request, error: NotFound) -> HTTPResponse:
        """Show a person the page, which says that there is nothing; a program gets JSON."""
        if request.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            return answer_failure(request, error)
        return HTTPResponse(_index(shop), 404, FRESH, content_type=TYPES[".html"])

    app.add_route(index, "/", methods=SAFE, name="page_index")
    app.add_route(asset, "/h5/<name:str>", methods=SAFE, name="page_asset")
    app.add_route(_code, "/qr.svg", methods=SAFE, name="page_code")
    app.add_route(_icon, "/favicon.ico", methods=SAFE, name="page_icon")
    app.exception(NotFound)(missing)


def _index(shop: Shop) -> str:
    """Return the page with the shop's name; in sandbox mode WeChat is played around it."""
    page = _file(H5, "index.html").decode()
    page = page.replace("$shop_name", html.escape(shop.settings.name))
    if sandbox := shop.settings.sandbox_url:
        bridge = f'<script src="{sandbox}/bridge.js"></script>\n'
        page = page.replace("<script", f"{bridge}<script", 1)
    return page


async def _picture(request: Request) -> HTTPResponse:
    """Draw the picture of a product that has none."""
    sku = request.args.get("sku", "")
    if not 1 <= len(sku) <= 64:
        raise NotFound("no such product")
    return HTTPResponse(draw(sku), headers={"Cache-Control": A_DAY}, content_type=SVG)


async def _code(request: Request) -> HTTPResponse:
    """Draw the QR code 二维码 of a code_url; nothing else is drawn here."""
    data = request.args.get("data", "")
    if not re.fullmatch(r"(weixin://|https://qr\.)[!-~]{1,250}", data):
        raise NotFound("not a code_url")
    picture = io.BytesIO()
    segno.make(data, error="m", micro=False).save(picture, kind="svg", scale=4, border=2)
    return HTTPResponse(picture.getvalue(), headers=FRESH, content_type=SVG)


async def _icon(_: Request) -> HTTPResponse:
    """Serve pages/h5/icon.svg where a browser asks by itself."""
    return HTTPResponse(_file(H5, "icon.svg"), headers={"Cache-Control": A_DAY}, content_type=SVG)


async def _verify(_: Request, name: str) -> HTTPResponse:
    return HTTPResponse(_file(PAGES, name), content_type="text/plain")


def _file(folder: Path, name: str) -> bytes:
    """Read one file of a folder; only plain names are looked up."""
    path = folder / name
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) or not path.is_file():
        raise NotFound("not found")
    return path.read_bytes()
