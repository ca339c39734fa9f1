"""Build every object of the shop once. Read this first; web/server.py hangs the routes on them.

A request goes web/ → checkout/ → a channel → wechat/; a notification comes web/notify →
checkout/notifications → a channel → the ledger.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from httpx_aiohttp import AiohttpTransport
from sanic import Sanic

from accounts.login import Login
from accounts.sessions import Sessions
from checkout import channels
from checkout import database as engine
from checkout import log as events
from checkout.clock import Clock
from checkout.config import ConfigError, Env
from checkout.engine import SECONDS, Checkout
from checkout.events import Hooks
from shop import database, log, on_paid, settings
from shop.metrics import Metrics
from shop.settings import Settings
from shop.web.server import server_of

T = TypeVar("T")
DRAIN_SECONDS = 8
OAUTH_STATE_KEPT = 60  # seconds after its end


@dataclass
class Shop:
    """Everything there is, one of each."""

    settings: Settings
    clock: Clock
    http: httpx.AsyncClient
    checkout: Checkout
    login: Login
    sessions: Sessions
    metrics: Metrics
    leaving: bool = False

    async def start(self) -> None:
        """Open the database, and learn the sandbox's virtual time.

        Raises ConfigError when the connection lacks what keeps the books right. A database that
        does not answer yet is waited for: /readyz says so.
        """
        await database.connect(self.settings.database_url)
        try:
            await engine.check()
        except ConfigError:
            raise
        except Exception as error:
            events.warning("the database does not answer", why=type(error).__name__)
        await self.synchronise()

    async def run(self, unit: Awaitable[T]) -> T:
        """Run database work so that a client who hangs up does not cancel it."""

        async def work() -> T:
            return await unit

        return await self.checkout.work.run(work(), seconds=SECONDS)

    async def synchronise(self) -> None:
        """In sandbox mode take over the sandbox's virtual time: every answer of it carries it."""
        if not self.settings.sandbox_url:
            return
        try:
            await self.http.get(f"{self.settings.sandbox_url}/_sandbox/clock")
        except httpx.HTTPError as error:
            events.warning("the sandbox does not answer", why=str(error))

    async def patrol(self) -> None:
        """Sweep once, as a unit of work."""
        await self.synchronise()
        await self.checkout.sweep_once()
        forget = self.login.forget_states(older_than_seconds=OAUTH_STATE_KEPT)
        await asyncio.shield(self.checkout.work.start(forget))

    async def stop(self) -> None:
        """Finish what is under way, then close."""
        if left := await self.checkout.drain(seconds=DRAIN_SECONDS):
            events.warning("stopped with work under way", units=left)
        await self.aclose()
        await database.close()

    async def aclose(self) -> None:
        """Close every client."""
        await self.checkout.aclose()
        await self.http.aclose()


def create_app(*, sweep: bool = True) -> Sanic[Any, Any]:
    """Return the shop as a Sanic app, by the settings of the environment and `.env`.

    The sanic command takes it: `sanic shop.app:create_app --factory --single-process`. Raises
    ConfigError naming what is wrong.
    """
    log.configure()
    return server_of(build(settings.environment()), sweep=sweep)


def build(env: Env) -> Shop:
    """Read the settings and build the shop. Raises ConfigError naming what is wrong."""
    read, clock = settings.load(env), Clock()
    http = _http(clock, in_sandbox=bool(read.sandbox_url))
    built, metrics = channels.load(env, read.checkout, http, clock), Metrics(clock)
    log.hide(env.secrets)
    env.check()
    return Shop(
        settings=read,
        clock=clock,
        http=http,
        checkout=Checkout(read.checkout, built, _hooks(metrics), clock),
        login=Login(read.login, http, clock.now),
        sessions=Sessions(read.secret_key, secure=read.secure),
        metrics=metrics,
    )


def _http(clock: Clock, *, in_sandbox: bool) -> httpx.AsyncClient:
    """Return the one HTTP client: its pool survives cancelled requests, its hooks watch clocks."""

    async def compare(answer: httpx.Response) -> None:
        timestamp = answer.headers.get("Wechatpay-Timestamp", "")
        if timestamp.isdecimal() and len(timestamp) < 12:
            clock.skew_seconds = int(timestamp) - clock.real()

    async def follow(answer: httpx.Response) -> None:
        offset = answer.headers.get("X-Sandbox-Offset", "")
        if offset.lstrip("-").isdigit():
            clock.offset_seconds = int(offset)

    return httpx.AsyncClient(
        transport=AiohttpTransport(trust_env=False, limits=httpx.Limits(max_connections=200)),
        trust_env=False,
        timeout=httpx.Timeout(10, connect=5),
        event_hooks={"response": [compare, follow] if in_sandbox else [compare]},
    )


def _hooks(metrics: Metrics) -> Hooks:
    """Hand the owner's functions on; each is looked up when it is called."""
    return Hooks(
        on_paid=lambda order, event_id: on_paid.on_paid(order, event_id),
        on_closed=lambda order, event_id: on_paid.on_closed(order, event_id),
        on_refunded=lambda order, refund, event_id: on_paid.on_refunded(order, refund, event_id),
        on_notification=metrics.notified,
    )
