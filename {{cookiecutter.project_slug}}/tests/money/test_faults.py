"""The sweep under stress: faults of every kind, events in order, what is lost and found again."""

import asyncio
import contextlib
import json
import os
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from checkout.channels import NoSuchTrade
from checkout.models import Event, Notification, Order, Payment, Refund, Share
from kit.books import outcomes
from kit.buyers import paying
from kit.logs import Diary
from kit.running import RunningShop, settings
from kit.waiting import until
from kit.wechat import WeChat
from shop.settings import ROOT


def listen(patch: pytest.MonkeyPatch, function: Any) -> None:
    """Let the events call this instead of the owner's functions."""
    patch.setattr("kit.owner.on_paid", function)
    patch.setattr("kit.owner.on_closed", function)

    async def refunded(order: Order, refund: Refund, event_id: str) -> None:
        await function(order, event_id)

    patch.setattr("kit.owner.on_refunded", refunded)


async def open_rows() -> int:
    orders = await Order.filter(state__in=("OPEN", "CLOSING")).count()
    return orders + await Payment.filter(state__in=("NEW", "OPEN")).count()


@pytest.mark.parametrize(
    "fault", ["500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key", "refuse"]
)
async def test_rule_7_all_calls_failing_until_ten_minutes_after_the_end_still_close_in_time(
    running: RunningShop, fault: str
) -> None:
    buyer = await running.buyer()
    orders = [await buyer.order() for _ in range(3)]
    await buyer.start(orders[0]["order_no"])
    await running.control("faults", answers={"any": fault})
    await buyer.start(orders[1]["order_no"])
    end = datetime.fromisoformat(orders[-1]["expires_at"])
    while running.shop.clock.now() < end + timedelta(minutes=10):
        await running.advance(120)
        await running.shop.checkout.sweep_once()
    await running.control("faults")
    while running.shop.clock.now() < end + timedelta(minutes=14):
        await running.advance(30)
        await running.shop.checkout.sweep_once()
    assert await open_rows() == 0
    assert await Event.filter(kind="on_closed", due_at=None).count() == 3


async def test_rule_7_answers_that_never_come_are_given_up_and_repaired(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wechat.transport.TOTAL_SECONDS", 0.1)
    buyer, order, _ = await paying(running)
    await running.control("faults", answers={"any": "hang"})
    cancelled = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "CLOSING")
    other = await buyer.order()
    unknown = await buyer.start(other["order_no"])
    assert (unknown.status_code, unknown.json()["code"]) == (503, "OUTCOME_UNKNOWN")
    await running.advance(10)
    await running.shop.checkout.sweep_once()
    await running.control("faults")
    await running.sweeps(5, 30)
    assert await buyer.state(order["order_no"]) == "CLOSED"
    assert (await buyer.start(other["order_no"])).status_code == 200


