"""Money rules 8 and 10: money goes back once, in order, never more than came."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest

from checkout.models import Event, Order, Payment, Refund
from tests.shop.conftest import ADMIN_TOKEN, BuyerClient, Diary, Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import calls, moves, outcomes, paying, until

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PRICE = 9_900  # of the tea in the catalogue, fen


async def give_back(stage: Stage, order_no: str, fen: int, **more: Any) -> httpx.Response:
    """Ask for a refund as the operator does."""
    key = {"Idempotency-Key": more.pop("key", secrets.token_hex(8))}
    body = {"refund_fen": fen, "reason": "少发一件"} | more
    path = f"/api/admin/orders/{order_no}/refunds"
    return await stage.http.post(path, json=body, headers=ADMIN | key)


async def bought(stage: Stage) -> tuple[BuyerClient, str, str]:
    """Pay an order: the buyer, its number, the payment's number."""
    buyer, order, started = await paying(stage)
    await buyer.pay(started["invoke"])
    await until(lambda: Order.exists(order_no=order["order_no"], state="PAID"))
    return buyer, order["order_no"], started["out_trade_no"]


async def sweep_until(stage: Stage, state: str, *, minutes: int = 15, every: int = 15) -> None:
    """Sweep until every refund is in this state; fail when that takes longer."""
    end = stage.shop.clock.now() + timedelta(minutes=minutes)
    while await Refund.exclude(state=state).exists():
        await stage.advance(every)
        await stage.shop.checkout.sweep_once()
        assert stage.shop.clock.now() < end, [(r.state, r.trouble) for r in await Refund.all()]


async def at_sandbox(stage: Stage, number: str) -> list[tuple[int, str]]:
    """Return amount and status of the refunds that the sandbox has of a payment."""
    return [(r["refund"], r["status"]) for r in (await stage.truth(number))["refunds"]]


@EVERY_DATABASE
async def test_rule_10_a_refund_leaves_at_once_and_its_notification_ends_it(stage: Stage) -> None:
    buyer, order_no, number = await bought(stage)
    answer = await give_back(stage, order_no, 300)
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "PROCESSING"
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["refunded_fen"], order["state"]) == (300, 0, "PAID")
    await stage.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["refunded_fen"], order["state"]) == (0, 300, "PAID")
    assert [(r["refund_fen"], r["state"]) for r in order["refunds"]] == [(300, "SUCCESS")]
    assert await at_sandbox(stage, number) == [(300, "SUCCESS")]
    assert await moves(answer.json()["out_refund_no"]) == [
        ("PENDING", "PROCESSING"),
        ("PROCESSING", "SUCCESS"),
    ]


