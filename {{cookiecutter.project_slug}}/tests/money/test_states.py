"""The States table of the money rules: only its moves happen, each with one line of history.

One is silent: NEW to OPEN moves no money.
"""

from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkout.channels import Trade, TradeShare
from checkout.clock import Clock
from checkout.ledger import Ledger, Outcome, Query, stored
from checkout.models import Event, Notification, Order, Payment, Refund, Share, Transition
from checkout.notifications import Arrival
from checkout.work import Overtaken, transaction
from kit.databases import EVERY_DATABASE
from kit.rows import PARTIES, new_order, new_payment, overtaking

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
keys = count(1)


async def history(*numbers: str) -> list[tuple[str, str, str]]:
    rows = await Transition.filter(number__in=numbers).order_by("id")
    return [(row.number, row.from_state, row.to_state) for row in rows]


async def moved(ledger: Ledger, row: Order | Payment, state: str) -> bool:
    """Move a row as every verb of the ledger does; tell whether it was let."""
    try:
        async with transaction() as after:
            await ledger._move(row, state, "test", after)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("before", PAYMENT_STATES)
@pytest.mark.parametrize("after", PAYMENT_STATES)
async def test_a_payment_moves_as_the_table_says_and_not_otherwise(
    ledger: Ledger, before: str, after: str
) -> None:
    payment = await new_payment(await new_order(), before)
    allowed = (before, after) in PAYMENT
    assert await moved(ledger, payment, after) is allowed
    await payment.refresh_from_db()
    assert payment.state == (after if allowed else before)
    assert len(await history(payment.number)) == allowed


@pytest.mark.parametrize("before", ORDER_STATES)
@pytest.mark.parametrize("after", ORDER_STATES)
async def test_an_order_moves_as_the_table_says_and_not_otherwise(
    ledger: Ledger, before: str, after: str
) -> None:
    order = await new_order(before)
    allowed = (before, after) in ORDER
    assert await moved(ledger, order, after) is allowed
    await order.refresh_from_db()
    assert order.state == (after if allowed else before)
    assert len(await history(order.order_no)) == allowed


@pytest.mark.parametrize("before", PAYMENT_STATES)
@pytest.mark.parametrize("read", PAYMENT_STATES)
async def test_an_accepted_prepay_opens_a_new_payment_silently_and_no_other(
    ledger: Ledger, before: str, read: str
) -> None:
    payment = await new_payment(await new_order(), before)
    payment.state = read  # as another process read it some time ago
    await ledger.open_payment(payment, {"prepay_id": "x"})
    stored = await Payment.get(id=payment.id)
    opened = before in ("NEW", "OPEN")
    assert (stored.state, stored.prepay) == (
        ("OPEN", {"prepay_id": "x"}) if opened else (before, {})
    )
    assert payment.state == stored.state
    assert await history(payment.number) == []


@EVERY_DATABASE
async def test_a_move_from_a_state_that_is_gone_changes_nothing(ledger: Ledger) -> None:
    payment = await new_payment(await new_order())
    stale = await Payment.get(id=payment.id)
    assert await moved(ledger, payment, "CLOSED")
    with pytest.raises(Overtaken):
        await moved(ledger, stale, "PAID")
    assert (await Payment.get(id=payment.id)).state == "CLOSED"
    assert len(await history(payment.number)) == 1


async def hear(ledger: Ledger, payment: Payment, *, by: str, **changes: Any) -> None:
    """Let the ledger hear of a payment, by a query or by a notification."""
    fitting = {
        "out_trade_no": payment.number, "state": "PAID", "parties": PARTIES,
        "transaction_id": f"4200{payment.id}", "total_fen": 100, "currency": "CNY",
    }  # fmt: skip
    share: Any = fitting | changes
    trade = Trade(payment.number, share["state"], PARTIES, [TradeShare(**share)])
    query = Query("query, test")
    now = Clock().now()
    arrival = Arrival("wechat", "payment", f"key{next(keys)}", {}, b"", now)
    await ledger.record(["wechat"], trade, query if by == "query" else arrival)


HEARD = [f"{what} {by}" for what in ("paid", "twice", "wrong", "CLOSED", "OPEN")
         for by in ("query", "notification")]  # fmt: skip
VERBS = [*HEARD, "accepted", "closed", "closed by a person", "cancel"]


async def step(ledger: Ledger, verb: str, payment: Payment, order: Order) -> None:
    """Take one step; the payment's row may be one that was read some time ago."""
    if verb in HEARD:
        what, by = verb.split()
        changes: dict[str, dict[str, Any]] = {
            "paid": {},
            "twice": {"transaction_id": f"another{next(keys)}"},
            "wrong": {"total_fen": 99},
        }
        await hear(ledger, payment, by=by, **changes.get(what, {"state": what}))
    elif verb == "accepted":
        await ledger.open_payment(payment, {"prepay_id": "x"})
    elif verb == "cancel":
        await ledger.start_closing(order.order_no, "test")
    else:
        held = verb == "closed by a person"
        await ledger.close_payment(payment.number, "test", held=held)


