"""Look again at everything unfinished 巡检: `python -m shop sweep`, and inside `serve`.

`due_at` of a row is its next look and its lease at once: whoever moves it by compare-and-set
has the row for a minute; when that instance dies, the row is simply due again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from tortoise.models import Model

from shop import log, on_paid
from shop.clock import Clock
from shop.inbox import Inbox
from shop.ledger import AFTER_CLOSING, Ledger
from shop.models import Event, Notification, OAuthState, Order, Payment, Refund
from shop.refunds import Refunds
from shop.truth import Truth

LEASE = timedelta(seconds=60)
BATCH = 100
AT_ONCE = 8
LOOKS = (5, 30, 60, 180, 300, 600)  # seconds between looks at a payment that may be paid
CLOSING_LOOKS = (5, 15, 30, 60)
CLOSED_LOOKS = 2  # a closed payment is looked at again: late money is still money
RETRIES = (5, 30, 60, 300, 900, 3600)
EVENT_SECONDS = 50  # then the sweep goes on; the function counts as failed and is called again
MATCHING = timedelta(hours=1)  # the longest pause between two tries
UNMATCHED_FOR = timedelta(hours=24)


@dataclass
class Report:
    """What one sweep did and what it left open; ages in seconds."""

    closed: int = 0
    paid: int = 0
    refunds: int = 0
    open: int = 0
    oldest_open_seconds: int = 0


@dataclass
class Sweep:
    """Finish what is due: notifications, orders, payments, refunds, events."""

    inbox: Inbox
    ledger: Ledger
    truth: Truth
    refunds: Refunds
    clock: Clock

    async def once(self) -> dict[str, Any]:
        """Handle everything that is due now; return the Report as a dictionary."""
        report = Report()

        async def payment(row: Payment) -> None:
            await self._payment(row, report)

        await self._due(Notification, self._notification)
        await self._due(Order, self._order)

        async def refund(row: Refund) -> None:
            before = row.state
            await self.refunds.look(row)
            report.refunds += row.state != before

        await self._due(Payment, payment)
        await self._due(Refund, refund)
        await self.events()
        await OAuthState.filter(expires_at__lt=self.clock.now() - LEASE).delete()
        oldest = await Payment.filter(state__in=("NEW", "OPEN")).order_by("created_at").first()
        report.open = await Payment.filter(state__in=("NEW", "OPEN")).count()
        if oldest is not None:
            age = self.clock.now() - oldest.created_at
            report.oldest_open_seconds = max(0, int(age.total_seconds()))
        return asdict(report)

    async def events(self) -> None:
        """Run the owner's functions for what has happened."""
        await self._due(Event, self._event)

    async def _due(self, table: type[Model], handle: Callable[[Any], Awaitable[None]]) -> None:
        """Claim due rows batch by batch and handle a few at a time, until none is left."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(row: Any) -> None:
            async with gate:
                if await self._claim(row):
                    await handle(row)

        while True:
            now = self.clock.now()
            rows = await table.filter(due_at__lte=now).order_by("due_at", "id").limit(BATCH)
            for result in await asyncio.gather(*map(one, rows), return_exceptions=True):
                if isinstance(result, BaseException):
                    log.failure("sweep of one row failed", result, table=table.__name__)
            if len(rows) < BATCH:
                return

    async def _claim(self, row: Any) -> bool:
        lease = self.clock.now() + LEASE
        claimed = await type(row).filter(id=row.id, due_at=row.due_at).update(due_at=lease)
        row.due_at = lease
        return bool(claimed)

    async def _notification(self, row: Notification) -> None:
        if self.clock.now() > row.received_at + UNMATCHED_FOR:
            await Notification.filter(id=row.id).update(due_at=None)
            return
        verdict = await self.inbox.finish(row)
        if verdict.outcome in ("UNMATCHED", "UNDECRYPTABLE"):
            wait = min(max(LEASE, (self.clock.now() - row.received_at) / 2), MATCHING)
            await Notification.filter(id=row.id).update(due_at=self.clock.now() + wait)

    async def _order(self, order: Order) -> None:
        if order.state == "OPEN":
            await self.ledger.start_closing(order, "expired")
        await self.ledger.close_order(order, "sweep")
        if order.state == "CLOSING":
            later = self.clock.now() + timedelta(seconds=CLOSING_LOOKS[-1])
            await Order.filter(id=order.id, state="CLOSING").update(due_at=later)

    async def _payment(self, payment: Payment, report: Report) -> None:
        order, before = await Order.get(id=payment.order_id), payment.state
        if before != "CLOSED":
            await self.truth.ask(payment, "sweep")
        if order.state != "OPEN" or before == "CLOSED":
            await self.truth.close(payment, "sweep")
        report.paid += payment.state == "PAID"
        report.closed += payment.state == "CLOSED" != before
        again: datetime | None = None
        if payment.state in ("NEW", "OPEN"):
            looks = LOOKS if order.state == "OPEN" else CLOSING_LOOKS
            wait = looks[min(payment.looks, len(looks) - 1)]
            again = self.clock.now() + timedelta(seconds=wait)
        elif payment.state == "CLOSED" and payment.looks + 1 < CLOSED_LOOKS:
            again = self.clock.now() + AFTER_CLOSING
        mine = Payment.filter(id=payment.id, due_at=payment.due_at)
        await mine.update(due_at=again, looks=payment.looks + 1)

    async def _event(self, event: Event) -> None:
        """Run one event, unless an earlier one of the same order is still to be run."""
        earlier = Event.filter(order_id=event.order_id, id__lt=event.id, due_at__not_isnull=True)
        wait = timedelta(seconds=RETRIES[min(event.tries, len(RETRIES) - 1)])
        due_at: datetime | None = self.clock.now() + wait
        if not await earlier.exists():
            try:
                told = asyncio.ensure_future(tell(event))
                # never cancelled: a cancelled transaction would keep its connection for good
                await asyncio.wait_for(asyncio.shield(told), EVENT_SECONDS)
            except Exception as error:
                log.failure("event failed", error, event_id=event.event_id, tries=event.tries)
            else:
                due_at = None
        await Event.filter(id=event.id).update(due_at=due_at, tries=event.tries + 1)


async def tell(event: Event) -> None:
    """Call the owner's function in on_paid.py."""
    order = await Order.get(id=event.order_id)
    if event.refund_id is not None:
        refund = await Refund.get(id=event.refund_id)
        await on_paid.on_refunded(order, refund, event.event_id)
    else:
        await getattr(on_paid, event.kind)(order, event.event_id)
