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
from checkout.config import read_dotenv
from checkout.models import BillDifference, Payment, Refund, Share
from kit.books import compare, next_noon, today
from kit.buyers import bought, give_back, paying
from kit.databases import EVERY_DATABASE
from kit.running import RunningShop, settings
from kit.waiting import until
from shop.settings import ROOT


async def a_day(running: RunningShop) -> tuple[date, str, str]:
    """Sell twice and refund a part: the day, the refunded payment's number, the refund's."""
    now = running.shop.clock.now().astimezone(BEIJING)
    if now.hour == 23:  # the day must not end while it is played
        await running.advance(3600)
    _, order_no, number = await bought(running)
    refund = (await give_back(running, order_no, 300)).json()["out_refund_no"]
    await paying_once_more(running)
    return await next_noon(running), number, refund


async def paying_once_more(running: RunningShop) -> None:
    buyer, _, started = await paying(running)
    await buyer.pay(started["invoke"])
    await until(lambda: Payment.exists(number=started["out_trade_no"], state="PAID"))


@EVERY_DATABASE
async def test_rule_11_a_true_bill_agrees(running: RunningShop) -> None:
    day, _, _ = await a_day(running)
    assert await compare(running, day) == ([], Count(rows=3))
    assert not await BillDifference.exists()


async def test_rule_11_surplus_money_and_refunds_of_the_merchant_platform_agree_too(
    running: RunningShop,
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)
    await until(lambda: Refund.exists())
    await running.shop.checkout.sweep_once()
    _, _, number = await bought(running)
    await running.control("refund", out_trade_no=number, refund=700)
    day = await next_noon(running)
    await until(lambda: Refund.exists(origin="merchant_platform"))
    assert await compare(running, day) == ([], Count(rows=4))


FALSIFIED = {
    "missing_row": "missing_there", "extra_row": "missing_here", "wrong_amount": "amount",
    "wrong_state": "state", "missing_refund": "refund_missing_there",
    "extra_refund": "refund_missing_here", "wrong_refund_amount": "refund_amount",
}  # fmt: skip


@pytest.mark.parametrize(("fault", "kind"), FALSIFIED.items())
async def test_rule_11_a_falsified_line_is_reported_as_its_kind_and_nothing_else_is(
    running: RunningShop, fault: str, kind: str
) -> None:
    day, number, refund = await a_day(running)
    await running.control("faults", bill=fault)
    differences, _ = await compare(running, day)
    assert [name for name, _ in differences] == [kind]
    if not fault.startswith("extra"):
        assert differences[0][1] == (refund if "refund" in kind else number)


@EVERY_DATABASE
async def test_rule_11_a_difference_is_told_every_time_and_stored_once(
    running: RunningShop,
) -> None:
    day, number, _ = await a_day(running)
    await running.control("faults", bill="wrong_amount")
    for _ in range(2):
        assert (await compare(running, day))[0] == [("amount", number)]
    stored = await BillDifference.get()
    assert (stored.channel, stored.date, stored.kind) == ("wechat", day, "amount")
    assert (stored.number, stored.here, stored.there) == (number, "9900", "10000")


@pytest.mark.parametrize(
    ("fault", "words"), [("wrong_hash", "SHA1"), ("truncated", "gzip"), ("cut", "broke off|ends")]
)
async def test_rule_11_a_broken_bill_is_not_believed(
    running: RunningShop, fault: str, words: str
) -> None:
    day, _, _ = await a_day(running)
    await running.control("faults", bill=fault)
    with pytest.raises(BillBroken, match=words):
        await compare(running, day)
    assert not await BillDifference.exists()


async def test_rule_11_there_is_no_bill_of_today_nor_before_ten_in_the_morning(
    running: RunningShop,
) -> None:
    day, _, _ = await a_day(running)
    with pytest.raises(NoBillYet):
        await compare(running, today(running))
    await paying_once_more(running)
    await running.advance(12 * 3600 + 60)
    with pytest.raises(NoBillYet):
        await compare(running, day + timedelta(days=1))
    with pytest.raises(Declined, match="三个月"):
        await compare(running, day - timedelta(days=200))


async def test_rule_11_a_day_without_a_statement_is_an_empty_bill(running: RunningShop) -> None:
    day = today(running) - timedelta(days=2)
    assert await compare(running, day) == ([], Count())
    _, _, number = await bought(running)
    noon = datetime(day.year, day.month, day.day, 4, tzinfo=UTC)
    await Payment.all().update(paid_at=noon)
    assert (await compare(running, day))[0] == [("missing_there", number)]


