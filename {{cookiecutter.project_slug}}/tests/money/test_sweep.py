"""Money rules 7, 8 and 9: nobody waits for a notification, nothing stays open, events run."""

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from checkout.models import Event, Order, Payment
from kit.books import history, outcomes
from kit.buyers import paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import RunningShop
from kit.waiting import until
from kit.wechat import WeChat


async def test_rule_7_a_lost_notification_is_found_by_the_sweep(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.advance(6)
    report = await running.shop.checkout.sweep_once()
    assert report["paid"] == 1
    assert await buyer.state(order["order_no"]) == "PAID"


async def test_rule_7_the_report_has_the_fields_of_the_contract(running: RunningShop) -> None:
    await paying(running)
    await running.advance(100)
    report = await running.shop.checkout.sweep_once()
    assert list(report) == ["closed", "paid", "refunds", "open", "oldest_open_seconds"]
    assert report["open"] == 1
    assert 100 <= report["oldest_open_seconds"] <= 110
    json.dumps(report)


@EVERY_DATABASE
async def test_rule_7_an_expired_order_is_closed_at_wechat_first(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    await running.advance(1800 - 59)
    late = await buyer.start(order["order_no"])
    assert (late.status_code, late.json()["code"]) == (409, "ORDER_EXPIRED")
    await running.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "OPEN"
    await running.advance(59 + 61)
    await running.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "CLOSED"
    assert (await running.at_wechat(started["out_trade_no"]))["trade_state"] == "CLOSED"
    assert await history(order["order_no"]) == [("OPEN", "CLOSING"), ("CLOSING", "CLOSED")]


async def test_rule_7_an_order_nobody_tried_to_pay_is_closed_too(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    await running.advance(1800 + 61)
    await running.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "CLOSED"


@pytest.mark.parametrize(
    "fault", ["500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key", "refuse"]
)
@pytest.mark.parametrize("call", ["prepay", "close", "query"])
async def test_rule_7_nothing_is_open_fifteen_minutes_after_the_end(
    running: RunningShop, call: str, fault: str
) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    await running.control("faults", answers={call: fault}, times=3)
    await buyer.start(order["order_no"])
    end = datetime.fromisoformat(order["expires_at"]) + timedelta(minutes=15)
    await running.advance(1800 + 61)
    while await buyer.state(order["order_no"]) != "CLOSED":
        await running.shop.checkout.sweep_once()
        await running.advance(15)
        assert running.shop.clock.now() < end
    assert (await Payment.get()).state == "CLOSED"


async def test_rule_7_a_sweep_run_once_ends_though_its_rows_become_due_again_meanwhile(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [(await paying(running))[2]["out_trade_no"] for _ in range(3)]
    asked: list[str] = []
    payments = running.shop.checkout.payments
    ask = payments.ask

    async def slow(payment: Payment, cause: str) -> bool:
        asked.append(payment.number)
        await running.advance(400)  # longer than any pause between two looks
        return await ask(payment, cause)

    monkeypatch.setattr(payments, "ask", slow)
    await running.advance(6)
    await running.shop.checkout.sweep_once()
    assert sorted(asked) == sorted(started)


async def test_rule_7_a_404_counts_as_closed_only_five_minutes_after_the_last_send(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    await running.control("faults", answers={"prepay": "reset_before"}, times=1)
    await buyer.start(order["order_no"])
    await running.advance(290)
    await running.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "NEW"
    await running.advance(300)
    await running.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "CLOSED"
    assert (await buyer.start(order["order_no"])).status_code == 201


async def test_cancel_closes_at_wechat_and_says_closed(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "CLOSED")
    assert (await running.at_wechat(started["out_trade_no"]))["trade_state"] == "CLOSED"
    assert (await buyer.pay(started["invoke"]))["err_msg"].startswith("requestPayment:fail")
    again = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "CLOSED")
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "ORDER_CLOSED")


async def test_cancel_while_the_buyer_types_is_closing_and_then_paid(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    await buyer.pay(started["invoke"], outcome="typing")
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert (await buyer.pay(started["invoke"], outcome="ok"))["err_msg"] == "requestPayment:ok"
    answer = await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")
    assert answer.json()["state"] == "PAID"


async def test_cancel_of_a_paid_order_says_so(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "ORDER_PAID")


@EVERY_DATABASE
async def test_rule_8_money_that_comes_too_late_is_recorded_and_alarms(
    running: RunningShop, diary: Diary
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)

    async def heard() -> bool:
        return ("APPLIED", "") in await outcomes(started["out_trade_no"])

    await until(heard)
    assert (await Payment.get()).state == "PAID"
    assert (await Order.get()).state == "CLOSED"
    assert "paid twice or too late" in diary.alarms


async def test_rule_9_each_event_runs_once_after_it_succeeds_and_again_after_it_fails(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, started = await paying(running)
    heard: list[str] = []

    async def flaky(_: Order, event_id: str) -> None:
        heard.append(event_id)
        if len(heard) < 3:
            raise RuntimeError("the warehouse does not answer")

    monkeypatch.setattr("kit.owner.on_paid", flaky)
    monkeypatch.setattr("kit.owner.on_closed", flaky)
    await buyer.pay(started["invoke"])
    await until(lambda: Event.exists())
    await running.shop.checkout.work.drain(seconds=5)
    event_id = f"{order['order_no']}-on_paid"
    now = running.shop.clock.now()
    assert heard == [event_id], "right after the commit"
    event = await Event.get()
    assert timedelta(0) < event.due_at - now <= timedelta(seconds=5)
    for _ in range(5):
        await running.shop.checkout.sweep_once()
        await running.advance(60)
    assert heard == [event_id] * 3
    assert (await Event.get()).due_at is None


@EVERY_DATABASE
async def test_rule_7_several_sweeps_at_once_handle_each_row_once(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        await paying(running)
    handled: list[str] = []
    inside = running.shop.checkout.payments.ask

    async def ask(payment: Payment, cause: str) -> bool:
        handled.append(payment.number)
        return await inside(payment, cause)

    monkeypatch.setattr(running.shop.checkout.payments, "ask", ask)
    await running.advance(6)
    await asyncio.gather(*(running.shop.checkout.sweep_once() for _ in range(4)))
    assert len(handled) == len(set(handled)) == 12


async def test_refresh_asks_wechat_at_most_once_in_three_seconds(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    path = f"/api/orders/{order['order_no']}?refresh=1"
    await asyncio.gather(*(buyer.get(path) for _ in range(20)))
    log = (await running.sandbox.get("/_sandbox/log")).json()["entries"]
    assert sum(started["out_trade_no"] + "?" in entry["url"] for entry in log) == 1


@EVERY_DATABASE
async def test_rule_8_a_payment_that_becomes_paid_makes_the_live_one_due_at_once(
    running: RunningShop,
) -> None:
    buyer, order, first = await paying(running)
    second = (await buyer.start(order["order_no"], "native")).json()
    await Payment.filter(live__isnull=False).update(
        due_at=running.shop.clock.now() + timedelta(days=1)
    )
    wechat = WeChat(running)
    late = await wechat.notify(await wechat.trade(first["out_trade_no"]))
    assert late.status_code == 204
    await running.shop.checkout.work.drain(seconds=5)
    live = await Payment.get(number=second["out_trade_no"])
    assert live.due_at is not None
    assert live.due_at <= running.shop.clock.now()
    await running.shop.checkout.sweep_once()
    assert (await Payment.get(id=live.id)).state == "CLOSED"
    assert (await running.at_wechat(second["out_trade_no"]))["trade_state"] == "CLOSED"
    assert (await Order.get()).state == "PAID"
