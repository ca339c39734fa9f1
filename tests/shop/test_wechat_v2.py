"""APIv2 on the same ledger: pays, closes late, refunds, recovers, and its bill agrees."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from checkout.bill import BEIJING
from checkout.models import Event, Order, Payment, Refund, Share
from kit import buyers
from kit.books import calls, compare, history, next_noon, outcomes
from kit.buyers import become, give_back, paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import RunningShop
from kit.waiting import until
from sandbox.protocols import _v2_xml as xml

PATH = "/notify/wechat/v2/payment"
REFUND_PATH = "/notify/wechat/v2/refund"


@pytest.fixture(params=["MD5", "HMAC-SHA256"])
def sign_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def more_settings(sign_type: str) -> Any:
    return lambda credentials: {
        "SHOP_APIV2_KEY": credentials["apiv2_key"],
        "SHOP_APIV2_SIGN_TYPE": sign_type,
    }


begun = partial(paying, channel="wechat_v2")
bought = partial(buyers.bought, channel="wechat_v2")


async def notification(running: RunningShop, sign_type: str, /, **changes: str) -> bytes:
    """Write a notification of the paid payment, signed."""
    payment = await Payment.get()
    fields = {
        "return_code": "SUCCESS",
        "result_code": "SUCCESS",
        "appid": payment.parties["appid"],
        "mch_id": payment.parties["mch_id"],
        "out_trade_no": payment.number,
        "transaction_id": f"42{payment.number[1:]}",
        "total_fee": str(payment.total_fen),
        "time_end": "20260102030405",
        "nonce_str": "n",
    } | changes
    key = running.credentials["apiv2_key"]
    return xml.build({**fields, "sign": xml.sign(fields, key, sign_type)})


async def refund_notification(running: RunningShop) -> bytes:
    """Write a notification that the one refund went back, sealed."""
    refund = await Refund.get()
    share = await Share.get()
    fields = {
        "out_refund_no": refund.out_refund_no,
        "refund_id": "50300000",
        "out_trade_no": share.out_trade_no,
        "transaction_id": str(share.transaction_id),
        "refund_fee": str(refund.refund_fen),
        "total_fee": str(share.total_fen),
        "refund_status": "SUCCESS",
    }
    sealed = xml.seal(running.credentials["apiv2_key"], xml.build(fields, "root"))
    return xml.build({"return_code": "SUCCESS", "req_info": sealed})


@EVERY_DATABASE
@pytest.mark.parametrize("scene", ["miniprogram", "native", "h5"])
async def test_it_pays_end_to_end(running: RunningShop, scene: str) -> None:
    buyer, order, started = await begun(running, scene)
    control = {"native": "scan", "h5": "h5"}.get(scene, "pay")
    form = started.get("invoke") or {k: v for k, v in started.items() if k.endswith("url")}
    assert (await running.control(control, **form))["err_msg"].endswith("ok")
    await become(buyer, order["order_no"], "PAID")
    assert await outcomes() == [("APPLIED", "")]
    await until(lambda: calls(running, PATH))  # it is logged there after our answer
    notified = await calls(running, PATH)
    assert [call["status"] for call in notified] == [200]
    assert "SUCCESS" in notified[0]["response_body"]
    assert await Event.filter(kind="on_paid").count() == 1


async def test_a_coupon_lowers_what_was_paid_not_what_was_owed(running: RunningShop) -> None:
    buyer, order, started = await begun(running)
    await buyer.pay(started["invoke"], coupon_fen=900)
    await become(buyer, order["order_no"], "PAID")
    shown = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    assert (shown["total_fen"], shown["paid_fen"]) == (9900, 9000)


async def test_without_a_channel_the_buyer_pays_by_v3(running: RunningShop) -> None:
    buyer = await running.buyer()
    await buyer.start((await buyer.order())["order_no"])
    assert (await Payment.get()).channel == "wechat"


async def test_v2_closes_v3_and_the_other_way_round(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    first = (await buyer.start(order["order_no"])).json()
    second = await buyer.start(order["order_no"], channel="wechat_v2")
    assert second.status_code == 201
    assert (await running.at_wechat(first["out_trade_no"]))["trade_state"] == "CLOSED"


async def test_it_is_not_closed_before_five_minutes_but_then(running: RunningShop) -> None:
    buyer, order, started = await begun(running)
    again = await buyer.start(order["order_no"])  # by v3
    assert (again.status_code, again.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert await calls(running, "/closeorder") == []
    await running.sweeps(12, 30)
    assert (await Order.get()).state == "CLOSED"
    assert (await running.at_wechat(started["out_trade_no"]))["trade_state"] == "CLOSED"
    assert await history(started["out_trade_no"]) == [("OPEN", "CLOSED")]


async def test_a_lost_notification_is_found_by_the_sweep(running: RunningShop) -> None:
    buyer, order, started = await begun(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.sweeps(1, 6)
    assert await buyer.state(order["order_no"]) == "PAID"


@pytest.mark.parametrize("fault", ["500", "reset_before", "reset_after", "wrong_key"])
async def test_a_prepay_of_unknown_outcome_is_repeated_word_for_word(
    running: RunningShop, fault: str
) -> None:
    await running.control("faults", answers={"prepay": fault}, times=1)
    buyer = await running.buyer()
    order = await buyer.order()
    answer = await buyer.start(order["order_no"], channel="wechat_v2")
    assert answer.status_code == (502 if fault == "wrong_key" else 503)
    assert (await Payment.get()).state == "NEW"
    started = (await buyer.start(order["order_no"], channel="wechat_v2")).json()
    bodies = [xml.parse(e["request_body"].encode()) for e in await calls(running, "/unifiedorder")]
    fresh = ("nonce_str", "sign")
    assert len({str({k: v for k, v in b.items() if k not in fresh}) for b in bodies}) == 1
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"


@pytest.mark.parametrize(
    "changes",
    [
        {"total_fee": "9899"},
        {"mch_id": "9000000000"},
        {"appid": "wx9000000000000000"},
        {"fee_type": "USD"},
        {"result_code": "FAIL"},
        {"result_code": "FAIL", "trade_state": "SUCCESS"},
        {"result_code": "", "trade_state": "SUCCESS"},
        {"transaction_id": "", "total_fee": "", "result_code": "FAIL"},
    ],
)
async def test_what_does_not_fit_is_recorded_answered_and_changes_nothing(
    running: RunningShop, sign_type: str, diary: Diary, changes: dict[str, str]
) -> None:
    await begun(running)
    body = await notification(running, sign_type, **changes)
    answer = await running.http.post(PATH, content=body)
    assert (answer.status_code, xml.parse(answer.content)["return_code"]) == (200, "SUCCESS")
    assert (await Payment.get()).state == "OPEN"
    assert [outcome for outcome, _ in await outcomes()] == ["REFUSED"]
    assert "trade refused" in diary.alarms


@pytest.mark.parametrize("kind", ["other type", "other key", "no sign", "bomb", "twice", "json"])
async def test_a_notification_that_is_not_proved_is_not_stored(
    running: RunningShop, sign_type: str, kind: str
) -> None:
    await begun(running)
    good = await notification(running, sign_type)
    other = "MD5" if sign_type == "HMAC-SHA256" else "HMAC-SHA256"
    body = {
        "other type": await notification(running, other),
        "other key": good.replace(b"<sign>", b"<sign>0"),
        "no sign": good.replace(b"sign>", b"sig>"),
        "bomb": b'<!DOCTYPE x [<!ENTITY a "a">]>' + good,
        "twice": good.replace(b"<xml>", b"<xml><total_fee>1</total_fee>"),
        "json": b'{"return_code":"SUCCESS"}',
    }[kind]
    answer = await running.http.post(PATH, content=body)
    assert (answer.status_code, xml.parse(answer.content)["return_code"]) == (401, "FAIL")
    assert await outcomes() == []
    assert (await running.http.post(PATH, content=good)).status_code == 200
    assert (await Payment.get()).state == "PAID"


@EVERY_DATABASE
async def test_a_refund_goes_back_and_the_bill_agrees(running: RunningShop) -> None:
    _, order_no, _ = await bought(running)
    answer = await give_back(running, order_no, 100)
    assert answer.status_code == 202, answer.text
    await running.advance(4)
    await until(lambda: calls(running, REFUND_PATH))
    assert (await calls(running, REFUND_PATH))[0]["status"] == 200
    assert (await calls(running, "/refundquery"))[0]["status"] == 200  # nobody signed it
    assert (await Refund.get()).state == "SUCCESS"
    assert (await Order.get()).refunded_fen == 100
    day = await next_noon(running)
    assert (await compare(running, day))[0] == []


async def test_a_refund_notification_that_cannot_be_confirmed_is_asked_about_within_a_minute(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await give_back(running, order_no, 100)
    await Refund.all().update(due_at=running.shop.clock.now() + timedelta(hours=6))
    await running.control("faults", answers={"refund_query": "500"})
    await running.advance(4)
    await until(lambda: calls(running, REFUND_PATH))
    assert (await Refund.get()).state == "PROCESSING"
    await running.control("faults")
    await running.sweeps(1, 61)
    assert (await Refund.get()).state == "SUCCESS"


@EVERY_DATABASE
async def test_a_refund_of_the_merchant_platform_is_heard_of_and_confirmed(
    running: RunningShop,
) -> None:
    _, _, number = await bought(running)
    await running.control("refund", out_trade_no=number, refund=2)
    await running.advance(4)
    await until(lambda: calls(running, REFUND_PATH))
    assert (await Refund.get()).state == "SUCCESS"
    assert (await Order.get()).refunded_fen == 2
    assert (await compare(running, await next_noon(running)))[0] == []


async def test_a_refund_of_the_merchant_platform_that_ends_after_midnight_is_of_no_wrong_day(
    running: RunningShop,
) -> None:
    """Its answers tell no time of acceptance, and the bill lists it on the day of that."""
    _, _, number = await bought(running)
    now = running.shop.clock.now().astimezone(BEIJING)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    await running.advance(int((midnight - now).total_seconds()) - 1)
    await running.control("refund", out_trade_no=number, refund=2)
    await running.advance(5)
    await until(lambda: Refund.exists(state="SUCCESS"))
    assert running.shop.clock.now().astimezone(BEIJING).date() > now.date()
    second = await next_noon(running)
    assert [(await compare(running, day))[0] for day in (now.date(), second)] == [[], []]


async def test_a_payments_notification_at_the_refunds_path_blocks_nothing(
    running: RunningShop, sign_type: str
) -> None:
    await begun(running)
    body = await notification(running, sign_type)
    assert (await running.http.post(REFUND_PATH, content=body)).status_code == 200
    assert (await running.http.post(PATH, content=body)).status_code == 200
    assert (await Payment.get()).state == "PAID"
    assert [outcome for outcome, _ in await outcomes()] == ["APPLIED"]


async def test_a_notification_does_not_choose_its_own_sign_type(
    running: RunningShop, sign_type: str
) -> None:
    await begun(running)
    other = "MD5" if sign_type == "HMAC-SHA256" else "HMAC-SHA256"
    for claimed in (other, sign_type):
        body = await notification(running, other, sign_type=claimed)
        assert (await running.http.post(PATH, content=body)).status_code == 401
    assert (await Payment.get()).state == "OPEN"
    body = await notification(running, sign_type, sign_type=sign_type)
    assert (await running.http.post(PATH, content=body)).status_code == 200
    assert (await Payment.get()).state == "PAID"


async def test_a_refund_of_the_merchant_platform_that_no_query_confirms_comes_again(
    running: RunningShop,
) -> None:
    """Nobody signs it and it is not stored: answered SUCCESS it would be lost."""
    _, _, number = await bought(running)
    await running.control("faults", answers={"refund_query": "500"})
    await running.control("refund", out_trade_no=number, refund=100)

    async def is_refused() -> bool:
        entries = (await running.sandbox.get("/_sandbox/log")).json()["entries"]
        notifications = [e for e in entries if e["kind"] == "notification" and "refund" in e["url"]]
        return bool(notifications) and notifications[-1]["status"] == 500

    await until(is_refused)
    assert await Refund.all().count() == 0


async def test_a_refund_notification_that_lies_changes_nothing(running: RunningShop) -> None:
    """Who knows the key can seal what he likes: what counts is the query's answer."""
    _, order_no, _ = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 100)
    body = await refund_notification(running)
    await running.http.post(REFUND_PATH, content=body)
    assert (await Refund.get()).state == "PROCESSING"