async def test_rule_10_an_order_of_which_nothing_is_left_is_refunded(stage: Stage) -> None:
    buyer, order_no, _ = await bought(stage)
    await give_back(stage, order_no, PRICE - 1)
    await give_back(stage, order_no, 1)
    await sweep_until(stage, "SUCCESS")
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["state"], order["refunded_fen"]) == ("REFUNDED", PRICE)
    await stage.shop.checkout.sweep_once()
    assert await Event.filter(kind="on_refunded", due_at=None).count() == 2
    late = await give_back(stage, order_no, 1)
    assert (late.status_code, late.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_10_the_same_key_is_the_same_refund(stage: Stage) -> None:
    _, order_no, number = await bought(stage)
    answers = await asyncio.gather(
        *(give_back(stage, order_no, 300, key="once") for _ in range(10))
    )
    assert sorted(a.status_code for a in answers) == [200] * 9 + [202]
    assert len({a.json()["out_refund_no"] for a in answers}) == 1
    assert len(await at_sandbox(stage, number)) == 1
    other = await give_back(stage, order_no, 301, key="once")
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")


@EVERY_DATABASE
async def test_rule_10_two_hundred_at_once_are_fifty_a_minute_apart_and_never_too_much(
    stage: Stage,
) -> None:
    _, order_no, number = await bought(stage)
    answers = await asyncio.gather(*(give_back(stage, order_no, 100) for _ in range(200)))
    codes = [a.json().get("code") for a in answers]
    assert (codes.count(None), codes.count("REFUND_LIMIT")) == (50, 150)
    started = stage.shop.clock.now()
    await sweep_until(stage, "SUCCESS", minutes=15 + 50, every=61)
    assert stage.shop.clock.now() - started < timedelta(minutes=15 + 50)
    assert await at_sandbox(stage, number) == [(100, "SUCCESS")] * 50
    sent = [e for e in await calls(stage, "/refunds") if e["method"] == "POST"]
    assert [e["status"] for e in sent] == [200] * 50, "none came too early"


async def test_rule_10_parallel_refunds_never_exceed_what_was_paid(stage: Stage) -> None:
    _, order_no, number = await bought(stage)
    answers = await asyncio.gather(*(give_back(stage, order_no, 4_000) for _ in range(20)))
    codes = [a.json().get("code") for a in answers]
    assert (codes.count(None), codes.count("REFUND_EXCEEDS")) == (2, 18)
    await sweep_until(stage, "SUCCESS")
    assert await at_sandbox(stage, number) == [(4_000, "SUCCESS")] * 2


UNKNOWN = ["500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key"]


@pytest.mark.parametrize("fault", UNKNOWN)
async def test_rule_10_a_refund_of_unknown_outcome_is_repeated_word_for_word(
    stage: Stage, fault: str
) -> None:
    _, order_no, number = await bought(stage)
    await stage.control("faults", answers={"refund": fault, "refund_query": "500"}, times=4)
    answer = await give_back(stage, order_no, 300)
    assert answer.status_code == 202
    await stage.advance(61)
    await stage.shop.checkout.sweep_once()
    await stage.control("faults")
    await sweep_until(stage, "SUCCESS")
    assert await at_sandbox(stage, number) == [(300, "SUCCESS")]
    sent = [e["request_body"] for e in await calls(stage, "/refunds") if e["method"] == "POST"]
    assert len(sent) >= 2
    assert set(sent) == {(await Refund.get()).request}


async def test_rule_6_a_redeploy_between_crash_and_repair_changes_no_byte_of_a_repeat(
    stage: Stage,
) -> None:
    _, order_no, number = await bought(stage)
    await stage.control("faults", answers={"refund_query": "500", "refund": "reset_after"})
    await give_back(stage, order_no, 300)
    channel: Any = stage.shop.checkout.channels["wechat"]
    channel.refund_url = "https://another.example.com/notify/wechat/refund"
    await stage.control("faults")
    await stage.control("faults", notifications="drop")
    await sweep_until(stage, "SUCCESS")
    assert await at_sandbox(stage, number) == [(300, "SUCCESS")]
    sent = [e["request_body"] for e in await calls(stage, "/refunds") if e["method"] == "POST"]
    assert len(sent) == 2
    assert set(sent) == {(await Refund.get()).request}


async def test_rule_10_no_money_in_the_account_keeps_number_and_waits(
    stage: Stage, diary: Diary
) -> None:
    _, order_no, number = await bought(stage)
    await stage.control("faults", refunds="not_enough")
    answer = await give_back(stage, order_no, 300)
    assert answer.json()["state"] == "PENDING"
    assert "refund waits" in diary.alarms
    assert (await Refund.get()).trouble == "NOT_ENOUGH"
    await stage.advance(400)
    await stage.shop.checkout.sweep_once()
    await stage.control("faults")
    await sweep_until(stage, "SUCCESS")
    assert [r["out_refund_no"] for r in (await stage.truth(number))["refunds"]] == [
        answer.json()["out_refund_no"]
    ]


async def test_rule_10_refunds_of_one_payment_leave_in_order(stage: Stage) -> None:
    _, order_no, number = await bought(stage)
    await stage.control("faults", refunds="not_enough")
    first = (await give_back(stage, order_no, 300)).json()["out_refund_no"]
    await stage.control("faults")
    await stage.advance(61)
    assert (await give_back(stage, order_no, 200)).json()["state"] == "PENDING"
    await sweep_until(stage, "SUCCESS")
    known = (await stage.truth(number))["refunds"]
    assert [r["refund"] for r in known] == [300, 200]
    assert known[0]["out_refund_no"] == first


async def test_rule_10_refused_for_good_is_rejected_after_a_query_and_frees_the_amount(
    stage: Stage, diary: Diary
) -> None:
    buyer, order_no, _ = await bought(stage)
    await stage.control("faults", answers={"refund": "refuse"}, times=1)
    answer = await give_back(stage, order_no, PRICE)
    assert answer.json()["state"] == "REJECTED"
    assert [e["method"] for e in await calls(stage, answer.json()["out_refund_no"])] == ["GET"]
    assert "refund failed" in diary.alarms
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["state"]) == (0, "PAID")
    await stage.advance(61)
    assert (await give_back(stage, order_no, PRICE)).json()["state"] == "PROCESSING"


