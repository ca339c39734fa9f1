"""Ten times as many rows need ten times as long and no more memory: a day's bill, a backlog."""

import gc
import sqlite3
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from checkout.bill import Bill, Count
from checkout.channels import BillRow, Trade, TradeShare
from checkout.models import Payment, Share
from kit.running import RunningShop

from tests.bench.history import fill

DAY = date(2026, 1, 31)
END_OF_THE_DAY = datetime(2026, 1, 31, 15, 59, 59, tzinfo=UTC)  # in Beijing
MOST_BYTES = 12_000_000  # whatever the size


def sizes(small: int, large: int) -> pytest.MarkDecorator:
    """Try both sizes; the large one in the long run only."""
    return pytest.mark.parametrize("size", [small, pytest.param(large, marks=pytest.mark.thorough)])


class Spent(NamedTuple):
    """What it took: seconds of CPU, and the bytes at its worst moment beyond those before it."""

    seconds: float
    bytes: int


async def spent(unit: Callable[[], Awaitable[None]]) -> Spent:
    """Measure a unit of work."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        began = time.process_time()
        await unit()
        _, peak = tracemalloc.get_traced_memory()
        return Spent(time.process_time() - began, peak - before)
    finally:
        tracemalloc.stop()


class Books:
    """A channel whose bill agrees with our books, and whose payments nobody has paid yet."""

    name = books = "wechat"

    async def bill(self, _: date) -> AsyncIterator[BillRow]:
        """Yield a row for each share that was paid."""
        last = 0
        while rows := await Share.filter(id__gt=last).order_by("id").limit(500):
            for share in rows:
                if share.transaction_id:
                    number = share.out_trade_no
                    transaction_id = share.transaction_id
                    yield BillRow(number, transaction_id, "PAID", share.total_fen)
            last = rows[-1].id

    async def query(self, payment: Payment, shares: list[Share]) -> Trade:
        """Say that it is still to be paid."""
        open_shares = [TradeShare(share.out_trade_no, "OPEN", {}) for share in shares]
        return Trade(payment.number, "NOTPAY", {}, open_shares)


@sizes(3_000, 30_000)
async def test_a_bill_is_compared_in_memory_that_does_not_grow_with_it(
    running: RunningShop, size: int
) -> None:
    await fill(str(running.shop.settings.database_url), size, days=1, now=END_OF_THE_DAY)
    bill = Bill([Books()], DAY, "S", running.shop.clock)  # type: ignore[list-item]

    async def compare() -> None:
        refunds = [d.kind async for d in bill.differences(lambda rows: None)]
        assert set(refunds) <= {"refund_missing_there"}  # those of the next day are not of this

    took = await spent(compare)
    assert bill.count == Count(rows=await Payment.filter(state="PAID").count())
    assert took.bytes < MOST_BYTES, took
    assert took.seconds < size / 500, took


def reopen(url: str, now: datetime) -> None:
    """Let every payment be open and due, as after a day without a sweep."""
    with closing(sqlite3.connect(urlsplit(url).path)) as connection:
        connection.execute("UPDATE checkout_order SET state = 'OPEN', paid_at = NULL")
        connection.execute(
            """UPDATE checkout_payment SET state = 'OPEN', live = order_id, paid_at = NULL,
            due_at = ?""",
            (str(now - timedelta(minutes=1)),),
        )
        connection.commit()


@sizes(300, 3_000)
async def test_a_backlog_is_swept_in_memory_that_does_not_grow_with_it(
    running: RunningShop, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(running.shop.settings.database_url)
    now = running.shop.clock.now()
    await fill(url, size, now=now)
    reopen(url, now)
    channel = running.shop.checkout.channels["wechat"]
    report = dict[str, Any]()
    monkeypatch.setattr(type(channel), "query", Books.query)

    async def sweep() -> None:
        report.update(await running.shop.checkout.sweep_once())

    took = await spent(sweep)
    assert report["open"] == size
    assert await Payment.filter(looks__gt=1).count() == size
    assert took.bytes < MOST_BYTES, took
    assert took.seconds < size / 20, took
