"""Is the process alive, and can it take money?"""

from typing import TYPE_CHECKING, Any

from sanic import HTTPResponse, Request, Sanic
from sanic.response import json as answer

from shop import database, log

if TYPE_CHECKING:
    from shop.app import Shop


def attach(app: Sanic[Any, Any], shop: "Shop") -> None:
    """Add /healthz and /readyz."""

    async def healthz(_: Request) -> HTTPResponse:
        return answer({"ok": True})

    async def readyz(_: Request) -> HTTPResponse:
        try:
            unapplied = await shop.work.run(database.unapplied(), seconds=3)
        except Exception as error:
            log.failure("not ready", error)
            return answer({"ready": False, "database": "does not answer"}, 503)
        keys = bool(shop.channels)
        ready = not unapplied and keys and not shop.leaving
        said = {"ready": ready, "database": "ok", "migrations": unapplied or "ok", "keys": keys}
        return answer(said, 200 if ready else 503)

    app.add_route(healthz, "/healthz")
    app.add_route(readyz, "/readyz")
