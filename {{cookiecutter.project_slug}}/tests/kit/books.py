"""Look at what was written: at WeChat, in our tables, in the bill of a day."""

from datetime import date, timedelta
from typing import Any

from checkout.bill import BEIJING, Bill, Count
from checkout.models import Notification, Transition
from kit.running import RunningShop


async def calls(running: RunningShop, part: str) -> list[dict[str, Any]]:
    """Return what the sandbox was asked whose address ends with `part` (before its query)."""
    entries = (await running.sandbox.get("/_sandbox/log")).json()["entries"]
    return [e for e in entries if e["url"].partition("?")[0].endswith(part)]


async def history(number: str) -> list[tuple[str, str]]:
    """Return the history of one order or payment."""
    rows = await Transition.filter(number=number).order_by("id")
    return [(row.from_state, row.to_state) for row in rows]


async def outcomes(out_trade_no: str = "") -> list[tuple[str, str]]:
    """Return what became of the notifications, about one number or all."""
    rows = Notification.filter(out_trade_no=out_trade_no) if out_trade_no else Notification.all()
    return [(row.outcome, row.reason) for row in await rows.order_by("id")]


def today(running: RunningShop) -> date:
    """Return the day it is in Beijing."""
    return running.shop.clock.now().astimezone(BEIJING).date()


async def next_noon(running: RunningShop) -> date:
    """Let the day end, and the next one reach noon; return the day that is over."""
    now = running.shop.clock.now().astimezone(BEIJING)
    noon = (now + timedelta(days=1)).replace(hour=12, minute=0, second=0)
    await running.advance(int((noon - now).total_seconds()))
    return now.date()


async def compare(running: RunningShop, day: date) -> tuple[list[tuple[str, str]], Count]:
    """Compare a day: kind and number of each difference, and the counts of the last bill."""
    differences: list[tuple[str, str]] = []
    for books in running.shop.checkout.channels.books().values():
        bill = Bill(books, day, "S", running.shop.clock)
        differences += [(d.kind, d.number) async for d in bill.differences(lambda rows: None)]
    return differences, bill.count
