"""Money rule 11: the bill is the judge, row by row, by number."""

import asyncio
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import pytest

from checkout.bill import BEIJING, Bill, Count
from checkout.channels import BillBroken, BillRow, Declined, NoBillYet
from checkout.models import BillDifference, Payment, Refund, Share
from shop.settings import ROOT
from tests.shop.conftest import Stage, settings
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import bought, compare, give_back, next_noon, paying, today, until


async def a_day(stage: Stage) -> tuple[date, str, str]:
    """Sell twice and refund a part: the day, the refunded payment's number, the refund's."""
    now = stage.shop.clock.now().astimezone(BEIJING)
    if now.hour == 23:  # the day must not end while it is played
        await stage.advance(3600)
    _, order_no, number = await bought(stage)
    refund = (await give_back(stage, order_no, 300)).json()["out_refund_no"]
    await paying_once_more(stage)
    return await next_noon(stage), number, refund


async def paying_once_more(stage: Stage) -> None:
    buyer, _, started = await paying(stage)
    await buyer.pay(started["invoke"])
    await until(lambda: Payment.exists(number=started["out_trade_no"], state="PAID"))


@EVERY_DATABASE
async def test_a_true_bill_agrees(stage: Stage) -> None:
    day, _, _ = await a_day(stage)
    assert await compare(stage, day) == ([], Count(rows=3))
    assert not await BillDifference.exists()


async def test_surplus_money_and_refunds_of_the_merchant_platform_agree_too(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)
    await until(lambda: Refund.exists())
    await stage.shop.checkout.sweep_once()
    _, _, number = await bought(stage)
    await stage.control("refund", out_trade_no=number, refund=700)
    day = await next_noon(stage)
    await until(lambda: Refund.exists(origin="merchant_platform"))
    assert await compare(stage, day) == ([], Count(rows=4))


FALSIFIED = {
    "missing_row": "missing_there", "extra_row": "missing_here", "wrong_amount": "amount",
    "wrong_state": "state", "missing_refund": "refund_missing_there",
    "extra_refund": "refund_missing_here", "wrong_refund_amount": "refund_amount",
}  # fmt: skip


@pytest.mark.parametrize(("fault", "kind"), FALSIFIED.items())
async def test_a_falsified_line_is_reported_as_its_kind_and_nothing_else_is(
    stage: Stage, fault: str, kind: str
) -> None:
    day, number, refund = await a_day(stage)
    await stage.control("faults", bill=fault)
    differences, _ = await compare(stage, day)
    assert [name for name, _ in differences] == [kind]
    if not fault.startswith("extra"):
        assert differences[0][1] == (refund if "refund" in kind else number)


@EVERY_DATABASE
async def test_a_difference_is_told_every_time_and_stored_once(stage: Stage) -> None:
    day, number, _ = await a_day(stage)
    await stage.control("faults", bill="wrong_amount")
    for _ in range(2):
        assert (await compare(stage, day))[0] == [("amount", number)]
    stored = await BillDifference.get()
    assert (stored.channel, stored.date, stored.kind) == ("wechat", day, "amount")
    assert (stored.number, stored.here, stored.there) == (number, "9900", "10000")


@pytest.mark.parametrize(
    ("fault", "words"), [("wrong_hash", "SHA1"), ("truncated", "gzip"), ("cut", "broke off|ends")]
)
async def test_a_broken_bill_is_not_believed(stage: Stage, fault: str, words: str) -> None:
    day, _, _ = await a_day(stage)
    await stage.control("faults", bill=fault)
    with pytest.raises(BillBroken, match=words):
        await compare(stage, day)
    assert not await BillDifference.exists()


async def test_there_is_no_bill_of_today_nor_before_ten_in_the_morning(stage: Stage) -> None:
    day, _, _ = await a_day(stage)
    with pytest.raises(NoBillYet):
        await compare(stage, today(stage))
    await paying_once_more(stage)
    await stage.advance(12 * 3600 + 60)
    with pytest.raises(NoBillYet):
        await compare(stage, day + timedelta(days=1))
    with pytest.raises(Declined, match="三个月"):
        await compare(stage, day - timedelta(days=200))


async def test_a_day_without_a_statement_is_an_empty_bill(stage: Stage) -> None:
    day = today(stage) - timedelta(days=2)
    assert await compare(stage, day) == ([], Count())
    _, _, number = await bought(stage)
    noon = datetime(day.year, day.month, day.day, 4, tzinfo=UTC)
    await Payment.all().update(paid_at=noon)
    assert (await compare(stage, day))[0] == [("missing_there", number)]