async def test_a_copied_refund_notification_asks_once_a_minute_however_often_it_comes(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 100)
    body = await refund_notification(running)
    before = len(await calls(running, "/pay/refundquery"))
    for _ in range(5):
        await running.http.post(REFUND_PATH, content=body)
    assert len(await calls(running, "/pay/refundquery")) == before + 1
    await running.advance(61)
    await running.http.post(REFUND_PATH, content=body)
    assert len(await calls(running, "/pay/refundquery")) == before + 2


async def test_a_refund_notification_that_the_key_does_not_open_is_refused(
    running: RunningShop,
) -> None:
    body = xml.build({"return_code": "SUCCESS", "req_info": xml.seal("x" * 32, b"<root></root>")})
    answer = await running.http.post(REFUND_PATH, content=body)
    assert xml.parse(answer.content)["return_code"] == "FAIL"


class TestAlone:
    @pytest.fixture
    def more_settings(self, sign_type: str) -> Any:
        return lambda credentials: {
            "SHOP_APIV2_KEY": credentials["apiv2_key"],
            "SHOP_APIV2_SIGN_TYPE": sign_type,
            "SHOP_CHANNELS": "wechat_v2",
        }

    async def test_it_fetches_its_own_bill(self, running: RunningShop) -> None:
        await bought(running)
        day = await next_noon(running)
        assert (await compare(running, day))[0] == []
        assert len(await calls(running, "/downloadbill")) == 1


async def test_settings_that_are_wrong_are_named(running: RunningShop) -> None:
    from checkout.config import ConfigError, Env
    from kit.running import settings
    from shop.app import build

    env = settings(running.credentials, "http://127.0.0.1:9", "http://127.0.0.1:8", "sqlite://x.db")
    for changes, name in (
        ({"SHOP_APIV2_KEY": "short"}, "SHOP_APIV2_KEY"),
        ({"SHOP_CHANNELS": "wechat_v2"}, "SHOP_APIV2_KEY"),
        ({"SHOP_APIV2_KEY": "a" * 32, "SHOP_APIV2_SIGN_TYPE": "RSA"}, "SHOP_APIV2_SIGN_TYPE"),
    ):
        with pytest.raises(ConfigError, match=name):
            build(Env({**env, **changes}))
    assert "wechat_v2" not in build(Env(env)).checkout.channels
