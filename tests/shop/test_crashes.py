"""Money rules 4, 6, 7 and 9: killed between any two steps, the shop repairs itself."""

import inspect
from typing import Any

import pytest
from checkout import writes
from checkout.models import Event, Notification, Order, Payment, Refund, Share
from checkout.notifications import Arrival
from checkout.payments import Payer
from kit.books import calls, history, outcomes
from kit.buyers import bought, paying
from kit.databases import SERVERS
from kit.running import BuyerClient, RunningShop
from kit.wechat import PATH, WeChat


class Killed(BaseException):
    """The process is gone: nothing after this line runs."""


def kill(
    patch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool = False, at: int = 1
) -> None:
    """Die when `name` is called for the `at`th time, or when it has done its work."""
    inside = getattr(owner, name)
    made = list[None]()

    async def killed(*args: Any, **more: Any) -> Any:
        made.append(None)
        if len(made) < at:
            return await inside(*args, **more)
        if after:
            await inside(*args, **more)
        raise Killed

    def killed_at_once(*args: Any, **more: Any) -> Any:
        made.append(None)
        if len(made) < at:
            return inside(*args, **more)
        if after:
            inside(*args, **more)
        raise Killed

    patch.setattr(owner, name, killed if inspect.iscoroutinefunction(inside) else killed_at_once)


def owner_of(running: RunningShop, name: str) -> object:
    """Find the object in which somebody dies."""
    checkout = running.shop.checkout
    return {
        "channel": checkout.channels["wechat"],
        "ledger": checkout.ledger,
        "payments": checkout.payments,
        "events": checkout.ledger._events,
        "arrival": Arrival,
        "writes": writes,
    }[name]


async def killed_at_prepay(
    running: RunningShop, patch: pytest.MonkeyPatch, owner: str, name: str, *, after: bool
) -> tuple[BuyerClient, Order]:
    buyer = await running.buyer()
    order = await Order.get(order_no=(await buyer.order())["order_no"])
    payer = Payer({running.app("miniprogram")["appid"]: buyer.openid}, "203.0.113.10")
    with patch.context() as patched:
        kill(patched, owner_of(running, owner), name, after=after)
        with pytest.raises(Killed):
            await running.shop.checkout.start_payment(
                order.order_no, order.buyer, payer, "miniprogram"
            )
    return buyer, order


PREPAY = [
    ("payments", "_go_on", False),
    ("channel", "prepay", False),
    ("channel", "prepay", True),
    ("ledger", "open_payment", False),
    ("ledger", "open_payment", True),
]


