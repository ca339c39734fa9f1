"""What follows a payment 后续动作: the owner's hooks, at least once each, in order for each order.

An event is written in the transaction that moved the state, leased to this process, and run as
soon as that is committed. What fails, or what a crash leaves behind, the sweep runs again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from checkout import log, sql
from checkout.clock import Clock
from checkout.models import Event, Order, Refund
from checkout.work import AfterCommit, Work

LEASE = timedelta(seconds=60)
RETRIES = (5, 30, 60, 300, 900, 3600)  # seconds
SECONDS = 50  # then a hook counts as failed and is called again; less than the lease


async def nothing(*_: object) -> None:
    """Do nothing."""


def no_notification(outcome: str, reason: str) -> None:
    """Count nothing."""


@dataclass(frozen=True)
class Hooks:
    """The owner's functions; `event_id` is the same in every repeat.

    `on_closed` runs only once no payment of the order can succeed any more: release stock there.
    An exception means "try again later".
    """

    on_paid: Callable[[Order, str], Awaitable[None]] = nothing
    on_closed: Callable[[Order, str], Awaitable[None]] = nothing
    on_refunded: Callable[[Order, Refund, str], Awaitable[None]] = nothing
    on_notification: Callable[[str, str], None] = no_notification
    """Is told the outcome of each notification and why, for metrics; it must not fail."""


class Events:
    """Write events down, and run them."""

    def __init__(self, hooks: Hooks, clock: Clock, work: Work) -> None:
        self._hooks = hooks
        self._clock = clock
        self._work = work

    async def write(
        self, kind: str, order: Order, after: AfterCommit, refund: Refund | None = None
    ) -> None:
        """Insert an event in the open transaction; it runs right after the commit."""
        now, suffix = self._clock.now(), f"-{refund.id}" if refund else ""
        event = Event(
            event_id=f"{order.order_no}-{kind}{suffix}",
            order_id=order.id,
            refund_id=refund.id if refund else None,
            kind=kind,
            created_at=now,
            due_at=now + LEASE,
        )
        await sql.insert(event)
        after.call(partial(self._start, event, order, refund))

    def _start(self, event: Event, order: Order, refund: Refund | None) -> None:
        self._work.start(self._run(event, order, refund))

    async def run(self, event: Event) -> None:
        """Run an event that is due and leased to the caller."""
        order = await Order.get(id=event.order_id)
        refund = await Refund.get(id=event.refund_id) if event.refund_id is not None else None
        await self._run(event, order, refund)

    async def _run(self, event: Event, order: Order, refund: Refund | None) -> None:
        """Call the hook, unless an earlier event of the order is still to be run."""
        wait = timedelta(seconds=RETRIES[min(event.tries, len(RETRIES) - 1)])
        due_at: datetime | None = self._clock.now() + wait
        if not await _has_earlier(event):
            try:
                call = self._work.start(self._call(event, order, refund))
                # never cancelled: a cancelled transaction would keep its connection for good
                await asyncio.wait_for(asyncio.shield(call), SECONDS)
            except Exception as error:
                log.failure("event failed", error, event_id=event.event_id, tries=event.tries)
            else:
                due_at = None
        await Event.filter(id=event.id).update(due_at=due_at, tries=event.tries + 1)

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
