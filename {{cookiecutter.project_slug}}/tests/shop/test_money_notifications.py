"""Money rules 3, 4 and 5: only signed truth moves money; commit, then answer; once."""

import asyncio
from typing import Any

import httpx
import pytest

from checkout.models import Notification, Order, Payment
from tests.shop.conftest import ADMIN_TOKEN, Diary, Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import PATH, WeChat, moves, outcomes, paying

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@EVERY_DATABASE
async def test_rule_3_a_true_notification_pays_payment_and_order_once(stage: Stage) -> None:
    _, order, started = await paying(stage)
    wechat, number = WeChat(stage), started["out_trade_no"]
    assert (await wechat.notify(await wechat.trade(number))).status_code == 204
    payment = await Payment.get(out_trade_no=number)
    assert (payment.state, payment.live) == ("PAID", None)
    assert payment.paid_at is not None
    assert payment.paid_at.isoformat() == "2026-01-01T19:04:05+00:00"
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"
    assert await outcomes(number) == [("APPLIED", "")]


@EVERY_DATABASE
async def test_rule_4_a_hundred_copies_on_eight_connections_make_one_transition(
    stage: Stage,
) -> None:
    _, order, started = await paying(stage)
    wechat, number = WeChat(stage), started["out_trade_no"]
    body = wechat.seal(await wechat.trade(number))
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as many:
        url = stage.origin + PATH
        copies = (many.post(url, content=body, headers=wechat.headers(body)) for _ in range(100))
        answers = await asyncio.gather(*copies)
    assert {answer.status_code for answer in answers} == {204}
    assert await moves(number) == [("NEW", "OPEN"), ("OPEN", "PAID")]
    assert await moves(order["order_no"]) == [("OPEN", "PAID")]
    assert await Notification.all().count() == 1


async def test_rule_3_a_buyer_with_a_coupon_has_paid_in_full(stage: Stage) -> None:
    buyer, order, started = await paying(stage)
    await buyer.pay(started["invoke"], coupon_fen=900)
    answer = await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")
    assert answer.json()["state"] == "PAID"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "one fen less": ({"amount": {"total": 9899}}, "amount"),
    "one fen more": ({"amount": {"total": 9901}}, "amount"),
    "dollars": ({"amount": {"currency": "USD"}}, "currency"),
    "another merchant": ({"mchid": "1900000001"}, "mchid"),
    "another app": ({"appid": "wx0000000000000000"}, "appid"),
    "not paid": ({"trade_state": "NOTPAY"}, "trade_state"),
    "closed": ({"trade_state": "CLOSED"}, "trade_state"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_rule_3_a_signed_notification_that_does_not_fit_never_pays(
    stage: Stage, diary: Diary, case: str
) -> None:
    _, _, started = await paying(stage)
    wechat, (changes, reason) = WeChat(stage), WRONG[case]
    number = started["out_trade_no"]
    answer = await wechat.notify(await wechat.trade(number, **changes))
    assert answer.status_code == 204
    assert (await Payment.get()).state == "OPEN"
    assert (await Order.get()).state == "OPEN"
    assert await outcomes(number) == [("REFUSED", reason)]
    assert diary.alarms == ["trade refused"]


async def test_rule_4_an_unknown_number_is_kept_and_alarms(stage: Stage, diary: Diary) -> None:
    _, _, started = await paying(stage)
    wechat = WeChat(stage)
    trade = await wechat.trade(started["out_trade_no"])
    answer = await wechat.notify(trade | {"out_trade_no": "S999999999999999999"})
    assert answer.status_code == 204
    assert await outcomes() == [("UNMATCHED", "unknown number")]
    assert diary.alarms == ["unmatched"]


async def test_rule_4_profit_sharing_under_the_same_event_type_is_ignored(stage: Stage) -> None:
    _, _, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal({"mchid": "1"}, original_type="profitsharing")
    assert (await wechat.send(body)).status_code == 204
    assert (await outcomes())[0][0] == "IGNORED"
    assert (await Payment.get(out_trade_no=started["out_trade_no"])).state == "OPEN"


async def test_rule_4_what_cannot_be_decrypted_is_500_and_counts_once_the_key_is_mended(
    stage: Stage, diary: Diary
) -> None:
    _, order, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    merchant = stage.shop.checkout.channels["wechat"].house.client.merchant  # type: ignore[attr-defined]
    right = merchant.apiv3_key
    object.__setattr__(merchant, "apiv3_key", b"x" * 32)
    assert (await wechat.send(body)).status_code == 500
    assert (await outcomes())[0][0] == "UNDECRYPTABLE"
    assert diary.alarms == ["undecryptable notification: APIv3 key?"]
    object.__setattr__(merchant, "apiv3_key", right)
    assert (await wechat.send(body)).status_code == 204
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"


FORGED: dict[str, dict[str, Any]] = {
    "missing_header": {"signature": None},
    "stale": {"age": 300},
    "future": {"age": -302},
    "unknown_serial": {"serial": "PUB_KEY_ID_9000000000"},
    "signtest": {"signature": "WECHATPAY/SIGNTEST/abc"},
    "undecodable": {"signature": "not base64!"},
    "malformed_header": {"timestamp": "yesterday"},
}


@pytest.mark.parametrize("reason", [*FORGED, "bad_signature"])
async def test_rule_4_what_is_not_proved_is_401_not_stored_and_logged_by_reason(
    stage: Stage, diary: Diary, reason: str
) -> None:
    _, _, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    signing = FORGED.get(reason, {"pem": stage.known["merchant_private_key_pem"]})
    answer = await wechat.send(body, **signing)
    assert answer.status_code == 401
    assert answer.json() == {"code": "FAIL", "message": reason}
    assert await Notification.all().count() == 0
    assert (await Payment.get()).state == "OPEN"
    assert [seen["reason"] for seen in diary.fields("notification not proved")] == [reason]


async def test_rule_3_a_changed_byte_of_the_body_is_not_believed(stage: Stage) -> None:
    _, _, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    changed = body.replace(b"encrypt-resource", b"Encrypt-resource")
    answer = await stage.http.post(PATH, content=changed, headers=wechat.headers(body))
    assert (answer.status_code, answer.json()["message"]) == (401, "bad_signature")


async def test_rule_4_a_copy_finishes_what_a_crash_left_received(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, order, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    ledger = stage.shop.checkout.ledger

    async def crash(*_: object) -> None:
        raise RuntimeError("killed between the two commits")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "record", crash)
        assert (await wechat.send(body)).status_code == 500
    assert await outcomes() == [("RECEIVED", "")]
    assert (await wechat.send(body)).status_code == 204
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"
    assert [outcome for outcome, _ in await outcomes()] == ["APPLIED"]


async def test_rule_4_the_sweep_finishes_what_a_crash_left_received(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, order, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))

    async def crash(*_: object) -> None:
        raise RuntimeError("killed between the two commits")

    with monkeypatch.context() as patched:
        patched.setattr(stage.shop.checkout.ledger, "record", crash)
        await wechat.send(body)
    await stage.advance(61)
    await Payment.all().update(due_at=None)  # only the inbox may bring the truth
    await stage.shop.checkout.sweep_once()
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"


