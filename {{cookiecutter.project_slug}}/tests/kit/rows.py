"""Write rows straight into the tables, for tests of the ledger alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from checkout.clock import Clock
from checkout.models import Order, Payment, Share
from checkout.work import AfterCommit, transaction

PARTIES = {"mchid": "1900000001", "appid": "wx0000000000000001"}


_numbers = count(1)


def overtaking(patch: pytest.MonkeyPatch, meanwhile: list[Any]) -> None:
    """Let others be faster: their steps come between what the ledger reads and what it writes."""

    @asynccontextmanager
    async def late() -> AsyncIterator[AfterCommit]:
        if meanwhile:
            await meanwhile.pop()()
        async with transaction() as after:
            yield after

    patch.setattr("checkout.ledger.transaction", late)


async def new_order(state: str = "OPEN", **more: Any) -> Order:
    """Write an order of 100 fen straight into the table."""
    n = next(_numbers)
    now = Clock().now()
    row = {"order_no": f"{n:012}", "buyer": "buyer", "state": state, "total_fen": 100}
    row |= {"idempotency_key": str(n), "request_hash": ""}
    return await Order.create(**row | more, created_at=now, expires_at=now + timedelta(minutes=30))


async def new_payment(order: Order, state: str = "NEW", *, live: bool = False) -> Payment:
    """Write a payment of an order, with its one share, straight into the tables."""
    number = f"S{next(_numbers):012}"
    now = Clock().now()
    payment = await Payment.create(
        order_id=order.id,
        number=number,
        channel="wechat",
        scene="jsapi",
        product="jsapi",
        payer="o",
        total_fen=order.total_fen,
        state=state,
        live=order.id if live else None,
        parties=PARTIES,
        request="",
        prepay={},
        request_id="-",
        created_at=now,
        expires_at=order.expires_at,
    )
    await Share.create(
        payment_id=payment.id,
        out_trade_no=number,
        merchant="",
        channel="wechat",
        parties={"mchid": PARTIES["mchid"]},
        total_fen=order.total_fen,
    )
    return payment
