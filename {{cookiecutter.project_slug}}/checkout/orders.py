"""Place an order once per Idempotency-Key, and hand it over to another buyer."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import msgspec
from tortoise.exceptions import IntegrityError

from checkout import errors, log
from checkout.channels import DraftShare
from checkout.clock import Clock
from checkout.config import Config
from checkout.models import Order, OrderItem
from checkout.work import Overtaken, again
from checkout.writes import Writes

GRACE = timedelta(seconds=60)  # after its end, before the sweep closes the order
HANDOVER_LASTS = timedelta(minutes=10)
MAX_TOTAL_FEN = 100_000_000
KINDS = ("physical", "service", "virtual")
MAX_DESCRIPTION = 127  # UTF-8 bytes that WeChat takes
MAX_SHOP_NAME = 45  # of them


class Placed(NamedTuple):
    """An order with its items, and whether it is new."""

    order: Order
    items: list[OrderItem]
    is_new: bool


@dataclass(frozen=True)
class Item:
    """One line of an order to be placed, at the price of now, in fen."""

    sku: str
    name: str
    quantity: int
    price_fen: int
    merchant: str = ""
    kind: str = "physical"


Price = Callable[[], Awaitable[Sequence[Item]]]


class Orders:
    """Take orders."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._ttl = timedelta(seconds=config.order_ttl)
        self._clock = clock

    async def place(
        self, buyer: str, key: str, asked: object, price: Price, *, widget: bool = False
    ) -> Placed:
        """Place an order; the same key and the same `asked` give the same order.

        `asked` is what the client sent, in JSON types; `price` is called only when the key is new,
        so that a changed price never turns a repeat into a conflict. Raises IdempotencyKeyReused,
        BadRequest, and what `price` raises.
        """
        check_text("buyer", buyer, 64)
        check_text("idempotency_key", key, 64)
        asked_hash = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()

        async def once() -> Placed:
            order = await Order.get_or_none(buyer=buyer, idempotency_key=key)
            if order is None:
                return await self._insert(buyer, key, asked_hash, await price(), widget)
            if order.request_hash != asked_hash:
                raise errors.IdempotencyKeyReused("this Idempotency-Key came with another order")
            items = await OrderItem.filter(order_id=order.id).order_by("id")
            return Placed(order, items, is_new=False)

        return await again(once)

    async def _insert(
        self, buyer: str, key: str, asked_hash: str, lines: Sequence[Item], widget: bool
    ) -> Placed:
        """Insert order and items; raise Overtaken when a twin of this request was faster."""
        now = self._clock.now()
        order = Order(
            order_no=f"{now:%y%m%d}{secrets.randbelow(10**10):010}",
            buyer=buyer,
            state="OPEN",
            total_fen=_total(lines),
            idempotency_key=key,
            request_hash=asked_hash,
            created_at=now,
            expires_at=now + self._ttl,
            due_at=now + self._ttl + GRACE,
            widget=widget,
        )
        items = [_item(line) for line in lines]
        writes = Writes()
        writes.insert(order)
        writes.insert_all(OrderItem, *map(vars, items), order_id=order)
        try:
            await writes.commit()
        except IntegrityError as error:
            raise Overtaken("a twin was faster, or the number is taken") from error
        for item in items:
            item.order_id = order.id
        log.info("order placed", order_no=order.order_no, total_fen=order.total_fen)
        return Placed(order, items, is_new=True)

    async def having_ordered(self, buyers: Collection[str]) -> set[str]:
        """Return those of the buyers who placed or claimed an order."""
        placed = Order.filter(buyer__in=buyers).distinct()
        claimed = Order.filter(claimed_by__in=buyers).distinct()
        names = [row async for row in placed.values_list("buyer")]
        names += [row async for row in claimed.values_list("claimed_by")]
        return {name for (name,) in names}

    async def hand_over(self, order: Order) -> str:
        """Return a token that claims this order, once, within ten minutes of real time.

        A new token makes the one before useless; an order's number alone claims nothing.
        """
        token = secrets.token_urlsafe(32)
        until = self._clock.now() + HANDOVER_LASTS
        hashed = hashlib.sha256(token.encode()).hexdigest()
        await Order.filter(id=order.id).update(handover=hashed, handover_until=until)
        return token

    async def claim(self, token: str, buyer: str) -> Order:
        """Let this buyer see and pay the order, too. Raises BadRequest for a token that is over."""
        hashed = hashlib.sha256(token.encode()).hexdigest()
        order = await Order.get_or_none(handover=hashed)
        used = errors.BadRequest("this link was used or is too old, make a new one", field="token")
        if order is None or order.handover_until is None:
            raise used
        if order.handover_until < self._clock.now():
            raise used
        claimed = Order.filter(id=order.id, handover=hashed)
        if not await claimed.update(handover=None, claimed_by=buyer):
            raise used
        return order


