"""What only shows between two connections, and on PostgreSQL or MySQL."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from checkout import ledger
from checkout.models import Order, Payment
from tests.shop.conftest import Stage
from tests.shop.databases import EVERY_DATABASE, Servers
from tests.shop.kit import WeChat, moves, outcomes, paying

pytestmark = EVERY_DATABASE


async def test_times_come_back_as_they_went_in_whatever_their_zone(stage: Stage) -> None:
    await paying(stage)
    beijing = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=8)))
    await Order.all().update(paid_at=beijing)
    assert (await Order.get()).paid_at == beijing
    assert await Order.filter(paid_at=beijing.astimezone(UTC)).count() == 1
    order = await Order.get()
    order.paid_at = beijing + timedelta(hours=1)
    await order.save()
    assert await Order.filter(paid_at__gt=beijing).count() == 1


async def test_people_whose_openids_differ_only_in_case_are_two_buyers(stage: Stage) -> None:
    lower, upper = await stage.buyer("oAbCdEf"), await stage.buyer("oaBCDEF")
    ids = {(await buyer.get("/api/me")).json()["buyer"] for buyer in (lower, upper)}
    assert len(ids) == 2


async def test_idempotency_keys_that_differ_only_in_case_are_two(stage: Stage) -> None:
    buyer, body = await stage.buyer(), {"items": [{"sku": "cup", "quantity": 1}]}
    for key in ("Key-a", "kEY-A"):
        answer = await buyer.post("/api/orders", body, **{"Idempotency-Key": key})
        assert answer.status_code == 201


async def test_compare_and_set_tells_one_winner(stage: Stage) -> None:
    await paying(stage)
    taken = (Payment.filter(state="OPEN").update(state="CLOSED") for _ in range(8))
    assert sorted(await asyncio.gather(*taken)) == [0] * 7 + [1]


async def test_a_claim_is_won_once_even_within_one_microsecond(stage: Stage) -> None:
    await paying(stage)
    payment, sweep = await Payment.get(), stage.shop.checkout.sweep
    rows = [await Payment.get(id=payment.id) for _ in range(8)]
    assert sorted(await asyncio.gather(*map(sweep._claim, rows))) == [False] * 7 + [True]


async def test_cancel_and_payment_at_the_same_moment_end_in_one_of_both_without_an_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, started = await paying(stage)
    wechat, inside = WeChat(stage), ledger._pay_shares
    reached = asyncio.Event()

    async def slow(*args: Any, **more: Any) -> None:
        reached.set()
        await asyncio.sleep(0.2)  # the payment's row is locked, the order's not yet
        await inside(*args, **more)

    monkeypatch.setattr(ledger, "_pay_shares", slow)
    paid = asyncio.create_task(wechat.notify(await wechat.trade(started["out_trade_no"])))
    await reached.wait()
    cancelled = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (await paid).status_code == 204
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "ORDER_PAID")
    assert await moves(order["order_no"]) == [("OPEN", "PAID")]


async def test_storm_of_payments_and_cancels_leaves_every_order_decided(stage: Stage) -> None:
    buyer, wechat = await stage.buyer(), WeChat(stage)
    orders = [await buyer.order() for _ in range(6)]
    started = [(await buyer.start(o["order_no"])).json()["out_trade_no"] for o in orders]
    notified = [wechat.notify(await wechat.trade(number)) for number in started]
    cancelled = [buyer.post(f"/api/orders/{o['order_no']}/cancel") for o in orders]
    answers = await asyncio.gather(*notified, *cancelled)
    assert {answer.status_code for answer in answers} <= {200, 202, 204, 409}
    assert {p.state for p in await Payment.all()} == {"PAID"}
    assert {o.state for o in await Order.all()} <= {"PAID", "CLOSED"}


async def test_the_ledger_sees_what_another_process_did_to_the_order_meanwhile(
    stage: Stage, servers: Servers, database_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is not as it was read: all of it is undone and runs again."""
    if database_kind == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    buyer, order, started = await paying(stage)
    server, wechat = await servers.get(database_kind), WeChat(stage)
    inside, others = ledger.compare_and_set, ["UPDATE checkout_order SET state = 'CLOSING'"]

    async def late(row: Order | Payment, *args: Any, **values: Any) -> None:
        if isinstance(row, Order) and others:
            await server.run(others.pop(), database=server.database)
        await inside(row, *args, **values)

    monkeypatch.setattr(ledger, "compare_and_set", late)
    async with asyncio.timeout(3):
        answer = await wechat.notify(await wechat.trade(started["out_trade_no"]))
    assert answer.status_code == 204
    assert others == []
    assert await buyer.state(order["order_no"]) == "PAID"
    assert await moves(started["out_trade_no"]) == [("OPEN", "PAID")]
    assert await moves(order["order_no"]) == [("CLOSING", "PAID")]
    assert await outcomes() == [("APPLIED", "")]


async def test_an_order_cancelled_between_reading_and_writing_gets_no_payment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await stage.buyer()
    order_no = (await buyer.order())["order_no"]
    payments = stage.shop.checkout.payments
    read = payments._read

    async def overtaken(*args: Any) -> Any:
        rows = await read(*args)
        await stage.shop.checkout.cancel(order_no)
        return rows

    monkeypatch.setattr(payments, "_read", overtaken)
    answer = await buyer.start(order_no)
    assert (answer.status_code, answer.json()["code"]) == (409, "ORDER_CLOSED")
    assert await Payment.all().count() == 0
    assert (await Order.get()).state == "CLOSED"
