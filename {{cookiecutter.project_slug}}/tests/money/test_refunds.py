"""Money rules 8 and 10: money goes back once, in order, never more than came."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest

from checkout import upstream
from checkout.models import Event, Notification, Payment, Refund, Share
from kit.books import calls, history, outcomes
from kit.buyers import ADMIN, bought, give_back, paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import RunningShop
from kit.waiting import until

PRICE = 9_900  # of the tea in the catalogue, fen


async def sweep_until(
    running: RunningShop, state: str, *, minutes: int = 15, every: int = 15
) -> None:
    """Sweep until every refund is in this state; fail when that takes longer."""
    end = running.shop.clock.now() + timedelta(minutes=minutes)
    while await Refund.exclude(state=state).exists():
        await running.advance(every)
        await running.shop.checkout.sweep_once()
        assert running.shop.clock.now() < end, [(r.state, r.trouble) for r in await Refund.all()]


async def sent(running: RunningShop) -> list[dict[str, Any]]:
    """Return the refunds that were sent, as the sandbox got them."""
    return [e for e in await calls(running, "/refunds") if e["method"] == "POST"]


async def at_sandbox(running: RunningShop, number: str) -> list[tuple[int, str]]:
    """Return amount and status of the refunds that the sandbox has of a payment."""
    return [(r["refund"], r["status"]) for r in (await running.at_wechat(number))["refunds"]]


@EVERY_DATABASE
async def test_rule_10_a_refund_leaves_at_once_and_its_notification_ends_it(
    running: RunningShop,
) -> None:
    buyer, order_no, number = await bought(running)
    answer = await give_back(running, order_no, 300)
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "PROCESSING"
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["refunded_fen"], order["state"]) == (300, 0, "PAID")
    await running.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["refunded_fen"], order["state"]) == (0, 300, "PAID")
    assert [(r["refund_fen"], r["state"]) for r in order["refunds"]] == [(300, "SUCCESS")]
    assert await at_sandbox(running, number) == [(300, "SUCCESS")]
    assert await history(answer.json()["out_refund_no"]) == [
        ("PENDING", "PROCESSING"),
        ("PROCESSING", "SUCCESS"),
    ]


async def test_rule_10_an_order_of_which_nothing_is_left_is_refunded(running: RunningShop) -> None:
    buyer, order_no, _ = await bought(running)
    await give_back(running, order_no, PRICE - 1)
    await give_back(running, order_no, 1)
    await sweep_until(running, "SUCCESS")
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["state"], order["refunded_fen"]) == ("REFUNDED", PRICE)
    await running.shop.checkout.work.drain(seconds=5)
    assert await Event.filter(kind="on_refunded", due_at=None).count() == 2
    late = await give_back(running, order_no, 1)
    assert (late.status_code, late.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_10_the_same_key_is_the_same_refund(running: RunningShop) -> None:
    _, order_no, number = await bought(running)
    answers = await asyncio.gather(
        *(give_back(running, order_no, 300, key="once") for _ in range(10))
    )
    assert sorted(a.status_code for a in answers) == [200] * 9 + [202]
    assert len({a.json()["out_refund_no"] for a in answers}) == 1
    assert len(await at_sandbox(running, number)) == 1
    other = await give_back(running, order_no, 301, key="once")
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")


@EVERY_DATABASE
@pytest.mark.thorough
async def test_rule_10_two_hundred_at_once_are_fifty_a_minute_apart_and_never_too_much(
    running: RunningShop,
) -> None:
    _, order_no, number = await bought(running)

    async def patient() -> httpx.Response:
        """Call again with the same key while the books are too busy, as the answer asks for."""
        key = secrets.token_hex(8)
        while True:
            answer = await give_back(running, order_no, 100, key=key)
            if answer.status_code != 503:
                return answer
            assert answer.json()["code"] == "OUTCOME_UNKNOWN"
            assert int(answer.headers["Retry-After"]) >= 1

    answers = await asyncio.gather(*(patient() for _ in range(200)))
    codes = [a.json().get("code") for a in answers]
    assert (codes.count(None), codes.count("REFUND_LIMIT")) == (50, 150)
    started = running.shop.clock.now()
    await sweep_until(running, "SUCCESS", minutes=15 + 50, every=61)
    assert running.shop.clock.now() - started < timedelta(minutes=15 + 50)
    assert await at_sandbox(running, number) == [(100, "SUCCESS")] * 50
    assert [e["status"] for e in await sent(running)] == [200] * 50, "none came too early"


async def test_rule_10_parallel_refunds_never_exceed_what_was_paid(running: RunningShop) -> None:
    _, order_no, number = await bought(running)
    answers = await asyncio.gather(*(give_back(running, order_no, 4_000) for _ in range(20)))
    codes = [a.json().get("code") for a in answers]
    assert (codes.count(None), codes.count("REFUND_EXCEEDS")) == (2, 18)
    await sweep_until(running, "SUCCESS")
    assert await at_sandbox(running, number) == [(4_000, "SUCCESS")] * 2


UNKNOWN = ["500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key"]


@pytest.mark.parametrize("fault", UNKNOWN)
async def test_rule_10_a_refund_of_unknown_outcome_is_repeated_word_for_word(
    running: RunningShop, fault: str
) -> None:
    _, order_no, number = await bought(running)
    answers = {"refund": fault, "refund_query": "500"}
    await running.control("faults", answers=answers, times=4, notifications="drop")
    answer = await give_back(running, order_no, 300)
    assert answer.status_code == 202
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    await running.control("faults")
    await sweep_until(running, "SUCCESS")
    assert await at_sandbox(running, number) == [(300, "SUCCESS")]
    bodies = [e["request_body"] for e in await sent(running)]
    assert len(bodies) >= 2
    assert set(bodies) == {(await Refund.get()).request}


async def test_rule_6_a_redeploy_between_crash_and_repair_changes_no_byte_of_a_repeat(
    running: RunningShop,
) -> None:
    _, order_no, number = await bought(running)
    await running.control("faults", answers={"refund_query": "500", "refund": "reset_after"})
    await give_back(running, order_no, 300)
    channel: Any = running.shop.checkout.channels["wechat"]
    channel._url = "https://another.example.com"
    await running.control("faults")
    await running.control("faults", notifications="drop")
    await sweep_until(running, "SUCCESS")
    assert await at_sandbox(running, number) == [(300, "SUCCESS")]
    bodies = [e["request_body"] for e in await sent(running)]
    assert len(bodies) == 2
    assert set(bodies) == {(await Refund.get()).request}


async def test_rule_10_no_money_in_the_account_keeps_number_and_waits(
    running: RunningShop, diary: Diary
) -> None:
    _, order_no, number = await bought(running)
    await running.control("faults", refunds="not_enough")
    answer = await give_back(running, order_no, 300)
    assert answer.json()["state"] == "PENDING"
    assert "refund waits" in diary.alarms
    assert (await Refund.get()).trouble.startswith("NOT_ENOUGH ")
    await running.advance(400)
    await running.shop.checkout.sweep_once()
    await running.control("faults")
    await sweep_until(running, "SUCCESS")
    assert [r["out_refund_no"] for r in (await running.at_wechat(number))["refunds"]] == [
        answer.json()["out_refund_no"]
    ]


async def test_rule_10_refunds_of_one_payment_leave_in_order(running: RunningShop) -> None:
    _, order_no, number = await bought(running)
    await running.control("faults", refunds="not_enough")
    first = (await give_back(running, order_no, 300)).json()["out_refund_no"]
    await running.control("faults")
    await running.advance(61)
    assert (await give_back(running, order_no, 200)).json()["state"] == "PENDING"
    await sweep_until(running, "SUCCESS")
    refunds = (await running.at_wechat(number))["refunds"]
    assert [r["refund"] for r in refunds] == [300, 200]
    assert refunds[0]["out_refund_no"] == first


async def test_rule_10_refused_for_good_is_rejected_after_a_quiet_period_and_a_second_query(
    running: RunningShop, diary: Diary
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", answers={"refund": "refuse"}, times=1)
    answer = await give_back(running, order_no, PRICE)
    number = answer.json()["out_refund_no"]
    assert (answer.status_code, answer.json()["state"]) == (202, "PENDING")
    assert [e["method"] for e in await calls(running, number)] == ["GET"]
    await running.advance(290)
    await running.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "PENDING"
    assert (await Share.get()).reserved_fen == PRICE
    assert "refund failed" not in diary.alarms
    await running.advance(15)
    await running.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "REJECTED"
    assert [e["method"] for e in await calls(running, number)] == ["GET", "GET"]
    assert len(await sent(running)) == 1
    [failed] = diary.fields("refund failed")
    assert failed["code"] == "INVALID_REQUEST"
    assert failed["wechat_request_id"].endswith("-268435456")
    assert await history(number) == [("PENDING", "REJECTED")]


async def test_rule_10_a_rejected_refund_frees_the_amount(running: RunningShop) -> None:
    buyer, order_no, number = await bought(running)
    await running.control("faults", answers={"refund": "refuse"}, times=1)
    await give_back(running, order_no, PRICE)
    assert (await give_back(running, order_no, 1)).json()["code"] == "REFUND_EXCEEDS"
    await sweep_until(running, "REJECTED")
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["state"]) == (0, "PAID")
    assert (await give_back(running, order_no, PRICE)).status_code == 202
    await running.shop.checkout.sweep_once()
    assert await at_sandbox(running, number) == [(PRICE, "PROCESSING")]


async def test_rule_10_a_rejected_refund_that_turns_up_is_done_and_counts_for_the_cap(
    running: RunningShop,
) -> None:
    buyer, order_no, _ = await bought(running)
    await running.control("faults", answers={"refund": "refuse"}, times=1)
    await give_back(running, order_no, 300)
    await sweep_until(running, "REJECTED")
    refund = await Refund.get()
    share = await Share.get()
    assert share.reserved_fen == 0
    await running.shop.checkout.channels["wechat"].refund(refund, share)  # an earlier sending
    await running.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    assert await history(refund.out_refund_no) == [
        ("PENDING", "REJECTED"),
        ("REJECTED", "PROCESSING"),
        ("PROCESSING", "SUCCESS"),
    ]
    share = await Share.get()
    assert (share.reserved_fen, share.refunded_fen) == (300, 300)
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert (order["refunding_fen"], order["refunded_fen"]) == (0, 300)
    await running.shop.checkout.work.drain(seconds=5)
    assert await Event.filter(kind="on_refunded", due_at=None).count() == 1
    too_much = await give_back(running, order_no, PRICE - 299)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_10_refused_after_an_unknown_sending_waits_five_minutes_before_rejected(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", answers={"refund": "reset_before"})
    await give_back(running, order_no, 300)
    await running.control("faults", answers={"refund": "refuse"})
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "PENDING", "the first sending may still turn up"
    await sweep_until(running, "REJECTED", minutes=15)


async def test_rule_10_a_second_query_without_an_answer_rejects_nothing(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", answers={"refund": "refuse"}, times=1)
    await give_back(running, order_no, 300)
    await running.control("faults", answers={"refund_query": "500"})
    await running.sweeps(10, 61)
    assert (await Refund.get()).state == "PENDING"
    await running.control("faults")
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "REJECTED"


async def test_rule_10_the_html_403_of_a_proxy_rejects_nothing(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, order_no, number = await bought(running)
    inside = running.shop.http.send
    refused = list[bytes]()

    async def send(request: httpx.Request, **options: Any) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/refunds"):
            refused.append(await request.aread())
            return httpx.Response(403, html="<html>403 Forbidden</html>", request=request)
        return await inside(request, **options)

    with monkeypatch.context() as patch:
        patch.setattr(running.shop.http, "send", send)
        answer = await give_back(running, order_no, 300)
        assert (answer.status_code, answer.json()["state"]) == (202, "PENDING")
        await running.sweeps(20, 61)
    refund = await Refund.get()
    assert (refund.state, refund.refused_at) == ("PENDING", None)
    assert len(refused) > 10
    assert set(refused) == {refund.request.encode()}
    await sweep_until(running, "SUCCESS")
    assert await at_sandbox(running, number) == [(300, "SUCCESS")]


async def test_rule_10_there_is_one_back_off_for_all_refunds_of_a_merchant(
    running: RunningShop,
) -> None:
    orders = [(await bought(running))[1:] for _ in range(3)]
    (first, _), (second, _), _ = orders
    await give_back(running, second, 100)
    await running.control("faults", refunds="not_enough")
    assert (await give_back(running, first, 300)).json()["state"] == "PENDING"
    await running.control("faults")
    tries = len(await sent(running))
    waiting = [await give_back(running, order_no, 200) for order_no, _ in orders[1:]]
    assert [answer.json()["state"] for answer in waiting] == ["PENDING", "PENDING"]
    await running.sweeps(4, 70)
    assert len(await sent(running)) == tries, "the merchant's other refunds wait with it"
    await sweep_until(running, "SUCCESS")
    back = [refund for _, number in orders for refund in await at_sandbox(running, number)]
    assert back == [(300, "SUCCESS"), (100, "SUCCESS"), (200, "SUCCESS"), (200, "SUCCESS")]


@pytest.mark.parametrize(("outcome", "reserved"), [("abnormal", 300), ("closed", 0)])
async def test_rule_10_abnormal_still_counts_for_the_cap_and_closed_does_not(
    running: RunningShop, diary: Diary, outcome: str, reserved: int
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", refunds=outcome)
    await give_back(running, order_no, 300)
    await running.control("faults")
    await sweep_until(running, outcome.upper())
    assert (await Share.get()).reserved_fen == reserved
    assert "refund failed" in diary.alarms
    assert not await Event.filter(kind="on_refunded").exists()
    waiting = await running.http.get(f"/api/admin/refunds?state={outcome.upper()}", headers=ADMIN)
    assert [r["refund_fen"] for r in waiting.json()["refunds"]] == [300]


async def test_rule_7_a_lost_refund_notification_is_found_by_the_sweep(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 300)
    await sweep_until(running, "SUCCESS", minutes=10)
    assert await outcomes((await Payment.get()).number) == [("APPLIED", "")]


@EVERY_DATABASE
async def test_rule_10_a_refund_made_in_the_merchant_platform_is_in_the_books(
    running: RunningShop,
) -> None:
    buyer, order_no, number = await bought(running)
    made = await running.control("refund", out_trade_no=number, refund=700)
    await running.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    refund = await Refund.get()
    assert (refund.out_refund_no, refund.origin) == (made["out_refund_no"], "merchant_platform")
    order = (await buyer.get(f"/api/orders/{order_no}")).json()
    assert order["refunded_fen"] == 700
    too_much = await give_back(running, order_no, PRICE - 699)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_4_a_refund_whose_query_hangs_is_open_and_answered_in_time(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WeChat waits five seconds: whoever waits longer for the query is told all of it again."""
    monkeypatch.setattr(upstream, "HURRY_SECONDS", 0.05)
    _, _, number = await bought(running)
    await running.control("faults", answers={"refund_query": "hang"})
    made = await running.control("refund", out_trade_no=number, refund=700)
    await running.advance(600)
    await until(lambda: Notification.exists(outcome="UNMATCHED", reason="not confirmed"))
    await until(lambda: calls(running, "/notify/wechat/refund"))
    assert [call["status"] for call in await calls(running, "/notify/wechat/refund")] == [204]
    await running.control("faults")
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    refund = await Refund.get()
    assert (refund.out_refund_no, refund.state) == (made["out_refund_no"], "SUCCESS")


