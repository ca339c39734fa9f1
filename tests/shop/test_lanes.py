"""Lanes: what hangs delays nothing else, and buyers take turns. Without a web server: no sandbox."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from checkout import events, sql, sweep, upstream
from checkout.events import Events
from checkout.models import Event, Order, Payment
from kit.databases import EVERY_DATABASE
from kit.rows import new_order
from kit.waiting import until

from tests.shop.desk import Desk, opened

MANY = 150
LONG = timedelta(minutes=5)


@pytest.fixture
async def desk(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(sweep, "PAUSE", 0.01)
    monkeypatch.setattr(upstream, "SECONDS", 3600)
    monkeypatch.setattr(events, "SECONDS", 3600)
    async with opened(database_url) as desk:
        yield desk


@pytest.fixture
async def sweeping(desk: Desk) -> AsyncIterator[None]:
    """Sweep all the time, as the shop does."""
    task = asyncio.create_task(desk.checkout.sweep_on())
    yield
    task.cancel()
    await asyncio.wait([task])


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the background."""

    async def is_so() -> bool:
        return condition()

    await until(is_so, seconds=20)


async def rows(desk: Desk, buyer: str, payments: int) -> None:
    """Write payments that are due, straight into the tables, a second apart."""
    now = desk.clock.now()
    orders = [
        Order(
            order_no=f"{buyer}{n}",
            buyer=buyer,
            state="OPEN",
            total_fen=1,
            idempotency_key=str(n),
            request_hash="",
            created_at=now,
            expires_at=now,
        )
        for n in range(payments)
    ]
    await Order.bulk_create(orders)
    ids = await Order.filter(buyer=buyer).order_by("id").values_list("id", flat=True)
    await Payment.bulk_create(
        [
            Payment(
                order_id=order_id,
                number=f"{buyer}{order_id}",
                channel="voucher",
                scene="native",
                product="",
                payer="",
                total_fen=1,
                state="OPEN",
                parties={},
                request="",
                prepay={},
                request_id="",
                expires_at=now,
                created_at=now,
                due_at=now - timedelta(seconds=payments - n),
            )
            for n, order_id in enumerate(ids)  # type: ignore[arg-type]
        ]
    )


# -- lanes


