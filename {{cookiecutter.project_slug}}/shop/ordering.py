"""Place an order at the catalogue's prices, once per Idempotency-Key."""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import msgspec
from tortoise.exceptions import IntegrityError

from shop import errors, log
from shop.catalogue import products
from shop.clock import Clock
from shop.models import Order, OrderItem
from shop.work import transaction

GRACE = timedelta(seconds=60)  # after its end, before the sweep closes the order
MAX_TOTAL_FEN = 100_000_000
TRIES = 5


class Line(NamedTuple):
    """One line of a new order."""

    sku: str
    quantity: int


@dataclass(frozen=True)
class Ordering:
    """Take orders; each holds for `ttl_seconds`."""

    clock: Clock
    ttl_seconds: int

    async def place(self, buyer_id: str, lines: Sequence[Line], key: str) -> tuple[Order, bool]:
        """Place an order at the catalogue's prices; return it and whether it is new.

        Raises BadRequest for an unknown sku, IdempotencyKeyReused for another body.
        """
        request_hash = hashlib.sha256(msgspec.json.encode(lines)).hexdigest()
        mine = Order.filter(buyer_id=buyer_id, idempotency_key=key)
        for _ in range(TRIES):
            if known := await mine.first():
                break
            with suppress(IntegrityError):  # a twin of this request was faster, or a number taken
                return await self._insert(buyer_id, lines, key, request_hash), True
        else:
            raise errors.OutcomeUnknown("the order could not be placed, call again", retry_after=1)
        if known.request_hash != request_hash:
            raise errors.IdempotencyKeyReused("this Idempotency-Key came with another order")
        return known, False

    async def _insert(
        self, buyer_id: str, lines: Sequence[Line], key: str, request_hash: str
    ) -> Order:
        items = await _priced(lines)
        total_fen = sum(item.quantity * item.price_fen for item in items)
        if not 0 < total_fen <= MAX_TOTAL_FEN:
            raise errors.BadRequest("the total is out of range", field="items")
        now, ttl = self.clock.now(), timedelta(seconds=self.ttl_seconds)
        async with transaction():
            order = await Order.create(
                order_no=f"{now:%y%m%d}{secrets.randbelow(10**10):010}",
                buyer_id=buyer_id,
                state="OPEN",
                total_fen=total_fen,
                idempotency_key=key,
                request_hash=request_hash,
                created_at=now,
                expires_at=now + ttl,
                due_at=now + ttl + GRACE,
            )
            for item in items:
                item.order_id = order.id
            await OrderItem.bulk_create(items)
        log.info("order placed", order_no=order.order_no, total_fen=total_fen)
        return order


async def _priced(lines: Sequence[Line]) -> list[OrderItem]:
    """Return the order's items at the catalogue's prices."""
    catalogue = await products()
    for n, line in enumerate(lines):
        if line.sku not in catalogue:
            raise errors.BadRequest("no such product", field=f"items[{n}].sku")
    return [
        OrderItem(
            sku=line.sku,
            name=catalogue[line.sku].name,
            quantity=line.quantity,
            price_fen=catalogue[line.sku].price_fen,
        )
        for line in lines
    ]


async def describe(order: Order) -> str:
    """Return what the payer reads on the bill, at most 127 characters."""
    names = await OrderItem.filter(order_id=order.id).order_by("id").values_list("name", flat=True)
    more = f" 等{len(names)}件" if len(names) > 1 else ""
    return f"{str(names[0])[: 127 - len(more)]}{more}"
