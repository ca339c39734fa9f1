"""The server: every route, what happens around each request, start and stop."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

from checkout.log import request_id
from checkout.work import forever
from shop import log, routes
from shop.web import admin, collect, health, login, notify, openapi, orders, pages
from shop.web.api import answer_failure

if TYPE_CHECKING:
    from shop.app import Shop

APIS = (orders.api, collect.api, login.api, admin.api)
CONFIG = {
    "ACCESS_LOG": False,
    "AUTO_EXTEND": False,
    "FALLBACK_ERROR_FORMAT": "json",
    "GRACEFUL_SHUTDOWN_TIMEOUT": 10,
    "LEAVE_SECONDS": 0.5,  # ours: answer what has arrived, before connections are closed
    "MOTD": False,
    "REQUEST_MAX_SIZE": 8 * 1024 * 1024,  # above it the connection is cut
    "RESPONSE_TIMEOUT": 30,
}


def server_of(shop: "Shop", *, sweep: bool = True, name: str = "shop") -> Sanic[Any, Any]:
    """Return the server; `sweep` runs the sweep inside it, every second."""
    app: Sanic[Any, Any] = Sanic(name, configure_logging=False)
    app.config.update({**CONFIG, "PROXIES_COUNT": shop.settings.proxies_count})
    background: list[asyncio.Task[None]] = []

    @app.before_server_start
    async def start(_: object) -> None:
        await shop.start()
        if sweep:
            background.append(asyncio.create_task(forever(shop.patrol, pause=1)))

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
    app.register_middleware(_begin, "request")
    app.register_middleware(partial(_finish, shop), "response")
    app.exception(Exception)(answer_failure)
    for api in APIS:
        api.attach(app, shop)
    for part in (login, notify, pages, health):
        part.attach(app, shop)
    app.blueprint(routes.blueprint)
    openapi.attach(
        app, APIS, [path for c in shop.checkout.channels.values() for path in c.notifications]
    )
    return app


async def _begin(request: Request) -> None:
    log.begin(request.headers.get("x-request-id", ""))


async def _finish(shop: "Shop", request: Request, response: BaseHTTPResponse) -> None:
    response.headers["X-Request-ID"] = request_id.get()
    if shop.leaving and request.stream is not None:
        request.stream.keep_alive = False  # type: ignore[attr-defined]
