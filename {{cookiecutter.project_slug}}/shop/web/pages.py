"""The H5 shop's files, its QR codes, and the file by which WeChat checks that a domain is yours."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segno
from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound

from shop.settings import ROOT
from shop.web.api import SAFE

if TYPE_CHECKING:
    from shop.app import Shop

PAGES = ROOT / "pages"
H5 = PAGES / "h5"
JSSDK = "https://res.wx.qq.com"  # a mini program's web-view needs WeChat's own script
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
}


def attach(app: Sanic[Any, Any], shop: "Shop") -> None:
    """Add `/`, `/h5/<file>`, `/qr.svg` and `/MP_verify_<token>.txt`."""
    sandbox = shop.settings.sandbox_url
    headers = {
        "Cache-Control": "no-cache",
        # WeChat's H5 page looks at the Referer: with no-referrer nobody could pay there
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": f"default-src 'self' {sandbox}; img-src 'self' data:; "
        f"script-src 'self' {sandbox} {JSSDK}; style-src 'self' 'unsafe-inline'; "
        f"frame-ancestors 'none'; base-uri 'none'",
    }

    async def index(_: Request) -> HTTPResponse:
        page = _file(H5, "index.html").decode()
        if sandbox:  # the sandbox plays WeChat around the page; the page knows nothing of it
            bridge = f'<script src="{sandbox}/bridge.js"></script>\n'
            page = page.replace("<script", f"{bridge}<script", 1)
        return HTTPResponse(page, headers=headers, content_type="text/html; charset=utf-8")

    async def asset(_: Request, name: str) -> HTTPResponse:
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        return HTTPResponse(_file(H5, name), headers=headers, content_type=kind)

    async def code(request: Request) -> HTTPResponse:
        """Draw the QR code 二维码 of a code_url; nothing else is drawn here."""
        data = request.args.get("data", "")
        if not re.fullmatch(r"(weixin://|https://qr\.)[!-~]{1,500}", data):
            raise NotFound("not a code_url")
        picture = io.BytesIO()
        segno.make(data, error="m", micro=False).save(picture, kind="svg", scale=4, border=2)
        return HTTPResponse(picture.getvalue(), headers=headers, content_type="image/svg+xml")

    async def verify(_: Request, name: str) -> HTTPResponse:
        return HTTPResponse(_file(PAGES, name), content_type="text/plain")

    if H5.is_dir():
        app.add_route(index, "/", methods=SAFE, name="page_index")
        app.add_route(asset, "/h5/<name:str>", methods=SAFE, name="page_asset")
        app.add_route(code, "/qr.svg", methods=SAFE, name="page_code")
    app.add_route(
        verify, r"/<name:MP_verify_[A-Za-z0-9]{1,64}\.txt>", methods=SAFE, name="mp_verify"
    )


def _file(folder: Path, name: str) -> bytes:
    """Read one file of a folder; only plain names are looked up."""
    path = folder / name
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) or not path.is_file():
        raise NotFound("not found")
    return path.read_bytes()
