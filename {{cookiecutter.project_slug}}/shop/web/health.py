"""Is the process alive, can it take money, and how is it doing?"""

import time

from prometheus_client import CONTENT_TYPE_LATEST
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json as answer

from checkout import database as engine
from checkout.config import ConfigError
from checkout.work import failed
from shop import database
from shop.shop import Shop
from shop.web.api import identify

blueprint = Blueprint("health")
PROBE_SECONDS = 3  # a write is tried that often at most, whoever asks how often


@blueprint.get("/healthz")
async def healthz(_: Request) -> HTTPResponse:
    """Say that the process is alive."""
    return answer({"ok": True})


@blueprint.get("/readyz")
async def readyz(request: Request) -> HTTPResponse:
    """Say whether orders and payments can be taken: 200, else 503 and why not."""
    shop: Shop = request.app.ctx.shop
    try:
        unapplied, waiting = await shop.checkout.work.run(_look(shop), seconds=3)
    except ConfigError as error:
        return answer({"ready": False, "database": str(error)}, 503)
    except Exception as error:
        failed("not ready", error)
        return answer({"ready": False, "database": "does not answer, or takes no writes"}, 503)
    keys = bool(shop.checkout.channels.offered())
    ready = not unapplied and keys and not shop.leaving
    report = {
        "ready": ready,
        "database": "ok",
        "migrations": unapplied or "ok",
        "keys": keys,
        "channels": waiting or "ok",
    }
    return answer(report, 200 if ready else 503)


async def _look(shop: Shop) -> tuple[list[str], dict[str, str]]:
    """Return missing migrations, and channels that are off while rows of them wait.

    A write is tried when the last one is some seconds old.
    """
    unapplied = await database.unapplied()
    await engine.check()
    if not unapplied and time.monotonic() - shop.written_at >= PROBE_SECONDS:
        await shop.checkout.work.once("probe", engine.probe)
        shop.written_at = time.monotonic()
    waiting = {} if unapplied else await shop.checkout.switched_off()
    return unapplied, {name: f"switched off, {rows} rows wait" for name, rows in waiting.items()}


@blueprint.get("/metrics")
async def metrics(request: Request) -> HTTPResponse:
    """Give what Prometheus collects, for the admin token."""
    shop: Shop = request.app.ctx.shop
    identify("admin", request, shop)
    text = await shop.checkout.work.run(_scrape(shop), seconds=10)
    return HTTPResponse(text, content_type=CONTENT_TYPE_LATEST)


async def _scrape(shop: Shop) -> bytes:
    return await shop.metrics.scrape(await shop.checkout.switched_off())