@pytest.mark.parametrize(("owner", "name", "after"), PREPAY)
async def test_killed_while_a_payment_starts_the_same_number_and_body_go_on(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    buyer, order = await killed_at_prepay(running, monkeypatch, owner, name, after=after)
    written = await Payment.get()
    started = (await buyer.start(order.order_no)).json()
    assert started["out_trade_no"] == written.number
    assert {e["request_body"] for e in await calls(running, "/jsapi")} == {written.request}
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"


@pytest.mark.parametrize(("owner", "name", "after"), PREPAY)
async def test_killed_while_a_payment_starts_and_never_seen_again_it_is_closed(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    await killed_at_prepay(running, monkeypatch, owner, name, after=after)
    await running.advance(1800)
    await running.sweeps(40, 15)
    assert (await Order.get()).state == "CLOSED"
    assert (await Payment.get()).state == "CLOSED"


async def test_killed_while_a_payment_is_written_down_nothing_is_left_of_it(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order = await killed_at_prepay(running, monkeypatch, "writes", "_write", after=True)
    assert not await Payment.exists()
    assert not await Share.exists()
    assert await calls(running, "/jsapi") == []
    assert (await buyer.start(order.order_no)).status_code == 201


RECORD = [
    ("ledger", "record"),
    ("ledger", "_carry_out"),
    ("arrival", "store"),
    ("ledger", "_pay"),
    ("events", "_start"),
    ("events", "_call"),
]
RECORD_CASES = [("sqlite", *point, after, 1) for point in RECORD for after in (False, True)]
#: after each of the writes: notification, payment, share, order, history, event
RECORD_CASES += [("sqlite", "writes", "_write", True, n) for n in range(1, 7)]
#: all of them are done but the commit; PostgreSQL takes them and the commit as one statement
RECORD_CASES += [("mysql", "writes", "_check", True, 6)]
RECORD_CASES += [(kind, "ledger", "_carry_out", True, 1) for kind in SERVERS]


@pytest.mark.parametrize(
    ("database_kind", "owner", "name", "after", "at"), RECORD_CASES, indirect=["database_kind"]
)
async def test_killed_while_a_notification_is_recorded_all_or_nothing_is_left_and_the_next_ends_it(
    running: RunningShop,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    name: str,
    after: bool,
    at: int,
) -> None:
    _, order, started = await paying(running)
    wechat = WeChat(running)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    with monkeypatch.context() as patched:
        kill(patched, owner_of(running, owner), name, after=after, at=at)
        if name == "_call":  # it runs after the answer
            await running.shop.checkout.receive(PATH, wechat.headers(body), body)
        else:
            with pytest.raises(Killed):
                await running.shop.checkout.receive(PATH, wechat.headers(body), body)
        await running.shop.checkout.work.drain(seconds=5)
    moved = [(await Payment.get()).state, (await Order.get()).state]
    assert (moved, await outcomes(), await Event.all().count()) in (
        (["OPEN", "OPEN"], [], 0),
        (["PAID", "PAID"], [("APPLIED", "")], 1),
    )
    await Payment.filter(state="OPEN").update(due_at=None)  # the notification alone must do
    assert (await wechat.send(body)).status_code == 204
    await running.sweeps(5, 15)
    assert [(await Payment.get()).state, (await Order.get()).state] == ["PAID", "PAID"]
    assert (await Share.get()).transaction_id
    assert (await Notification.get()).outcome == "APPLIED"
    assert await history(order["order_no"]) == [("OPEN", "PAID")]
    assert await history(started["out_trade_no"]) == [("OPEN", "PAID")]
    assert (await Event.get()).due_at is None


CLOSE = [
    ("ledger", "start_closing", True, 1),
    ("channel", "close", False, 1),
    ("channel", "close", True, 1),
    ("ledger", "close_payment", False, 1),
    ("ledger", "_close", False, 1),
    ("ledger", "_close", True, 1),
    ("ledger", "close_payment", True, 1),
    ("ledger", "_close_order", False, 2),
    ("ledger", "_close_order", True, 2),
    ("events", "write", False, 1),
    ("events", "write", True, 1),
    ("events", "_start", False, 1),
]


@pytest.mark.parametrize(("owner", "name", "after", "at"), CLOSE)
async def test_killed_while_an_order_is_cancelled_the_sweep_closes_it(
    running: RunningShop,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    name: str,
    after: bool,
    at: int,
) -> None:
    _, placed, started = await paying(running)
    with monkeypatch.context() as patched:
        kill(patched, owner_of(running, owner), name, after=after, at=at)
        with pytest.raises(Killed):
            await running.shop.checkout.cancel(placed["order_no"])
        await running.shop.checkout.work.drain(seconds=5)
    states = ((await Order.get()).state, (await Payment.get()).state)
    assert states in (("CLOSING", "OPEN"), ("CLOSED", "CLOSED"))
    await running.sweeps(10, 15)
    assert await history(placed["order_no"]) == [("OPEN", "CLOSING"), ("CLOSING", "CLOSED")]
    assert await history(started["out_trade_no"]) == [("OPEN", "CLOSED")]
    event = await Event.get()
    assert (event.kind, event.due_at) == ("on_closed", None)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["_move", "_close_order"])
async def test_killed_before_the_cancel_is_committed_it_never_was(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    buyer, placed, started = await paying(running)
    with monkeypatch.context() as patched:
        kill(patched, owner_of(running, "ledger"), name, after=after)
        with pytest.raises(Killed):
            await running.shop.checkout.cancel(placed["order_no"])
    assert await buyer.state(placed["order_no"]) == "OPEN"
    assert await history(placed["order_no"]) == []
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"


REFUND = [
    ("channel", "refund", False),
    ("channel", "refund", True),
    ("ledger", "record_refund", False),
    ("ledger", "_move_refund", False),
    ("ledger", "_move_refund", True),
    ("ledger", "record_refund", True),
]


@pytest.mark.parametrize(("owner", "name", "after"), REFUND)
async def test_killed_while_a_refund_is_sent_the_same_number_and_body_go_on(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, after: bool
) -> None:
    _, order_no, number = await bought(running)
    await running.control("faults", notifications="drop")
    with monkeypatch.context() as patched:
        kill(patched, owner_of(running, owner), name, after=after)
        with pytest.raises(Killed):
            await running.shop.checkout.refund(order_no, 300, "少发一件", "key")
    refund = await Refund.get()
    assert refund.state == ("PROCESSING" if (name, after) == ("record_refund", True) else "PENDING")
    await running.sweeps(20, 15)
    assert (await Refund.get()).state == "SUCCESS"
    assert (await Share.get()).reserved_fen == (await Order.get()).refunded_fen == 300
    sent = [e["request_body"] for e in await calls(running, "/refunds") if e["method"] == "POST"]
    assert set(sent) == {refund.request}
    back = [(r["refund"], r["status"]) for r in (await running.at_wechat(number))["refunds"]]
    assert back == [(300, "SUCCESS")]


async def test_a_sweep_that_is_killed_leaves_its_rows_to_the_next_one_after_a_minute(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, started = await paying(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.advance(6)
    with monkeypatch.context() as patched:
        kill(patched, running.shop.checkout.payments, "ask")
        await running.shop.checkout.sweep_once()
    await running.shop.checkout.sweep_once()
    assert (await Order.get()).state == "OPEN"  # leased to the one that died
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "PAID"
