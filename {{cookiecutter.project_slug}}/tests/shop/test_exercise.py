"""A new way to be paid is one new file in shop/channels/, and nothing else is touched."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkout import channels
from checkout.models import Event, Order, Payment, Refund
from tests.shop.conftest import BuyerClient, Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import moves, outcomes
from tests.shop.test_bill import compare, next_noon
from tests.shop.test_money_refunds import give_back


@pytest.fixture
def more_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Lay the file beside the others before the shop is built."""
    folder = str(Path(__file__).with_name("exercise"))
    monkeypatch.setattr(channels, "__path__", [*channels.__path__, folder])
    yield lambda known: {}
    sys.modules.pop("shop.channels.voucher", None)


@pytest.fixture
def bank(stage: Stage) -> Any:
    return importlib.import_module("shop.channels.voucher").BANK


async def begun(stage: Stage) -> tuple[BuyerClient, str, dict[str, Any]]:
    buyer = await stage.buyer()
    order_no = (await buyer.order())["order_no"]
    return buyer, order_no, (await wish(buyer, order_no)).json()


async def wish(buyer: BuyerClient, order_no: str) -> Any:
    path = f"/api/orders/{order_no}/payments"
    return await buyer.post(path, {"scene": "native", "channel": "voucher"})


@EVERY_DATABASE
async def test_it_pays_refunds_and_its_bill_agrees(stage: Stage, bank: Any) -> None:
    buyer, order_no, started = await begun(stage)
    number = started["out_trade_no"]
    assert started["code_url"] == f"bank://{number}"
    body = bank.pay(number)
    answers = [await stage.http.post("/notify/voucher", content=body) for _ in range(2)]
    assert [(one.status_code, one.text) for one in answers] == [(200, "thanks")] * 2
    assert await outcomes() == [("APPLIED", "")]
    assert await buyer.state(order_no) == "PAID"
    assert await Event.filter(kind="on_paid").count() == 1
    assert (await give_back(stage, order_no, 100)).status_code == 202
    await stage.advance(61)
    await stage.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "SUCCESS"
    assert (await compare(stage, await next_noon(stage)))[0] == []


async def test_what_is_lost_is_found_and_what_is_forged_is_refused(stage: Stage, bank: Any) -> None:
    buyer, order_no, started = await begun(stage)
    body = bank.pay(started["out_trade_no"])
    forged = await stage.http.post("/notify/voucher", content=body.replace(b"PAID", b"OPEN"))
    assert forged.status_code == 401
    await stage.advance(6)
    await stage.shop.checkout.sweep_once()
    assert await buyer.state(order_no) == "PAID"


async def test_it_takes_turns_with_wechat(stage: Stage, bank: Any) -> None:
    buyer, order_no, started = await begun(stage)
    assert (await buyer.start(order_no)).status_code == 201
    assert bank.trades[started["out_trade_no"]][0] == "CLOSED"
    assert await moves(started["out_trade_no"]) == [("NEW", "OPEN"), ("OPEN", "CLOSED")]
    assert (await wish(buyer, order_no)).status_code == 201
    assert await Payment.filter(live=order_no).count() == 1
    assert (await Order.get()).state == "OPEN"
