"""Look again at everything unfinished 巡检.

Each kind of row has a lane of its own, and where WeChat or another upstream is asked, each channel
has: what hangs there delays nobody else. Inside a lane buyers take turns.
"""

import asyncio
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from checkout import log, sql
from checkout.channels import Channels
from checkout.clock import Clock
from checkout.events import Events
from checkout.housekeeping import Housekeeping
from checkout.lanes import LEASE, Due, Handle, Lane
from checkout.ledger import AFTER_CLOSING, Ledger
from checkout.models import Notification, Order, Payment, Refund
from checkout.notifications import Notifications
from checkout.payments import Payments
from checkout.refunds import Refunds
from checkout.work import Work, forever

SLOTS = 8
PAYMENT_SLOTS = 16  # most of what is due, and each waits for two answers
REFUND_SLOTS = 3  # WeChat lets a merchant fail six times a second
LATER_IN_A_RUSH = timedelta(seconds=20)  # a look: by then its notification has come, nearly always
PAUSE = 1.0  # seconds between two looks for what is due
HOUSEKEEPING = 60.0  # seconds
PASSES = 20  # of `once`: an order, its payment, its refund and their events follow each other
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
        channels: Channels,
        notifications: Notifications,
        ledger: Ledger,
        payments: Payments,
        refunds: Refunds,
        events: Events,
        housekeeping: Housekeeping,
        clock: Clock,
        work: Work,
    ) -> None:
        self._channels = channels
        self._notifications = notifications
        self._ledger = ledger
        self._payments = payments
        self._refunds = refunds
        self._events = events
        self._housekeeping = housekeeping
        self._clock = clock
        self._work = work

    async def once(self) -> dict[str, Any]:
        """Handle everything that is due now, and what follows from it; return the Report.

        Where nothing moved and no row was put right, nothing follows. What is only due again,
        because so many rows took longer than the pause until the next look, is the next sweep's.
        """
        report = Report()
        lanes = self.lanes(report)
        rows = 0
        began = time.monotonic()
        for _ in range(PASSES):
            moves = self._events.moves
            drains = [lane.drain() for lane in lanes]
            kept, *handled = await asyncio.gather(self._keep_house(), *drains)
            rows += sum(handled)
            if not kept and self._events.moves == moves:
                break
        seconds = max(time.monotonic() - began, 0.001)
        log.info("swept once", rows=rows, rows_a_second=round(rows / seconds))
        await self._count(report)
        return asdict(report)

    async def go_on(self) -> None:
        """Sweep until cancelled, every lane at its own pace."""
        lanes = [forever(lane.turn, pause=PAUSE) for lane in self.lanes(Report())]
        await asyncio.gather(*lanes, forever(self._keep_house, pause=HOUSEKEEPING))

    async def _keep_house(self) -> int:
        return await asyncio.shield(self._work.start(self._housekeeping.once()))

    def lanes(self, report: Report) -> list[Lane]:
        """Return every lane; `report` counts what becomes of their rows."""
        lanes = [
            self._lane("orders", sql.due_orders, self._order),
            self._lane("events", sql.due_events, self._events.run),
            self._lane("events again", sql.due_events_again, self._events.run),
        ]
        for name in self._channels:
            lanes += self._lanes_of(name, report)
        return lanes

    def _lanes_of(self, channel: str, report: Report) -> list[Lane]:
        """Return what a channel is asked about: when its answers hang, other channels go on."""
        return [
            self._lane(
                f"notifications of {channel}",
                partial(sql.due_notifications, channel),
                self._notification,
            ),
            self._lane(
                f"payments of {channel}",
                partial(sql.due_payments, channel),
                partial(self._payment, report=report),
                slots=PAYMENT_SLOTS,
                waits=LATER_IN_A_RUSH,
            ),
            self._lane(
                f"refunds of {channel}",
                partial(sql.due_refunds, channel),
                partial(self._refund, report=report),
                slots=REFUND_SLOTS,
            ),
        ]

    def _lane(
        self,
        name: str,
        due: Due,
        handle: Handle,
        *,
        slots: int = SLOTS,
        waits: timedelta = timedelta(0),
    ) -> Lane:
        return Lane(name, due, handle, self._clock, self._work, slots=slots, waits=waits)

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

    async def _payment(self, payment: Payment, *, report: Report) -> None:
        """Ask about a payment, and close it where its order takes no more money.

        A look at a closed payment that brought no proved answer is not counted: it comes again.
        """
        order = await sql.order_by_id(payment.order_id)
        before = payment.state
        lease = payment.due_at
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
        await sql.NEXT_LOOK.run(
            id=payment.id, state=payment.state, due_at=due_at, due_at__was=lease, looks=looks
        )

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

    async def _refund(self, refund: Refund, *, report: Report) -> None:
        before = refund.state
        await self._refunds.look(refund)
        await refund.refresh_from_db()
        report.refunds += refund.state != before

    async def _count(self, report: Report) -> None:
        """Count what may still be paid, and find the oldest."""
        open_payments = Payment.filter(live__gt=0, state__in=("NEW", "OPEN"))
        oldest = await open_payments.order_by("created_at").first()
        report.open = await open_payments.count()
        if oldest is not None:
            age = self._clock.now() - oldest.created_at
            report.oldest_open_seconds = max(0, int(age.total_seconds()))
