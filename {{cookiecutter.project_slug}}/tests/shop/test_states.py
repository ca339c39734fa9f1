"""The States table of the money rules: only its moves happen, each with one line of history."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop.ledger import Ledger
from shop.source import Source

from accounts.models import Buyer
from checkout.channels import Trade
from checkout.clock import Clock
from checkout.models import Notification, Order, Payment, Transition
from shop import database

PAYMENT = {
    ("NEW", "OPEN"), ("NEW", "PAID"), ("NEW", "CLOSED"), ("NEW", "HELD"),
    ("OPEN", "PAID"), ("OPEN", "CLOSED"), ("OPEN", "HELD"),
    ("CLOSED", "PAID"), ("HELD", "PAID"), ("HELD", "CLOSED"),
}  # fmt: skip
ORDER = {
    ("OPEN", "PAID"), ("OPEN", "CLOSING"), ("CLOSING", "CLOSED"), ("CLOSING", "PAID"),
    ("PAID", "REFUNDED"),
}  # fmt: skip
PAYMENT_STATES = ("NEW", "OPEN", "PAID", "CLOSED", "HELD")
ORDER_STATES = ("OPEN", "CLOSING", "CLOSED", "PAID", "REFUNDED")
PARTIES = {"mchid": "1900000001", "appid": "wx0000000000000001"}
numbers = count(1)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    await database.connect(database_url)
    await Buyer.create(id="buyer", created_at=Clock().now())
    yield Ledger(Clock())
    await database.close()


async def new_order(state: str = "OPEN") -> Order:
    n, now = next(numbers), Clock().now()
    return await Order.create(
        order_no=f"{n:012}", buyer_id="buyer", state=state, total_fen=100, request_hash="",
        idempotency_key=str(n), created_at=now, expires_at=now + timedelta(minutes=30),
    )  # fmt: skip


async def new_payment(order: Order, state: str = "NEW", *, live: bool = False) -> Payment:
    return await Payment.create(
        order_id=order.id, out_trade_no=(number := f"S{next(numbers):012}"), channel="wechat",
        combine_out_trade_no=number, product="jsapi", payer="o", scene="jsapi", total_fen=100, state=state, live=order.order_no if live else None,
        parties=PARTIES, request="", prepay={}, request_id="-", created_at=Clock().now(),
    )  # fmt: skip


async def history(*numbers: str) -> list[tuple[str, str, str]]:
    rows = await Transition.filter(number__in=numbers).order_by("id")
    return [(row.number, row.before, row.after) for row in rows]


@pytest.mark.parametrize("before", PAYMENT_STATES)
@pytest.mark.parametrize("after", PAYMENT_STATES)
async def test_a_payment_moves_as_the_table_says_and_not_otherwise(
    ledger: Ledger, before: str, after: str
) -> None:
    payment = await new_payment(await new_order(), before)
    moved = await ledger._moves.move(payment, after, "test")
    await payment.refresh_from_db()
    allowed = (before, after) in PAYMENT
    assert moved is allowed
    assert payment.state == (after if allowed else before)
    assert len(await history(payment.out_trade_no)) == allowed


@pytest.mark.parametrize("before", ORDER_STATES)
@pytest.mark.parametrize("after", ORDER_STATES)
async def test_an_order_moves_as_the_table_says_and_not_otherwise(
    ledger: Ledger, before: str, after: str
) -> None:
    order = await new_order(before)
    moved = await ledger._moves.move(order, after, "test")
    await order.refresh_from_db()
    allowed = (before, after) in ORDER
    assert moved is allowed
    assert order.state == (after if allowed else before)
    assert len(await history(order.order_no)) == allowed


async def test_a_move_from_a_state_that_is_gone_changes_nothing(ledger: Ledger) -> None:
    payment = await new_payment(await new_order())
    stale = await Payment.get(id=payment.id)
    assert await ledger._moves.move(payment, "CLOSED", "test")
    assert not await ledger._moves.move(stale, "OPEN", "test")
    assert (await Payment.get(id=payment.id)).state == "CLOSED"
    assert len(await history(payment.out_trade_no)) == 1


async def told(ledger: Ledger, payment: Payment, *, by: str, **changes: Any) -> None:
    """Let the ledger hear of a payment, by a query or by a notification."""
    fitting = {"out_trade_no": payment.out_trade_no, "state": "PAID", "said": "SUCCESS",
               "parties": PARTIES, "transaction_id": f"4200{payment.id}", "total_fen": 100,
               "currency": "CNY", "paid_at": None}  # fmt: skip
    inbox = None
    if by == "notification":
        inbox = await Notification.create(
            channel="wechat", kind="payment", key=str(next(numbers)), headers={}, body=b"",
            outcome="RECEIVED", received_at=Clock().now(),
        )  # fmt: skip
    await ledger.record(["wechat"], [Trade(**(fitting | changes))], Source(by, inbox))


async def step(ledger: Ledger, verb: str, payment: Payment, order: Order) -> None:
    """Take one step with rows as they were read some time ago, as another process would."""
    if verb in SAID:
        what, by = verb.split()
        changes = {"paid": {}, "twice": {"transaction_id": f"another{next(numbers)}"},
                   "wrong": {"total_fen": 99}}  # fmt: skip
        await told(ledger, payment, by=by, **changes.get(what, {"state": what, "said": what}))
        return
    now = Clock().now()
    await {
        "accepted": lambda: ledger.open_payment(payment, {"prepay_id": "x"}, due_at=now),
        "closed": lambda: ledger.close_payment(payment, "test"),
        "cancel": lambda: ledger.start_closing(order, "test"),
        "finish": lambda: ledger.close_order(order, "test"),
    }[verb]()


SAID = [f"{what} {by}" for what in ("paid", "twice", "wrong", "CLOSED", "OPEN")
        for by in ("query", "notification")]  # fmt: skip
VERBS = [*SAID, "accepted", "closed", "cancel", "finish"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(walk=st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 1), st.booleans()), max_size=12))  # fmt: skip
async def test_no_walk_through_the_ledger_leaves_the_table(
    ledger: Ledger, walk: list[tuple[str, int, bool]]
) -> None:
    order = await new_order()
    payments = [await new_payment(order), await new_payment(order, live=True)]
    states = {order.order_no: order.state} | {p.out_trade_no: p.state for p in payments}
    for verb, which, stale in walk:
        if not stale:
            for row in (order, *payments):
                await row.refresh_from_db()
        await step(ledger, verb, payments[which], order)
    for number, before, after in await history(*states):
        assert states[number] == before  # each line goes on where the one before ended
        assert (before, after) in (ORDER if number == order.order_no else PAYMENT)
        states[number] = after
    now = await Order.get(id=order.id)
    found = {p.out_trade_no: p.state for p in await Payment.filter(order_id=order.id)}
    assert states == {now.order_no: now.state} | found  # no change without a line
    paid = "PAID" in found.values()
    assert paid or now.state != "PAID"
    assert (now.state != "CLOSED") or set(found.values()) <= {"CLOSED", "PAID"}
    assert now.paid_at is None or now.state == "PAID"


@pytest.mark.parametrize("by", ["query", "notification"])
async def test_only_a_matching_truth_frees_a_held_payment(ledger: Ledger, by: str) -> None:
    payment = await new_payment(await new_order(), "HELD")
    await told(ledger, payment, by=by, state="CLOSED", said="CLOSED")
    await told(ledger, payment, by=by, total_fen=99)
    assert (await Payment.get(id=payment.id)).state == "HELD"
    await told(ledger, payment, by=by)
    assert (await Payment.get(id=payment.id)).state == "PAID"
