"""What follows a payment 后续动作: the owner's hooks, at least once each, in order for each order.

An event is written in the transaction that moved the state, leased to this process for a moment,
and run as soon as that is committed. What fails, what hangs, and what a crash leaves behind, the
sweep runs again. A bounded number of hooks runs at once, and none longer than its deadline.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import NamedTuple

from checkout import log, sql
from checkout.clock import Clock
from checkout.lanes import LEASE
from checkout.models import Event, Order, Refund
from checkout.work import AfterCommit, Work, failed

AT_ONCE = 32  # hooks that run right after their commits; those of the sweep have slots of their own
FIRST_LEASE = timedelta(seconds=3)  # the event of a process that died is soon run by another one
QUICK_SECONDS = 1  # most hooks have ended by then; a slower one gets a longer lease
QUICK = timedelta(seconds=QUICK_SECONDS)
TOGETHER = 16  # hooks that are started, and noted as done, together
PATIENCE = 0.05  # seconds until the next hooks are started beside one that takes longer
WAITS_IN_A_RUSH = 1.0  # second, at most: then hooks are called beside everything else
A_BREATH = 0.02  # seconds between two looks whether the rush is over
SECONDS = 30  # then a hook is cancelled, counts as failed and is called again; less than the lease
IN_ORDER = timedelta(seconds=30)  # until an earlier event of the order is looked for again
RETRIES = (3, 30, 60, 300, 900, 3600)  # seconds


async def nothing(*_: object) -> None:
    """Do nothing."""


def uncounted(*_: str) -> None:
    """Count nothing."""


@dataclass(frozen=True)
class Hooks:
    """The owner's functions; `event_id` is the same in every repeat.

    `on_closed` runs only once no payment of the order can succeed any more: release stock there.
    An exception means "try again later"; what has not ended after half a minute is cancelled.
    """

    on_paid: Callable[[Order, str], Awaitable[None]] = nothing
    on_closed: Callable[[Order, str], Awaitable[None]] = nothing
    on_refunded: Callable[[Order, Refund, str], Awaitable[None]] = nothing
    on_notification: Callable[[str, str], None] = uncounted
    """Is told the outcome of each notification and why, for metrics; it must not fail."""
    on_move: Callable[[str, str], None] = uncounted
    """Is told each committed move, order, payment or refund and its new state; it must not fail."""


class Waiting(NamedTuple):
    """An event that is committed, and whose hook is about to be called; `since` is monotonic."""

    event: Event
    order: Order
    refund: Refund | None
    since: float


class Events:
    """Write events down, and run them."""

    def __init__(self, hooks: Hooks, clock: Clock, work: Work) -> None:
        self._hooks = hooks
        self._clock = clock
        self._work = work
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = deque[Waiting]()
        self._done = list[Event]()
        self.moves = 0
        """Committed moves of this process, so far."""

    async def write(
        self, kind: str, order: Order, after: AfterCommit, refund: Refund | None = None
    ) -> None:
        """Insert an event in the open transaction; it runs right after the commit."""
        await sql.insert(self.event(kind, order, after, refund))

    def event(
        self, kind: str, order: Order, after: AfterCommit, refund: Refund | None = None
    ) -> Event:
        """Return a new event, to be inserted; it runs right after the commit."""
        now = self._clock.now()
        suffix = f"-{refund.id}" if refund else ""
        event = Event.construct(  # checks nothing, which is three times as fast
            event_id=f"{order.order_no}-{kind}{suffix}",
            order_id=order.id,
            refund_id=refund.id if refund else None,
            kind=kind,
            created_at=now,
            due_at=now + FIRST_LEASE,
        )
        after.call(partial(self._start, event, order, refund))
        return event

    def moved(self, subject: str, to_state: str) -> None:
        """Count a committed move, and tell the owner's metrics of it."""
        self.moves += 1
        self._hooks.on_move(subject, to_state)

    def _start(self, event: Event, order: Order, refund: Refund | None) -> None:
        """Let it run in its turn; when too many hooks hang, the sweep will in a moment."""
        self._waiting.append(Waiting(event, order, refund, time.monotonic()))
        if len(self._waiting) == 1:
            self._work.start(self._run_waiting())

    async def _run_waiting(self) -> None:
        """Start a few hooks at a time; in a rush the answers to WeChat and to buyers come first.

        Hooks that take longer are not waited for. What has waited too long is left to the sweep.
        """
        while self._waiting:
            while self._work.is_rush and not self._has_waited():  # noqa: ASYNC110  no event ends a rush
                await asyncio.sleep(A_BREATH)
            batch = list(islice(self._waiting, TOGETHER))
            calls = [
                self._work.start(self._at_once(waiting))
                for waiting in batch
                if self._may_run(waiting)
            ]
            if calls:
                await asyncio.wait(calls, timeout=PATIENCE)
            await self._write_done()
            for _ in batch:
                self._waiting.popleft()  # only now: a task runs as long as something waits

    def _has_waited(self) -> bool:
        return time.monotonic() - self._waiting[0].since > WAITS_IN_A_RUSH

    def _may_run(self, waiting: Waiting) -> bool:
        due_at = waiting.event.due_at
        in_time = due_at is not None and self._clock.now() + QUICK < due_at
        return in_time and not self._slots.locked()

    async def _at_once(self, waiting: Waiting) -> None:
        try:
            async with self._slots:
                await self._run(waiting.event, waiting.order, waiting.refund)
            if not self._waiting:
                await self._write_done()
        except Exception as error:  # its lease runs out, then the sweep runs it
            failed("event not finished", error, event_id=waiting.event.event_id)

    async def run(self, event: Event) -> None:
        """Run an event that is due and leased to the caller."""
        order = await sql.order_by_id(event.order_id)
        refund = await Refund.get(id=event.refund_id) if event.refund_id is not None else None
        await self._run(event, order, refund)
        await self._write_done()

    async def _write_done(self) -> None:
        """Note what has come to its end, in one statement; what a crash forgets runs again."""
        done = self._done
        self._done = []
        try:
            if done:
                await sql.note_done(done)
        except Exception as error:  # their leases run out
            failed("events done, but not noted", error, events=len(done))

    async def _run(self, event: Event, order: Order, refund: Refund | None) -> None:
        """Call the hook, unless an earlier event of the order is still to be run."""
        tries = event.tries + 1
        if await _has_earlier(event):
            await self._look_again(event, IN_ORDER)
        elif await self._succeeds(event, order, refund):
            self._done.append(event)
        else:
            wait = timedelta(seconds=RETRIES[min(event.tries, len(RETRIES) - 1)])
            await self._look_again(event, wait, tries=tries)

    async def _succeeds(self, event: Event, order: Order, refund: Refund | None) -> bool:
        """Call the hook, and cancel it at its deadline; tell whether it came to its end."""
        call = self._work.start(self._call(event, order, refund))
        await asyncio.wait([call], timeout=QUICK_SECONDS)
        if not call.done():
            await self._look_again(event, LEASE)
            await asyncio.wait([call], timeout=SECONDS)
        if not call.done() or call.cancelled():
            call.cancel()
            why = f"it had not ended after {SECONDS} s"
            log.warning("event failed", why=why, event_id=event.event_id, tries=event.tries)
            return False
        if error := call.exception():
            failed("event failed", error, event_id=event.event_id, tries=event.tries)
            return False
        return True

    async def _look_again(self, event: Event, wait: timedelta, **values: int) -> None:
        """Run it again after so long, unless somebody has finished it meanwhile."""
        unfinished = Event.filter(id=event.id, due_at__not_isnull=True)
        await unfinished.update(due_at=self._clock.now() + wait, **values)

    async def _call(self, event: Event, order: Order, refund: Refund | None) -> None:
        if refund is not None:
            await self._hooks.on_refunded(order, refund, event.event_id)
        elif event.kind == "on_paid":
            await self._hooks.on_paid(order, event.event_id)
        else:
            await self._hooks.on_closed(order, event.event_id)


async def _has_earlier(event: Event) -> bool:
    """Tell whether an earlier event is open; the first of an order is always one of these two."""
    if event.kind in ("on_paid", "on_closed"):
        return False
    earlier = Event.filter(order_id=event.order_id, id__lt=event.id, due_at__not_isnull=True)
    return await earlier.exists()