async def test_rule_10_a_failed_refund_of_the_platform_needs_no_room(running: RunningShop) -> None:
    _, order_no, number = await bought(running)
    await running.control("faults", refunds="closed", notifications="drop")
    made = await running.control("refund", out_trade_no=number, refund=700)
    await running.advance(61)
    await running.control("faults")
    await give_back(running, order_no, PRICE)
    await running.control("notify", out_refund_no=made["out_refund_no"])
    await until(lambda: Refund.exists(origin="merchant_platform", state="CLOSED"))
    await sweep_until_done(running)
    assert await at_sandbox(running, number) == [(700, "CLOSED"), (PRICE, "SUCCESS")]
    assert (await Share.get()).reserved_fen == PRICE


async def sweep_until_done(running: RunningShop) -> None:
    """Sweep until no refund is under way."""
    while await Refund.exists(state__in=("PENDING", "PROCESSING")):
        await running.advance(30)
        await running.shop.checkout.sweep_once()


async def test_rule_10_a_refund_notification_that_overtakes_the_payments_asks_about_that_first(
    running: RunningShop,
) -> None:
    buyer, order, started = await paying(running)
    await running.control("faults", notifications="drop", times=1)
    await buyer.pay(started["invoke"])
    assert (await Payment.get()).state == "OPEN"
    await running.control("refund", out_trade_no=started["out_trade_no"], refund=700)
    await running.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    assert (await Payment.get()).state == "PAID"
    assert await buyer.state(order["order_no"]) == "PAID"


