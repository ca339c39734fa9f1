"""A clock that jumps a day ahead and back leaves nothing due tomorrow."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from checkout.models import Event, Notification, Order, Payment, Refund

from tests.shop.desk import Desk, opened

DAY = 86400


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with opened(database_url) as desk:
        yield desk


async def test_every_row_that_was_touched_tomorrow_is_looked_at_today(desk: Desk) -> None:
    paid, closing, waiting = [await desk.order() for _ in range(3)]
    for order_no in (paid, closing, waiting):
        await desk.start(order_no)
    await desk.pay(paid)
    desk.advance(DAY)
    order = await Order.get(order_no=closing)
    tomorrow = desk.clock.now() + timedelta(seconds=60)
    for table in (Event, Payment, Order):
        await table.all().update(due_at=tomorrow)
    await Notification.all().update(due_at=tomorrow, outcome="UNMATCHED")
    await Order.filter(order_no=paid).update(due_at=None)
    await Order.filter(id=order.id).update(state="CLOSING")
    desk.advance(-DAY)
    await desk.checkout.sweep_once()
    limit = desk.clock.now() + timedelta(hours=1)
    for table in (Event, Payment, Order, Notification):
        assert not await table.filter(due_at__gt=limit).exists(), table
    assert (await Order.get(id=order.id)).state == "CLOSED"


async def test_an_order_of_tomorrow_lives_half_an_hour_from_now_on(desk: Desk) -> None:
    desk.advance(DAY)
    order_no = await desk.order()
    number = await desk.start(order_no)
    desk.advance(-DAY)
    await desk.checkout.sweep_once()
    assert (await Order.get()).state == "OPEN"
    assert await desk.start(order_no) == number
    desk.advance(1800 + 61)
    await desk.checkout.sweep_once()
    assert (await Order.get()).state == "CLOSED"
    assert desk.bank.vouchers[number].state == "CLOSED"


async def test_a_payment_that_never_arrived_tomorrow_is_closed_today(desk: Desk) -> None:
    desk.advance(DAY)
    number = await desk.start(await desk.order())
    desk.advance(-DAY)
    del desk.bank.vouchers[number]
    await desk.checkout.sweep_once()
    assert (await Payment.get()).state == "CLOSED"


async def test_a_buyer_who_asked_tomorrow_is_answered_today(desk: Desk) -> None:
    order_no = await desk.order()
    number = await desk.start(order_no)
    desk.advance(DAY)
    await desk.checkout.refresh(await Order.get())
    desk.advance(-DAY)
    desk.bank.pay(number)
    await desk.checkout.refresh(await Order.get())
    assert (await Order.get()).state == "PAID"


async def test_a_prepay_of_tomorrow_is_not_given_out_for_a_day(desk: Desk) -> None:
    order_no = await desk.order()
    desk.advance(DAY)
    await Order.all().update(expires_at=desk.clock.now() + timedelta(hours=1))
    number = await desk.start(order_no)
    desk.advance(-DAY)
    await desk.start(order_no)
    assert [asked for asked, _ in desk.bank.asked] == [number, number], "repeated"


@pytest.mark.parametrize("state", ["PENDING", "PROCESSING"])
async def test_a_refund_that_was_sent_tomorrow_is_followed_today(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    order_no = await desk.order()
    await desk.pay(order_no)
    desk.advance(DAY)
    with monkeypatch.context() as patch:
        desk.bank.faults["refund", "BUSY" if state == "PENDING" else "CUT"] += 1
        del patch
        await desk.checkout.refund(order_no, 100, "test", "key")
    desk.advance(-DAY)
    await desk.checkout.sweep_once()
    await desk.checkout.sweep_once()
    assert (await Refund.get()).state == "SUCCESS"
