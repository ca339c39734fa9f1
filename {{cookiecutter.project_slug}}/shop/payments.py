"""Write payments down 支付单 before anything is sent: number and request, word for word."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from tortoise.exceptions import IntegrityError
from tortoise.expressions import F

from shop import errors, log
from shop.channels import Channel, Draft
from shop.models import Order, Payment
from shop.work import transaction

FIRST_LOOK = timedelta(seconds=5)
Shares = Mapping[str, tuple[int, str]]


async def write_down(
    order: Order,
    shares: Shares,
    way: Channel,
    *,
    prefix: str,
    client_ip: str,
    at: datetime,
    scene: str,
    payer: str,
) -> Payment | None:
    """Insert one payment for each merchant; several are a combined order 合单.

    `shares` is what ordering.parts() gives. Returns the first payment, or None when a twin was
    faster: `live` is unique. Raises OrderClosed.
    """
    try:
        async with transaction():
            numbers = await _numbers(order, len(shares), prefix)
            whole = numbers[0] if len(shares) == 1 else f"{numbers[0]}C"
            payments = [
                Payment(
                    order_id=order.id,
                    out_trade_no=number,
                    combine_out_trade_no=whole,
                    part=part,
                    merchant=merchant,
                    channel=way.name,
                    scene=scene,
                    payer=payer,
                    total_fen=fen,
                    state="NEW",
                    live=order.order_no if part == 1 else f"{order.order_no}-{part}",
                    request="",
                    prepay={},
                    request_id=log.request_id.get(),
                    created_at=at,
                    due_at=at + FIRST_LOOK if part == 1 else None,
                )
                for part, (number, (merchant, (fen, _))) in enumerate(
                    zip(numbers, shares.items(), strict=True), 1
                )
            ]
            descriptions = [words for _, words in shares.values()]
            prepared = way.prepare(Draft(order, payments, descriptions, client_ip))
            payments[0].request = prepared.body
            for payment, parties in zip(payments, prepared.parties, strict=True):
                payment.product, payment.parties = prepared.product, dict(parties)
                await payment.save()
    except IntegrityError:
        return None
    return payments[0]


async def _numbers(order: Order, count: int, prefix: str) -> list[str]:
    """Take the order's next numbers, and with them the order's row: first come, first served."""
    counted = Order.filter(id=order.id, state="OPEN")
    if not await counted.update(payments_made=F("payments_made") + count):
        raise errors.OrderClosed("the order is closed")
    await order.refresh_from_db()
    last = order.payments_made
    return [f"{prefix}{order.order_no}{n:02}" for n in range(last - count + 1, last + 1)]
