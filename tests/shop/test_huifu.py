"""Huifu on the same ledger: pays, closes, refunds, recovers, and its statement agrees."""

import json
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from checkout.config import ConfigError, Env
from checkout.models import Event, Order, Payment, Refund, Share
from kit import buyers
from kit.books import calls, compare, history, next_noon, outcomes
from kit.buyers import become, give_back, paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import RunningShop, settings
from kit.waiting import until
from sandbox.protocols._huifu_keys import HUIFU_ID, keys
from sandbox.sealing import sign
from shop.app import build

PATH = "/notify/huifu/payment"
REFUND_PATH = "/notify/huifu/refund"
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


begun = partial(paying, channel="huifu")
bought = partial(buyers.bought, channel="huifu")


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


async def tell(running: RunningShop, form: dict[str, str]) -> Any:
    return await running.http.post(PATH, content=urlencode(form).encode())


@EVERY_DATABASE
@pytest.mark.parametrize("scene", ["jsapi", "miniprogram", "alipay", "unionpay"])
async def test_it_pays_end_to_end_and_two_notifications_are_one_payment(
    running: RunningShop, scene: str
) -> None:
    buyer, order, started = await begun(running, scene)
    if form := started.get("invoke"):
        stored = (await Payment.get()).prepay["pay_info"]
        assert form == json.loads(stored)
        assert (await running.control("pay", **form))["err_msg"].endswith(":ok")
    else:
        await running.control("scan", code_url=started["code_url"])
    await become(buyer, order["order_no"], "PAID")

    async def both() -> bool:
        return len(await outcomes()) == 2

    await until(both)
    assert sorted(outcome for outcome, _ in await outcomes()) == ["APPLIED", "DUPLICATE"]
    await until(lambda: calls(running, PATH))  # it is logged there after our answer
    answers = {(c["status"], c["response_body"]) for c in await calls(running, PATH)}
    assert answers == {(200, f"RECV_ORD_ID_{started['out_trade_no']}")}
    assert await Event.filter(kind="on_paid").count() == 1


async def test_alipay_gets_a_code_and_the_encoded_link_of_its_app(running: RunningShop) -> None:
    _, _, started = await begun(running, "alipay")
    assert started["code_url"].startswith("https://qr.alipay.com/")
    link = started["app_url"].removeprefix(
        "alipays://platformapi/startapp?saId=10000007&qrcode=https%3A%2F%2Fqr.alipay.com%2F"
    )
    assert link == started["code_url"].rsplit("/", 1)[1]


async def test_the_payer_is_sub_appid_with_sub_openid_and_all_values_are_strings(
    running: RunningShop,
) -> None:
    await begun(running)
    payment = await Payment.get()
    asked = json.loads((await calls(running, PREPAY))[0]["request_body"])["data"]
    assert {type(value) for value in asked.values()} == {str}
    appid = running.shop.settings.login.apps["miniprogram"].appid
    assert json.loads(asked["wx_data"]) == {"sub_appid": appid, "sub_openid": payment.payer}


