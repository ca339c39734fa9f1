"""Is the process alive, can it take money, and how is it doing?"""

from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST
from sanic import HTTPResponse, Request, Sanic
from sanic.response import json as answer

from checkout import database as engine
from checkout import log
from checkout.config import ConfigError
from shop import database
from shop.web.api import identify

if TYPE_CHECKING:
    from shop.app import Shop


def attach(app: Sanic[Any, Any], shop: "Shop") -> None:
    """Add /healthz, /readyz and, behind the admin token, /metrics."""

    async def healthz(_: Request) -> HTTPResponse:
        return answer({"ok": True})

    async def readyz(_: Request) -> HTTPResponse:
        try:
            unapplied = await shop.checkout.work.run(database.unapplied(), seconds=3)
            await engine.check()
        except ConfigError as error:
            return answer({"ready": False, "database": str(error)}, 503)
        except Exception as error:
            log.failure("not ready", error)
            return answer({"ready": False, "database": "does not answer"}, 503)
        keys = bool(shop.checkout.channels)
        ready = not unapplied and keys and not shop.leaving
        report = {"ready": ready, "database": "ok", "migrations": unapplied or "ok", "keys": keys}
        return answer(report, 200 if ready else 503)

    async def metrics(request: Request) -> HTTPResponse:
        identify("admin", request, shop)
        text = await shop.checkout.work.run(shop.metrics.scrape(), seconds=10)
        return HTTPResponse(text, content_type=CONTENT_TYPE_LATEST)

    app.add_route(metrics, "/metrics")
    app.add_route(healthz, "/healthz")
    app.add_route(readyz, "/readyz")