async def test_rule_10_v2_xml_at_the_v3_address_is_answered_in_xml_and_only_asks(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 300)
    await running.advance(600)
    await Refund.all().update(due_at=running.shop.clock.now() + timedelta(days=1))
    xml = b"<xml><return_code>SUCCESS</return_code><req_info>x</req_info></xml>"
    answer = await running.http.post("/notify/wechat/refund", content=xml)
    assert answer.status_code == 200
    assert b"<return_code>SUCCESS</return_code>" in answer.content
    assert (await Refund.get()).state == "PROCESSING"
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "SUCCESS"


async def test_rule_10_v2_xml_pulls_no_refund_nearer_than_a_minute_however_often_it_comes(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 300)
    xml = b"<xml><return_code>SUCCESS</return_code><req_info>x</req_info></xml>"
    tomorrow = running.shop.clock.now() + timedelta(days=1)
    await Refund.all().update(due_at=tomorrow)
    before = running.shop.clock.now()
    for _ in range(3):
        await running.http.post("/notify/wechat/refund", content=xml)
    due_at = (await Refund.get()).due_at
    assert due_at is not None
    assert timedelta(seconds=59) < due_at - before < timedelta(seconds=65)
    await running.advance(2)
    await running.http.post("/notify/wechat/refund", content=xml)
    assert (await Refund.get()).due_at == due_at


