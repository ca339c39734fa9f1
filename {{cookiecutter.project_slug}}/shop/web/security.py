"""The headers that every answer carries, unless its handler gives others."""

from sanic import Request
from sanic.response import BaseHTTPResponse

JSSDK = "https://res.wx.qq.com"  # a mini program's web-view needs WeChat's own script


def add_headers(request: Request, response: BaseHTTPResponse, sandbox_url: str) -> None:
    """Add what keeps browsers from guessing, framing, caching and telling others."""
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.path.startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")
    elif (response.content_type or "").startswith("text/html"):
        headers.setdefault("Content-Security-Policy", content_policy(sandbox_url))
        # WeChat's H5 page looks at the Referer: with no-referrer nobody could pay there
        headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")


def content_policy(sandbox_url: str) -> str:
    """Return the Content-Security-Policy of a page: no inline script, in nobody's frame.

    Only in sandbox mode the sandbox's script may play WeChat. The picture of a product may lie
    elsewhere.
    """
    return (
        f"default-src 'self' {sandbox_url}; img-src 'self' data: https:; "
        f"script-src 'self' {sandbox_url} {JSSDK}; style-src 'self' 'unsafe-inline'; "
        f"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ).replace(" ;", ";")
