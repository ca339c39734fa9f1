"""Place an order at the catalogue's prices, once per Idempotency-Key."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

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
        return await self._once(buyer_id, key, lines, partial(_priced, lines))

    async def collect(
        self, buyer_id: str, fen: int, scene: str, widget: bool, key: str
    ) -> tuple[Order, bool]:
        """Place an order of an amount that the buyer typed; otherwise like place()."""
        item = OrderItem(sku="collect", name="付款 Payment", quantity=1, price_fen=fen)

        async def items() -> list[OrderItem]:
            return [item]

        return await self._once(buyer_id, key, (fen, scene, widget), items, widget=widget)

    async def _once(
        self,
        buyer_id: str,
        key: str,
        asked: Sequence[Any],
        items: Callable[[], Awaitable[list[OrderItem]]],
        **more: Any,
    ) -> tuple[Order, bool]:
        request_hash = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
        mine = Order.filter(buyer_id=buyer_id, idempotency_key=key)
        for _ in range(TRIES):
            if known := await mine.first():
                break
            with suppress(IntegrityError):  # a twin of this request was faster, or a number taken
                once = {"idempotency_key": key, "request_hash": request_hash}
                return await self._insert(buyer_id, await items(), **once, **more), True
        else:
            raise errors.OutcomeUnknown("the order could not be placed, call again", retry_after=1)
        if known.request_hash != request_hash:
            raise errors.IdempotencyKeyReused("this Idempotency-Key came with another order")
        return known, False

    async def _insert(self, buyer_id: str, items: list[OrderItem], **more: Any) -> Order:
        sums: Counter[str] = Counter()
        for item in items:
            sums[item.merchant] += item.quantity * item.price_fen
        if min(sums.values()) < 1 or sums.total() > MAX_TOTAL_FEN:
            raise errors.BadRequest("the total is out of range", field="items")
        now, ttl = self.clock.now(), timedelta(seconds=self.ttl_seconds)
        async with transaction():
            order = await Order.create(
                order_no=f"{now:%y%m%d}{secrets.randbelow(10**10):010}",
                buyer_id=buyer_id,
                state="OPEN",
                total_fen=sums.total(),
                created_at=now,
                expires_at=now + ttl,
                due_at=now + ttl + GRACE,
                **more,
            )
            for item in items:
                item.order_id = order.id
            await OrderItem.bulk_create(items)
        log.info("order placed", order_no=order.order_no, total_fen=order.total_fen)
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
            merchant=catalogue[line.sku].merchant,
        )
        for line in lines
    ]


async def parts(order: Order) -> dict[str, tuple[int, str]]:
    """Return what each merchant gets: fen, and what the payer reads, at most 127 characters."""
    found: dict[str, tuple[int, str]] = {}
    items = await OrderItem.filter(order_id=order.id).order_by("id")
    for merchant in dict.fromkeys(item.merchant for item in items):
        mine = [item for item in items if item.merchant == merchant]
        more = f" 等{len(mine)}件" if len(mine) > 1 else ""
        fen = sum(item.quantity * item.price_fen for item in mine)
        found[merchant] = fen, f"{mine[0].name[: 127 - len(more)]}{more}"
    return found
