"""Compare the books with WeChat's bill 对账.

Rows are matched by number, never by time. The bill is not signed: it is printed and stored,
and moves nothing.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, NamedTuple

from tortoise.expressions import Q
from tortoise.models import Model

from checkout import log
from checkout.channels import BillRow, Channel, NoBillYet
from checkout.clock import Clock
from checkout.models import BillDifference, Payment, Refund, Share

BATCH = 500
PROGRESS = 50_000
BEIJING = timezone(timedelta(hours=8))
ACCEPTED = ("PROCESSING", "SUCCESS", "ABNORMAL", "CLOSED")  # states of a refund that WeChat took


class OurShare(NamedTuple):
    """What a payment's row of the bill is compared with; `state` is the payment's."""

    out_trade_no: str
    id: int
    transaction_id: str | None
    total_fen: int
    state: str


OF_A_SHARE = ("out_trade_no", "id", "transaction_id", "total_fen", "payment__state")


class Difference(NamedTuple):
    """One line where bill and books disagree; `here` and `there` are fen, a state or an id."""

    channel: str
    kind: str
    number: str
    here: str
    there: str


@dataclass
class Count:
    """How much was compared; `foreign` rows belong to another system of the same merchant."""

    rows: int = 0
    foreign: int = 0


class Bill:
    """One day's comparison, in bounded memory: batches, and the numbers seen in a scratch file."""

    def __init__(self, books: Sequence[Channel], day: date, prefix: str, clock: Clock) -> None:
        """Compare the one bill of `books`, which are channels that share one, with their rows."""
        self._channel = books[0]
        self._books = [channel.name for channel in books]
        self._day = day
        self._prefix = prefix
        self._clock = clock
        self._seen = sqlite3.connect("")
        self._seen.execute("CREATE TABLE seen (kind TEXT, id INTEGER, PRIMARY KEY (kind, id))")
        self.count = Count()

    async def differences(self, progress: Callable[[int], None]) -> AsyncIterator[Difference]:
        """Yield every difference, each stored once; raises what Channel.bill raises."""
        if self._day >= self._clock.now().astimezone(BEIJING).date():
            raise NoBillYet(f"{self._day} is not over in Beijing")
        async for batch in _batches(self._channel.bill(self._day)):
            for difference in await self._store(await self._compare(batch)):
                yield difference
            if self.count.rows // PROGRESS > (self.count.rows - len(batch)) // PROGRESS:
                progress(self.count.rows)
        async for missing in self._missing_there():
            for difference in await self._store(missing):
                yield difference

    async def _compare(self, rows: list[BillRow]) -> list[Difference]:
        differences = list[Difference]()
        numbers = [row.out_trade_no for row in rows]
        # whatever the channel: one with the same books may be switched off now
        our_shares = Share.filter(out_trade_no__in=numbers)
        shares = {row[0]: OurShare(*row) for row in await our_shares.values_list(*OF_A_SHARE)}
        refunded = {row.out_trade_no for row in rows if row.out_refund_no} & shares.keys()
        refunds = dict[str, Refund]()
        if refunded:
            our_refunds = Refund.filter(share_id__in=[shares[number].id for number in refunded])
            refunds = {refund.out_refund_no: refund for refund in await our_refunds}
        for row in rows:
            self.count.rows += 1
            share = shares.get(row.out_trade_no)
            if share is None and not row.out_trade_no.startswith(self._prefix):
                self.count.foreign += 1
            elif row.out_refund_no:
                differences += self._refund_row(row, refunds.get(row.out_refund_no))
            else:
                differences += self._payment_row(row, share)
        return differences

    def _payment_row(self, row: BillRow, share: OurShare | None) -> Iterable[Difference]:
        paid = share is not None and share.state == "PAID"
        if share is None or (paid and share.transaction_id != row.transaction_id):
            here = share.transaction_id or "" if share else ""
            yield self._difference("missing_here", row.out_trade_no, here, row.transaction_id)
            return
        self._see("payment", share.id)
        if (row.state == "PAID") is not paid:
            yield self._difference("state", row.out_trade_no, share.state, row.state)
        if row.total_fen != share.total_fen:
            yield self._difference("amount", row.out_trade_no, share.total_fen, row.total_fen)

    def _refund_row(self, row: BillRow, refund: Refund | None) -> Iterable[Difference]:
        number = row.out_refund_no
        if refund is None or refund.state not in ACCEPTED:
            here = refund.state if refund else ""
            yield self._difference("refund_missing_here", number, here, row.refund_fen)
            return
        self._see("refund", refund.id)
        if row.refund_fen != refund.refund_fen:
            yield self._difference("refund_amount", number, refund.refund_fen, row.refund_fen)

    async def _missing_there(self) -> AsyncIterator[list[Difference]]:
        """Go through our own rows of the day, which WeChat's times tell, and look for them."""
        async for payments in self._of_the_day(Payment, "paid_at", ("PAID",)):
            ids = [payment["id"] for payment in payments]
            shares = Share.filter(payment_id__in=ids)
            rows = await shares.values_list("id", "out_trade_no", "total_fen")
            new = self._unseen("payment", [row_id for row_id, _, _ in rows])
            yield [
                self._difference("missing_there", number, total_fen, "")
                for row_id, number, total_fen in rows
                if row_id in new
            ]
        more = ("out_refund_no", "refund_fen")
        async for refunds in self._of_the_day(Refund, "accepted_at", ACCEPTED, *more):
            new = self._unseen("refund", [refund["id"] for refund in refunds])
            yield [
                self._difference(
                    "refund_missing_there", refund["out_refund_no"], refund["refund_fen"], ""
                )
                for refund in refunds
                if refund["id"] in new
            ]

    async def _of_the_day(
        self, table: type[Model], column: str, states: Sequence[str], *more: str
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Page through the rows whose time is on this day in Beijing, along that time's index.

        State and channel are looked at here: SQLite would take their index, and read years.
        """
        start = datetime.combine(self._day, time(), BEIJING).astimezone(UTC)
        rows = table.filter(**{f"{column}__lt": start + timedelta(days=1)}).order_by(column, "id")
        after = start
        last = 0
        while True:
            is_later: dict[str, Any] = {f"{column}__gt": after}
            later = Q(**is_later) | Q(id__gt=last)  # many have the same second
            page = rows.filter(later, **{f"{column}__gte": after}).limit(BATCH)
            batch = await page.values("id", "channel", "state", column, *more)
            if not batch:
                return
            yield [r for r in batch if r["state"] in states and r["channel"] in self._books]
            after = batch[-1][column]
            last = batch[-1]["id"]

    def _difference(self, kind: str, number: str, here: str | int, there: str | int) -> Difference:
        return Difference(self._channel.books, kind, number, str(here), str(there))

    def _see(self, kind: str, row_id: int) -> None:
        self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (kind, row_id))

    def _unseen(self, kind: str, ids: list[int]) -> set[int]:
        query = "SELECT id FROM seen WHERE kind = ? AND id IN (SELECT value FROM json_each(?))"
        return set(ids) - {
            row_id for (row_id,) in self._seen.execute(query, (kind, json.dumps(ids)))
        }

    async def _store(self, differences: list[Difference]) -> list[Difference]:
        """Write differences down, once however often the day is compared."""
        now = self._clock.now()
        rows = [BillDifference(**d._asdict(), date=self._day, found_at=now) for d in differences]
        if rows:
            await BillDifference.bulk_create(rows, ignore_conflicts=True)
            log.alarm("bill differs", day=str(self._day), differences=len(rows))
        return differences


async def _batches(rows: AsyncIterator[BillRow]) -> AsyncIterator[list[BillRow]]:
    batch: list[BillRow] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