class Fake:
    """A channel whose bill is a list."""

    name = books = "wechat"

    def __init__(self, rows: list[BillRow]) -> None:
        self.rows = rows

    async def bill(self, date: date) -> AsyncIterator[BillRow]:
        for row in self.rows:
            yield row


async def judge(running: RunningShop, *rows: BillRow) -> list[tuple[str, str, str, str]]:
    bill = Bill([Fake(list(rows))], today(running) - timedelta(days=9), "S", running.shop.clock)  # type: ignore[arg-type]
    return [(d.kind, d.number, d.here, d.there) async for d in bill.differences(lambda n: None)]


async def test_rule_11_rows_are_matched_by_number_whatever_their_day(running: RunningShop) -> None:
    _, _, number = await bought(running)
    share = await Share.get()
    row = BillRow(number, share.transaction_id or "", "PAID", 9_900)
    assert await judge(running, row) == []


async def test_rule_11_rows_of_another_system_are_foreign_and_counted(running: RunningShop) -> None:
    rows = [BillRow("MALL1", "4200", "PAID", 5), BillRow("MALL1", "4200", "PAID", 0, "R1", 5)]
    bill = Bill([Fake(rows)], today(running) - timedelta(days=9), "S", running.shop.clock)  # type: ignore[arg-type]
    assert [d async for d in bill.differences(lambda n: None)] == []
    assert (bill.count.rows, bill.count.foreign) == (2, 2)


async def test_rule_11_money_that_the_books_do_not_have_is_a_difference(
    running: RunningShop,
) -> None:
    _, _, started = await paying(running)
    number = started["out_trade_no"]
    open_here = BillRow(number, "4200a", "PAID", 9_900)
    assert await judge(running, open_here) == [("state", number, "OPEN", "PAID")]
    _, order_no, paid = await bought(running)
    second = BillRow(paid, "4200b", "PAID", 9_900)
    here = (await Share.get(out_trade_no=paid)).transaction_id or ""
    assert await judge(running, second) == [("missing_here", paid, here, "4200b")]
    await running.control("faults", answers={"refund": "refuse"}, times=1)
    rejected = (await give_back(running, order_no, 300)).json()["out_refund_no"]
    await running.advance(301)
    await running.shop.checkout.sweep_once()
    back = BillRow(paid, here, "PAID", 0, rejected, 300)
    assert await judge(running, back) == [("refund_missing_here", rejected, "REJECTED", "300")]


async def test_rule_11_a_long_bill_is_compared_in_bounded_memory(running: RunningShop) -> None:
    class Long(Fake):
        async def bill(self, date: date) -> AsyncIterator[BillRow]:
            for n in range(20_000):
                yield BillRow(f"MALL{n:020}", f"4200{n:020}", "PAID", 100)

    counts: list[int] = []
    bill = Bill([Long([])], today(running) - timedelta(days=9), "S", running.shop.clock)  # type: ignore[arg-type]
    tracemalloc.start()
    async for _ in bill.differences(counts.append):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bill.count == Count(rows=20_000, foreign=20_000)
    assert peak < 4_000_000


def run(env: dict[str, str], *args: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "shop", "bill", *args]
    unset = dict.fromkeys(read_dotenv(ROOT / ".env"), "")  # what `shop dev` wrote is another shop's
    done = subprocess.run(
        command, cwd=ROOT, env=unset | env, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


async def test_rule_11_the_command_tells_by_its_exit_code(
    running: RunningShop, sandbox_url: str
) -> None:
    url = running.shop.settings.database_url
    env = {**os.environ, **settings(running.credentials, sandbox_url, running.origin, str(url))}

    async def command(*args: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(run, env, *args)

    day, number, _ = await a_day(running)
    code, out, _ = await command("--date", str(day))
    assert (code, out) == (0, f"{day}: 3 rows, 0 foreign, 0 differences\n")
    await running.control("faults", bill="wrong_amount")
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
    await running.control("faults", bill="wrong_hash")
    code, out, error = await command("--date", str(day))
    assert (code, out) == (2, "")
    assert "not fetched" in error
    code, _, error = await command("--date", str(today(running)))
    assert code == 2
    assert "no bill yet" in error
    assert (await command("--date", "yesterday"))[0] == 2