async def test_rule_10_refused_after_an_unknown_sending_waits_five_minutes_before_rejected(
    stage: Stage,
) -> None:
    _, order_no, _ = await bought(stage)
    await stage.control("faults", answers={"refund": "reset_before"})
    await give_back(stage, order_no, 300)
    await stage.control("faults", answers={"refund": "refuse"})
    await stage.advance(61)
    await stage.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "PENDING", "the first sending may still turn up"
    await sweep_until(stage, "REJECTED", minutes=15)


@pytest.mark.parametrize(("outcome", "reserved"), [("abnormal", 300), ("closed", 0)])
async def test_rule_10_abnormal_still_counts_for_the_cap_and_closed_does_not(
    stage: Stage, diary: Diary, outcome: str, reserved: int
) -> None:
    _, order_no, _ = await bought(stage)
    await stage.control("faults", refunds=outcome)
    await give_back(stage, order_no, 300)
    await stage.control("faults")
    await sweep_until(stage, outcome.upper())
    assert (await Payment.get()).reserved_fen == reserved
    assert "refund failed" in diary.alarms
    assert not await Event.filter(kind="on_refunded").exists()
    waiting = await stage.http.get(f"/api/admin/refunds?state={outcome.upper()}", headers=ADMIN)
    assert [r["refund_fen"] for r in waiting.json()["refunds"]] == [300]


async def test_rule_7_a_lost_refund_notification_is_found_by_the_sweep(stage: Stage) -> None:
    _, order_no, _ = await bought(stage)
    await stage.control("faults", notifications="drop")
    await give_back(stage, order_no, 300)
    await sweep_until(stage, "SUCCESS", minutes=10)
    assert await outcomes((await Payment.get()).out_trade_no) == [("APPLIED", "")]


@EVERY_DATABASE
async def test_rule_10_a_refund_made_in_the_merchant_platform_is_in_the_books(stage: Stage) -> None:
    buyer, order_no, number = await bought(stage)
    made = await stage.control("refund", out_trade_no=number, refund=700)
    await stage.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    refund = await Refund.get()
    assert (refund.out_refund_no, refund.origin) == (made["out_refund_no"], "merchant_platform")
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert order["refunded_fen"] == 700
    too_much = await give_back(stage, order_no, PRICE - 699)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_10_a_failed_refund_of_the_platform_needs_no_room(stage: Stage) -> None:
    _, order_no, number = await bought(stage)
    await stage.control("faults", refunds="closed", notifications="drop")
    made = await stage.control("refund", out_trade_no=number, refund=700)
    await stage.advance(61)
    await stage.control("faults")
    await give_back(stage, order_no, PRICE)
    await stage.control("notify", out_refund_no=made["out_refund_no"])
    await until(lambda: Refund.exists(origin="merchant_platform", state="CLOSED"))
    await sweep_until_done(stage)
    assert await at_sandbox(stage, number) == [(700, "CLOSED"), (PRICE, "SUCCESS")]
    assert (await Payment.get()).reserved_fen == PRICE