async def test_rule_9_on_paid_runs_within_five_seconds_while_150_queries_hang(
    desk: Desk, sweeping: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(MANY):
        await desk.start(await desk.order(f"guest {n}"), "h5")
    desk.advance(6)
    await eventually(lambda: desk.hanging.asked == sweep.PAYMENT_SLOTS)
    with monkeypatch.context() as patch:
        patch.setattr(Events, "_start", lambda *_: None)  # the process that took it died
        honest = await desk.order()
        await desk.pay(honest)
    assert desk.heard == []
    desk.advance(4)
    await eventually(lambda: desk.heard == [honest])
    assert desk.hanging.asked == sweep.PAYMENT_SLOTS, "they hang still"


async def test_rule_7_a_channel_that_hangs_does_not_keep_another_one_waiting(
    desk: Desk, sweeping: None
) -> None:
    for n in range(20):
        await desk.start(await desk.order(f"guest {n}"), "h5")
    desk.advance(6)
    await eventually(lambda: desk.hanging.asked == sweep.PAYMENT_SLOTS)
    order_no = await desk.order()
    desk.bank.pay(await desk.start(order_no))  # and its notification is lost
    desk.advance(6)
    await eventually(lambda: desk.heard == [order_no])
    assert desk.hanging.asked == sweep.PAYMENT_SLOTS, "they hang still"


async def test_rule_7_orders_expire_within_their_bound_while_150_hooks_hang(
    desk: Desk, sweeping: None
) -> None:
    for _ in range(MANY):
        await desk.pay(await desk.order("hangs"))
    order_no = await desk.order()
    await desk.start(order_no)
    desk.advance(1800 + 61)

    async def is_closed() -> bool:
        return await Order.exists(order_no=order_no, state="CLOSED")

    await until(is_closed, seconds=20)
    assert await Payment.exists(order__order_no=order_no, state="CLOSED")
    assert desk.in_hooks >= sweep.SLOTS, "they hang"
    assert desk.most_in_hooks <= events.AT_ONCE + 2 * sweep.SLOTS


async def test_rule_9_a_hook_that_hangs_is_cancelled_and_tried_again_with_growing_pauses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(events, "SECONDS", 0.05)
    await desk.pay(await desk.order("hangs"))
    pauses = []
    for _ in range(4):
        assert await desk.checkout.drain(seconds=5) == 0
        assert desk.in_hooks == 0, "cancelled"
        due_at = (await Event.get()).due_at
        assert due_at is not None
        pauses.append(round((due_at - desk.clock.now()).total_seconds()))
        desk.advance(pauses[-1] + 1)
        await desk.checkout.sweep_once()
    assert pauses == list(events.RETRIES[:4])
    assert len(desk.heard) == 5


async def test_rule_9_a_slow_hook_keeps_its_event(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUICK_SECONDS", 0.01)
    await desk.pay(await desk.order("hangs"))

    async def is_leased() -> bool:
        return await Event.exists(due_at__gt=desk.clock.now() + timedelta(seconds=50))

    await until(is_leased)
    desk.advance(10)
    await desk.checkout.sweep_once()
    assert len(desk.heard) == 1


async def test_rule_9_on_paid_that_failed_runs_again_within_five_seconds(desk: Desk) -> None:
    await desk.pay(await desk.order("fails"))
    assert await desk.checkout.drain(seconds=5) == 0
    desk.advance(4)
    await desk.checkout.sweep_once()
    assert len(desk.heard) == 2


async def test_rule_9_hooks_that_failed_before_do_not_delay_the_first_call_of_another(
    desk: Desk, sweeping: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Events, "_start", lambda *_: None)
        for _ in range(3 * sweep.SLOTS):
            await desk.pay(await desk.order("hangs"))
        await Event.all().update(tries=1)
        desk.advance(4)
        await eventually(lambda: desk.in_hooks == sweep.SLOTS)
        honest = await desk.order()
        await desk.pay(honest)
    desk.advance(4)
    await eventually(lambda: honest in desk.heard)
    assert desk.in_hooks == sweep.SLOTS, "they hang still"


@EVERY_DATABASE
async def test_buyers_take_turns_however_many_payments_of_one_are_due(desk: Desk) -> None:
    await rows(desk, "guest", 1000)
    await rows(desk, "honest", 2)
    due = await sql.due_payments("voucher", desk.clock.now(), 5)
    buyers = [(await Order.get(id=payment.order_id)).buyer for payment in due]
    assert buyers == ["guest", "honest", "guest", "honest", "guest"]
    first = await Payment.filter(order__buyer="guest").order_by("id").first()
    assert due[0] == first, "the longest due first"


@EVERY_DATABASE
async def test_every_lane_reads_only_what_is_due_and_its_own(desk: Desk) -> None:
    now = desk.clock.now()
    order = await new_order("PAID")
    for n, tries in enumerate((0, 0, 1)):
        due_at = now + timedelta(seconds=n - 1)
        row = {"event_id": str(n), "kind": "on_paid", "created_at": now}
        await Event.create(order_id=order.id, tries=tries, due_at=due_at - tries * LONG, **row)
    assert [event.event_id for event in await sql.due_events(now, 9)] == ["0", "1"]
    assert [event.event_id for event in await sql.due_events_again(now, 9)] == ["2"]
    await Order.filter(id=order.id).update(due_at=now)
    assert [row.id for row in await sql.due_orders(now, 9)] == [order.id]
    assert await sql.due_orders(now - LONG, 9) == []
    await rows(desk, "guest", 3)
    assert len(await sql.due_payments("voucher", now, 2)) == 2
    assert await sql.due_payments("hanging", now, 9) == []
    assert await sql.due_refunds("voucher", now, 9) == []
    assert await sql.due_notifications("voucher", now, 9) == []


async def test_a_call_that_brings_no_deadline_of_its_own_gets_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "SECONDS", 0.05)
    await desk.start(await desk.order(), "h5")
    desk.advance(6)
    report = await desk.checkout.sweep_once()
    assert (report["open"], desk.hanging.asked) == (1, 1)
    payment = await Payment.get()
    assert payment.due_at is not None
    assert payment.due_at > desk.clock.now(), "it is looked at again"