steps = st.tuples(st.sampled_from(VERBS), st.integers(0, 1))


@EVERY_DATABASE
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(walk=st.lists(st.tuples(steps, st.none() | steps), max_size=12))
async def test_no_walk_through_the_ledger_leaves_the_table(
    ledger: Ledger, walk: list[tuple[tuple[str, int], tuple[str, int] | None]]
) -> None:
    order = await new_order(payments_made=2)
    payments = [await new_payment(order), await new_payment(order, live=True)]
    before = {order.order_no: order.state} | {p.number: p.state for p in payments}
    meanwhile: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        overtaking(patch, meanwhile)
        for (verb, which), faster in walk:
            if faster is not None:
                other_verb, other = faster
                meanwhile.append(lambda v=other_verb, n=other: step(ledger, v, payments[n], order))
            await step(ledger, verb, payments[which], order)
            meanwhile.clear()
            await check_rows(order)
    await check_history(order, before)


async def check_history(order: Order, states: dict[str, str]) -> None:
    """Follow the history from the states at the start; nothing changed without a line."""
    for number, before, after in await history(*states):
        if (states[number], before) == ("NEW", "OPEN"):  # the silent one
            states[number] = "OPEN"
        assert states[number] == before, "each line goes on where the one before ended"
        assert (before, after) in (ORDER if number == order.order_no else PAYMENT)
        states[number] = after
    order = await Order.get(id=order.id)
    now = {order.order_no: order.state}
    now |= {p.number: p.state for p in await Payment.filter(order_id=order.id)}
    for number, state in now.items():
        assert state == states[number] or (states[number], state) == ("NEW", "OPEN")


async def check_rows(order: Order) -> None:
    """Compare what belongs to the states with them."""
    order = await Order.get(id=order.id)
    payments = await Payment.filter(order_id=order.id)
    states = {payment.state for payment in payments}
    paid = [payment for payment in payments if payment.state == "PAID"]
    surplus = {payment.number for payment in paid if payment.surplus}
    assert len(paid) - len(surplus) == (order.state == "PAID")
    assert order.state != "CLOSED" or states <= {"CLOSED", "PAID"}
    assert (order.paid_at is not None) is (order.state == "PAID")
    assert all(p.live is None for p in payments if p.state in ("PAID", "CLOSED"))
    shares = await Share.filter(payment__order_id=order.id).select_related("payment")
    for share in shares:
        assert (share.transaction_id is not None) is (share.payment.state == "PAID")
        assert share.reserved_fen == (share.total_fen if share.out_trade_no in surplus else 0)
    refunds = await Refund.filter(order_id=order.id)
    assert {refund.out_refund_no for refund in refunds} == {f"{number}S" for number in surplus}
    events = [event.kind for event in await Event.filter(order_id=order.id)]
    assert events == {"PAID": ["on_paid"], "CLOSED": ["on_closed"]}.get(order.state, [])
    for payment in paid:
        lines = await Transition.filter(number=payment.number, to_state="PAID")
        await check_cause(lines, payment)


async def check_cause(lines: list[Transition], payment: Payment) -> None:
    """The one line says what proved the money, and a notification that did says APPLIED."""
    (line,) = lines
    if line.cause.startswith("notification "):
        row = await Notification.get(key=line.cause.removeprefix("notification "))
        assert (row.outcome, row.out_trade_no) == ("APPLIED", payment.number)
    else:
        assert line.cause == "query, test"


@pytest.mark.parametrize("by", ["query", "notification"])
async def test_only_a_matching_proof_frees_a_held_payment(ledger: Ledger, by: str) -> None:
    payment = await new_payment(await new_order(), "HELD")
    await hear(ledger, payment, by=by, state="CLOSED")
    await hear(ledger, payment, by=by, total_fen=99)
    assert (await Payment.get(id=payment.id)).state == "HELD"
    await hear(ledger, payment, by=by)
    assert (await Payment.get(id=payment.id)).state == "PAID"


async def test_an_order_that_was_closed_meanwhile_is_not_closed_again(ledger: Ledger) -> None:
    order = await new_order("CLOSING")
    stale = await Order.get(id=order.id)
    for row in (order, stale):
        async with transaction() as after:
            await ledger._close_order(row, "test", after)
    assert await history(order.order_no) == [(order.order_no, "CLOSING", "CLOSED")]
    assert await Event.filter(order_id=order.id).count() == 1


async def test_an_open_notification_is_decided_by_whoever_is_first(ledger: Ledger) -> None:
    arrival = Arrival("wechat", "payment", "key", {}, b"", Clock().now())
    await stored(arrival, Outcome("UNMATCHED", "unknown number"), "S1", None)
    first, stale = await Notification.get(), await Notification.get()
    await stored(arrival, Outcome("APPLIED"), "S1", first)
    with pytest.raises(Overtaken):
        await stored(arrival, Outcome("UNMATCHED", "unknown number"), "S1", stale)
    with pytest.raises(Overtaken):
        await stored(arrival, Outcome("UNMATCHED", "unknown number"), "S1", None)
    assert (await Notification.get()).outcome == "APPLIED"