@EVERY_DATABASE
async def test_a_lost_notification_is_found_by_the_sweep(running: RunningShop) -> None:
    buyer, order, started = await begun(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.sweeps(1, 6)
    assert await buyer.state(order["order_no"]) == "PAID"


async def test_it_is_not_closed_in_the_first_minute_but_then(running: RunningShop) -> None:
    buyer, order, started = await begun(running)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert await calls(running, "/scanpay/close") == []
    await running.sweeps(4, 30)
    assert (await Order.get()).state == "CLOSED"
    assert await history(started["out_trade_no"]) == [("OPEN", "CLOSED")]
    assert (await buyer.pay(started["invoke"]))["err_msg"] != "requestPayment:ok"


async def test_a_close_that_is_under_way_is_asked_for_until_it_is_proved(
    running: RunningShop,
) -> None:
    buyer, order, started = await begun(running)
    await buyer.pay(started["invoke"], outcome="typing")
    await running.advance(61)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert len(await calls(running, "/scanpay/closequery")) == 1
    assert (await Payment.get()).state == "OPEN"
    await buyer.pay(started["invoke"], outcome="fail")
    await running.sweeps(3, 30)
    assert (await Order.get()).state == "CLOSED"


async def test_an_order_that_nobody_pays_expires_and_is_closed_at_huifu(
    running: RunningShop,
) -> None:
    _, _, started = await begun(running)
    await running.advance(31 * 60)
    await running.sweeps(3, 30)
    assert (await Order.get()).state == "CLOSED"
    assert await history(started["out_trade_no"]) == [("OPEN", "CLOSED")]


@pytest.mark.parametrize("fault", ["500", "reset_before", "wrong_key"])
async def test_a_prepay_of_unknown_outcome_is_repeated_word_for_word(
    running: RunningShop, fault: str
) -> None:
    await running.control("faults", answers={"prepay": fault}, times=1)
    buyer = await running.buyer()
    order = await buyer.order()
    status = (await buyer.start(order["order_no"], channel="huifu")).status_code
    assert status == (502 if fault == "wrong_key" else 503)
    assert (await Payment.get()).state == "NEW"
    if fault == "wrong_key":  # it was accepted: the number is spent and its pay_info is lost
        return
    started = (await buyer.start(order["order_no"], channel="huifu")).json()
    bodies = {c["request_body"] for c in await calls(running, PREPAY)}
    assert len(bodies) == 1
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"


@EVERY_DATABASE
async def test_an_accepted_order_whose_answer_was_lost_gives_way_to_a_new_number(
    running: RunningShop,
) -> None:
    await running.control("faults", answers={"prepay": "reset_after"}, times=1)
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    assert (await buyer.start(order_no, channel="huifu")).status_code == 503
    first = await Payment.get()
    again = await buyer.start(order_no, channel="huifu")  # 20000000: spent, and open for a minute
    assert (again.status_code, again.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await running.sweeps(2, 31)
    closing = await buyer.start(order_no, channel="huifu")
    assert closing.status_code == 409  # now it is closed
    started = await buyer.start(order_no, channel="huifu")
    assert started.status_code == 201, started.text
    assert started.json()["out_trade_no"] != first.number
    assert (await running.at_wechat(first.number))["trade_state"] == "CLOSED"
    await buyer.pay(started.json()["invoke"])
    await become(buyer, order_no, "PAID")


async def test_wechat_closes_huifu_before_it_takes_over(running: RunningShop) -> None:
    buyer, order, started = await begun(running)
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await running.sweeps(4, 30)
    assert (await buyer.start(order["order_no"])).status_code == 201
    assert (await running.at_wechat(started["out_trade_no"]))["trade_state"] == "CLOSED"


@pytest.mark.parametrize(
    "changes",
    [{"trans_amt": "0.01"}, {"huifu_id": "6666000000000000"}, {"hf_seq_id": ""}],
)
async def test_what_does_not_fit_is_recorded_answered_and_changes_nothing(
    running: RunningShop, diary: Diary, changes: dict[str, str]
) -> None:
    await begun(running)
    answer = await tell(running, await notification(**changes))
    assert (answer.status_code, answer.text[:12]) == (200, "RECV_ORD_ID_")
    assert (await Payment.get()).state == "OPEN"
    assert [outcome for outcome, _ in await outcomes()] == ["REFUSED"]
    assert "trade refused" in diary.alarms


async def test_the_old_and_the_new_names_of_the_number_are_read(running: RunningShop) -> None:
    await begun(running)
    names = {"hf_seq_id": None, "nkp_seq_id": "0029nkp", "trans_type": None, "trade_type": "T_J"}
    assert (await tell(running, await notification(**names))).status_code == 200
    assert (await Share.get()).transaction_id == "0029nkp"


async def test_a_late_failure_never_undoes_a_payment(running: RunningShop) -> None:
    await begun(running)
    await tell(running, await notification())
    await tell(running, await notification(trans_stat="F", notify_type="2"))
    assert (await Payment.get()).state == "PAID"


@pytest.mark.parametrize("kind", ["other key", "no sign", "altered", "twice", "json", "empty"])
async def test_a_notification_that_is_not_proved_is_not_stored(
    running: RunningShop, kind: str
) -> None:
    await begun(running)
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
    answer = await running.http.post(PATH, content=body.encode())
    assert answer.status_code == 401
    assert "RECV" not in answer.text
    assert await outcomes() == []
    assert (await tell(running, good)).status_code == 200
    assert (await Payment.get()).state == "PAID"


@EVERY_DATABASE
async def test_a_refund_goes_back_by_its_own_numbers_and_the_statement_agrees(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    assert (await give_back(running, order_no, 100)).status_code == 202
    await running.advance(4)

    await until(lambda: Refund.exists(state="SUCCESS"))
    await until(lambda: calls(running, REFUND_PATH))
    answers = [(c["status"], c["response_body"]) for c in await calls(running, REFUND_PATH)]
    assert answers == [(200, f"RECV_ORD_ID_{(await Refund.get()).out_refund_no}")]
    assert (await Order.get()).refunded_fen == 100
    assert (await compare(running, await next_noon(running)))[0] == []


async def test_a_refund_whose_notification_is_lost_is_asked_for_by_its_own_number(
    running: RunningShop,
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", notifications="drop")
    assert (await give_back(running, order_no, 100)).status_code == 202
    await running.sweeps(2, 61)
    refund = await Refund.get()
    assert refund.state == "SUCCESS"
    asked = json.loads((await calls(running, "/refundquery"))[0]["request_body"])["data"]
    assert asked["org_req_seq_id"] == refund.out_refund_no


async def test_a_missing_line_of_the_statement_is_named(running: RunningShop) -> None:
    _, _, number = await bought(running)
    day = await next_noon(running)
    await running.control("faults", bill="missing_row")
    assert number in str((await compare(running, day))[0])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"SHOP_HUIFU_PUBLIC_KEY": ""}, "SHOP_HUIFU_PUBLIC_KEY"),
        ({"SHOP_HUIFU_PRIVATE_KEY": "abc"}, "SHOP_HUIFU_PRIVATE_KEY"),
        ({"SHOP_HUIFU_ID": "", "SHOP_CHANNELS": "huifu"}, "SHOP_HUIFU_ID"),
    ],
)
async def test_settings_that_are_wrong_are_named(
    running: RunningShop, changes: dict[str, str], name: str
) -> None:
    env = settings(running.credentials, "http://127.0.0.1:9", "http://127.0.0.1:8", "sqlite://x.db")
    with pytest.raises(ConfigError, match=name):
        build(Env({**env, **of_huifu(running.credentials), **changes}))
    assert "huifu" not in build(Env(env)).checkout.channels


