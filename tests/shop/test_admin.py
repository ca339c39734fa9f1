"""The operator's routes: bad requests are refused by name, a person decides about HELD payments."""

from typing import Any

import pytest
from checkout.models import Notification, Order, Payment, Share, Transition
from kit.buyers import ADMIN, bought, give_back, paying
from kit.running import RunningShop


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"refund_fen": 1.5, "reason": "r"}, "refund_fen"),
        ({"refund_fen": True, "reason": "r"}, "refund_fen"),
        ({"refund_fen": "100", "reason": "r"}, "refund_fen"),
        ({"refund_fen": 0, "reason": "r"}, "refund_fen"),
        ({"refund_fen": -1, "reason": "r"}, "refund_fen"),
        ({"refund_fen": 10**12, "reason": "r"}, "refund_fen"),
        ({"reason": "r"}, "refund_fen"),
        ({"refund_fen": 1}, "reason"),
        ({"refund_fen": 1, "reason": " "}, "reason"),
        ({"refund_fen": 1, "reason": "x" * 81}, "reason"),
        ({"refund_fen": 1, "reason": "r", "amount": 1}, "amount"),
        ({"refund_fen": 1, "reason": "r", "out_trade_no": "Snobody"}, "out_trade_no"),
    ],
)
async def test_a_bad_refund_is_refused_and_the_field_is_named(
    running: RunningShop, body: dict[str, Any], field: str
) -> None:
    _, order_no, _ = await bought(running)
    path = f"/api/admin/orders/{order_no}/refunds"
    key = {"Idempotency-Key": "k"}
    answer = await running.http.post(path, json=body, headers=ADMIN | key)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert answer.json()["field"] == field


async def test_a_refund_needs_the_token_a_key_and_an_order_that_is_paid(
    running: RunningShop,
) -> None:
    _, order, _ = await paying(running)
    unpaid = await give_back(running, order["order_no"], 1)
    assert (unpaid.status_code, unpaid.json()["code"]) == (409, "REFUND_EXCEEDS")
    assert (await give_back(running, "250101nobody", 1)).status_code == 404
    path = f"/api/admin/orders/{order['order_no']}/refunds"
    body = {"refund_fen": 1, "reason": "r"}
    keyless = await running.http.post(path, json=body, headers=ADMIN)
    assert (keyless.status_code, keyless.json()["code"]) == (400, "IDEMPOTENCY_KEY_REQUIRED")
    stranger = await running.http.post(path, json=body, headers={"Idempotency-Key": "k"})
    assert stranger.status_code == 401


async def test_an_order_with_two_paid_parts_wants_to_know_which(running: RunningShop) -> None:
    """As a combined payment has: two shares of one order, none of them surplus."""
    _, order_no, number = await bought(running)
    share = await Share.get()
    share.out_trade_no = "Stwin00000001"
    share.transaction_id = "4200twin"
    await share.clone(pk=None).save()
    which = await give_back(running, order_no, 100)
    assert (which.status_code, which.json()["code"]) == (400, "PART_REQUIRED")
    named = await give_back(running, order_no, 100, out_trade_no=number)
    assert (named.status_code, named.json()["out_trade_no"]) == (202, number)


async def test_lists_are_narrowed_and_a_strange_day_is_refused(running: RunningShop) -> None:
    _, order_no, _ = await bought(running)
    await give_back(running, order_no, 100)
    for query, count in (("", 1), ("?state=PROCESSING", 1), ("?state=SUCCESS", 0)):
        page = (await running.http.get(f"/api/admin/refunds{query}", headers=ADMIN)).json()
        assert (len(page["refunds"]), page["next"]) == (count, None)
    assert (await running.http.get("/api/admin/refunds")).status_code == 401
    bad = await running.http.get("/api/admin/differences?date=yesterday", headers=ADMIN)
    assert (bad.status_code, bad.json()["field"]) == (400, "date")


async def test_a_person_closes_a_held_payment_with_a_reason_and_the_order_goes_on(
    running: RunningShop,
) -> None:
    buyer, order, started = await paying(running)
    number = started["out_trade_no"]
    path = f"/api/admin/payments/{number}/close"
    early = await running.http.post(path, json={"reason": "no"}, headers=ADMIN)
    assert (early.status_code, early.json()["code"]) == (400, "BAD_REQUEST")
    await Payment.all().update(state="HELD", due_at=None)
    assert (await buyer.start(order["order_no"])).json()["code"] == "PAYMENT_IN_PROGRESS"
    silent = await running.http.post(path, json={}, headers=ADMIN)
    assert (silent.status_code, silent.json()["field"]) == (400, "reason")
    closed = await running.http.post(path, json={"reason": "refunded by hand"}, headers=ADMIN)
    assert closed.json()["state"] == "CLOSED"
    assert (await Transition.filter(number=number).order_by("-id").first()).cause == (  # type: ignore[union-attr]
        "admin: refunded by hand"
    )
    again = await buyer.start(order["order_no"])
    assert (again.status_code, again.json()["out_trade_no"]) == (201, number[:-2] + "02")
    assert (await Order.get()).state == "OPEN"
    assert not await Notification.exists()


async def test_a_query_asks_about_refunds_too(running: RunningShop) -> None:
    buyer, order_no, number = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 9900)
    await running.advance(10)
    asked = await running.http.post(f"/api/admin/payments/{number}/query", json={}, headers=ADMIN)
    assert asked.status_code == 200
    assert await buyer.state(order_no) == "REFUNDED"
