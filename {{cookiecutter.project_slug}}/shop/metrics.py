"""What an operator watches 监控指标, in Prometheus' format."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from tortoise.functions import Count
from tortoise.models import Model

from checkout import ledger
from checkout.clock import Clock
from checkout.models import BillDifference, Event, Notification, Order, Payment, Refund

#: why a notification was not believed; every other reason is an attack until proved otherwise
REASONS = {"signtest": "probe", "unknown_serial": "wrong_key", "UNDECRYPTABLE": "wrong_key"}
AGES = (300, 900, 1800, 3600)  # seconds
SWEPT: tuple[type[Model], ...] = (Order, Payment, Refund, Notification, Event)


class Metrics:
    """Counts of this process, and what the database says when somebody asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._registry = clock, CollectorRegistry()
        self._notifications = Counter(
            "shop_notifications",
            "Notifications answered by this process; reason: probe, attack, wrong_key",
            ["outcome", "reason"],
            registry=self._registry,
        )
        self._payments = self._gauge("payments", "Payments; HELD ones wait for a person", "state")
        self._refunds = self._gauge("refunds", "Refunds; ABNORMAL ones wait for a person", "state")
        self._open = self._gauge("open_payments", "NEW and OPEN, not older than", "seconds")
        self._inbox = self._gauge("inbox", "Notifications that were stored", "outcome")
        self._events = self._gauge("events_waiting", "Events the owner's functions must hear of")
        self._differences = self._gauge("bill_differences", "Lines where bill and books differ")
        self._lag = self._gauge("sweep_lag_seconds", "How late the most overdue row is")
        self._skew = self._gauge("clock_skew_seconds", "WeChat's clock minus ours")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"shop_{name}", text, labels, registry=self._registry)

    def notified(self, outcome: str, reason: str = "") -> None:
        """Count a notification; NOT_PROVED comes with the reason of its refusal."""
        known = REASONS.get(outcome) or REASONS.get(reason)
        label = known or ("attack" if outcome == "NOT_PROVED" else "")
        self._notifications.labels(outcome, label).inc()

    async def scrape(self) -> bytes:
        """Ask the database and return everything as text."""
        now = self._clock.now()
        await self._count(Payment, self._payments, "state", ledger.PAYMENT)
        await self._count(Refund, self._refunds, "state", ledger.REFUND)
        await self._count(Notification, self._inbox, "outcome", ())
        await self._count_open(now)
        self._events.set(await Event.filter(due_at__not_isnull=True).count())
        self._differences.set(await BillDifference.all().count())
        self._lag.set(max([await _lag(table, now) for table in SWEPT]))
        self._skew.set(self._clock.skew_seconds)
        return generate_latest(self._registry)

    async def _count(
        self, table: type[Model], gauge: Gauge, column: str, always: Iterable[str]
    ) -> None:
        rows = table.annotate(number=Count("id")).group_by(column)
        found = dict.fromkeys(always, 0) | dict(await rows.values_list(column, "number"))
        for value, number in found.items():
            gauge.labels(value).set(number)

    async def _count_open(self, now: datetime) -> None:
        still = Payment.filter(state__in=("NEW", "OPEN"))
        for seconds in AGES:
            young = still.filter(created_at__gte=now - timedelta(seconds=seconds))
            self._open.labels(str(seconds)).set(await young.count())
        self._open.labels("+Inf").set(await still.count())


async def _lag(table: type[Model], now: datetime) -> float:
    """Return for how many seconds the first row has been due."""
    first = await table.filter(due_at__lt=now).order_by("due_at").first().values_list("due_at")
    return (now - first[0]).total_seconds() if first else 0.0
