"""Serve /docs, its two files, and /openapi.json; each page is made when it is first asked for."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sanic import HTTPResponse, Request, Sanic

from shop.shop import Shop
from shop.web.api import Api
from shop.web.docs.page import HERE, About, Page
from shop.web.docs.words import LANGUAGES
from shop.web.openapi import document

HTML = "text/html; charset=utf-8"
FILES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
FRESH = {"Cache-Control": "no-cache"}


def attach(app: Sanic[Any, Any], shop: Shop, apis: Sequence[Api], notified: Iterable[str]) -> None:
    """Add /openapi.json and /docs."""
    described = document(apis, notified)
    raw = json.dumps(described, ensure_ascii=False).encode()

    @cache
    def page(language: str) -> bytes:
        return Page(described, language, about(shop)).html().encode()

    async def openapi(_: Request) -> HTTPResponse:
        return HTTPResponse(raw, content_type="application/json; charset=utf-8")

    async def docs(request: Request) -> HTTPResponse:
        accepted = request.headers.get("accept-language", "")
        language = language_of(request.args.get("lang", ""), accepted)
        headers = {**FRESH, "Content-Language": language, "Vary": "Accept-Language"}
        return HTTPResponse(page(language), headers=headers, content_type=HTML)

    app.add_route(openapi, "/openapi.json", name="openapi")
    app.add_route(docs, "/docs", name="docs")
    for name, kind in FILES.items():
        app.add_route(_file(name, kind), f"/docs/{name}", name=f"docs_{name}".replace(".", "_"))


def _file(name: str, kind: str) -> Any:
    async def serve(_: Request) -> HTTPResponse:
        return HTTPResponse((HERE / name).read_bytes(), headers=FRESH, content_type=kind)

    return serve


def about(shop: Shop) -> About:
    """Return what the page tells of this shop."""
    apps = shop.settings.login.apps
    return About(
        name=shop.settings.name,
        public_url=shop.settings.public_url,
        sandbox_url=shop.settings.sandbox_url,
        appid=apps["miniprogram"].appid if "miniprogram" in apps else "",
    )


def language_of(wanted: str, accepted: str) -> str:
    """Return "zh" or "en": what was asked for, else what the browser likes best, else Chinese."""
    if wanted in LANGUAGES:
        return wanted
    liked = [_quality(part) for part in accepted.split(",")]
    offered = [(quality, name) for quality, name in liked if name in LANGUAGES and quality > 0]
    return max(offered, key=lambda pair: pair[0])[1] if offered else "zh"


def _quality(part: str) -> tuple[float, str]:
    """Read a part such as `en-GB;q=0.8`: how much it is liked, and its first word."""
    match = re.fullmatch(r"\s*([a-zA-Z]+)(?:-[\w-]+)?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", part)
    return (float(match[2] or 1), match[1].lower()) if match else (0.0, "")
