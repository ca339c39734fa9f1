"""APIv2 on the same ledger: pays, closes late, refunds, recovers, and its bill agrees."""

from datetime import timedelta
from typing import Any

import pytest

from checkout.models import Event, Order, Payment, Refund, Share
from sandbox.protocols import _v2_xml as xml
from tests.shop.conftest import BuyerClient, Diary, Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import calls, compare, give_back, moves, next_noon, outcomes, until

PATH, REFUND_PATH = "/notify/wechat/v2/payment", "/notify/wechat/v2/refund"


@pytest.fixture(params=["MD5", "HMAC-SHA256"])
def sign_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def more_settings(sign_type: str) -> Any:
    return lambda known: {
        "SHOP_APIV2_KEY": known["apiv2_key"],
        "SHOP_APIV2_SIGN_TYPE": sign_type,
    }


async def begun(
    stage: Stage, scene: str = "miniprogram"
) -> tuple[BuyerClient, dict[str, Any], dict[str, Any]]:
    """Bring a buyer to the cashier of APIv2."""
    buyer = await stage.buyer()
    order = await buyer.order()
    path = f"/api/orders/{order['order_no']}/payments"
    answer = await buyer.post(path, {"scene": scene, "channel": "wechat_v2"})
    assert answer.status_code == 201, answer.text
    return buyer, order, answer.json()


async def paid(stage: Stage, buyer: BuyerClient, order_no: str) -> None:
    async def is_paid() -> bool:
        return await buyer.state(order_no) == "PAID"

    await until(is_paid)


async def notification(stage: Stage, sign_type: str, **changes: str) -> bytes:
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
    key = stage.known["apiv2_key"]
    return xml.build({**fields, "sign": xml.sign(fields, key, sign_type)})


@EVERY_DATABASE
@pytest.mark.parametrize("scene", ["miniprogram", "native", "h5"])
async def test_it_pays_end_to_end(stage: Stage, scene: str) -> None:
    buyer, order, started = await begun(stage, scene)
    control = {"native": "scan", "h5": "h5"}.get(scene, "pay")
    form = started.get("invoke") or {k: v for k, v in started.items() if k.endswith("url")}
    assert (await stage.control(control, **form))["err_msg"].endswith("ok")
    await paid(stage, buyer, order["order_no"])
    assert await outcomes() == [("APPLIED", "")]
    notified = await calls(stage, PATH)
    assert [call["status"] for call in notified] == [200]
    assert "SUCCESS" in notified[0]["response_body"]
    assert await Event.filter(kind="on_paid").count() == 1


