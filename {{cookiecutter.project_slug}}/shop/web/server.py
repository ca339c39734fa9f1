"""The server: every route, what happens around each request, start and stop."""

import asyncio
import gc
from functools import partial
from typing import Any

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

from checkout.log import request_id
from checkout.work import forever
from shop import log, routes
from shop.shop import Shop
from shop.web import admin, collect, descriptors, health, login, notify, orders, pages
from shop.web.api import address_of, answer_failure
from shop.web.docs import serve as docs
from shop.web.incoming import MAX_DISCARDED, Incoming, be_impatient, refuse_nul
from shop.web.security import add_headers

APIS = (orders.api, collect.api, login.api, pages.api, admin.api)
CONFIG = {
    "ACCESS_LOG": False,
    "AUTO_EXTEND": False,
    "FALLBACK_ERROR_FORMAT": "json",
    "GRACEFUL_SHUTDOWN_TIMEOUT": 10,
    "LEAVE_SECONDS": 0.5,  # ours: answer what has arrived, before connections are closed
    "MOTD": False,
    "KEEP_ALIVE_TIMEOUT": 75,  # longer than nginx keeps its connections to us
    "REQUEST_MAX_SIZE": MAX_DISCARDED,  # above it the connection is cut; incoming.py has the limits
    "REQUEST_TIMEOUT": 10,
    "RESPONSE_TIMEOUT": 30,
}


def server_of(shop: Shop, *, sweep: bool = True, name: str = "shop") -> Sanic[Any, Any]:
    """Return the server; `sweep` runs the sweep inside it."""
    be_impatient()
    app: Sanic[Any, Any] = Sanic(name, configure_logging=False, request_class=Incoming)
    app.config.update({**CONFIG, "PROXIES_COUNT": shop.settings.proxies_count})
    background: list[asyncio.Task[None]] = []

    @app.before_server_start
    async def start(_: object) -> None:
        await shop.start()
        gc.collect()
        gc.freeze()  # what lives as long as we do is not looked through again: no pauses for it
        background.append(asyncio.create_task(forever(descriptors.look, pause=1)))
        if sweep:
            background.append(asyncio.create_task(shop.patrol()))

    @app.before_server_stop
    async def leave(_: object) -> None:
        shop.leaving = True
        await asyncio.sleep(app.config.LEAVE_SECONDS)

    @app.after_server_stop
    async def stop(_: object) -> None:
        for task in background:
            task.cancel()
        await shop.stop()

    app.ctx.shop = shop
    app.register_middleware(partial(_begin, shop), "request")
    app.register_middleware(partial(_finish, shop), "response")
    app.exception(Exception)(answer_failure)
    notified = [path for c in shop.checkout.channels.values() for path in c.notifications]
    for api in APIS:
        app.blueprint(api.blueprint)
    for blueprint in (notify.blueprint_of(notified), health.blueprint, routes.blueprint):
        app.blueprint(blueprint)
    pages.attach(app, shop)
    docs.attach(app, shop, APIS, notified)
    return app


async def _begin(shop: Shop, request: Request) -> None:
    log.begin(request.headers.get("x-request-id", ""), lambda: address_of(request))
    refuse_nul(request)
    shop.limits.check_address(request.method, request.path, address_of(request))


async def _finish(shop: Shop, request: Request, response: BaseHTTPResponse) -> None:
    response.headers["X-Request-ID"] = request_id.get()
    add_headers(request, response, shop.settings.sandbox_url)
    if shop.leaving and request.stream is not None:
        request.stream.keep_alive = False  # type: ignore[attr-defined]
