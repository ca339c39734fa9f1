"""Yours: what happens after a payment. 付款之后做什么.

Each function runs at least once, after the state is committed and never inside a transaction;
`event_id` is the same in every repeat, so use it to do the thing once. An exception means
"try again later", with growing pauses.
"""

from contextlib import suppress

from tortoise.exceptions import IntegrityError

from checkout import log
from checkout.models import Order, Refund
from checkout.sql import items_of
from shop.models import DeliveryNote


async def on_paid(order: Order, event_id: str) -> None:
    """Ship the goods, print the ticket 发货. The example writes a delivery note, once."""
    items = await items_of(order.id)
    contents = "\n".join(f"{item.quantity} x {item.name}" for item in items)[:2000]
    with suppress(IntegrityError):  # an earlier call has written it
        await DeliveryNote.create(order_no=order.order_no, buyer=order.buyer, contents=contents)
    log.info("order paid: ship the goods here", order_no=order.order_no, event_id=event_id)


async def on_closed(order: Order, event_id: str) -> None:
    """Release the stock: no payment of this order can succeed any more 释放库存."""
    log.info("order closed: release the stock here", order_no=order.order_no, event_id=event_id)


async def on_refunded(order: Order, refund: Refund, event_id: str) -> None:
    """Take the goods back, tell the buyer: this refund has reached them 退款到账.

    Surplus money (paid twice or too late) goes back without this call, as it came without on_paid.
    """
    log.info("refunded", order_no=order.order_no, fen=refund.refund_fen, event_id=event_id)
