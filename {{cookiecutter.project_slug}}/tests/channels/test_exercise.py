"""A new way to be paid is one new file in checkout/channels/, and nothing else is touched."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from checkout.models import Event, Order, Payment, Refund
from kit.books import compare, history, next_noon, outcomes
from kit.buyers import give_back
from kit.channels import exercise
from kit.databases import EVERY_DATABASE
from kit.running import BuyerClient, RunningShop


@pytest.fixture
def more_settings() -> Iterator[Any]:
    """Lay the file beside the others before the shop is built."""
    with exercise():
        yield {}


@pytest.fixture
def bank(running: RunningShop) -> Any:
    return importlib.import_module("checkout.channels.voucher").BANK


async def begun(running: RunningShop) -> tuple[BuyerClient, str, dict[str, Any]]:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    return buyer, order_no, (await wish(buyer, order_no)).json()


async def wish(buyer: BuyerClient, order_no: str) -> Any:
    path = f"/api/orders/{order_no}/payments"
    return await buyer.post(path, {"scene": "native", "channel": "voucher"})


@EVERY_DATABASE
async def test_it_pays_refunds_and_its_bill_agrees(running: RunningShop, bank: Any) -> None:
    buyer, order_no, started = await begun(running)
    number = started["out_trade_no"]
    assert started["code_url"] == f"bank://{number}"
    body = bank.pay(number)
    answers = [await running.http.post("/notify/voucher", content=body) for _ in range(2)]
    assert [(a.status_code, a.text) for a in answers] == [(200, "thanks")] * 2
    assert await outcomes() == [("APPLIED", "")]
    assert await buyer.state(order_no) == "PAID"
    assert await Event.filter(kind="on_paid").count() == 1
    assert (await give_back(running, order_no, 100)).status_code == 202
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "SUCCESS"
    assert (await compare(running, await next_noon(running)))[0] == []


async def test_what_is_lost_is_found_and_what_is_forged_is_refused(
    running: RunningShop, bank: Any
) -> None:
    buyer, order_no, started = await begun(running)
    body = bank.pay(started["out_trade_no"])
    forged = await running.http.post("/notify/voucher", content=body.replace(b"PAID", b"OPEN"))
    assert forged.status_code == 401
    await running.advance(6)
    await running.shop.checkout.sweep_once()
    assert await buyer.state(order_no) == "PAID"


async def test_it_takes_turns_with_wechat(running: RunningShop, bank: Any) -> None:
    buyer, order_no, started = await begun(running)
    assert (await buyer.start(order_no)).status_code == 201
    assert bank.vouchers[started["out_trade_no"]].state == "CLOSED"
    assert await history(started["out_trade_no"]) == [("OPEN", "CLOSED")]
    assert (await wish(buyer, order_no)).status_code == 201
    order = await Order.get()
    assert await Payment.filter(live=order.id).count() == 1
    assert order.state == "OPEN"
