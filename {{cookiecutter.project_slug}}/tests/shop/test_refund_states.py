"""Money rule 10 in the ledger alone: the cap holds, only the table's moves happen, sums add up."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop.refund_ledger import RefundLedger, new_refund
from shop.source import Source
from tortoise.exceptions import IntegrityError, OperationalError

from accounts.models import Buyer
from checkout.channels import RefundTrade
from checkout.clock import Clock
from checkout.models import Event, Order, Payment, Refund, Transition
from shop import database
from tests.shop.databases import EVERY_DATABASE
from tests.shop.test_states import new_order, new_payment

MOVES = {
    ("PENDING", "PROCESSING"), ("PENDING", "REJECTED"), ("PROCESSING", "SUCCESS"),
    ("PROCESSING", "CLOSED"), ("PROCESSING", "ABNORMAL"), ("ABNORMAL", "SUCCESS"),
    ("ABNORMAL", "CLOSED"),
}  # fmt: skip
STATES = ("PENDING", "PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL", "REJECTED")
keys = count(1)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[RefundLedger]:
    await database.connect(database_url)
    await Buyer.create(id="buyer", created_at=Clock().now())
    yield RefundLedger(Clock())
    await database.close()


async def paid(total_fen: int = 100) -> Payment:
    order = await new_order("PAID")
    payment = await new_payment(order, "PAID")
    await Order.filter(id=order.id).update(total_fen=total_fen)
    transaction_id = f"4200{payment.id}"
    await Payment.filter(id=payment.id).update(transaction_id=transaction_id, total_fen=total_fen)
    return await Payment.get(id=payment.id)


def wanted(payment: Payment, fen: int, **more: Any) -> Refund:
    now = Clock().now()
    once = {"reason": "r", "origin": "admin", "idempotency_key": str(next(keys))}
    return new_refund(payment, fen, created_at=now, due_at=now, **(once | more))


def said(refund: Refund, payment: Payment, state: Any, **changes: Any) -> RefundTrade:
    fitting = {
        "out_refund_no": refund.out_refund_no, "refund_id": f"503{refund.id}", "state": state,
        "out_trade_no": payment.out_trade_no, "transaction_id": payment.transaction_id,
        "said": state, "refund_fen": refund.refund_fen, "total_fen": payment.total_fen,
        "parties": {},
    }  # fmt: skip
    return RefundTrade(**(fitting | changes))


async def check_sums(payment: Payment) -> None:
    """Compare the sums in payment and order with their refunds."""
    await payment.refresh_from_db()
    order, rows = await Order.get(id=payment.order_id), await Refund.filter(payment_id=payment.id)
    holding = sum(r.refund_fen for r in rows if r.state not in ("CLOSED", "REJECTED"))
    back = sum(r.refund_fen for r in rows if r.state == "SUCCESS")
    assert (payment.reserved_fen, payment.refunded_fen) == (holding, back)
    assert (order.refunded_fen, order.refunding_fen) == (back, holding - back)
    assert holding <= payment.total_fen
    assert (order.state == "REFUNDED") is (back == order.total_fen)
    assert await Event.filter(order_id=order.id, kind="on_refunded").count() == sum(
        row.state == "SUCCESS" for row in rows
    )


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
async def test_a_refund_moves_as_the_table_says_and_not_otherwise(
    ledger: RefundLedger, before: str, after: str
) -> None:
    refund = wanted(payment := await paid(), 1, out_refund_no=f"R{next(keys)}", state=before)
    await refund.save()
    moved = await ledger._moves.move(refund, after, "test")
    await refund.refresh_from_db()
    assert moved is ((before, after) in MOVES)
    assert refund.state == (after if moved else before)
    assert await Transition.filter(subject="refund").count() == moved
    assert payment.state == "PAID"


@EVERY_DATABASE
async def test_two_hundred_refunds_at_once_take_no_more_than_was_paid_and_no_more_than_fifty(
    ledger: RefundLedger,
) -> None:
    small, large = await paid(1_000), await paid(90)
    tries = [ledger.reserve(await Payment.get(id=small.id), wanted(small, 1)) for _ in range(200)]
    tries += [ledger.reserve(await Payment.get(id=large.id), wanted(large, 7)) for _ in range(40)]
    won = await asyncio.gather(*tries)
    assert (sum(won[:200]), sum(won[200:])) == (50, 12)
    await check_sums(small)
    await check_sums(large)
    numbers = await Refund.filter(payment_id=small.id).order_by("id")
    expected = {f"{small.out_trade_no}R{n:02}" for n in range(1, 51)}
    assert {refund.out_refund_no for refund in numbers} == expected


@EVERY_DATABASE
async def test_the_database_itself_refuses_to_reserve_more_than_was_paid(
    ledger: RefundLedger,
) -> None:
    payment = await paid(100)
    for fen in (101, -1):
        with pytest.raises((IntegrityError, OperationalError)):
            await Payment.filter(id=payment.id).update(reserved_fen=fen)


async def test_only_a_paid_payment_is_refunded(ledger: RefundLedger) -> None:
    for state in ("NEW", "OPEN", "CLOSED", "HELD"):
        payment = await new_payment(await new_order(), state)
        assert not await ledger.reserve(payment, wanted(payment, 1))
    assert not await Refund.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"refund_fen": 29}, {"total_fen": 101}, {"transaction_id": "4200other"},
        {"out_trade_no": "Sother"}, {"parties": {"mchid": "1900000002"}}, {"refund_id": "504"},
    ],
)  # fmt: skip
async def test_a_truth_that_does_not_fit_moves_no_refund(
    ledger: RefundLedger, wrong: dict[str, Any]
) -> None:
    payment = await paid()
    refund = wanted(payment, 30)
    assert await ledger.reserve(payment, refund)
    await ledger.record(refund, said(refund, payment, "PROCESSING"), Source("test"))
    verdict = await ledger.record(refund, said(refund, payment, "SUCCESS", **wrong), Source("test"))
    assert (verdict.outcome, refund.state) == ("REFUSED", "PROCESSING")
    await check_sums(payment)


STEPS = ["reserve", "PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL", "reject"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    walk=st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(1, 60), st.integers(0, 5)), max_size=25
    )
)
async def test_no_walk_of_refunds_breaks_the_sums(
    ledger: RefundLedger, walk: list[tuple[str, int, int]]
) -> None:
    payment, stale = await paid(100), {}
    for verb, fen, which in walk:
        if verb == "reserve":
            await ledger.reserve(payment, wanted(payment, fen))
            continue
        rows = await Refund.filter(payment_id=payment.id).order_by("id")
        if not rows:
            continue
        refund = rows[which % len(rows)]
        old = stale.setdefault(refund.id, refund)  # as another process read it some time ago
        row = old if fen % 3 == 0 else refund
        if verb == "reject":
            await ledger.reject(row, "test")
        else:
            await ledger.record(row, said(row, payment, verb), Source("test"))
        await check_sums(payment)
    for line in await Transition.filter(subject="refund"):
        assert (line.before, line.after) in MOVES


@pytest.mark.parametrize("state", ["SUCCESS", "CLOSED", "ABNORMAL"])
async def test_an_answer_that_was_overtaken_is_old_news_and_another_end_is_refused(
    ledger: RefundLedger, state: str
) -> None:
    payment = await paid()
    refund = wanted(payment, 30)
    assert await ledger.reserve(payment, refund)
    await ledger.record(refund, said(refund, payment, state), Source("test"))
    for late in ("PROCESSING", state):
        verdict = await ledger.record(refund, said(refund, payment, late), Source("test"))
        assert (verdict.outcome, refund.state) == ("DUPLICATE", state)
    if state != "ABNORMAL":
        other = "CLOSED" if state == "SUCCESS" else "SUCCESS"
        verdict = await ledger.record(refund, said(refund, payment, other), Source("test"))
        assert (verdict.outcome, refund.state) == ("REFUSED", state)
    await check_sums(payment)


async def test_a_rejected_refund_that_turns_up_after_all_is_an_alarm(ledger: RefundLedger) -> None:
    payment = await paid()
    refund = wanted(payment, 30)
    assert await ledger.reserve(payment, refund)
    await ledger.reject(refund, "test")
    for state in ("PROCESSING", "SUCCESS"):
        verdict = await ledger.record(refund, said(refund, payment, state), Source("test"))
        assert (verdict.outcome, refund.state) == ("REFUSED", "REJECTED")