def check_text(name: str, value: str, most: int) -> None:
    """Raise BadRequest naming the field unless this is a text of 1 to `most` characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > most or "\0" in value:
        raise errors.BadRequest(f"a text of 1 to {most} characters", field=name)


def check_int(name: str, value: int, least: int, most: int) -> None:
    """Raise BadRequest naming the field unless this is a whole number, no float and no bool."""
    if type(value) is not int or not least <= value <= most:
        raise errors.BadRequest(f"a whole number from {least} to {most}", field=name)


def _check_lines(lines: Sequence[Item]) -> None:
    for n, line in enumerate(lines):
        check_text(f"items[{n}].sku", line.sku, 64)
        check_text(f"items[{n}].name", line.name, 127)
        check_int(f"items[{n}].quantity", line.quantity, 1, 999_999)
        check_int(f"items[{n}].price_fen", line.price_fen, 0, MAX_TOTAL_FEN)
        if line.kind not in KINDS:  # "vitual" would be sold where virtual goods are not
            raise errors.BadRequest(f"one of {', '.join(KINDS)}", field=f"items[{n}].kind")


def _total(lines: Sequence[Item]) -> int:
    """Add up what the order costs; each merchant must get something."""
    _check_lines(lines)
    sums = Counter[str]()
    for line in lines:
        sums[line.merchant] += line.quantity * line.price_fen
    if not sums or min(sums.values()) < 1 or sums.total() > MAX_TOTAL_FEN:
        raise errors.BadRequest("the total is out of range", field="items")
    return sums.total()


def _item(line: Item) -> OrderItem:
    return OrderItem(
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        price_fen=line.price_fen,
        merchant=line.merchant,
        kind=line.kind,
    )


def shares_of(items: Sequence[OrderItem], number: str, shop_name: str = "") -> list[DraftShare]:
    """Split an order by merchant: fen, and what the payer reads.

    The only share of a payment has the payment's own number.
    """
    merchants = list(dict.fromkeys(item.merchant for item in items))
    shares = []
    for n, merchant in enumerate(merchants, 1):
        part = [item for item in items if item.merchant == merchant]
        shares.append(
            DraftShare(
                out_trade_no=f"{number}M{n}" if len(merchants) > 1 else number,
                merchant=merchant,
                total_fen=sum(item.quantity * item.price_fen for item in part),
                description=_description(shop_name, part),
            )
        )
    return shares


def _description(shop_name: str, items: Sequence[OrderItem]) -> str:
    """Say who sells what 商品描述, "shop-product", within WeChat's bytes."""
    seller = f"{cut(shop_name, MAX_SHOP_NAME)}-" if shop_name else ""
    more = f" 等{len(items)}件" if len(items) > 1 else ""
    return cut(seller + items[0].name, MAX_DESCRIPTION - len(more.encode())) + more


def cut(text: str, most_bytes: int) -> str:
    """Shorten a text to so many UTF-8 bytes, without splitting a character."""
    return text.encode()[:most_bytes].decode(errors="ignore")
