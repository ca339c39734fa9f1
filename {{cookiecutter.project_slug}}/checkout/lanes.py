"""Lanes 车道: what is due, each kind of it with slots of its own.

A lane that is full of calls which hang keeps no other lane waiting. `due_at` of a row is its next
look and its lease at once: whoever moves it by compare-and-set has the row for a minute; when that
instance dies, the row is simply due again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import compress
from typing import Any

from tortoise.models import Model

from checkout import sql
from checkout.clock import Clock
from checkout.work import Work, failed

LEASE = timedelta(seconds=60)
MOMENT = 0.2  # seconds that a free slot waits at most for its neighbours

Due = Callable[[datetime, int], Awaitable[Sequence[Any]]]
Handle = Callable[[Any], Awaitable[object]]


class Lane:
    """Claim due rows, and handle a few of them at a time.

    `due` reads at most so many rows that are due at a time, the next one first. `handle` gets a
    row that is leased to it, and moves its `due_at`. In a rush a row `waits` so long.
    """

    def __init__(
        self,
        name: str,
        due: Due,
        handle: Handle,
        clock: Clock,
        work: Work,
        *,
        slots: int,
        waits: timedelta,
    ) -> None:
        self.name = name
        self._due = due
        self._handle = handle
        self._clock = clock
        self._work = work
        self._slots = slots
        self._waits = waits
        self._busy: set[asyncio.Task[None]] = set()

    async def drain(self) -> int:
        """Handle everything that is due now; return how many rows that were."""
        now = self._clock.now()
        handled = 0
        while (begun := await self._begin(now)) or self._busy:
            handled += begun
            await self._a_moment()
        return handled

    async def turn(self) -> None:
        """Fill the free slots, again and again, until nothing is due or none is free."""
        while await self._begin(self._now()):
            await self._a_moment()

    def _now(self) -> datetime:
        """Return until when rows are due; answers that somebody waits for come first."""
        now = self._clock.now()
        return now - self._waits if self._work.is_rush else now

    async def _begin(self, now: datetime) -> int:
        """Fill the free slots with rows that are due; return how many were due."""
        if len(self._busy) >= self._slots:
            return 0
        return await asyncio.shield(self._work.start(self._fill(now)))

    async def _fill(self, now: datetime) -> int:
        rows = await self._due(now, self._slots - len(self._busy))
        lease = self._clock.now() + LEASE
        claimed = await asyncio.gather(*[claim(row, lease) for row in rows])  # SQLite: one commit
        for row in compress(rows, claimed):
            task = self._work.start(self._run(row))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
        return len(rows)

    async def _run(self, row: Model) -> None:
        try:
            await self._handle(row)
        except Exception as error:  # its lease runs out, then it is due again
            failed("sweep of one row failed", error, lane=self.name, row=row.pk)

    async def _a_moment(self) -> None:
        """Wait for all slots, but only a moment for those that hang."""
        if self._busy:
            await asyncio.wait(self._busy, timeout=MOMENT)


async def claim(row: Any, lease: datetime) -> bool:
    """Lease a row until then, unless another instance has it."""
    claimed = await sql.lease(row, lease)
    row.due_at = lease
    return claimed
