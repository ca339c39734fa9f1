"""Money rules 3, 4 and 5: only signed truth moves money; commit, then answer; once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from checkout.models import Event, Notification, Order, Payment, Share
from checkout.work import transaction
from checkout.writes import Writes
from kit.books import history, outcomes
from kit.buyers import ADMIN, bought, paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import RunningShop
from kit.waiting import until
from kit.wechat import PATH, WeChat


@EVERY_DATABASE
async def test_rule_3_a_true_notification_pays_payment_and_order_once(running: RunningShop) -> None:
    _, order, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    assert (await wechat.notify(await wechat.trade(number))).status_code == 204
    payment = await Payment.get(number=number)
    assert (payment.state, payment.live) == ("PAID", None)
    assert payment.paid_at is not None
    assert payment.paid_at.isoformat() == "2026-01-01T19:04:05+00:00"
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"
    assert await outcomes(number) == [("APPLIED", "")]


@EVERY_DATABASE
async def test_rule_4_a_hundred_copies_on_eight_connections_make_one_transition(
    running: RunningShop,
) -> None:
    _, order, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    body = wechat.seal(await wechat.trade(number))
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as many:
        url = running.origin + PATH
        copies = (many.post(url, content=body, headers=wechat.headers(body)) for _ in range(100))
        answers = await asyncio.gather(*copies)
    assert {answer.status_code for answer in answers} == {204}
    assert await history(number) == [("OPEN", "PAID")]
    assert await history(order["order_no"]) == [("OPEN", "PAID")]
    assert await Notification.all().count() == 1


@pytest.mark.parametrize("notifications", ["send", "drop"])
async def test_rule_3_a_buyer_with_a_coupon_has_paid_in_full(
    running: RunningShop, notifications: str
) -> None:
    """By a notification or by a query; `paid_fen` is what was left to pay."""
    buyer, order, started = await paying(running)
    assert (order["total_fen"], order["paid_fen"]) == (9900, None)
    await running.control("faults", notifications=notifications)
    await buyer.pay(started["invoke"], coupon_fen=900)
    if notifications == "send":
        await until(lambda: Order.exists(state="PAID"))
    shown = (await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")).json()
    assert (shown["state"], shown["total_fen"], shown["paid_fen"]) == ("PAID", 9900, 9000)
    assert bool(await outcomes()) == (notifications == "send")


async def test_paid_fen_is_the_price_where_there_was_no_coupon(running: RunningShop) -> None:
    buyer, order_no, _ = await bought(running)
    assert (await buyer.get(f"/api/orders/{order_no}")).json()["paid_fen"] == 9900


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
    running: RunningShop, diary: Diary, case: str
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    changes, reason = WRONG[case]
    number = started["out_trade_no"]
    answer = await wechat.notify(await wechat.trade(number, **changes))
    assert answer.status_code == 204
    assert (await Payment.get()).state == "OPEN"
    assert (await Order.get()).state == "OPEN"
    assert await outcomes(number) == [("REFUSED", reason)]
    assert diary.alarms == ["trade refused"]


async def test_rule_4_an_unknown_number_is_kept_and_alarms(
    running: RunningShop, diary: Diary
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    trade = await wechat.trade(started["out_trade_no"])
    answer = await wechat.notify(trade | {"out_trade_no": "S999999999999999999"})
    assert answer.status_code == 204
    assert await outcomes() == [("UNMATCHED", "unknown number")]
    assert diary.alarms == ["unmatched"]


async def test_rule_4_profit_sharing_under_the_same_event_type_is_ignored(
    running: RunningShop,
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    body = wechat.seal({"mchid": "1"}, original_type="profitsharing")
    assert (await wechat.send(body)).status_code == 204
    assert (await outcomes())[0][0] == "IGNORED"
    assert (await Payment.get(number=started["out_trade_no"])).state == "OPEN"


async def test_rule_4_what_cannot_be_decrypted_is_500_and_counts_once_the_key_is_mended(
    running: RunningShop, diary: Diary
) -> None:
    _, order, started = await paying(running)
    wechat = WeChat(running)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    channel: Any = running.shop.checkout.channels["wechat"]
    merchant, *others = [client.merchant for client in channel._clients.values()]
    assert merchant.apiv3_key not in [other.apiv3_key for other in others]
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
    running: RunningShop, diary: Diary, reason: str
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    signing = FORGED.get(reason, {"pem": running.credentials["merchant_private_key_pem"]})
    answer = await wechat.send(body, **signing)
    assert answer.status_code == 401
    assert answer.json() == {"code": "FAIL", "message": reason}
    assert await Notification.all().count() == 0
    assert (await Payment.get()).state == "OPEN"
    assert [seen["reason"] for seen in diary.fields("notification not proved")] == [reason]


async def test_rule_3_a_changed_byte_of_the_body_is_not_believed(running: RunningShop) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    changed = body.replace(b"encrypt-resource", b"Encrypt-resource")
    answer = await running.http.post(PATH, content=changed, headers=wechat.headers(body))
    assert (answer.status_code, answer.json()["message"]) == (401, "bad_signature")


@contextmanager
def before_each_commit(happens: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Let something happen when all of it is written and nothing is committed."""

    async def commit(writes: Writes) -> None:
        async with transaction():
            await writes.send()
            await happens()
        writes.after.run()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writes, "commit", commit)
        yield