async def test_a_coupon_lowers_what_was_paid_not_what_was_owed(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"], coupon_fen=900)
    await paid(stage, buyer, order["order_no"])
    shown = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    assert (shown["total_fen"], shown["paid_fen"]) == (9900, 9000)


async def test_without_a_channel_the_buyer_pays_by_v3(stage: Stage) -> None:
    buyer = await stage.buyer()
    await buyer.start((await buyer.order())["order_no"])
    assert (await Payment.get()).channel == "wechat"


async def test_v2_closes_v3_and_the_other_way_round(stage: Stage) -> None:
    buyer = await stage.buyer()
    order = await buyer.order()
    first = (await buyer.start(order["order_no"])).json()
    path = f"/api/orders/{order['order_no']}/payments"
    second = await buyer.post(path, {"scene": "miniprogram", "channel": "wechat_v2"})
    assert second.status_code == 201
    assert (await stage.truth(first["out_trade_no"]))["trade_state"] == "CLOSED"


async def test_it_is_not_closed_before_five_minutes_but_then(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    again = await buyer.start(order["order_no"])  # by v3
    assert (again.status_code, again.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert await calls(stage, "/closeorder") == []
    for _ in range(12):
        await stage.advance(30)
        await stage.shop.checkout.sweep_once()
    assert (await Order.get()).state == "CLOSED"
    assert (await stage.truth(started["out_trade_no"]))["trade_state"] == "CLOSED"
    assert await moves(started["out_trade_no"]) == [("OPEN", "CLOSED")]


async def test_a_lost_notification_is_found_by_the_sweep(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await stage.advance(6)
    await stage.shop.checkout.sweep_once()
    assert await buyer.state(order["order_no"]) == "PAID"


@pytest.mark.parametrize("fault", ["500", "reset_before", "reset_after", "wrong_key"])
async def test_a_prepay_of_unknown_outcome_is_repeated_word_for_word(
    stage: Stage, fault: str
) -> None:
    await stage.control("faults", answers={"prepay": fault}, times=1)
    buyer = await stage.buyer()
    order = await buyer.order()
    path = f"/api/orders/{order['order_no']}/payments"
    wish = {"scene": "miniprogram", "channel": "wechat_v2"}
    assert (await buyer.post(path, wish)).status_code == (502 if fault == "wrong_key" else 503)
    assert (await Payment.get()).state == "NEW"
    started = (await buyer.post(path, wish)).json()
    bodies = [xml.parse(e["request_body"].encode()) for e in await calls(stage, "/unifiedorder")]
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
        {"transaction_id": "", "total_fee": "", "result_code": "FAIL"},
    ],
)
async def test_what_does_not_fit_is_recorded_answered_and_changes_nothing(
    stage: Stage, sign_type: str, diary: Diary, changes: dict[str, str]
) -> None:
    await begun(stage)
    body = await notification(stage, sign_type, **changes)
    answer = await stage.http.post(PATH, content=body)
    assert (answer.status_code, xml.parse(answer.content)["return_code"]) == (200, "SUCCESS")
    assert (await Payment.get()).state == "OPEN"
    assert [outcome for outcome, _ in await outcomes()] == ["REFUSED"]
    assert "trade refused" in diary.alarms


@pytest.mark.parametrize("kind", ["other type", "other key", "no sign", "bomb", "twice", "json"])
async def test_a_notification_that_is_not_proved_is_not_stored(
    stage: Stage, sign_type: str, kind: str
) -> None:
    await begun(stage)
    good = await notification(stage, sign_type)
    other = "MD5" if sign_type == "HMAC-SHA256" else "HMAC-SHA256"
    body = {
        "other type": await notification(stage, other),
        "other key": good.replace(b"<sign>", b"<sign>0"),
        "no sign": good.replace(b"sign>", b"sig>"),
        "bomb": b'<!DOCTYPE x [<!ENTITY a "a">]>' + good,
        "twice": good.replace(b"<xml>", b"<xml><total_fee>1</total_fee>"),
        "json": b'{"return_code":"SUCCESS"}',
    }[kind]
    answer = await stage.http.post(PATH, content=body)
    assert (answer.status_code, xml.parse(answer.content)["return_code"]) == (401, "FAIL")
    assert await outcomes() == []
    assert (await stage.http.post(PATH, content=good)).status_code == 200
    assert (await Payment.get()).state == "PAID"


@EVERY_DATABASE
async def test_a_refund_goes_back_and_the_bill_agrees(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await paid(stage, buyer, order["order_no"])
    answer = await give_back(stage, order["order_no"], 100)
    assert answer.status_code == 202, answer.text
    await stage.advance(4)

    async def told() -> bool:
        return bool(await calls(stage, REFUND_PATH))

    await until(told)
    assert (await calls(stage, REFUND_PATH))[0]["status"] == 200
    assert (await calls(stage, "/refundquery"))[0]["status"] == 200  # nobody signed it
    assert (await Refund.get()).state == "SUCCESS"
    assert (await Order.get()).refunded_fen == 100
    day = await next_noon(stage)
    assert (await compare(stage, day))[0] == []


async def test_a_refund_notification_that_cannot_be_confirmed_is_asked_about_within_a_minute(
    stage: Stage,
) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await paid(stage, buyer, order["order_no"])
    await give_back(stage, order["order_no"], 100)
    await Refund.all().update(due_at=stage.shop.clock.now() + timedelta(hours=6))
    await stage.control("faults", answers={"refund_query": "500"})
    await stage.advance(4)

    async def told() -> bool:
        return bool(await calls(stage, REFUND_PATH))

    await until(told)
    assert (await Refund.get()).state == "PROCESSING"
    await stage.control("faults")
    await stage.advance(61)
    await stage.shop.checkout.sweep_once()
    assert (await Refund.get()).state == "SUCCESS"


@EVERY_DATABASE
async def test_a_refund_of_the_merchant_platform_is_heard_of_and_confirmed(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await paid(stage, buyer, order["order_no"])
    await stage.control("refund", out_trade_no=started["out_trade_no"], refund=2)
    await stage.advance(4)

    async def told() -> bool:
        return bool(await calls(stage, REFUND_PATH))

    await until(told)
    assert (await Refund.get()).state == "SUCCESS"
    assert (await Order.get()).refunded_fen == 2
    assert (await compare(stage, await next_noon(stage)))[0] == []


async def test_a_refund_of_the_merchant_platform_that_no_query_confirms_comes_again(
    stage: Stage,
) -> None:
    """Nobody signs it and it is not stored: answered SUCCESS it would be lost."""
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await paid(stage, buyer, order["order_no"])
    await stage.control("faults", answers={"refund_query": "500"})
    await stage.control("refund", out_trade_no=started["out_trade_no"], refund=100)

    async def is_refused() -> bool:
        entries = (await stage.sandbox.get("/_sandbox/log")).json()["entries"]
        told = [e for e in entries if e["kind"] == "notification" and "refund" in e["url"]]
        return bool(told) and told[-1]["status"] == 500

    await until(is_refused)
    assert await Refund.all().count() == 0


async def test_a_refund_notification_that_lies_changes_nothing(stage: Stage) -> None:
    """Who knows the key can seal what he likes: what counts is the query's answer."""
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await paid(stage, buyer, order["order_no"])
    await stage.control("faults", notifications="drop")
    await give_back(stage, order["order_no"], 100)
    refund, share = await Refund.get(), await Share.get()
    fields = {
        "out_refund_no": refund.out_refund_no,
        "refund_id": "50300000",
        "out_trade_no": share.out_trade_no,
        "transaction_id": str(share.transaction_id),
        "refund_fee": "100",
        "total_fee": str(share.total_fen),
        "refund_status": "SUCCESS",
    }
    sealed = xml.seal(stage.known["apiv2_key"], xml.build(fields, "root"))
    body = xml.build({"return_code": "SUCCESS", "req_info": sealed})
    await stage.http.post(REFUND_PATH, content=body)
    assert (await Refund.get()).state == "PROCESSING"


async def test_a_refund_notification_that_the_key_does_not_open_is_refused(stage: Stage) -> None:
    body = xml.build({"return_code": "SUCCESS", "req_info": xml.seal("x" * 32, b"<root></root>")})
    answer = await stage.http.post(REFUND_PATH, content=body)
    assert xml.parse(answer.content)["return_code"] == "FAIL"


class TestAlone:
    @pytest.fixture
    def more_settings(self, sign_type: str) -> Any:
        return lambda known: {
            "SHOP_APIV2_KEY": known["apiv2_key"],
            "SHOP_APIV2_SIGN_TYPE": sign_type,
            "SHOP_CHANNELS": "wechat_v2",
        }

    async def test_it_fetches_its_own_bill(self, stage: Stage) -> None:
        buyer, order, started = await begun(stage)
        await buyer.pay(started["invoke"])
        await paid(stage, buyer, order["order_no"])
        day = await next_noon(stage)
        assert (await compare(stage, day))[0] == []
        assert len(await calls(stage, "/downloadbill")) == 1


async def test_settings_that_are_wrong_are_named(stage: Stage) -> None:
    from checkout.config import ConfigError, Env
    from shop.app import build
    from tests.shop.conftest import settings

    env = settings(stage.known, "http://127.0.0.1:9", "http://127.0.0.1:8", "sqlite://x.db")
    for changes, name in (
        ({"SHOP_APIV2_KEY": "short"}, "SHOP_APIV2_KEY"),
        ({"SHOP_CHANNELS": "wechat_v2"}, "SHOP_APIV2_KEY"),
        ({"SHOP_APIV2_KEY": "a" * 32, "SHOP_APIV2_SIGN_TYPE": "RSA"}, "SHOP_APIV2_SIGN_TYPE"),
    ):
        with pytest.raises(ConfigError, match=name):
            build(Env({**env, **changes}))
    assert "wechat_v2" not in build(Env(env)).checkout.channels
