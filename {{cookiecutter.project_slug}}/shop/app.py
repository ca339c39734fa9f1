"""Build every object of the shop once. Read this first; web/server.py hangs the routes on them.

A request goes web/ → ordering or checkout → a channel → wechat/; a notification comes
web/notify → inbox → a channel → ledger. Nothing else moves money.
"""

import asyncio
from dataclasses import dataclass

import httpx
from httpx_aiohttp import AiohttpTransport

from shop import channels, database, log, settings
from shop.checkout import Checkout
from shop.clock import Clock
from shop.handover import Handover
from shop.inbox import Inbox
from shop.ledger import Ledger
from shop.login import Login
from shop.metrics import Metrics
from shop.ordering import Ordering
from shop.refund_ledger import RefundLedger
from shop.refunds import Refunds
from shop.sessions import Sessions
from shop.settings import Env, Settings
from shop.sweep import Sweep
from shop.truth import Truth
from shop.work import Work

DRAIN_SECONDS = 8


@dataclass
class Shop:
    """Everything there is, one of each."""

    settings: Settings
    clock: Clock
    work: Work
    http: httpx.AsyncClient
    clients: list[httpx.AsyncClient]
    channels: dict[str, channels.Channel]
    ledger: Ledger
    truth: Truth
    refunds: Refunds
    inbox: Inbox
    ordering: Ordering
    checkout: Checkout
    handover: Handover
    login: Login
    sessions: Sessions
    sweep: Sweep
    metrics: Metrics
    leaving: bool = False

    async def start(self) -> None:
        """Open the database, and learn the sandbox's virtual time."""
        await database.connect(self.settings.database_url)
        await self.synchronise()

    async def synchronise(self) -> None:
        """In sandbox mode take over the sandbox's virtual time."""
        if self.settings.sandbox_url:
            await self.clock.ask(self.http, self.settings.sandbox_url)

    async def patrol(self) -> None:
        """Sweep once, as a unit of work."""
        await self.synchronise()
        await asyncio.shield(self.work.start(self.sweep.once()))

    async def stop(self) -> None:
        """Finish what is under way, then close."""
        if left := await self.work.drain(seconds=DRAIN_SECONDS):
            log.warning("stopped with work under way", units=left)
        for client in self.clients:
            await client.aclose()
        await database.close()


def build(env: Env) -> Shop:
    """Read the settings and build the shop. Raises SettingsError naming what is wrong."""
    found = settings.load(env)
    log.hide(found.secrets)
    clock, work = Clock(), Work()
    http = httpx.AsyncClient(
        transport=AiohttpTransport(trust_env=False, limits=httpx.Limits(max_connections=200)),
        trust_env=False,
        timeout=httpx.Timeout(10, connect=5),
        event_hooks={"response": [clock.compare, *[clock.follow] * bool(found.sandbox_url)]},
    )
    parts = channels.Parts(env, found, http, clock, clients=[http])
    ways = channels.load(parts)
    env.check()
    ledger = Ledger(clock)
    truth = Truth(ways, ledger, clock)
    refunds = Refunds(ways, RefundLedger(clock), truth, clock)
    inbox = Inbox(ways, ledger, refunds, clock)
    return Shop(
        settings=found,
        clock=clock,
        work=work,
        http=http,
        clients=parts.clients,
        channels=ways,
        ledger=ledger,
        truth=truth,
        refunds=refunds,
        inbox=inbox,
        ordering=Ordering(clock, found.order_ttl),
        checkout=Checkout(found.trade_prefix, ways, ledger, truth, clock, work),
        handover=Handover(found.secret_key),
        login=Login(found, http, clock),
        sessions=Sessions(found.secret_key, secure=found.secure),
        sweep=Sweep(inbox, ledger, truth, refunds, clock),
        metrics=Metrics(clock),
    )