async def crash() -> None:
    raise RuntimeError("killed before the commit")


async def nothing_is_left(number: str) -> bool:
    """Tell whether the books know nothing of a payment's notification."""
    payment = await Payment.get(number=number)
    share = await Share.get(out_trade_no=number)
    return (
        (payment.state, payment.paid_at, share.transaction_id) == ("OPEN", None, None)
        and (await Order.get()).state == "OPEN"
        and await history(number) == []
        and not await Notification.exists()
        and not await Event.exists()
    )


@EVERY_DATABASE
async def test_rule_4_a_crash_before_the_commit_leaves_nothing_and_a_copy_pays(
    running: RunningShop,
) -> None:
    _, order, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    body = wechat.seal(await wechat.trade(number))
    with before_each_commit(crash):
        answer = await wechat.send(body)
    assert (answer.status_code, answer.json()["code"]) == (500, "FAIL")  # WeChat sends again
    assert await nothing_is_left(number)
    assert (await wechat.send(body)).status_code == 204
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"
    assert await outcomes() == [("APPLIED", "")]
    assert await history(number) == [("OPEN", "PAID")]


async def test_rule_4_the_sweep_pays_what_a_crash_forgot(
    running: RunningShop, diary: Diary
) -> None:
    """The notification is lost as if it had never come; the next look asks WeChat."""
    buyer, order, started = await paying(running)
    with before_each_commit(crash):
        await buyer.pay(started["invoke"])

        async def has_crashed() -> bool:
            return bool(diary.fields("notification not recorded"))

        await until(has_crashed)
    assert await nothing_is_left(started["out_trade_no"])
    await running.advance(6)  # before WeChat sends again
    await running.shop.checkout.sweep_once()
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"
    assert not await Notification.exists()


@EVERY_DATABASE
@pytest.mark.parametrize("first_commits", [True, False])
async def test_rule_4_a_copy_waits_for_a_first_one_that_is_not_committed(
    running: RunningShop, first_commits: bool
) -> None:
    """Nothing is answered 204 before it is committed, a copy neither."""
    _, _, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    body = wechat.seal(await wechat.trade(number))
    is_written = asyncio.Event()
    may_end = asyncio.Event()

    async def slow() -> None:
        if not is_written.is_set():
            is_written.set()
            await may_end.wait()
            assert first_commits, "killed before the commit"

    with before_each_commit(slow):
        first = asyncio.create_task(wechat.send(body))
        await is_written.wait()
        copy = asyncio.create_task(wechat.send(body))
        await asyncio.sleep(0.3)
        assert not first.done()
        assert not copy.done()
        may_end.set()
        assert (await first).status_code == (204 if first_commits else 500)
        assert (await copy).status_code == 204
    assert await outcomes() == [("APPLIED", "")]
    assert await history(number) == [("OPEN", "PAID")]


async def test_rule_4_our_deadline_answers_500_and_the_copy_is_told_once_it_is_committed(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    wait = asyncio.Event()
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))

    async def slow() -> None:
        await wait.wait()

    with before_each_commit(slow):
        with monkeypatch.context() as patched:
            patched.setattr("checkout.engine.NOTIFICATION_SECONDS", 0.2)
            assert (await wechat.send(body)).status_code == 500  # nothing is committed
        wait.set()
        assert (await wechat.send(body)).status_code == 204
    assert (await Payment.get()).state == "PAID"
    assert await outcomes() == [("APPLIED", "")]


