"""Money rules 6, 7 and 9: killed between any two steps, the shop repairs itself."""

from typing import Any

import pytest
from shop.checkout import Buyer
from shop.source import Source

from checkout.models import Event, Notification, Order, Payment
from tests.shop.conftest import BuyerClient, Stage
from tests.shop.kit import WeChat, calls, moves, paying


class Killed(BaseException):
    """The process is gone: nothing after this line runs."""


def kill(patch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool = False) -> None:
    """Die when `name` is called, or when it has done its work."""
    inside = getattr(owner, name)

    async def killed(*args: Any, **more: Any) -> None:
        if after:
            await inside(*args, **more)
        raise Killed

    patch.setattr(owner, name, killed)


def part(stage: Stage, name: str) -> object:
    """Find ledger, its moves, truth or channel of the shop."""
    if name == "moves":
        return stage.shop.checkout.ledger._moves
    return stage.shop.checkout.channels["wechat"] if name == "channel" else getattr(stage.shop, name)


async def sweep_for(stage: Stage, seconds: int) -> None:
    """Sweep every fifteen seconds of virtual time."""
    for _ in range(0, seconds, 15):
        await stage.advance(15)
        await stage.shop.checkout.sweep_once()


async def killed_at_prepay(
    stage: Stage, patch: pytest.MonkeyPatch, owner: str, name: str, *, after: bool
) -> tuple[BuyerClient, Order]:
    buyer = await stage.buyer()
    order = await Order.get(order_no=(await buyer.order())["order_no"])
    with patch.context() as patched:
        kill(patched, part(stage, owner), name, after=after)
        with pytest.raises(Killed):
            await stage.shop.checkout.start_payment(
                order, Buyer(order.buyer_id, "203.0.113.10"), "miniprogram"
            )
    return buyer, order


PREPAY = [
    ("channel", "prepay", False),
    ("channel", "prepay", True),
    ("ledger", "open_payment", False),
    ("ledger", "open_payment", True),
]


@pytest.mark.parametrize(("owner", "name", "after"), PREPAY)
async def test_killed_while_a_payment_starts_the_same_number_and_body_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    buyer, order = await killed_at_prepay(stage, monkeypatch, owner, name, after=after)
    written = await Payment.get()
    started = (await buyer.start(order.order_no)).json()
    assert started["out_trade_no"] == written.out_trade_no
    assert {e["request_body"] for e in await calls(stage, "/jsapi")} == {written.request}
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"


@pytest.mark.parametrize(("owner", "name", "after"), PREPAY)
async def test_killed_while_a_payment_starts_and_never_seen_again_it_is_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    await killed_at_prepay(stage, monkeypatch, owner, name, after=after)
    await stage.advance(1800)
    await sweep_for(stage, 600)
    assert (await Order.get()).state == "CLOSED"
    assert (await Payment.get()).state == "CLOSED"


RECORD = ["record", "_pay_once", "move", "_pay_order", "event", "conclude"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", RECORD)
async def test_killed_while_a_notification_is_recorded_all_or_nothing_moved_and_the_sweep_ends_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    _, order, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    with monkeypatch.context() as patched:
        ledger = stage.shop.checkout.ledger
        owners = {"conclude": Source, "move": ledger._moves, "event": ledger._moves}
        kill(patched, owners.get(name, ledger), name, after=after)
        with pytest.raises(Killed):
            await stage.shop.inbox.receive("wechat", "payment", wechat.headers(body), body)
    moved = [(await Payment.get()).state, (await Order.get()).state]
    outcome, events = (await Notification.get()).outcome, await Event.all().count()
    assert (moved, outcome, events) in (
        (["OPEN", "OPEN"], "RECEIVED", 0),
        (["PAID", "PAID"], "APPLIED", 1),
    )
    await Payment.filter(state="OPEN").update(due_at=None)  # the inbox alone must do
    await sweep_for(stage, 75)
    assert [(await Payment.get()).state, (await Order.get()).state] == ["PAID", "PAID"]
    assert (await Notification.get()).outcome == "APPLIED"
    assert await moves(order["order_no"]) == [("OPEN", "PAID")]
    assert (await Event.get()).due_at is None


CLOSE = [
    ("ledger", "start_closing", True),
    ("channel", "close", False),
    ("channel", "close", True),
    ("ledger", "close_payment", False),
    ("ledger", "close_payment", True),
    ("ledger", "close_order", False),
    ("moves", "event", True),
]


@pytest.mark.parametrize(("owner", "name", "after"), CLOSE)
async def test_killed_while_an_order_is_cancelled_the_sweep_closes_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    _, placed, started = await paying(stage)
    order = await Order.get()
    with monkeypatch.context() as patched:
        kill(patched, part(stage, owner), name, after=after)
        with pytest.raises(Killed):
            await stage.shop.checkout.cancel(order)
    assert (await Order.get()).state in ("CLOSING", "CLOSED")
    await sweep_for(stage, 150)
    assert await moves(placed["order_no"]) == [("OPEN", "CLOSING"), ("CLOSING", "CLOSED")]
    assert await moves(started["out_trade_no"]) == [("NEW", "OPEN"), ("OPEN", "CLOSED")]
    event = await Event.get()
    assert (event.kind, event.due_at) == ("on_closed", None)


async def test_a_sweep_that_is_killed_leaves_its_rows_to_the_next_one_after_a_minute(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, started = await paying(stage)
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await stage.advance(6)
    with monkeypatch.context() as patched:
        kill(patched, stage.shop.truth, "ask")
        await stage.shop.checkout.sweep_once()
    await stage.shop.checkout.sweep_once()
    assert (await Order.get()).state == "OPEN"  # leased to the one that died
    await stage.advance(61)
    await stage.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "PAID"
