"""Refunds that wait share one back-off per merchant: WeChat lets only six a second fail."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from checkout import channels as ch
from checkout.clock import Clock
from checkout.models import Order, Payment, Refund, Share
from checkout.pace import AT_ONCE, LEAST, Pace
from kit.databases import EVERY_DATABASE

from tests.shop.desk import Desk, opened, voucher

MANY = 2000
MOST_FAILURES = 6  # of one merchant in a second, by WeChat's rule


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with opened(database_url) as desk:
        yield desk


async def refunds(desk: Desk, number: int) -> None:
    """Write paid orders with a refund each that is due, straight into the tables."""
    now = desk.clock.now()
    row: dict[str, Any] = {"total_fen": 1, "created_at": now, "expires_at": now}
    await Order.bulk_create(
        [
            Order(
                order_no=f"{n}",
                buyer=f"{n}",
                state="CLOSED",
                idempotency_key="",
                request_hash="",
                **row,
            )
            for n in range(number)
        ]
    )
    orders = await Order.all().order_by("id")
    await Payment.bulk_create(
        [
            Payment(
                order_id=order.id,
                number=order.order_no,
                channel="voucher",
                scene="native",
                product="",
                payer="",
                state="PAID",
                parties={},
                request="",
                prepay={},
                request_id="",
                **row,
            )
            for order in orders
        ]
    )
    await Share.bulk_create(
        [
            Share(
                payment_id=payment.id,
                out_trade_no=payment.number,
                merchant="",
                channel="voucher",
                parties=voucher.PARTIES,
                total_fen=1,
                transaction_id=f"b{payment.number}",
                reserved_fen=1,
                refunds_made=1,
            )
            for payment in await Payment.all().order_by("id")
        ]
    )
    await Refund.bulk_create(
        [
            Refund(
                order_id=order.id,
                share_id=share.id,
                channel="voucher",
                out_refund_no=f"{share.out_trade_no}S",
                refund_fen=1,
                reserved_fen=1,
                reason="",
                origin="surplus",
                state="PENDING",
                request="",
                created_at=now,
                due_at=now,
            )
            for order, share in zip(orders, await Share.all().order_by("id"), strict=True)
        ]
    )


async def failures_by_second(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: type[ch.ChannelError], seconds: int
) -> Counter[int]:
    """Sweep for so long while every refund fails; count the failures of each second."""
    failures = Counter[int]()

    async def refund(refund: Refund, share: Share) -> Any:
        for _ in range(100):  # an answer takes its time: others go on meanwhile
            await asyncio.sleep(0)
        failures[int(desk.clock.now().timestamp())] += 1
        raise error("not now", code="NOT_NOW")

    with monkeypatch.context() as patch:
        patch.setattr(desk.voucher, "refund", refund)
        for _ in range(seconds // 10):
            await desk.checkout.sweep_once()
            desk.advance(10)
    return failures


async def test_rule_10_two_thousand_refunds_that_wait_never_fail_six_times_a_second(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refunds(desk, MANY)
    failures = await failures_by_second(desk, monkeypatch, ch.Later, 120)
    first, *later = failures.values()
    assert first <= AT_ONCE < MOST_FAILURES
    assert later == [1], "after a minute one of them is tried"
    assert await Refund.filter(state="PENDING").count() == MANY


@pytest.mark.parametrize("error", [ch.Declined, ch.Unknown])
async def test_rule_10_refusals_and_cuts_do_not_come_fast_either(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: type[ch.ChannelError]
) -> None:
    await refunds(desk, 100)
    failures = await failures_by_second(desk, monkeypatch, error, 60)
    assert max(failures.values()) < MOST_FAILURES
    assert failures.total() >= 6


@EVERY_DATABASE
async def test_rule_10_when_one_succeeds_all_follow(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refunds(desk, 20)
    await failures_by_second(desk, monkeypatch, ch.Later, 10)
    numbers = [refund.out_refund_no for refund in await Refund.all()]
    desk.bank.vouchers |= {
        number.removesuffix("S"): voucher.Voucher(1, "PAID") for number in numbers
    }
    for _ in range(4):
        desk.advance(61)
        await desk.checkout.sweep_once()
    assert await Refund.filter(state="SUCCESS").count() == 20


class TestPace:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def pace(self, clock: Clock) -> Pace:
        return Pace(clock)

    def test_a_few_leave_at_once_and_more_wait(self, pace: Pace) -> None:
        with ExitStack() as stack:
            for _ in range(AT_ONCE):
                assert pace.is_free("one")
                stack.enter_context(pace.sending("one"))
            assert not pace.is_free("one")
            assert pace.is_free("another")
        assert pace.is_free("one")

    def test_after_a_failure_one_goes_first_and_alone(self, pace: Pace, clock: Clock) -> None:
        pace.failed("one", timedelta(seconds=90))
        assert timedelta(seconds=89) < pace.wait("one") <= timedelta(seconds=90)
        clock.offset_seconds += 91
        assert not pace.wait("one")
        with pace.sending("one"):
            assert pace.wait("one") == LEAST
        pace.succeeded("one")
        with pace.sending("one"):
            assert not pace.wait("one")

    def test_a_clock_that_was_wrong_keeps_nobody_waiting(self, pace: Pace, clock: Clock) -> None:
        clock.offset_seconds += 86400
        pace.failed("one", timedelta(seconds=60))
        clock.offset_seconds -= 86400
        assert not pace.wait("one")
