"""An engine without a web server and without a sandbox: its bank lives in this process."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from checkout.clock import Clock
from checkout.config import Config
from checkout.engine import Checkout
from checkout.events import Hooks
from checkout.models import Order
from checkout.orders import Item
from checkout.payments import Payer
from kit.channels import exercise

from shop import database

with exercise():
    voucher = importlib.import_module("checkout.channels.voucher")


class HangingChannel(voucher.VoucherChannel):
    """A bank whose answers never come."""

    name = "hanging"
    books = "hanging"
    rank = 21
    scenes: Mapping[str, str] = {"h5": ""}
    notifications: Mapping[str, str] = {}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked = 0

    async def query(self, payment: Any, shares: Any) -> Any:
        self.asked += 1
        await asyncio.Event().wait()


@dataclass
class Desk:
    """An engine with two channels and the owner's hooks, which may hang."""

    clock: Clock = field(default_factory=Clock)
    bank: Any = field(default_factory=voucher.Bank)
    heard: list[str] = field(default_factory=list)
    in_hooks: int = 0
    most_in_hooks: int = 0
    keys: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        config = voucher.VoucherConfig(voucher.KEY)
        self.voucher = voucher.VoucherChannel(config, self.bank, self.clock)
        self.hanging = HangingChannel(config, self.bank, self.clock)
        hooks = Hooks(on_paid=self.on_paid)
        own = Config(public_url="http://127.0.0.1:8000")
        self.checkout = Checkout(own, [self.voucher, self.hanging], hooks, self.clock)

    async def on_paid(self, order: Order, event_id: str) -> None:
        self.heard.append(order.order_no)
        self.in_hooks += 1
        self.most_in_hooks = max(self.most_in_hooks, self.in_hooks)
        try:
            if order.buyer == "hangs":
                await asyncio.Event().wait()
            if order.buyer == "fails":
                raise RuntimeError("not now")
        finally:
            self.in_hooks -= 1

    async def order(self, buyer: str = "honest") -> str:
        async def price() -> list[Item]:
            return [Item("tea", "tea", 1, 100)]

        placed = await self.checkout.place(buyer, str(next(self.keys)), [], price)
        return placed.order.order_no

    async def start(self, order_no: str, scene: str = "native") -> str:
        buyer = (await Order.get(order_no=order_no)).buyer
        return (await self.checkout.start_payment(order_no, buyer, Payer(), scene)).out_trade_no

    async def pay(self, order_no: str) -> None:
        """Pay at the bank, which tells us."""
        body = self.bank.pay(await self.start(order_no))
        reply = await self.checkout.receive(voucher.PATH, {}, body)
        assert reply.status == 200

    def advance(self, seconds: float) -> None:
        self.clock.offset_seconds += seconds


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Desk]:
    """Open a desk; what still hangs afterwards is cancelled."""
    await database.connect(database_url)
    desk = Desk()
    yield desk
    while await desk.checkout.drain(seconds=0):
        for task in list(desk.checkout.work._tasks):
            task.cancel()
        await asyncio.sleep(0)
    await database.close()