@EVERY_DATABASE
async def test_rule_8_money_paid_twice_goes_back_by_itself(running: RunningShop) -> None:
    buyer, order, first = await paying(running)
    await Payment.all().update(live=None)  # as if a bug had let a second live payment in
    second = (await buyer.start(order["order_no"])).json()
    for started in (first, second):
        await buyer.pay(started["invoke"])
    await until(lambda: Refund.exists())
    await sweep_until(running, "SUCCESS")
    refund = await Refund.get().select_related("share__payment")
    share = refund.share
    surplus = refund.share.payment
    assert refund.out_refund_no == share.out_trade_no + "S"
    assert (refund.origin, surplus.surplus, surplus.state) == ("surplus", True, "PAID")
    shown = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    assert (shown["state"], shown["refunded_fen"], shown["refunding_fen"]) == ("PAID", 0, 0)
    await running.shop.checkout.work.drain(seconds=5)
    assert [(e.kind, e.due_at) for e in await Event.all()] == [("on_paid", None)]
    assert await at_sandbox(running, share.out_trade_no) == [(PRICE, "SUCCESS")]
    part = await give_back(running, order["order_no"], 100)
    assert part.json()["out_trade_no"] != share.out_trade_no
    again = await give_back(running, order["order_no"], 1, out_trade_no=share.out_trade_no)
    assert (again.status_code, again.json()["code"]) == (409, "REFUND_EXCEEDS")