async def test_rule_4_nothing_is_answered_204_before_it_is_committed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, started = await paying(stage)
    wechat, wait = WeChat(stage), asyncio.Event()
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    inside = stage.shop.checkout.ledger._pay_once

    async def slow(*args: Any) -> bool:
        await wait.wait()
        return await inside(*args)

    monkeypatch.setattr(stage.shop.checkout.ledger, "_pay_once", slow)
    monkeypatch.setattr("shop.web.notify.SECONDS", 0.2)
    assert (await wechat.send(body)).status_code == 500  # our deadline, nothing committed
    wait.set()
    assert (await wechat.send(body)).status_code == 204
    assert (await Payment.get()).state == "PAID"


async def test_rule_5_an_operator_lists_and_replays(stage: Stage) -> None:
    _, order, started = await paying(stage)
    wechat = WeChat(stage)
    number = started["out_trade_no"]
    await wechat.notify(await wechat.trade(number, amount={"total": 1}))
    listed = await stage.http.get("/api/admin/notifications?outcome=REFUSED", headers=ADMIN)
    (row,) = listed.json()["notifications"]
    assert (row["out_trade_no"], row["reason"]) == (number, "amount")
    await Payment.all().update(total_fen=1)
    path = f"/api/admin/notifications/{row['id']}/replay"
    replayed = await stage.http.post(path, headers=ADMIN)
    assert replayed.json() == {"outcome": "APPLIED", "reason": ""}
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"


async def test_rule_3_a_query_that_disagrees_holds_the_payment_and_a_matching_truth_frees_it(
    stage: Stage, diary: Diary
) -> None:
    buyer, order, started = await paying(stage)
    number = started["out_trade_no"]
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await Payment.all().update(total_fen=9901)
    await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")
    assert (await Payment.get()).state == "HELD"
    assert diary.alarms == ["trade refused"]
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    held = await stage.http.get("/api/admin/payments?state=HELD", headers=ADMIN)
    assert [p["out_trade_no"] for p in held.json()["payments"]] == [number]
    await Payment.all().update(total_fen=9900)
    await stage.http.post(f"/api/admin/payments/{number}/query", headers=ADMIN)
    assert (await Payment.get()).state == "PAID"
    assert (await Order.get()).state == "PAID"


async def test_rule_8_a_second_transaction_for_a_paid_payment_is_an_alarm(
    stage: Stage, diary: Diary
) -> None:
    _, _, started = await paying(stage)
    wechat, number = WeChat(stage), started["out_trade_no"]
    await wechat.notify(await wechat.trade(number))
    first = (await Payment.get()).transaction_id
    await wechat.notify(await wechat.trade(number))
    assert [outcome for outcome, _ in await outcomes(number)] == ["APPLIED", "REFUSED"]
    assert diary.alarms == ["trade refused"]
    assert (await Payment.get()).transaction_id == first


async def test_rule_3_one_transaction_id_pays_one_payment(stage: Stage) -> None:
    _, _, one = await paying(stage)
    _, _, two = await paying(stage)
    wechat = WeChat(stage)
    trade = await wechat.trade(one["out_trade_no"])
    await wechat.notify(trade)
    stolen = await wechat.trade(two["out_trade_no"], transaction_id=trade["transaction_id"])
    assert (await wechat.notify(stolen)).status_code == 204
    assert (await Payment.get(out_trade_no=two["out_trade_no"])).state == "OPEN"


async def test_a_payments_request_id_is_in_the_log_line_of_its_notification(
    stage: Stage, diary: Diary
) -> None:
    buyer = await stage.buyer()
    order_no = (await buyer.order())["order_no"]
    path, body = f"/api/orders/{order_no}/payments", {"scene": "miniprogram"}
    started = (await buyer.post(path, body, **{"X-Request-ID": "follow-me-0001"})).json()
    wechat = WeChat(stage)
    await wechat.notify(await wechat.trade(started["out_trade_no"]))
    assert [line["prepay_request_id"] for line in diary.fields("trade")] == ["follow-me-0001"]
