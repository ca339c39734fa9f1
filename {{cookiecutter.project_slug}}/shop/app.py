"""Build every object of the shop once, and hang the HTTP routes on them. Read this first.

A request goes web/ → checkout → a channel → wechat/; a notification comes web/notify → inbox →
a channel → ledger. Nothing else moves money.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_aiohttp import AiohttpTransport
from sanic import HTTPResponse, Request, Sanic

from shop import channels, database, log, settings
from shop.checkout import Checkout
from shop.clock import Clock
from shop.inbox import Inbox
from shop.ledger import Ledger
from shop.login import Login
from shop.sessions import Sessions
from shop.settings import Env, Settings
from shop.sweep import Sweep
from shop.truth import Truth
from shop.web import admin, health, login, notify, openapi, orders, pages
from shop.web.api import answer_failure
from shop.work import Work, forever

APIS = (orders.api, login.api, admin.api)
DRAIN_SECONDS = 8
CONFIG = {
    "ACCESS_LOG": False,
    "AUTO_EXTEND": False,
    "FALLBACK_ERROR_FORMAT": "json",
    "GRACEFUL_SHUTDOWN_TIMEOUT": 10,
    "MOTD": False,
    "REQUEST_MAX_SIZE": 2 * 1024 * 1024,
    "RESPONSE_TIMEOUT": 30,
}


@dataclass
class Shop:
    """Everything there is, one of each."""

    settings: Settings
    clock: Clock
    work: Work
    http: httpx.AsyncClient
    channels: dict[str, channels.Channel]
    ledger: Ledger
    truth: Truth
    inbox: Inbox
    checkout: Checkout
    login: Login
    sessions: Sessions
    sweep: Sweep

    async def start(self) -> None:
        """Open the database, and learn the sandbox's virtual time."""
        await database.connect(self.settings.database_url)
        await self.synchronise()

    async def synchronise(self) -> None:
        """In sandbox mode take over its clock; every answer of the sandbox carries it."""
        if self.settings.sandbox_url:
            try:
                await self.http.get(f"{self.settings.sandbox_url}/_sandbox/clock")
            except httpx.HTTPError as error:
                log.warning("the sandbox does not answer", why=str(error))

    async def patrol(self) -> None:
        """Sweep once, as a unit of work."""
        await self.synchronise()
        await asyncio.shield(self.work.start(self.sweep.once()))

    async def stop(self) -> None:
        """Finish what is under way, then close."""
        if left := await self.work.drain(seconds=DRAIN_SECONDS):
            log.warning("stopped with work under way", units=left)
        await self.http.aclose()
        await database.close()


def build(env: Env) -> Shop:
    """Read the settings and build the shop. Raises SettingsError naming what is wrong."""
    found = settings.load(env)
    log.hide([found.secret_key, found.admin_token, *(a.secret for a in found.apps.values())])
    clock, work = Clock(), Work()
    http = httpx.AsyncClient(
        transport=AiohttpTransport(trust_env=False, limits=httpx.Limits(max_connections=200)),
        trust_env=False,
        timeout=httpx.Timeout(10, connect=5),
        event_hooks={"response": [clock.follow]} if found.sandbox_url else {},
    )
    ways = channels.load(channels.Parts(env, found, http))
    env.check()
    ledger = Ledger(clock)
    truth, inbox = Truth(ways, ledger, clock), Inbox(ways, ledger, clock)
    return Shop(
        settings=found,
        clock=clock,
        work=work,
        http=http,
        channels=ways,
        ledger=ledger,
        truth=truth,
        inbox=inbox,
        checkout=Checkout(found, ways, ledger, truth, clock, work),
        login=Login(found, http, clock),
        sessions=Sessions(found.secret_key, secure=found.secure),
        sweep=Sweep(inbox, ledger, truth, clock),
    )


def create_app(shop: Shop, *, sweep: bool = True, name: str = "shop") -> Sanic[Any, Any]:
    """Return the server; `sweep` runs the sweep inside it, every second."""
    app: Sanic[Any, Any] = Sanic(name, configure_logging=False)
    app.config.update({**CONFIG, "PROXIES_COUNT": shop.settings.proxies_count})
    background: list[asyncio.Task[None]] = []

    @app.before_server_start
    async def start(_: object) -> None:
        await shop.start()
        if sweep:
            background.append(asyncio.create_task(forever(shop.patrol, pause=1)))

    @app.after_server_stop
    async def stop(_: object) -> None:
        for task in background:
            task.cancel()
        await shop.stop()

    app.on_request(_begin)
    app.on_response(_finish)
    app.exception(Exception)(answer_failure)
    for api in APIS:
        api.attach(app, shop)
    for part in (login, notify, pages, health):
        part.attach(app, shop)
    openapi.attach(app, APIS)
    return app


async def _begin(request: Request) -> None:
    log.begin(request.headers.get("x-request-id", ""))


async def _finish(_: Request, response: HTTPResponse) -> None:
    response.headers["X-Request-ID"] = log.request_id.get()
