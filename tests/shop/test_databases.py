"""What only shows between two connections, and on PostgreSQL or MySQL."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from checkout.lanes import LEASE, claim
from checkout.models import Order, Payment
from kit.books import history
from kit.buyers import paying
from kit.databases import EACH_SERVER_TOO
from kit.running import RunningShop
from kit.wechat import WeChat

pytestmark = EACH_SERVER_TOO


async def test_times_come_back_as_they_went_in_whatever_their_zone(running: RunningShop) -> None:
    await paying(running)
    beijing = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=8)))
    await Order.all().update(paid_at=beijing)
    assert (await Order.get()).paid_at == beijing
    assert await Order.filter(paid_at=beijing.astimezone(UTC)).count() == 1
    order = await Order.get()
    order.paid_at = beijing + timedelta(hours=1)
    await order.save()
    assert await Order.filter(paid_at__gt=beijing).count() == 1


async def test_people_whose_openids_differ_only_in_case_are_two_buyers(
    running: RunningShop,
) -> None:
    lower, upper = await running.buyer("oAbCdEf"), await running.buyer("oaBCDEF")
    ids = {(await buyer.get("/api/me")).json()["buyer"] for buyer in (lower, upper)}
    assert len(ids) == 2


async def test_idempotency_keys_that_differ_only_in_case_are_two(running: RunningShop) -> None:
    buyer = await running.buyer()
    body = {"items": [{"sku": "cup", "quantity": 1}]}
    for key in ("Key-a", "kEY-A"):
        answer = await buyer.post("/api/orders", body, **{"Idempotency-Key": key})
        assert answer.status_code == 201


async def test_compare_and_set_tells_one_winner(running: RunningShop) -> None:
    await paying(running)
    taken = (Payment.filter(state="OPEN").update(state="CLOSED") for _ in range(8))
    assert sorted(await asyncio.gather(*taken)) == [0] * 7 + [1]


async def test_a_claim_is_won_once_even_within_one_microsecond(running: RunningShop) -> None:
    await paying(running)
    payment = await Payment.get()
    lease = running.shop.clock.now() + LEASE
    rows = [await Payment.get(id=payment.id) for _ in range(8)]
    claims = [claim(row, lease) for row in rows]
    assert sorted(await asyncio.gather(*claims)) == [False] * 7 + [True]


async def test_cancel_and_payment_at_the_same_moment_end_in_one_of_both_without_an_error(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, started = await paying(running)
    wechat = WeChat(running)
    ledger = running.shop.checkout.ledger
    inside = ledger._move
    reached = asyncio.Event()

    async def slow(*args: Any, **more: Any) -> None:
        if not reached.is_set():
            reached.set()
            await asyncio.sleep(0.2)  # the payment's row is locked, the order's not yet
        await inside(*args, **more)

    monkeypatch.setattr(ledger, "_move", slow)
    path = f"/api/orders/{order['order_no']}/cancel"
    cancelling = asyncio.create_task(buyer.post(path))
    await reached.wait()
    paid = await wechat.notify(await wechat.trade(started["out_trade_no"]))
    assert (paid.status_code, (await cancelling).status_code in (200, 202, 409)) == (204, True)
    assert await history(order["order_no"]) in (
        [("OPEN", "CLOSING"), ("CLOSING", "PAID")],
        [("OPEN", "CLOSING"), ("CLOSING", "CLOSED")],
    )
    assert await history(started["out_trade_no"]) in (
        [("OPEN", "PAID")],
        [("OPEN", "CLOSED"), ("CLOSED", "PAID")],
    )


async def test_storm_of_payments_and_cancels_leaves_every_order_decided(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    wechat = WeChat(running)
    orders = [await buyer.order() for _ in range(6)]
    started = [(await buyer.start(o["order_no"])).json()["out_trade_no"] for o in orders]
    notified = [wechat.notify(await wechat.trade(number)) for number in started]
    cancelled = [buyer.post(f"/api/orders/{o['order_no']}/cancel") for o in orders]
    answers = await asyncio.gather(*notified, *cancelled)
    assert {answer.status_code for answer in answers} <= {200, 202, 204, 409}
    assert {p.state for p in await Payment.all()} == {"PAID"}
    assert {o.state for o in await Order.all()} <= {"PAID", "CLOSED"}


async def test_an_order_cancelled_between_reading_and_writing_gets_no_payment(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    payments = running.shop.checkout.payments
    read = payments._read

    async def overtaken(*args: Any) -> Any:
        rows = await read(*args)
        await running.shop.checkout.cancel(order_no)
        return rows

    monkeypatch.setattr(payments, "_read", overtaken)
    answer = await buyer.start(order_no)
    assert (answer.status_code, answer.json()["code"]) == (409, "ORDER_CLOSED")
    assert await Payment.all().count() == 0
    assert (await Order.get()).state == "CLOSED"