async def test_rule_7_a_404_says_nothing_when_the_number_was_sent_again_meanwhile(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paying(running)
    await running.advance(1000)
    payment = await Payment.get()

    async def query(*_: Any) -> None:
        await Payment.all().update(sent_at=running.shop.clock.now())
        raise NoSuchTrade("订单不存在")

    monkeypatch.setattr(running.shop.checkout.channels["wechat"], "query", query)
    await running.shop.checkout.payments.ask(payment, "test")
    assert (await Payment.get()).state == "OPEN"


@pytest.mark.parametrize(("hours", "outcome"), [(22, "APPLIED"), (25, "UNMATCHED")])
async def test_rule_4_an_unmatched_notification_is_tried_again_for_a_day(
    running: RunningShop, hours: int, outcome: str
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    trade = await wechat.trade(number)
    await Share.all().update(out_trade_no="Sanother")
    await Payment.all().update(due_at=None)
    await Order.all().update(due_at=None)
    await wechat.notify(trade)
    await running.sweeps(hours, 3600)
    assert await outcomes() == [("UNMATCHED", "unknown number")]
    await Share.all().update(out_trade_no=number)  # as when a backup is restored
    await running.advance(3601)
    await running.shop.checkout.sweep_once()
    stored = await Notification.get()
    assert (stored.outcome, stored.due_at) == (outcome, None)


async def some_refund(order: Order) -> Refund:
    """Write a refund of this order down, whatever its state."""
    n = await Refund.all().count()
    now = order.created_at
    payment = await Payment.create(
        order_id=order.id, number=f"{order.order_no}{n}", channel="wechat", scene="native",
        product="native", payer="", total_fen=1, state="PAID", parties={}, request="", prepay={},
        expires_at=now, request_id="-", created_at=now,
    )  # fmt: skip
    share = await Share.create(
        payment_id=payment.id, out_trade_no=payment.number, merchant="", channel="wechat",
        parties={}, total_fen=1,
    )  # fmt: skip
    return await Refund.create(
        order_id=order.id, share_id=share.id, channel="wechat", out_refund_no=f"R{n}",
        refund_fen=1, reserved_fen=0, reason="", origin="admin", state="SUCCESS", request="",
        created_at=now,
    )  # fmt: skip


async def test_rule_9_events_of_one_order_run_in_order_and_of_others_meanwhile(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await running.buyer()
    numbers = [(await buyer.order())["order_no"] for _ in range(2)]
    now = running.shop.clock.now()
    events = [(0, "on_paid"), (0, "on_refunded"), (0, "on_refunded"), (1, "on_paid")]
    for n, (which, kind) in enumerate(events):
        order = await Order.get(order_no=numbers[which])
        event = Event(event_id=f"{which}-{kind}{n}", order=order, kind=kind, created_at=now)
        if kind == "on_refunded":
            event.refund_id = (await some_refund(order)).id
        event.due_at = now
        await event.save()
    heard: list[str] = []

    async def fails_twice(_: Order, event_id: str) -> None:
        heard.append(event_id)
        if heard.count("0-on_paid0") < 3 and event_id == "0-on_paid0":
            raise RuntimeError("not now")

    listen(monkeypatch, fails_twice)
    for _ in range(20):
        await running.shop.checkout.sweep_once()
        await running.advance(60)
    refunded = ["0-on_refunded1", "0-on_refunded2"]
    assert [e for e in heard if e[0] == "0"] == ["0-on_paid0"] * 3 + refunded
    assert heard.index("1-on_paid3") < 2
    assert await Event.exclude(due_at=None).count() == 0


async def test_rule_9_a_function_that_hangs_counts_as_failed_and_is_tried_again(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, diary: Diary
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    heard = list[str]()
    never = asyncio.Event()

    async def hangs_once(_: Order, event_id: str) -> None:
        heard.append(event_id)
        if len(heard) == 1:
            await never.wait()

    async def failed() -> bool:
        return await Event.exists(tries=1)

    listen(monkeypatch, hangs_once)
    monkeypatch.setattr("checkout.events.QUICK_SECONDS", 0.01)
    monkeypatch.setattr("checkout.events.SECONDS", 0.05)
    await wechat.notify(await wechat.trade(started["out_trade_no"]))
    await until(failed)
    assert len(heard) == 1
    assert await running.shop.checkout.work.drain(seconds=5) == 0, "it was cancelled"
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert len(heard) == 2
    assert len(set(heard)) == 1
    assert diary.fields("event failed")[0]["tries"] == 0
    assert (await Event.get()).due_at is None


async def test_rule_9_an_event_whose_process_died_is_run_by_the_sweep_within_five_seconds(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    heard = list[str]()
    with monkeypatch.context() as patch:
        patch.setattr("checkout.events.Events._start", lambda *_: None)
        await wechat.notify(await wechat.trade(started["out_trade_no"]))

    async def note(_: Order, event_id: str) -> None:
        heard.append(event_id)

    listen(monkeypatch, note)
    await running.shop.checkout.sweep_once()
    assert heard == [], "leased to the process that wrote it"
    await running.advance(4)
    await running.shop.checkout.sweep_once()
    assert heard == [(await Event.get(due_at=None)).event_id]


async def test_rule_9_several_sweeps_at_once_run_an_event_once(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wechat = WeChat(running)
    heard = list[str]()

    async def fails(_: Order, event_id: str) -> None:
        raise RuntimeError("not now")

    listen(monkeypatch, fails)
    for _ in range(5):
        _, _, started = await paying(running)
        await wechat.notify(await wechat.trade(started["out_trade_no"]))
    await running.shop.checkout.work.drain(seconds=5)
    await running.advance(6)

    async def note(_: Order, event_id: str) -> None:
        heard.append(event_id)
        await asyncio.sleep(0)

    listen(monkeypatch, note)
    await asyncio.gather(*(running.shop.checkout.sweep_once() for _ in range(4)))
    assert len(heard) == len(set(heard)) == 5


async def test_rule_9_surplus_money_raises_no_second_on_paid(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    wechat = WeChat(running)
    await wechat.notify(await wechat.trade(started["out_trade_no"]))
    assert (await Payment.get()).state == "PAID"
    assert [event.kind for event in await Event.all()] == ["on_closed"]


async def test_sweep_once_is_a_command_that_prints_one_json_line(running: RunningShop) -> None:
    buyer, _, started = await paying(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.control("clock", advance_seconds=10)
    secret = str(running.shop.settings.database_url)
    own = settings(running.credentials, running.shop.settings.sandbox_url, running.origin, secret)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shop", "sweep", "--once", cwd=ROOT, env={**os.environ, **own},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0
    (line,) = out.decode().splitlines()
    report = json.loads(line)
    assert list(report) == ["closed", "paid", "refunds", "open", "oldest_open_seconds"]
    assert (report["paid"], report["open"], report["oldest_open_seconds"]) == (1, 0, 0)
    assert (await Order.get()).state == "PAID"
