"""The shop as one object: what its parts do together, from start to stop."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from accounts.login import BATCH, Login
from accounts.sessions import Sessions
from checkout import database as engine
from checkout import log as events
from checkout.clock import Clock
from checkout.config import ConfigError
from checkout.engine import SECONDS, Checkout
from checkout.work import forever
from shop import database
from shop.goods import Catalogue
from shop.metrics import Metrics
from shop.settings import Settings
from shop.web.limits import Limits

T = TypeVar("T")
DRAIN_SECONDS = 8
OAUTH_STATE_KEPT = 60  # seconds after its end
FORGET_SECONDS = 60
FORGET_BATCHES = 10  # at once, so that a flood of guests is gone as fast as it came
SYNCHRONISE_SECONDS = 1.0


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
    limits: Limits
    products: Catalogue
    leaving: bool = False
    written_at: float = float("-inf")
    """When a write was last tried and went well, in seconds of the monotonic clock."""

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
        """Sweep until cancelled, and forget what nobody needs any more."""
        await asyncio.gather(
            forever(self.synchronise, pause=SYNCHRONISE_SECONDS),
            self.checkout.sweep_on(),
            forever(self.forget, pause=FORGET_SECONDS),
        )

    async def forget(self) -> None:
        """Delete the logins that are over, and guests who never ordered."""
        await asyncio.shield(self.checkout.work.start(self._forget()))

    async def _forget(self) -> None:
        for _ in range(FORGET_BATCHES):
            states = await self.login.forget_states(older_than_seconds=OAUTH_STATE_KEPT)
            guests = await self.login.forget_guests(self.checkout.orders.having_ordered)
            if max(states, guests) < BATCH:
                break

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
