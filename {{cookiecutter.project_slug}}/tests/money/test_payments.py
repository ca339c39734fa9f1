"""Money rules 2 and 6: one live payment, its number and request are written down and repeated."""

import asyncio
import dataclasses
import json
from datetime import datetime

import pytest

from accounts.models import Identity
from checkout.models import Order, Payment
from kit import owner
from kit.books import calls, history
from kit.buyers import also_official, paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import BuyerClient, RunningShop

HOURS = 3600
pytestmark = EVERY_DATABASE


@pytest.fixture
def more_settings() -> dict[str, str]:
    return {"SHOP_ORDER_TTL": str(8 * HOURS)}


async def test_rule_2_asking_again_within_two_hours_gives_the_live_payment_signed_anew(
    running: RunningShop,
) -> None:
    buyer, order, first = await paying(running)
    await running.advance(2 * HOURS - 60)
    again = await buyer.start(order["order_no"])
    assert again.status_code == 200
    assert again.json()["out_trade_no"] == first["out_trade_no"]
    old, new = first["invoke"], again.json()["invoke"]
    assert new["package"] == old["package"]
    assert new["nonceStr"] != old["nonceStr"]
    assert len(await calls(running, "/jsapi")) == 1
    assert (await buyer.pay(new))["err_msg"] == "requestPayment:ok"