async def test_the_doctor_lets_the_gateway_check_the_keys(running: RunningShop) -> None:
    channel = running.shop.checkout.channels["huifu"]
    assert [finding.ok for finding in await channel.examine()] == [True, True]
    await running.control("faults", answers={"query": "wrong_key"})
    assert [finding.ok for finding in await channel.examine()] == [True, False]


async def test_a_number_that_huifu_never_got_is_closed_when_the_order_ends(
    running: RunningShop,
) -> None:
    await running.control("faults", answers={"prepay": "reset_before"}, times=1)
    buyer = await running.buyer()
    order = await buyer.order()
    assert (await buyer.start(order["order_no"], channel="huifu")).status_code == 503
    await running.advance(31 * 60)
    await running.sweeps(3, 61)
    assert (await Order.get()).state == "CLOSED"
    assert (await Payment.get()).state == "CLOSED"


async def test_a_refund_of_a_later_day_is_asked_for_by_its_own_day(running: RunningShop) -> None:
    _, order_no, _ = await bought(running)
    await running.advance(86400)
    await running.control("faults", notifications="drop")
    assert (await give_back(running, order_no, 100)).status_code == 202
    await running.sweeps(2, 61)
    assert (await Refund.get()).state == "SUCCESS"


@EVERY_DATABASE
async def test_a_refund_of_the_console_is_heard_of_confirmed_and_in_the_books(
    running: RunningShop,
) -> None:
    """Huifu finds a refund by its day alone: the notification of the console's tells it."""
    _, _, number = await bought(running)
    made = await running.control("refund", out_trade_no=number, refund=700)
    await running.advance(600)
    await until(lambda: Refund.exists(state="SUCCESS"))
    refund = await Refund.get()
    assert (refund.out_refund_no, refund.origin) == (made["out_refund_no"], "merchant_platform")
    order = await Order.get()
    assert order.refunded_fen == 700
    too_much = await give_back(running, order.order_no, order.total_fen - 699)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "REFUND_EXCEEDS")
    assert (await compare(running, await next_noon(running)))[0] == []


async def test_a_refund_of_the_console_that_no_query_confirms_is_recorded_by_the_sweep(
    running: RunningShop,
) -> None:
    _, _, number = await bought(running)
    await running.control("faults", answers={"refund_query": "500"})
    await running.control("refund", out_trade_no=number, refund=700)
    await running.advance(600)

    async def is_open() -> bool:
        return ("UNMATCHED", "not confirmed") in await outcomes()

    await until(is_open)
    assert await Refund.all().count() == 0
    await running.control("faults")
    await running.sweeps(1, 61)
    assert (await Refund.get()).state == "SUCCESS"


