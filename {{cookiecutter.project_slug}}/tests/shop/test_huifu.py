"""Huifu on the same ledger: pays, closes, refunds, recovers, and its statement agrees."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from checkout.config import ConfigError, Env
from checkout.models import Event, Order, Payment, Refund, Share
from sandbox.protocols._huifu_keys import HUIFU_ID, keys
from sandbox.sealing import sign
from shop.app import build
from tests.shop.conftest import BuyerClient, Diary, Stage, settings
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import (
    also_official,
    calls,
    compare,
    give_back,
    moves,
    next_noon,
    outcomes,
    until,
)

PATH, REFUND_PATH = "/notify/huifu/payment", "/notify/huifu/refund"
PREPAY = "/v2/trade/payment/jspay"


def of_huifu(credentials: dict[str, Any]) -> dict[str, str]:
    """Write the settings of the channel as the sandbox hands them out."""
    huifu = credentials["huifu"]
    return {
        "SHOP_HUIFU_SYS_ID": huifu["sys_id"],
        "SHOP_HUIFU_PRODUCT_ID": huifu["product_id"],
        "SHOP_HUIFU_ID": huifu["huifu_id"],
        "SHOP_HUIFU_PRIVATE_KEY": huifu["merchant_private_key"],
        "SHOP_HUIFU_PUBLIC_KEY": huifu["huifu_public_key"],
    }


@pytest.fixture
def more_settings() -> Any:
    return of_huifu


async def begun(
    stage: Stage, scene: str = "miniprogram"
) -> tuple[BuyerClient, dict[str, Any], dict[str, Any]]:
    """Bring a buyer to a cashier of Huifu."""
    buyer = await stage.buyer()
    if scene == "jsapi":
        await also_official(stage, buyer)
    order = await buyer.order()
    answer = await wish(buyer, order["order_no"], scene)
    assert answer.status_code == 201, answer.text
    return buyer, order, answer.json()


async def wish(buyer: BuyerClient, order_no: str, scene: str = "miniprogram") -> Any:
    path = f"/api/orders/{order_no}/payments"
    return await buyer.post(path, {"scene": scene, "channel": "huifu"})


async def become(buyer: BuyerClient, order_no: str, state: str) -> None:
    async def has() -> bool:
        return await buyer.state(order_no) == state

    await until(has)


async def sweeps(stage: Stage, times: int, seconds: float) -> None:
    for _ in range(times):
        await stage.advance(seconds)
        await stage.shop.checkout.sweep_once()


async def notification(**changes: Any) -> dict[str, str]:
    """Write the form of a notification of the payment; None leaves a field out."""
    payment = await Payment.get()
    data = {
        "resp_code": "00000000",
        "huifu_id": HUIFU_ID,
        "req_seq_id": payment.number,
        "req_date": json.loads(payment.request)["req_date"],
        "trans_type": "T_MINIAPP",
        "hf_seq_id": "0029000topA000000000000000000001",
        "trans_amt": f"{payment.total_fen // 100}.{payment.total_fen % 100:02}",
        "end_time": "20260102030405",
        "trans_stat": "S",
        "notify_type": "1",
    } | changes
    raw = json.dumps({k: v for k, v in data.items() if v is not None}, ensure_ascii=False)
    return {"resp_data": raw, "sign": sign(keys().gateway, raw.encode())}


async def tell(stage: Stage, form: dict[str, str]) -> Any:
    return await stage.http.post(PATH, content=urlencode(form).encode())


@EVERY_DATABASE
@pytest.mark.parametrize("scene", ["jsapi", "miniprogram", "alipay", "unionpay"])
async def test_it_pays_end_to_end_and_two_notifications_are_one_payment(
    stage: Stage, scene: str
) -> None:
    buyer, order, started = await begun(stage, scene)
    if form := started.get("invoke"):
        stored = (await Payment.get()).prepay["pay_info"]
        assert form == json.loads(stored)
        assert (await stage.control("pay", **form))["err_msg"].endswith(":ok")
    else:
        await stage.control("scan", code_url=started["code_url"])
    await become(buyer, order["order_no"], "PAID")

    async def both() -> bool:
        return len(await outcomes()) == 2

    await until(both)
    assert sorted(outcome for outcome, _ in await outcomes()) == ["APPLIED", "DUPLICATE"]
    answers = {(c["status"], c["response_body"]) for c in await calls(stage, PATH)}
    assert answers == {(200, f"RECV_ORD_ID_{started['out_trade_no']}")}
    assert await Event.filter(kind="on_paid").count() == 1


async def test_alipay_gets_a_code_and_the_encoded_link_of_its_app(stage: Stage) -> None:
    _, _, started = await begun(stage, "alipay")
    assert started["code_url"].startswith("https://qr.alipay.com/")
    link = started["app_url"].removeprefix(
        "alipays://platformapi/startapp?saId=10000007&qrcode=https%3A%2F%2Fqr.alipay.com%2F"
    )
    assert link == started["code_url"].rsplit("/", 1)[1]


async def test_the_payer_is_sub_appid_with_sub_openid_and_all_values_are_strings(
    stage: Stage,
) -> None:
    await begun(stage)
    payment = await Payment.get()
    asked = json.loads((await calls(stage, PREPAY))[0]["request_body"])["data"]
    assert {type(value) for value in asked.values()} == {str}
    appid = stage.shop.settings.login.apps["miniprogram"].appid
    assert json.loads(asked["wx_data"]) == {"sub_appid": appid, "sub_openid": payment.payer}


@EVERY_DATABASE
async def test_a_lost_notification_is_found_by_the_sweep(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await sweeps(stage, 1, 6)
    assert await buyer.state(order["order_no"]) == "PAID"


async def test_it_is_not_closed_in_the_first_minute_but_then(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert await calls(stage, "/scanpay/close") == []
    await sweeps(stage, 4, 30)
    assert (await Order.get()).state == "CLOSED"
    assert await moves(started["out_trade_no"]) == [("OPEN", "CLOSED")]
    assert (await buyer.pay(started["invoke"]))["err_msg"] != "requestPayment:ok"


async def test_a_close_that_is_under_way_is_asked_for_until_it_is_proved(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"], outcome="typing")
    await stage.advance(61)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert len(await calls(stage, "/scanpay/closequery")) == 1
    assert (await Payment.get()).state == "OPEN"
    await buyer.pay(started["invoke"], outcome="fail")
    await sweeps(stage, 3, 30)
    assert (await Order.get()).state == "CLOSED"


async def test_an_order_that_nobody_pays_expires_and_is_closed_at_huifu(stage: Stage) -> None:
    _, _, started = await begun(stage)
    await stage.advance(31 * 60)
    await sweeps(stage, 3, 30)
    assert (await Order.get()).state == "CLOSED"
    assert await moves(started["out_trade_no"]) == [("OPEN", "CLOSED")]


@pytest.mark.parametrize("fault", ["500", "reset_before", "wrong_key"])
async def test_a_prepay_of_unknown_outcome_is_repeated_word_for_word(
    stage: Stage, fault: str
) -> None:
    await stage.control("faults", answers={"prepay": fault}, times=1)
    buyer = await stage.buyer()
    order = await buyer.order()
    status = (await wish(buyer, order["order_no"])).status_code
    assert status == (502 if fault == "wrong_key" else 503)
    assert (await Payment.get()).state == "NEW"
    if fault == "wrong_key":  # it was accepted: the number is spent and its pay_info is lost
        return
    started = (await wish(buyer, order["order_no"])).json()
    bodies = {c["request_body"] for c in await calls(stage, PREPAY)}
    assert len(bodies) == 1
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"


@EVERY_DATABASE
async def test_an_accepted_order_whose_answer_was_lost_gives_way_to_a_new_number(
    stage: Stage,
) -> None:
    await stage.control("faults", answers={"prepay": "reset_after"}, times=1)
    buyer = await stage.buyer()
    order = await buyer.order()
    assert (await wish(buyer, order["order_no"])).status_code == 503
    first = await Payment.get()
    again = await wish(buyer, order["order_no"])  # 20000000: spent, and not closed in a minute
    assert (again.status_code, again.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await sweeps(stage, 2, 31)
    assert (await wish(buyer, order["order_no"])).status_code == 409  # now it is closed
    started = await wish(buyer, order["order_no"])
    assert started.status_code == 201, started.text
    assert started.json()["out_trade_no"] != first.number
    assert (await stage.truth(first.number))["trade_state"] == "CLOSED"
    await buyer.pay(started.json()["invoke"])
    await become(buyer, order["order_no"], "PAID")


async def test_wechat_closes_huifu_before_it_takes_over(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await sweeps(stage, 4, 30)
    assert (await buyer.start(order["order_no"])).status_code == 201
    assert (await stage.truth(started["out_trade_no"]))["trade_state"] == "CLOSED"


@pytest.mark.parametrize(
    "changes",
    [{"trans_amt": "0.01"}, {"huifu_id": "6666000000000000"}, {"hf_seq_id": ""}],
)
async def test_what_does_not_fit_is_recorded_answered_and_changes_nothing(
    stage: Stage, diary: Diary, changes: dict[str, str]
) -> None:
    await begun(stage)
    answer = await tell(stage, await notification(**changes))
    assert (answer.status_code, answer.text[:12]) == (200, "RECV_ORD_ID_")
    assert (await Payment.get()).state == "OPEN"
    assert [outcome for outcome, _ in await outcomes()] == ["REFUSED"]
    assert "trade refused" in diary.alarms


async def test_the_old_and_the_new_names_of_the_number_are_read(stage: Stage) -> None:
    await begun(stage)
    names = {"hf_seq_id": None, "nkp_seq_id": "0029nkp", "trans_type": None, "trade_type": "T_J"}
    assert (await tell(stage, await notification(**names))).status_code == 200
    assert (await Share.get()).transaction_id == "0029nkp"


async def test_a_late_failure_never_undoes_a_payment(stage: Stage) -> None:
    await begun(stage)
    await tell(stage, await notification())
    await tell(stage, await notification(trans_stat="F", notify_type="2"))
    assert (await Payment.get()).state == "PAID"


@pytest.mark.parametrize("kind", ["other key", "no sign", "altered", "twice", "json", "empty"])
async def test_a_notification_that_is_not_proved_is_not_stored(stage: Stage, kind: str) -> None:
    await begun(stage)
    good = await notification()
    text = good["resp_data"]
    body = {
        "other key": urlencode({**good, "sign": sign(keys().merchant, text.encode())}),
        "no sign": urlencode({"resp_data": text}),
        "altered": urlencode({**good, "resp_data": text.replace(" ", "")}),
        "twice": urlencode([*good.items(), ("resp_data", text)]),
        "json": json.dumps(good),
        "empty": "",
    }[kind]
    answer = await stage.http.post(PATH, content=body.encode())
    assert answer.status_code == 401
    assert "RECV" not in answer.text
    assert await outcomes() == []
    assert (await tell(stage, good)).status_code == 200
    assert (await Payment.get()).state == "PAID"


@EVERY_DATABASE
async def test_a_refund_goes_back_by_its_own_numbers_and_the_statement_agrees(
    stage: Stage,
) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    assert (await give_back(stage, order["order_no"], 100)).status_code == 202
    await stage.advance(4)

    async def done() -> bool:
        return (await Refund.get()).state == "SUCCESS"

    async def answered() -> list[dict[str, Any]]:
        return await calls(stage, REFUND_PATH)

    await until(done)
    await until(answered)
    answers = [(c["status"], c["response_body"]) for c in await answered()]
    assert answers == [(200, f"RECV_ORD_ID_{(await Refund.get()).out_refund_no}")]
    assert (await Order.get()).refunded_fen == 100
    assert (await compare(stage, await next_noon(stage)))[0] == []


async def test_a_refund_whose_notification_is_lost_is_asked_for_by_its_own_number(
    stage: Stage,
) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    await stage.control("faults", notifications="drop")
    assert (await give_back(stage, order["order_no"], 100)).status_code == 202
    await sweeps(stage, 2, 61)
    refund = await Refund.get()
    assert refund.state == "SUCCESS"
    asked = json.loads((await calls(stage, "/refundquery"))[0]["request_body"])["data"]
    assert asked["org_req_seq_id"] == refund.out_refund_no


async def test_a_missing_line_of_the_statement_is_named(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    day = await next_noon(stage)
    await stage.control("faults", bill="missing_row")
    assert started["out_trade_no"] in str((await compare(stage, day))[0])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"SHOP_HUIFU_PUBLIC_KEY": ""}, "SHOP_HUIFU_PUBLIC_KEY"),
        ({"SHOP_HUIFU_PRIVATE_KEY": "abc"}, "SHOP_HUIFU_PRIVATE_KEY"),
        ({"SHOP_HUIFU_ID": "", "SHOP_CHANNELS": "huifu"}, "SHOP_HUIFU_ID"),
    ],
)
async def test_settings_that_are_wrong_are_named(
    stage: Stage, changes: dict[str, str], name: str
) -> None:
    env = settings(stage.known, "http://127.0.0.1:9", "http://127.0.0.1:8", "sqlite://x.db")
    with pytest.raises(ConfigError, match=name):
        build(Env({**env, **of_huifu(stage.known), **changes}))
    assert "huifu" not in build(Env(env)).checkout.channels


async def test_the_doctor_lets_the_gateway_check_the_keys(stage: Stage) -> None:
    channel = stage.shop.checkout.channels["huifu"]
    assert [finding.ok for finding in await channel.examine()] == [True, True]
    await stage.control("faults", answers={"query": "wrong_key"})
    assert [finding.ok for finding in await channel.examine()] == [True, False]


async def test_a_number_that_huifu_never_got_is_closed_when_the_order_ends(stage: Stage) -> None:
    await stage.control("faults", answers={"prepay": "reset_before"}, times=1)
    buyer = await stage.buyer()
    order = await buyer.order()
    assert (await wish(buyer, order["order_no"])).status_code == 503
    await stage.advance(31 * 60)
    await sweeps(stage, 3, 61)
    assert (await Order.get()).state == "CLOSED"
    assert (await Payment.get()).state == "CLOSED"


async def test_a_refund_of_a_later_day_is_asked_for_by_its_own_day(stage: Stage) -> None:
    buyer, order, started = await begun(stage)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    await stage.advance(86400)
    await stage.control("faults", notifications="drop")
    assert (await give_back(stage, order["order_no"], 100)).status_code == 202
    await sweeps(stage, 2, 61)
    assert (await Refund.get()).state == "SUCCESS"