async def test_rule_2_after_two_hours_the_stored_body_is_repeated_under_the_same_number(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, order, first = await paying(running)
    tea = dataclasses.replace(owner.PRODUCTS[0], name="another name", price_fen=1)
    monkeypatch.setattr(owner, "PRODUCTS", (tea, *owner.PRODUCTS[1:]))
    channel = running.shop.checkout.channels["wechat"]
    monkeypatch.setattr(channel, "_url", "https://moved.example.com")
    await running.advance(2 * HOURS + 1)
    again = (await buyer.start(order["order_no"])).json()
    assert again["out_trade_no"] == first["out_trade_no"]
    assert again["invoke"]["package"] != first["invoke"]["package"]
    sent, repeated = await calls(running, "/jsapi")
    assert sent["request_body"] == repeated["request_body"]
    assert repeated["status"] == 200
    assert (await buyer.pay(again["invoke"]))["err_msg"] == "requestPayment:ok"


async def test_rule_2_another_scene_closes_the_live_payment_at_wechat_first(
    running: RunningShop,
) -> None:
    buyer, order, first = await paying(running)
    await also_official(running, buyer)
    second = await buyer.start(order["order_no"], "jsapi")
    assert second.status_code == 201
    assert second.json()["out_trade_no"] != first["out_trade_no"]
    assert (await running.at_wechat(first["out_trade_no"]))["trade_state"] == "CLOSED"
    assert await history(first["out_trade_no"]) == [("OPEN", "CLOSED")]
    assert [payment.state for payment in await Payment.exclude(live=None)] == ["OPEN"]
    paths = [e["url"].rpartition("/")[2] for e in await calls(running, "")]
    assert paths.index("close") < len(paths) - 1 - paths[::-1].index("jsapi")


async def test_rule_2_another_payer_closes_the_live_payment_first(running: RunningShop) -> None:
    buyer, order, first = await paying(running)
    await running.buyer("oOther")
    await Identity.filter(openid="oOther").delete()
    await Identity.filter(openid="oBuyer").update(openid="oOther")
    second = await buyer.start(order["order_no"])
    assert second.status_code == 201
    assert (await running.at_wechat(first["out_trade_no"]))["trade_state"] == "CLOSED"
    assert json.loads((await calls(running, "/jsapi"))[-1]["request_body"])["payer"] == {
        "openid": "oOther"
    }


async def test_rule_2_a_close_answered_order_paid_is_queried_and_recorded(
    running: RunningShop,
) -> None:
    buyer, order, first = await paying(running)
    await also_official(running, buyer)
    await running.control("faults", notifications="drop")
    await buyer.pay(first["invoke"])
    answer = await buyer.start(order["order_no"], "jsapi")
    assert (answer.status_code, answer.json()["code"]) == (409, "ORDER_PAID")
    assert await buyer.state(order["order_no"]) == "PAID"
    assert await Payment.all().count() == 1


async def test_rule_2_while_the_buyer_types_nothing_is_closed_and_the_old_payment_stays_usable(
    running: RunningShop,
) -> None:
    buyer, order, first = await paying(running)
    await also_official(running, buyer)
    await buyer.pay(first["invoke"], outcome="typing")
    answer = await buyer.start(order["order_no"], "jsapi")
    assert (answer.status_code, answer.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    assert int(answer.headers["Retry-After"]) > 0
    again = await buyer.start(order["order_no"])
    assert (again.status_code, again.json()["out_trade_no"]) == (200, first["out_trade_no"])
    assert (await buyer.pay(again.json()["invoke"]))["err_msg"] == "requestPayment:ok"


@pytest.mark.parametrize("fault", ["429", "202", "500", "reset_before", "refuse"])
async def test_rule_2_a_close_that_did_not_happen_leaves_the_old_payment_usable(
    running: RunningShop, fault: str
) -> None:
    buyer, order, first = await paying(running)
    await also_official(running, buyer)
    await running.control("faults", answers={"close": fault})
    answer = await buyer.start(order["order_no"], "jsapi")
    assert (answer.status_code, answer.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await Payment.get()).state == "OPEN"
    again = await buyer.start(order["order_no"])
    assert (again.status_code, again.json()["out_trade_no"]) == (200, first["out_trade_no"])


@pytest.mark.parametrize("fault", ["reset_after", "signtest", "wrong_key"])
async def test_rule_2_a_close_whose_answer_proves_nothing_is_settled_by_a_query(
    running: RunningShop, fault: str
) -> None:
    buyer, order, first = await paying(running)
    await also_official(running, buyer)
    await running.control("faults", answers={"close": fault}, times=1)
    assert (await buyer.start(order["order_no"], "jsapi")).status_code == 201
    assert len(await calls(running, first["out_trade_no"])) == 1
    assert await history(first["out_trade_no"]) == [("OPEN", "CLOSED")]


async def test_rule_2_twenty_parallel_requests_make_one_payment_and_one_prepay(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await running.buyer()
    channel = running.shop.checkout.channels["wechat"]
    number = (await buyer.order())["order_no"]
    inside = channel.prepay

    async def slow(payment: Payment) -> dict[str, str]:
        await asyncio.sleep(0.2)  # WeChat takes so long that everybody comes meanwhile
        return await inside(payment)

    monkeypatch.setattr(channel, "prepay", slow)
    answers = await asyncio.gather(*(buyer.start(number) for _ in range(20)))
    assert sorted(a.status_code for a in answers) == [200] * 19 + [201]
    assert len({a.json()["out_trade_no"] for a in answers}) == 1
    assert len(await calls(running, "/jsapi")) == 1
    assert await Payment.all().count() == 1


async def test_rule_2_parallel_requests_for_two_scenes_leave_one_live_payment(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    await also_official(running, buyer)
    order_no = (await buyer.order())["order_no"]
    scenes = ["jsapi", "miniprogram"] * 5
    answers = await asyncio.gather(*(buyer.start(order_no, scene) for scene in scenes))
    assert {a.status_code for a in answers} <= {200, 201, 409}
    live = await Payment.get(live=(await Order.get()).id)
    assert live.state in ("NEW", "OPEN")
    orders = (await running.sandbox.get("/_sandbox/orders")).json()["orders"]
    there = {order["out_trade_no"]: order["trade_state"] for order in orders}
    for payment in await Payment.exclude(id=live.id):
        assert (payment.state, payment.live) == ("CLOSED", None)
        # a close that came before its prepay leaves nothing there: that prepay is refused
        assert there.get(payment.number, "CLOSED") == "CLOSED"


@pytest.mark.parametrize("fault", ["500", "reset_before", "reset_after"])
async def test_rule_6_a_prepay_of_unknown_outcome_is_repeated_word_for_word(
    running: RunningShop, diary: Diary, fault: str
) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    await running.control("faults", answers={"prepay": fault}, times=1)
    failed = await buyer.start(order_no)
    assert (failed.status_code, failed.json()["code"]) == (503, "OUTCOME_UNKNOWN")
    assert int(failed.headers["Retry-After"]) > 0
    await is_repeated_word_for_word(running, buyer, order_no)
    assert diary.alarms == []


@pytest.mark.parametrize("fault", ["signtest", "wrong_key"])
async def test_rule_6_a_prepay_whose_answer_proves_nothing_is_named_and_repeated_word_for_word(
    running: RunningShop, diary: Diary, fault: str
) -> None:
    """WeChat answered, so calling again does not help the buyer: our public key may be wrong."""
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    await running.control("faults", answers={"prepay": fault}, times=1)
    failed = await buyer.start(order_no)
    assert (failed.status_code, failed.json()["code"]) == (502, "WECHAT_UNPROVED")
    assert failed.json()["wechat_request_id"]
    await is_repeated_word_for_word(running, buyer, order_no)
    assert diary.alarms == ["an answer's signature does not hold: wrong public key?"]


async def is_repeated_word_for_word(
    running: RunningShop, buyer: BuyerClient, order_no: str
) -> None:
    """Check that the payment is NEW, and that starting it again sends the stored body."""
    assert (await Payment.get()).state == "NEW"
    assert (await buyer.start(order_no)).status_code == 200
    sent, repeated = await calls(running, "/jsapi")
    assert sent["request_body"] == repeated["request_body"]
    assert (await Payment.get()).state == "OPEN"


async def test_rule_3_a_prepay_whose_answer_proves_nothing_stays_new_and_is_asked(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    await running.control("faults", answers={"prepay": "wrong_key"}, times=1)
    assert (await buyer.start(order_no)).status_code == 502
    payment = await Payment.get()
    assert (payment.state, payment.prepay, payment.prepaid_at) == ("NEW", {}, None)
    await running.advance(6)
    await running.shop.checkout.sweep_once()
    [query] = await calls(running, f"/out-trade-no/{payment.number}")
    assert query["status"] == 200  # WeChat did get it
    assert (await Payment.get()).state == "NEW"


async def test_rule_6_a_refused_prepay_names_wechats_code_and_keeps_the_number(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    await running.control("faults", answers={"prepay": "refuse"}, times=1)
    refused = await buyer.start(order_no)
    assert (refused.status_code, refused.json()["code"]) == (502, "WECHAT_REFUSED")
    assert refused.json()["wechat_code"] == "NO_AUTH"
    assert refused.json()["wechat_request_id"]
    assert (await buyer.start(order_no)).status_code == 200
    assert await Payment.all().count() == 1


async def test_rule_6_a_number_already_used_is_queried_and_alarms(
    running: RunningShop, diary: Diary
) -> None:
    buyer, order, first = await paying(running)
    request = (await Payment.get()).request
    await Payment.all().update(request=request.replace("9900", "9901"), prepaid_at=None)
    answer = await buyer.start(order["order_no"])
    assert answer.json()["out_trade_no"] == first["out_trade_no"]
    assert diary.alarms == ["WeChat refuses a number of ours"]
    assert len(await calls(running, first["out_trade_no"])) == 1


async def test_rule_7_the_order_ends_at_wechat_when_it_ends_here(running: RunningShop) -> None:
    _, order, _ = await paying(running)
    sent = json.loads((await calls(running, "/jsapi"))[0]["request_body"])["time_expire"]
    assert sent.endswith("+08:00")
    assert "." not in sent
    ends = datetime.fromisoformat(order["expires_at"]).replace(microsecond=0)
    assert datetime.fromisoformat(sent) == ends