async def test_rule_8_money_that_comes_too_late_goes_back_by_itself(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)
    await until(lambda: Refund.exists())
    await sweep_until(running, "SUCCESS")
    assert await buyer.state(order["order_no"]) == "CLOSED"
    assert await at_sandbox(running, started["out_trade_no"]) == [(PRICE, "SUCCESS")]


async def test_rule_8_late_money_whose_notification_is_lost_is_found_by_a_second_look(
    running: RunningShop,
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"], force=True)
    await running.advance(601)
    await running.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "PAID"
    await sweep_until(running, "SUCCESS")


@pytest.mark.parametrize("fault", ["500", "202", "429", "reset_before", "wrong_key"])
async def test_rule_8_a_look_at_a_closed_payment_that_proves_nothing_is_not_counted(
    running: RunningShop, fault: str
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    answers = {"close": fault, "query": fault}
    await running.control("faults", notifications="drop", answers=answers)
    await buyer.pay(started["invoke"], force=True)
    await running.advance(601)
    for _ in range(4):
        await running.shop.checkout.sweep_once()
        payment = await Payment.get()
        assert (payment.state, payment.looks) == ("CLOSED", 0)
        await running.advance(61)
    assert len(await calls(running, "/close")) == 1 + 4, "each came again after a minute"
    await running.control("faults", answers={})
    await running.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "PAID"
    assert await buyer.state(order["order_no"]) == "CLOSED"
    await sweep_until(running, "SUCCESS")
    assert await at_sandbox(running, started["out_trade_no"]) == [(PRICE, "SUCCESS")]


async def test_rule_7_a_closed_payment_that_wechat_calls_paid_is_an_alarm_and_stays_due(
    running: RunningShop, diary: Diary
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await running.control("faults", notifications="drop", answers={"query": "500"})
    await buyer.pay(started["invoke"], force=True)
    await running.advance(601)
    await running.shop.checkout.sweep_once()
    payment = await Payment.get()
    assert (payment.state, payment.looks) == ("CLOSED", 0)
    assert payment.due_at is not None
    assert "WeChat says that a closed payment is paid" in diary.alarms
    await running.control("faults", answers={})
    await running.advance(61)
    await running.shop.checkout.sweep_once()
    assert (await Payment.get()).state == "PAID"


async def test_rule_8_a_surplus_refund_that_is_refused_is_never_rejected_and_tried_daily(
    running: RunningShop, diary: Diary
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await running.control("faults", answers={"refund": "refuse"})
    await buyer.pay(started["invoke"], force=True)
    await until(lambda: Refund.exists())
    for day in (1, 2):
        for _ in range(3):
            await running.shop.checkout.sweep_once()
            await running.advance(301)
        refund = await Refund.get()
        share = await Share.get()
        assert (refund.state, share.reserved_fen) == ("PENDING", PRICE)
        assert diary.alarms.count("surplus refund refused: a person must decide") == day
        await running.sweeps(22, 3600)
        assert len(await sent(running)) == day, "once a day"
        await running.advance(2 * 3600)
    await running.control("faults")
    await sweep_until(running, "SUCCESS")
    assert {e["request_body"] for e in await sent(running)} == {refund.request}
    assert await at_sandbox(running, started["out_trade_no"]) == [(PRICE, "SUCCESS")]
    assert await history(refund.out_refund_no) == [
        ("PENDING", "PROCESSING"),
        ("PROCESSING", "SUCCESS"),
    ]


async def test_rule_7_a_closed_payment_is_closed_twice_more_and_then_left_alone(
    running: RunningShop,
) -> None:
    buyer, order, _ = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await running.sweeps(5, 601)
    assert [e["status"] for e in await calls(running, "/close")] == [204] * 3


async def test_rule_10_a_later_refund_does_not_overtake_an_earlier_one(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    for key in ("first", "second", "third"):
        assert (await give_back(running, order_no, 1, key=key)).status_code == 202
    first, second, third = await Refund.all().order_by("id")
    assert [first.state, second.state, third.state] == ["PROCESSING", "PENDING", "PENDING"]
    await Refund.filter(id=second.id).update(due_at=running.shop.clock.now() + timedelta(hours=1))
    await running.advance(61)
    await Refund.filter(id=third.id).update(due_at=running.shop.clock.now())
    await running.shop.checkout.sweep_once()
    assert [r.state for r in await Refund.filter(state="PENDING").order_by("id")] == ["PENDING"] * 2