class Fake:
    """A channel whose bill is a list."""

    name = books = "wechat"

    def __init__(self, rows: list[BillRow]) -> None:
        self.rows = rows

    async def bill(self, date: date) -> AsyncIterator[BillRow]:
        for row in self.rows:
            yield row


async def judge(stage: Stage, *rows: BillRow) -> list[tuple[str, str, str, str]]:
    bill = Bill([Fake(list(rows))], today(stage) - timedelta(days=9), "S", stage.shop.clock)  # type: ignore[arg-type]
    return [(d.kind, d.number, d.here, d.there) async for d in bill.differences(lambda n: None)]


async def test_rows_are_matched_by_number_whatever_their_day(stage: Stage) -> None:
    _, _, number = await bought(stage)
    share = await Share.get()
    row = BillRow(number, share.transaction_id or "", "PAID", 9_900)
    assert await judge(stage, row) == []


async def test_rows_of_another_system_are_foreign_and_counted(stage: Stage) -> None:
    rows = [BillRow("MALL1", "4200", "PAID", 5), BillRow("MALL1", "4200", "PAID", 0, "R1", 5)]
    bill = Bill([Fake(rows)], today(stage) - timedelta(days=9), "S", stage.shop.clock)  # type: ignore[arg-type]
    assert [d async for d in bill.differences(lambda n: None)] == []
    assert (bill.count.rows, bill.count.foreign) == (2, 2)


async def test_money_that_the_books_do_not_have_is_a_difference(stage: Stage) -> None:
    _, _, started = await paying(stage)
    number = started["out_trade_no"]
    open_here = BillRow(number, "4200a", "PAID", 9_900)
    assert await judge(stage, open_here) == [("state", number, "OPEN", "PAID")]
    _, order_no, paid = await bought(stage)
    second = BillRow(paid, "4200b", "PAID", 9_900)
    here = (await Share.get(out_trade_no=paid)).transaction_id or ""
    assert await judge(stage, second) == [("missing_here", paid, here, "4200b")]
    await stage.control("faults", answers={"refund": "refuse"}, times=1)
    rejected = (await give_back(stage, order_no, 300)).json()["out_refund_no"]
    await stage.advance(301)
    await stage.shop.checkout.sweep_once()
    back = BillRow(paid, here, "PAID", 0, rejected, 300)
    assert await judge(stage, back) == [("refund_missing_here", rejected, "REJECTED", "300")]


async def test_a_long_bill_is_compared_in_bounded_memory(stage: Stage) -> None:
    class Long(Fake):
        async def bill(self, date: date) -> AsyncIterator[BillRow]:
            for n in range(20_000):
                yield BillRow(f"MALL{n:020}", f"4200{n:020}", "PAID", 100)

    told: list[int] = []
    bill = Bill([Long([])], today(stage) - timedelta(days=9), "S", stage.shop.clock)  # type: ignore[arg-type]
    tracemalloc.start()
    async for _ in bill.differences(told.append):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bill.count == Count(rows=20_000, foreign=20_000)
    assert peak < 4_000_000


def run(env: dict[str, str], *args: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "shop", "bill", *args]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


async def test_the_command_tells_by_its_exit_code(stage: Stage, sandbox_url: str) -> None:
    url = stage.shop.settings.database_url
    env = {**os.environ, **settings(stage.known, sandbox_url, stage.origin, str(url))}

    async def command(*args: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(run, env, *args)

    day, number, _ = await a_day(stage)
    code, out, _ = await command("--date", str(day))
    assert (code, out) == (0, f"{day}: 3 rows, 0 foreign, 0 differences\n")
    await stage.control("faults", bill="wrong_amount")
    code, out, _ = await command("--date", str(day), "--json")
    difference = {
        "channel": "wechat",
        "kind": "amount",
        "number": number,
        "here": "9900",
        "there": "10000",
    }
    assert (code, json.loads(out)) == (
        1, {"date": str(day), "rows": 3, "foreign": 0, "differences": [difference]},
    )  # fmt: skip
    await stage.control("faults", bill="wrong_hash")
    code, out, error = await command("--date", str(day))
    assert (code, out) == (2, "")
    assert "not fetched" in error
    code, _, error = await command("--date", str(today(stage)))
    assert code == 2
    assert "no bill yet" in error
    assert (await command("--date", "yesterday"))[0] == 2
