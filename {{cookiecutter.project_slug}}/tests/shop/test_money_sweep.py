"""Money rules 7, 8 and 9: nobody waits for a notification, nothing stays open, events run."""

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from checkout.models import Event, Order, Payment
from tests.shop.conftest import Diary, Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import WeChat, moves, outcomes, paying, until


async def test_rule_7_a_lost_notification_is_found_by_the_sweep(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await stage.advance(6)
    report = await stage.shop.checkout.sweep_once()
    assert report["paid"] == 1
    assert await buyer.state(order["order_no"]) == "PAID"


async def test_rule_7_the_report_has_the_fields_of_the_contract(stage: Stage) -> None:
    await paying(stage)
    await stage.advance(100)
    report = await stage.shop.checkout.sweep_once()
    assert list(report) == ["closed", "paid", "refunds", "open", "oldest_open_seconds"]
    assert report["open"] == 1
    assert 100 <= report["oldest_open_seconds"] <= 110
    json.dumps(report)


@EVERY_DATABASE
async def test_rule_7_an_expired_order_is_closed_at_wechat_first(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await stage.advance(1800 - 59)
    late = await buyer.start(order["order_no"])
    assert (late.status_code, late.json()["code"]) == (409, "ORDER_EXPIRED")
    await stage.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "OPEN"
    await stage.advance(59 + 61)
    await stage.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "CLOSED"
    assert (await stage.truth(started["out_trade_no"]))["trade_state"] == "CLOSED"
    assert await moves(order["order_no"]) == [("OPEN", "CLOSING"), ("CLOSING", "CLOSED")]


async def test_rule_7_an_order_nobody_tried_to_pay_is_closed_too(stage: Stage) -> None:
    buyer = await stage.buyer()
    order = await buyer.order()
    await stage.advance(1800 + 61)
    await stage.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "CLOSED"


@pytest.mark.parametrize(
    "fault", ["500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key", "refuse"]
)
@pytest.mark.parametrize("call", ["prepay", "close", "query"])
async def test_rule_7_nothing_is_open_fifteen_minutes_after_the_end(
    stage: Stage, call: str, fault: str
) -> None:
    buyer = await stage.buyer()
    order = await buyer.order()
    await stage.control("faults", answers={call: fault}, times=3)
    await buyer.start(order["order_no"])
    end = datetime.fromisoformat(order["expires_at"]) + timedelta(minutes=15)
    await stage.advance(1800 + 61)
    while await buyer.state(order["order_no"]) != "CLOSED":
        await stage.shop.checkout.sweep_once()
        await stage.advance(15)
        assert stage.shop.clock.now() < end
    assert (await Payment.get()).state == "CLOSED"


async def test_rule_7_a_404_counts_as_closed_only_five_minutes_after_the_last_send(
    stage: Stage,
) -> None:
    buyer = await stage.buyer()
    order = await buyer.order()
    await stage.control("faults", answers={"prepay": "reset_before"}, times=1)
    await buyer.start(order["order_no"])
    await stage.advance(290)
    await stage.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "NEW"
    await stage.advance(300)
    await stage.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "CLOSED"
    assert (await buyer.start(order["order_no"])).status_code == 201


async def test_cancel_closes_at_wechat_and_says_closed(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "CLOSED")
    assert (await stage.truth(started["out_trade_no"]))["trade_state"] == "CLOSED"
    assert (await buyer.pay(started["invoke"]))["err_msg"].startswith("requestPayment:fail")
    again = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "CLOSED")
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "ORDER_CLOSED")


async def test_cancel_while_the_buyer_types_is_closing_and_then_paid(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await buyer.pay(started["invoke"], outcome="typing")
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert (await buyer.pay(started["invoke"], outcome="ok"))["err_msg"] == "requestPayment:ok"
    answer = await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")
    assert answer.json()["state"] == "PAID"


async def test_cancel_of_a_paid_order_says_so(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "ORDER_PAID")


@EVERY_DATABASE
async def test_rule_8_money_that_comes_too_late_is_recorded_and_alarms(
    stage: Stage, diary: Diary
) -> None:
    buyer, order, started = await paying(stage)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)

    async def heard() -> bool:
        return ("APPLIED", "") in await outcomes(started["out_trade_no"])

    await until(heard)
    assert (await Payment.get()).state == "PAID"
    assert (await Order.get()).state == "CLOSED"
    assert "paid twice or too late" in diary.alarms


async def test_rule_9_each_event_runs_once_after_it_succeeds_and_again_after_it_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, started = await paying(stage)
    heard: list[str] = []

    async def flaky(_: Order, event_id: str) -> None:
        heard.append(event_id)
        if len(heard) < 3:
            raise RuntimeError("the warehouse does not answer")

    monkeypatch.setattr("shop.on_paid.on_paid", flaky)
    monkeypatch.setattr("shop.on_paid.on_closed", flaky)
    await buyer.pay(started["invoke"])
    await until(lambda: Event.exists())
    await stage.shop.checkout.work.drain(seconds=5)
    event_id, now = f"{order['order_no']}-on_paid", stage.shop.clock.now()
    assert heard == [event_id], "right after the commit"
    event = await Event.get()
    assert timedelta(0) < event.due_at - now <= timedelta(seconds=5)
    for _ in range(5):
        await stage.shop.checkout.sweep_once()
        await stage.advance(60)
    assert heard == [event_id] * 3
    assert (await Event.get()).due_at is None


@EVERY_DATABASE
async def test_rule_7_several_sweeps_at_once_handle_each_row_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        await paying(stage)
    handled: list[str] = []
    inside = stage.shop.checkout.payments.ask

    async def ask(payment: Payment, cause: str) -> bool:
        handled.append(payment.number)
        return await inside(payment, cause)

    monkeypatch.setattr(stage.shop.checkout.payments, "ask", ask)
    await stage.advance(6)
    await asyncio.gather(*(stage.shop.checkout.sweep_once() for _ in range(4)))
    assert len(handled) == len(set(handled)) == 12


async def test_refresh_asks_wechat_at_most_once_in_three_seconds(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    path = f"/api/orders/{order['order_no']}?refresh=1"
    await asyncio.gather(*(buyer.get(path) for _ in range(20)))
    log = (await stage.sandbox.get("/_sandbox/log")).json()["entries"]
    assert sum(started["out_trade_no"] + "?" in entry["url"] for entry in log) == 1


@EVERY_DATABASE
async def test_rule_8_a_payment_that_becomes_paid_makes_the_live_one_due_at_once(
    stage: Stage,
) -> None:
    buyer, order, first = await paying(stage)
    second = (await buyer.start(order["order_no"], "native")).json()
    await Payment.filter(live__isnull=False).update(
        due_at=stage.shop.clock.now() + timedelta(days=1)
    )
    wechat = WeChat(stage)
    late = await wechat.notify(await wechat.trade(first["out_trade_no"]))
    assert late.status_code == 204
    await stage.shop.checkout.work.drain(seconds=5)
    live = await Payment.get(number=second["out_trade_no"])
    assert live.due_at is not None
    assert live.due_at <= stage.shop.clock.now()
    await stage.shop.checkout.sweep_once()
    assert (await Payment.get(id=live.id)).state == "CLOSED"
    assert (await stage.truth(second["out_trade_no"]))["trade_state"] == "CLOSED"
    assert (await Order.get()).state == "PAID"