async def test_a_refund_of_the_console_that_is_under_way_is_followed_by_its_day(
    running: RunningShop,
) -> None:
    await bought(running)
    share = await Share.get()
    made = await running.control("refund", out_trade_no=share.out_trade_no, refund=700)
    payment = await Payment.get()
    day = json.loads(payment.request)["req_date"]
    await tell_refund(
        running,
        await notification(
            req_seq_id=made["out_refund_no"], trans_type="TRANS_REFUND", trans_stat="P",
            hf_seq_id=made["refund_id"], trans_amt=None, ord_amt="7.00", req_date=day,
            org_req_seq_id=share.out_trade_no, org_req_date=day,
        ),
    )  # fmt: skip
    assert (await Refund.get()).state == "PROCESSING"
    await running.control("faults", notifications="drop")
    await running.sweeps(2, 61)
    assert (await Refund.get()).state == "SUCCESS"


async def tell_refund(running: RunningShop, form: dict[str, str]) -> Any:
    return await running.http.post(REFUND_PATH, content=urlencode(form).encode())


async def test_two_payments_without_hf_seq_id_do_not_share_a_key_and_both_are_stored(
    running: RunningShop,
) -> None:
    await begun(running)
    numbers = {(await Payment.get()).number, "Ssomebodyelse1"}
    for number in numbers:
        form = await notification(req_seq_id=number, hf_seq_id=None)
        assert (await tell(running, form)).status_code == 200
    assert sorted(outcome for outcome, _ in await outcomes()) == ["REFUSED", "UNMATCHED"]


@pytest.mark.parametrize("trans_stat", ["S", "P"])
async def test_an_answer_to_another_close_closes_nothing(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, trans_stat: str
) -> None:
    """A signed answer may be an old one that somebody plays again."""
    buyer, order, started = await begun(running)
    channel: Any = running.shop.checkout.channels["huifu"]
    call = channel._client.call
    other = {"req_seq_id": "another", "org_req_seq_id": "Sanother"}

    async def answer(path: str, data: dict[str, str]) -> dict[str, Any]:
        if path.endswith("/close"):
            return {"resp_code": "00000000", **other, "trans_stat": trans_stat}
        return await call(path, data)

    await running.advance(61)
    with monkeypatch.context() as patch:
        patch.setattr(type(channel._client), "call", lambda _, *args: answer(*args))
        answered = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert (answered.status_code, answered.json()["state"]) == (202, "CLOSING")
    assert (await Payment.get()).state == "OPEN"
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")


async def test_a_refunds_notification_without_org_hf_seq_id_ends_the_refund(
    running: RunningShop,
) -> None:
    _, order_no, number = await bought(running)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 100)
    refund = await Refund.get()
    form = await notification(
        req_seq_id=refund.out_refund_no, trans_type="TRANS_REFUND", hf_seq_id=refund.refund_id,
        trans_amt=None, ord_amt="1.00", org_req_seq_id=number,
        req_date=json.loads(refund.request)["req_date"], end_time=None,
        org_req_date=json.loads(refund.request)["org_req_date"],
        trans_finish_time="20260102030405",
    )  # fmt: skip
    assert (await tell_refund(running, form)).status_code == 200
    refund = await Refund.get()
    assert (refund.state, f"{refund.refunded_at:%H%M%S}") == ("SUCCESS", "190405")


async def test_the_banks_reason_of_a_failed_refund_is_in_the_log(
    running: RunningShop, diary: Diary
) -> None:
    _, order_no, _ = await bought(running)
    await running.control("faults", refunds="closed", notifications="drop")
    await give_back(running, order_no, 100)
    await running.sweeps(2, 61)
    assert (await Refund.get()).state == "CLOSED"
    reason = "收款账户状态异常，退款失败"
    assert {fields["bank_message"] for fields in diary.fields("not refunded")} == {reason}


async def test_a_payments_notification_at_the_refunds_path_blocks_nothing(
    running: RunningShop,
) -> None:
    await begun(running)
    good = await notification()
    assert (await tell_refund(running, good)).status_code == 200
    assert (await tell(running, good)).status_code == 200
    assert (await Payment.get()).state == "PAID"
