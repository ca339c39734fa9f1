"""Once a minute: what no lane does.

Rows whose channel is switched off are told to a person, and what a wrong clock has put off until
tomorrow is looked at now.
"""

from collections import Counter
from datetime import timedelta

from tortoise.expressions import Q
from tortoise.models import Model

from checkout import log
from checkout.channels import Channels
from checkout.clock import EVER, SKEW, Clock
from checkout.events import RETRIES
from checkout.lanes import LEASE
from checkout.models import Event, Notification, Order, Payment, Refund
from checkout.orders import GRACE
from checkout.refunds import DAILY
from checkout.refunds import LOOKS as REFUND_LOOKS

#: rows of these are finished with the help of their channel
OF_A_CHANNEL: tuple[type[Model], ...] = (Payment, Refund, Notification)
MOST = 10_000  # rows of a table that are counted
#: nothing is put off longer than so many seconds, but orders and surplus refunds
LONGEST: dict[type[Model], float] = {Notification: 3600, Payment: 600, Event: RETRIES[-1]}


class Housekeeping:
    """Find what would stay unfinished for ever."""

    def __init__(self, channels: Channels, order_ttl: int, clock: Clock) -> None:
        self._channels = channels
        self._order_ttl = timedelta(seconds=order_ttl)
        self._clock = clock

    async def once(self) -> int:
        """Alarm for rows without their channel; return how many rows were made due again."""
        for channel, rows in (await self.switched_off()).items():
            log.alarm("a channel is switched off, rows of it wait", channel=channel, rows=rows)
        if pulled_back := await self._pull_back():
            log.warning("a clock was wrong, rows are due again", rows=pulled_back)
        return pulled_back

    async def switched_off(self) -> dict[str, int]:
        """Count unfinished rows by channel, of those channels that are not set up here.

        GROUP BY would lead SQLite to an index of the channel, and so through the whole table.
        """
        rows = Counter[str]()
        for table in OF_A_CHANNEL:
            absent = table.filter(due_at__gt=EVER, channel__not_in=list(self._channels))
            longest_due = absent.order_by("due_at").limit(MOST)
            rows.update(row["channel"] for row in await longest_due.values("channel"))
        return dict(rows)

    async def _pull_back(self) -> int:
        """Make due what lies further ahead than anything is put off; return how many rows.

        Such a row was written while the clock was wrong.
        """
        now = self._clock.now()
        rows = 0
        for table, seconds in LONGEST.items():
            far = now + SKEW + timedelta(seconds=seconds)
            rows += await table.filter(due_at__gt=far).update(due_at=now)
        return rows + await self._pull_back_refunds() + await self._pull_back_orders()

    async def _pull_back_refunds(self) -> int:
        """Only surplus refunds that are refused wait for a day."""
        now = self._clock.now()
        soon = now + SKEW
        far = soon + timedelta(seconds=REFUND_LOOKS[-1])
        waits_a_day = Q(state="PENDING", origin="surplus", due_at__lte=soon + DAILY)
        too_far = Q(due_at__gt=far) & ~waits_a_day
        sent_tomorrow = Q(due_at__gt=soon, sent_at__gt=soon)
        return await Refund.filter(too_far | sent_tomorrow).update(due_at=now)

    async def _pull_back_orders(self) -> int:
        """Look at an expired order now; one that was placed tomorrow gets its life from now on."""
        now = self._clock.now()
        expired = Order.filter(due_at__gt=now + LEASE + SKEW, expires_at__lt=now)
        rows = await expired.update(due_at=now)
        end = now + self._order_ttl + GRACE
        leased_tomorrow = Q(due_at__gt=end + SKEW, expires_at__lt=end)
        placed_tomorrow = Q(due_at__gt=end + SKEW, created_at__gt=now + SKEW)
        return rows + await Order.filter(leased_tomorrow | placed_tomorrow).update(due_at=end)
