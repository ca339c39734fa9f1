"""Look again at everything unfinished 巡检.

`due_at` of a row is its next look and its lease at once: whoever moves it by compare-and-set
has the row for a minute; when that instance dies, the row is simply due again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from tortoise.models import Model

from checkout import log
from checkout.clock import Clock
from checkout.events import Events
from checkout.ledger import AFTER_CLOSING, Ledger
from checkout.models import Event, Notification, Order, Payment, Refund
from checkout.notifications import Notifications
from checkout.payments import Payments
from checkout.refunds import Refunds

LEASE = timedelta(seconds=60)
BATCH = 100
AT_ONCE = 8
LOOKS = (5, 30, 60, 180, 300, 600)  # seconds between looks at a payment that may be paid
CLOSING_LOOKS = (5, 15, 30, 60)
CLOSED_LOOKS = 2  # proved looks at a closed payment: late money is still money
CLOSING_AGAIN = timedelta(seconds=60)
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


class Sweep:
    """Finish what is due: notifications, orders, payments, refunds, events."""

    def __init__(
        self,
        notifications: Notifications,
        ledger: Ledger,
        payments: Payments,
        refunds: Refunds,
        events: Events,
        clock: Clock,
    ) -> None:
        self._notifications = notifications
        self._ledger = ledger
        self._payments = payments
        self._refunds = refunds
        self._events = events
        self._clock = clock

    async def once(self) -> dict[str, Any]:
        """Handle everything that is due now; return the Report as a dictionary."""
        report = Report()
        await self._due(Notification, self._notification)
        await self._due(Order, self._order)
        await self._due(Payment, lambda payment: self._payment(payment, report))
        await self._due(Refund, lambda refund: self._refund(refund, report))
        await self.events()
        await self._count(report)
        return asdict(report)

    async def events(self) -> None:
        """Run the owner's hooks for what has happened."""
        await self._due(Event, self._events.run)

    async def _due(self, table: type[Model], handle: Callable[[Any], Awaitable[None]]) -> None:
        """Claim due rows batch by batch and handle a few at a time, until none is left."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def handle_claimed(row: Any) -> None:
            async with slots:
                if await self._claim(row):
                    await handle(row)

        while True:
            due = table.filter(due_at__lte=self._clock.now()).order_by("due_at", "id")
            rows = await due.limit(BATCH)
            results = await asyncio.gather(*map(handle_claimed, rows), return_exceptions=True)
            for error in results:
                if isinstance(error, BaseException):
                    log.failure("sweep of one row failed", error, table=table.__name__)
            if len(rows) < BATCH:
                return

    async def _claim(self, row: Any) -> bool:
        """Lease a row for a minute, unless another instance has it."""
        lease = self._clock.now() + LEASE
        claimed = await type(row).filter(id=row.id, due_at=row.due_at).update(due_at=lease)
        row.due_at = lease
        return bool(claimed)

    async def _notification(self, row: Notification) -> None:
        """Try an open notification again, for a day."""
        age = self._clock.now() - row.received_at
        if age > UNMATCHED_FOR:
            await Notification.filter(id=row.id).update(due_at=None)
            return
        outcome = await self._notifications.replay(row)
        if outcome.name in ("UNMATCHED", "UNDECRYPTABLE"):
            wait = min(max(LEASE, age / 2), MATCHING)
            await Notification.filter(id=row.id).update(due_at=self._clock.now() + wait)

    async def _order(self, order: Order) -> None:
        """Close an order whose time is over, once its payments are closed."""
        order = await self._ledger.start_closing(order.order_no, "expired")
        if order.state == "CLOSING":
            later = self._clock.now() + CLOSING_AGAIN
            await Order.filter(id=order.id, state="CLOSING").update(due_at=later)

    async def _payment(self, payment: Payment, report: Report) -> None:
        """Ask about a payment, and close it where its order takes no more money.

        A look at a closed payment that brought no proved answer is not counted: it comes again.
        """
        order = await Order.get(id=payment.order_id)
        before, lease = payment.state, payment.due_at
        if before == "CLOSED":
            proved = await self._payments.close(payment, "sweep")
        else:
            proved = await self._payments.ask(payment, "sweep")
            if order.state != "OPEN" and payment.state in ("NEW", "OPEN"):
                proved = await self._payments.close(payment, "sweep")
        report.paid += payment.state == "PAID"
        report.closed += payment.state == "CLOSED" != before
        if payment.state != before and payment.state not in ("NEW", "OPEN"):
            return  # the ledger has set its next look
        looks = payment.looks + (proved or before != "CLOSED")
        due_at = self._next_look(payment, looks, proved=proved, is_open=order.state == "OPEN")
        unmoved = Payment.filter(id=payment.id, state=payment.state, due_at=lease)
        await unmoved.update(due_at=due_at, looks=looks)

    def _next_look(
        self, payment: Payment, looks: int, *, proved: bool, is_open: bool
    ) -> datetime | None:
        now = self._clock.now()
        if payment.state == "CLOSED":
            if looks >= CLOSED_LOOKS:
                return None
            return now + (AFTER_CLOSING if proved else CLOSING_AGAIN)
        if payment.state not in ("NEW", "OPEN"):
            return None
        pauses = LOOKS if is_open else CLOSING_LOOKS
        return now + timedelta(seconds=pauses[min(looks, len(pauses) - 1)])

    async def _refund(self, refund: Refund, report: Report) -> None:
        before = refund.state
        await self._refunds.look(refund)
        await refund.refresh_from_db()
        report.refunds += refund.state != before

    async def _count(self, report: Report) -> None:
        """Count what may still be paid, and find the oldest."""
        open_payments = Payment.filter(state__in=("NEW", "OPEN"))
        oldest = await open_payments.order_by("created_at").first()
        report.open = await open_payments.count()
        if oldest is not None:
            age = self._clock.now() - oldest.created_at
            report.oldest_open_seconds = max(0, int(age.total_seconds()))
