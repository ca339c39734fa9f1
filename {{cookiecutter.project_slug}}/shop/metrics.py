"""What an operator watches 监控指标, in Prometheus' format.

The database is asked only about what is not over: however many orders there were, a scrape costs
the same. What is over was counted when it happened, by the process that did it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from tortoise.functions import Count
from tortoise.models import Model

from checkout.clock import EVER, Clock
from checkout.models import BillDifference, Event, Notification, Order, Payment, Refund

#: why a notification was not believed; every other reason is an attack until proved otherwise
REASONS = {
    "signtest": "probe",
    "unknown_serial": "wrong_key",
    "UNDECRYPTABLE": "wrong_key",
    "malformed": "malformed",
}
AGES = (300, 900, 1800, 3600)  # seconds
#: states and outcomes that are not over
PAYMENTS = ("NEW", "OPEN", "HELD")
REFUNDS = ("PENDING", "PROCESSING", "ABNORMAL")
INBOX = ("UNMATCHED", "UNDECRYPTABLE")
DIFFERENCES_OF = timedelta(days=31)
SWEPT: tuple[type[Model], ...] = (Order, Payment, Refund, Notification, Event)


class Metrics:
    """Counts of this process, and what the database says when somebody asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._notifications = Counter(
            "shop_notifications",
            "Notifications answered by this process; reason: probe, attack, wrong_key, malformed",
            ["outcome", "reason"],
            registry=self._registry,
        )
        self._transitions = Counter(
            "shop_moves",
            "Moves by this process; subject: order, payment, refund",
            ["subject", "to_state"],
            registry=self._registry,
        )
        self._payments = self._gauge("payments", "Open payments; HELD: for a person", "state")
        self._refunds = self._gauge("refunds", "Open refunds; ABNORMAL: for a person", "state")
        self._open = self._gauge("open_payments", "NEW and OPEN, not older than", "seconds")
        self._inbox = self._gauge("inbox", "Notifications that are tried again", "outcome")
        self._events = self._gauge("events_waiting", "Events the owner's functions must hear of")
        self._differences = self._gauge(
            "bill_differences", "Lines of the last 31 days' bills that differ from the books"
        )
        self._switched_off = self._gauge(
            "switched_off_rows", "Unfinished rows of channels that are not set up", "channel"
        )
        self._lag = self._gauge("sweep_lag_seconds", "How late the most overdue row is")
        self._skew = self._gauge("clock_skew_seconds", "WeChat's clock minus ours")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"shop_{name}", text, labels, registry=self._registry)

    def notified(self, outcome: str, reason: str = "") -> None:
        """Count a notification; NOT_PROVED comes with the reason of its refusal."""
        listed = REASONS.get(reason.partition(":")[0]) or REASONS.get(outcome)
        label = listed or ("attack" if outcome == "NOT_PROVED" else "")
        self._notifications.labels(outcome, label).inc()

    def moved(self, subject: str, to_state: str) -> None:
        """Count a committed move of an order, a payment or a refund."""
        self._transitions.labels(subject, to_state).inc()

    async def scrape(self, switched_off: Mapping[str, int]) -> bytes:
        """Ask the database and return everything as text.

        `switched_off` counts the rows that wait for a channel.
        """
        now = self._clock.now()
        _show(self._payments, PAYMENTS, await _numbers(Payment, "state", PAYMENTS, live__gt=0))
        _show(self._refunds, REFUNDS, await _numbers(Refund, "state", REFUNDS))
        _show(self._inbox, INBOX, await _numbers(Notification, "outcome", INBOX, due_at__gt=EVER))
        await self._count_open(now)
        self._events.set(await Event.filter(due_at__gt=EVER).count())
        lately = BillDifference.filter(date__gte=(now - DIFFERENCES_OF).date())
        self._differences.set(await lately.count())
        self._lag.set(max([await _lag(table, now) for table in SWEPT]))
        self._skew.set(self._clock.skew_seconds)
        self._switched_off.clear()
        for channel, rows in switched_off.items():
            self._switched_off.labels(channel).set(rows)
        return generate_latest(self._registry)

    async def _count_open(self, now: datetime) -> None:
        still = Payment.filter(live__gt=0, state__in=("NEW", "OPEN"))
        for seconds in AGES:
            young = still.filter(created_at__gte=now - timedelta(seconds=seconds))
            self._open.labels(str(seconds)).set(await young.count())
        self._open.labels("+Inf").set(await still.count())


async def _numbers(
    table: type[Model], column: str, values: Sequence[str], **more: datetime | int
) -> dict[str, int]:
    """Count the rows with each of these values."""
    rows = table.filter(**{f"{column}__in": values}, **more).annotate(number=Count("id"))
    return dict(await rows.group_by(column).values_list(column, "number"))


def _show(gauge: Gauge, values: Sequence[str], numbers: dict[str, int]) -> None:
    for value in values:
        gauge.labels(value).set(numbers.get(value, 0))


async def _lag(table: type[Model], now: datetime) -> float:
    """Return for how many seconds the first row has been due."""
    first = await table.filter(due_at__lt=now).order_by("due_at").first().values_list("due_at")
    return (now - first[0]).total_seconds() if first else 0.0
