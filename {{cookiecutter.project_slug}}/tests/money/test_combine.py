"""Money rules 6 and 7 for a combined order 合单: whatever names one share is about all of it."""

from typing import Any

import pytest

from checkout.channels import NumberTaken
from checkout.models import Order, Payment
from kit import owner
from kit.books import calls, history
from kit.buyers import ADMIN
from kit.databases import EVERY_DATABASE
from kit.running import BuyerClient, RunningShop
from kit.waiting import until

pytestmark = EVERY_DATABASE


@pytest.fixture(autouse=True)
def two_merchants(running: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cup be another merchant's."""
    other = running.credentials["others"][0]["mchid"]
    monkeypatch.setattr(owner, "PRODUCTS", owner.selling_for(other))


async def sent_twice_and_lost(running: RunningShop) -> tuple[BuyerClient, str, Payment]:
    """Let a prepay be lost on its way to WeChat, and six minutes later its repeat, too."""
    buyer = await running.buyer()
    order_no = (await buyer.cart("puer", "cup"))["order_no"]
    await running.control("faults", answers={"prepay": "reset_before"})
    for pause in (6 * 60, 0):
        lost = await buyer.start(order_no)
        assert (lost.status_code, lost.json()["code"]) == (503, "OUTCOME_UNKNOWN")
        await running.advance(pause)
    await running.control("faults")
    first, second = await calls(running, "/combine-transactions/jsapi")
    assert first["request_body"] == second["request_body"]
    return buyer, order_no, await Payment.get()


def second_number(payment: Payment) -> str:
    return payment.number.removesuffix("C") + "M2"


async def query(running: RunningShop, out_trade_no: str) -> dict[str, Any]:
    """Let an admin ask WeChat about a payment, by the number of one share."""
    answer = await running.http.post(f"/api/admin/payments/{out_trade_no}/query", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    assert shown["out_trade_no"] == out_trade_no
    return shown


async def test_rule_7_a_number_that_was_just_sent_again_is_not_closed_by_its_second_share(
    running: RunningShop,
) -> None:
    """The age of a send is the payment's: its second share has no older one of its own."""
    buyer, order_no, payment = await sent_twice_and_lost(running)
    shown = await query(running, second_number(payment))
    assert shown["state"] == "NEW"
    [asked] = await calls(running, f"/combine-transactions/out-trade-no/{payment.number}")
    assert asked["status"] == 404  # WeChat never got it
    await payment.refresh_from_db()
    assert (payment.state, await history(payment.number)) == ("NEW", [])
    started = await buyer.start(order_no)
    assert (started.status_code, started.json()["out_trade_no"]) == (
        200,
        f"{payment.number[:-1]}M1",
    )
    assert (await buyer.pay(started.json()["invoke"]))["err_msg"] == "requestPayment:ok"
    await until(lambda: Order.exists(order_no=order_no, state="PAID"))


@pytest.mark.parametrize(("seconds", "state"), [(290, "NEW"), (301, "CLOSED")])
async def test_rule_7_it_is_closed_five_minutes_after_its_last_send(
    running: RunningShop, seconds: int, state: str
) -> None:
    buyer, order_no, payment = await sent_twice_and_lost(running)
    await running.advance(seconds)
    assert (await query(running, second_number(payment)))["state"] == state
    shown = (await buyer.get(f"/api/orders/{order_no}")).json()["payments"]
    assert [share["state"] for share in shown] == [state, state]
    assert await history(payment.number) == ([("NEW", "CLOSED")] if state == "CLOSED" else [])


async def test_rule_7_a_close_that_overtook_the_send_burns_the_number(running: RunningShop) -> None:
    """WeChat answers 204 to a number that it never got: what still arrives is refused."""
    buyer, order_no, payment = await sent_twice_and_lost(running)
    cancelled = await buyer.post(f"/api/orders/{order_no}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "CLOSED")
    [close] = await calls(running, f"{payment.number}/close")
    assert close["status"] == 204
    with pytest.raises(NumberTaken):
        await running.shop.checkout.channels["wechat"].prepay(payment)
    assert await history(payment.number) == [("NEW", "CLOSED")]


async def test_rule_7_a_query_by_the_second_number_pays_all_shares(running: RunningShop) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.cart("puer", "cup"))["order_no"]
    started = (await buyer.start(order_no)).json()
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"], coupon_fen=7000)
    shown = await query(running, second_number(await Payment.get()))
    theirs = await running.at_wechat(shown["out_trade_no"])
    assert (shown["state"], shown["transaction_id"]) == ("PAID", theirs["transaction_id"])
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["state"], order["total_fen"], order["paid_fen"]) == ("PAID", 10_400, 3400)
    assert [share["state"] for share in order["payments"]] == ["PAID", "PAID"]
    assert len({share["transaction_id"] for share in order["payments"]}) == 2
