"""Cookies by Sanic's own API: HttpOnly and Lax, and on https bound to this host.

A name with __Host- is taken by browsers only over https and only from the host itself, so that
neither a neighbour under the same domain nor somebody on the way can plant a session.
"""

from sanic import HTTPResponse, Request

SESSION = "shop_session"


def read_cookie(request: Request, name: str) -> str:
    """Return a cookie of ours, "" without one; on https only the one that is bound to this host."""
    full_name = f"__Host-{name}" if request.app.ctx.shop.settings.secure else name
    value: str = request.cookies.get(full_name) or ""
    return value if value.isascii() else ""


def set_cookie(
    request: Request, response: HTTPResponse, name: str, value: str, *, seconds: int
) -> None:
    """Set a cookie for so many seconds; 0 clears it."""
    secure = request.app.ctx.shop.settings.secure
    response.add_cookie(
        name,
        value,
        max_age=seconds,
        httponly=True,
        samesite="Lax",
        secure=secure,
        host_prefix=secure,
    )
