"""Killed by SIGKILL at every named point: started again, the shop ends in the truth."""

import asyncio
import random

import httpx
import pytest
from checkout.models import Order, Refund

from tests.chaos.buyers import ADMIN, Buyer
from tests.chaos.fleet import Fleet, Instance
from tests.chaos.judge import judge
from tests.chaos.points import POINTS
from tests.chaos.storm import quiet, unfinished

LIFE = 46  # minutes: an order's thirty, and the bound
PATIENCE = 180  # seconds: a machine that is slow beside other tests is no fault
FEW = (
    "prepay.sent",
    "combine.sent",
    "record.about_to_be_written",
    "record.committed",
    "refund.sent",
)
BY_HAND = (pytest.mark.thorough, pytest.mark.by_hand)
ALL = [
    pytest.param("sqlite", point, marks=pytest.mark.thorough if point in FEW else BY_HAND)
    for point in POINTS
]


class Story(Buyer):
    """Somebody who does everything in which a shop can die."""

    async def live(self) -> None:
        """Leave an order, pay one too late, pay one and get two refunds."""
        await self._login()
        await self._start((await self._order())["order_no"])
        self.n += 1
        await self._cancel_then_pay((await self._order())["order_no"])
        self.n += 1
        order_no = (await self._order())["order_no"]
        if started := await self._start(order_no):
            await self._pay(started)
        await self._refund(order_no)

    async def _cancel_then_pay(self, order_no: str) -> None:
        started = await self._start(order_no)
        await self._call("POST", f"/api/orders/{order_no}/cancel", {})
        if started:
            await self._pay(started, force=True)

    async def _refund(self, order_no: str) -> None:
        path = f"/api/admin/orders/{order_no}/refunds"
        order = {"state": ""}
        while order["state"] != "PAID":
            await self.fleet.control("clock", advance_seconds=4)
            order = (await self._call("GET", f"/api/orders/{order_no}?refresh=1")).json()
        number = order["payments"][-1]["out_trade_no"]  # type: ignore[index]
        body = {"refund_fen": 1, "reason": "r", "out_trade_no": number}
        await self._call("POST", path, body, {"Idempotency-Key": "a", **ADMIN})
        await self.fleet.control("refund", out_trade_no=number, refund=2)


async def keep_alive(fleet: Fleet, shop: Instance, deaths: list[str]) -> None:
    """Start an instance again whenever it is dead."""
    while True:
        if not shop.alive:
            deaths.append(shop.url)
            await fleet.start(shop)
        await asyncio.sleep(0.02)


async def arrived(fleet: Fleet, refunds: int) -> None:
    """Let time pass until this many are here: of the platform's only WeChat's repeats tell."""
    for _ in range(2 * LIFE):
        if await Refund.filter(state="SUCCESS").count() == refunds:
            return
        await fleet.control("clock", advance_seconds=60)
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("fleet", "point"),
    ALL + [(kind, point) for kind in ("postgres", "mysql") for point in FEW],
    indirect=["fleet"],
)
async def test_killed_at_a_named_point_the_shop_ends_in_the_truth(fleet: Fleet, point: str) -> None:
    deaths: list[str] = []
    for shop in fleet.shops:
        shop.kill()
        await asyncio.sleep(0.01)
        await fleet.start(shop, point)
    keepers = [asyncio.create_task(keep_alive(fleet, shop, deaths)) for shop in fleet.shops]
    cart = ["longjing", "cup"] if point.startswith("combine.") else ["longjing"]
    orders = await Order.all().count()
    refunds = await Refund.filter(state="SUCCESS").count()
    made = 2 + len(cart)  # the operator's, the platform's, the surplus of each part
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            person = Story(fleet, http, random.Random(1), orders, carts=[cart])
            await asyncio.wait_for(person.live(), PATIENCE)
        for _ in range(LIFE // 5):
            await fleet.control("clock", advance_seconds=300)
            await asyncio.sleep(0.15)
        await arrived(fleet, refunds + made)
        await quiet(fleet, seconds=60)
    finally:
        for keeper in keepers:
            keeper.cancel()
    assert await unfinished() == {}
    assert await judge(fleet) == []
    assert deaths, "nobody passed this point"
    assert await Order.all().count() == orders + 3
    assert await Refund.filter(state="SUCCESS").count() == refunds + made