async def test_rule_5_an_operator_lists_and_replays_what_is_settled_without_effect(
    running: RunningShop,
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    body = wechat.seal(await wechat.trade(number, amount={"total": 1}))
    await wechat.send(body)
    listed = await running.http.get("/api/admin/notifications?outcome=REFUSED", headers=ADMIN)
    (row,) = listed.json()["notifications"]
    assert (row["out_trade_no"], row["reason"]) == (number, "amount")
    await Share.all().update(total_fen=1)  # now it would fit: what was decided stays decided
    assert await replay(running) == {"outcome": "REFUSED", "reason": "amount"}
    assert (await wechat.send(body)).status_code == 204
    assert (await Payment.get()).state == "OPEN"
    assert await outcomes() == [("REFUSED", "amount")]


async def replay(running: RunningShop) -> Any:
    """Let the operator replay the only notification; return the outcome."""
    row = await Notification.get()
    answer = await running.http.post(f"/api/admin/notifications/{row.id}/replay", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def unmatched(running: RunningShop, wechat: WeChat, number: str) -> bytes:
    """Let a notification come before its number is in the books, as after a restored backup."""
    body = wechat.seal(await wechat.trade(number))
    await Share.filter(out_trade_no=number).update(out_trade_no="Selsewhere")
    assert (await wechat.send(body)).status_code == 204
    assert await outcomes(number) == [("UNMATCHED", "unknown number")]
    assert (await Notification.get()).due_at is not None
    await Share.filter(out_trade_no="Selsewhere").update(out_trade_no=number)
    return body


@EVERY_DATABASE
@pytest.mark.parametrize("how", ["copy", "replay", "sweep", "all at once"])
async def test_rule_4_an_unmatched_one_is_decided_again(running: RunningShop, how: str) -> None:
    _, order, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    body = await unmatched(running, wechat, number)
    if how in ("sweep", "all at once"):
        await running.advance(61)
        await Payment.all().update(due_at=None)  # only the notification may bring the news
    deciding: list[Awaitable[object]] = []
    if how in ("copy", "all at once"):
        deciding += [wechat.send(body) for _ in range(4)]
    if how in ("replay", "all at once"):
        deciding += [replay(running)]
    if how in ("sweep", "all at once"):
        deciding += [running.shop.checkout.sweep_once()]
    await asyncio.gather(*deciding)
    assert (await Order.get(order_no=order["order_no"])).state == "PAID"
    assert await outcomes(number) == [("APPLIED", "")]
    assert await history(number) == [("OPEN", "PAID")]
    assert (await Notification.get()).due_at is None
    assert await replay(running) == {"outcome": "APPLIED", "reason": ""}


async def test_rule_3_a_query_that_disagrees_holds_the_payment_and_a_matching_truth_frees_it(
    running: RunningShop, diary: Diary
) -> None:
    buyer, order, started = await paying(running)
    number = started["out_trade_no"]
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await Share.all().update(total_fen=9901)
    await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")
    assert (await Payment.get()).state == "HELD"
    assert diary.alarms == ["trade refused"]
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    held = await running.http.get("/api/admin/payments?state=HELD", headers=ADMIN)
    assert [p["out_trade_no"] for p in held.json()["payments"]] == [number]
    await Share.all().update(total_fen=9900)
    await running.http.post(f"/api/admin/payments/{number}/query", headers=ADMIN)
    assert (await Payment.get()).state == "PAID"
    assert (await Order.get()).state == "PAID"


async def test_rule_8_a_second_transaction_for_a_paid_payment_is_an_alarm(
    running: RunningShop, diary: Diary
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    await wechat.notify(await wechat.trade(number))
    first = (await Share.get()).transaction_id
    await wechat.notify(await wechat.trade(number))
    assert [outcome for outcome, _ in await outcomes(number)] == ["APPLIED", "REFUSED"]
    assert diary.alarms == ["trade refused"]
    assert (await Share.get()).transaction_id == first


@EVERY_DATABASE
async def test_rule_3_one_transaction_id_pays_one_payment(running: RunningShop) -> None:
    _, _, first = await paying(running)
    _, _, second = await paying(running)
    wechat = WeChat(running)
    trade = await wechat.trade(first["out_trade_no"])
    await wechat.notify(trade)
    stolen = await wechat.trade(second["out_trade_no"], transaction_id=trade["transaction_id"])
    assert (await wechat.notify(stolen)).status_code == 204
    assert (await Payment.get(number=second["out_trade_no"])).state == "OPEN"
    assert await outcomes(second["out_trade_no"]) == [("REFUSED", "transaction_id is known")]


async def test_a_payments_request_id_is_in_the_log_line_of_its_notification(
    running: RunningShop, diary: Diary
) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    path = f"/api/orders/{order_no}/payments"
    body = {"scene": "miniprogram"}
    started = (await buyer.post(path, body, **{"X-Request-ID": "follow-me-0001"})).json()
    wechat = WeChat(running)
    await wechat.notify(await wechat.trade(started["out_trade_no"]))
    [paid] = [line for line in diary.fields("moved") if line["number"] == started["out_trade_no"]]
    assert (paid["to_state"], paid["prepay_request_id"]) == ("PAID", "follow-me-0001")


async def test_what_is_decrypted_but_malformed_is_named_so_and_stays_open(
    running: RunningShop, diary: Diary
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    trade = await wechat.trade(started["out_trade_no"], trade_state=None)
    assert (await wechat.notify(trade)).status_code == 500
    ((outcome, reason),) = await outcomes()
    assert outcome == "UNDECRYPTABLE"
    assert reason.startswith("malformed: ")
    assert "trade_state" in reason
    assert diary.alarms == ["malformed notification, decrypted well"]