async def sweep_until_done(stage: Stage) -> None:
    """Sweep until no refund is under way."""
    while await Refund.exists(state__in=("PENDING", "PROCESSING")):
        await stage.advance(30)
        await stage.shop.checkout.sweep_once()


async def test_rule_10_a_refund_notification_that_overtakes_the_payments_asks_about_that_first(
    stage: Stage,
) -> None:
    buyer, order, started = await paying(stage)
    await stage.control("faults", notifications="drop", times=1)
    await buyer.pay(started["invoke"])
    assert (await Payment.get()).state == "OPEN"
    await stage.control("refund", out_trade_no=started["out_trade_no"], refund=700)
    await stage.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    assert (await Payment.get()).state == "PAID"
    assert await buyer.state(order["order_no"]) == "PAID"


async def test_rule_10_v2_xml_at_the_v3_address_is_answered_in_xml_and_only_asks(
    stage: Stage,
) -> None:
    _, order_no, _ = await bought(stage)
    await stage.control("faults", notifications="drop")
    await give_back(stage, order_no, 300)
    await stage.advance(600)
    await Refund.all().update(due_at=stage.shop.clock.now() + timedelta(days=1))
    xml = b"<xml><return_code>SUCCESS</return_code><req_info>x</req_info></xml>"
    answer = await stage.http.post("/notify/wechat/refund", content=xml)
    assert answer.status_code == 200
    assert b"<return_code>SUCCESS</return_code>" in answer.content
    assert (await Refund.get()).state == "PROCESSING"
    await stage.advance(61)
    await stage.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "SUCCESS"


@EVERY_DATABASE
async def test_rule_8_money_paid_twice_goes_back_by_itself(stage: Stage) -> None:
    buyer, order, first = await paying(stage)
    await Payment.all().update(live=None)  # as if a bug had let a second live payment in
    second = (await buyer.start(order["order_no"])).json()
    for started in (first, second):
        await buyer.pay(started["invoke"])
    await until(lambda: Refund.exists())
    await sweep_until(stage, "SUCCESS")
    refund = await Refund.get().prefetch_related("payment")
    surplus = refund.payment
    assert refund.out_refund_no == surplus.out_trade_no + "S"
    assert (refund.origin, surplus.surplus, surplus.state) == ("surplus", True, "PAID")
    shown = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    assert (shown["state"], shown["refunded_fen"], shown["refunding_fen"]) == ("PAID", 0, 0)
    await stage.shop.checkout.sweep_once()
    assert [e.kind for e in await Event.all()] == ["on_paid"]
    assert await at_sandbox(stage, surplus.out_trade_no) == [(PRICE, "SUCCESS")]
    part = await give_back(stage, order["order_no"], 100)
    assert part.json()["out_trade_no"] != surplus.out_trade_no
    again = await give_back(stage, order["order_no"], 1, out_trade_no=surplus.out_trade_no)
    assert (again.status_code, again.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_8_money_that_comes_too_late_goes_back_by_itself(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)
    await until(lambda: Refund.exists())
    await sweep_until(stage, "SUCCESS")
    assert await buyer.state(order["order_no"]) == "CLOSED"
    assert await at_sandbox(stage, started["out_trade_no"]) == [(PRICE, "SUCCESS")]


async def test_rule_8_late_money_whose_notification_is_lost_is_found_by_a_second_look(
    stage: Stage,
) -> None:
    buyer, order, started = await paying(stage)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"], force=True)
    await stage.advance(601)
    await stage.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "PAID"
    await sweep_until(stage, "SUCCESS")


async def test_rule_7_a_closed_payment_is_closed_twice_more_and_then_left_alone(
    stage: Stage,
) -> None:
    buyer, order, _ = await paying(stage)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    for _ in range(5):
        await stage.advance(601)
        await stage.shop.checkout.sweep_once()
    assert [e["status"] for e in await calls(stage, "/close")] == [204] * 3
