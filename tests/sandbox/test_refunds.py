"""Refunds: every limit and code of WeChat's, the outcomes, the notifications, the platform."""

import json
from contextlib import suppress

import httpx
import pytest

from tests.sandbox.merchant import REFUNDS, paid, refund, request

YEAR = 365 * 24 * 3600


def refusal(answer):
    return answer.status_code, answer.json().get("code")


async def status(merchant, out_refund_no):
    answer = await merchant.call("GET", f"{REFUNDS}/{out_refund_no}")
    merchant.verify(answer)
    return answer.json()["status"]


async def test_a_refund_is_accepted_first_and_done_some_seconds_later(merchant, until):
    number, transaction_id = await paid(merchant)
    answer = await refund(merchant, number)
    assert answer.status_code == 200
    merchant.verify(answer)
    reply = answer.json()
    assert (reply["status"], reply["channel"], reply["transaction_id"]) == (
        "PROCESSING", "ORIGINAL", transaction_id,
    )  # fmt: skip
    assert "success_time" not in reply
    assert reply["amount"] | {"refund": 100, "total": 990, "currency": "CNY"} == reply["amount"]
    assert (await merchant.query(number)).json()["trade_state"] == "REFUND"
    await merchant.control("clock", advance_seconds=3)
    assert await status(merchant, reply["out_refund_no"]) == "SUCCESS"
    await until(lambda: len(merchant.shop.received) == 2)
    assert [r["status"] for r in (await merchant.control("orders"))["orders"][0]["refunds"]] == [
        "SUCCESS"
    ]


async def test_the_notification_has_the_fields_of_the_page_and_no_others(merchant, until):
    number, transaction_id = await paid(merchant)
    answer = (await refund(merchant, number)).json()
    await merchant.control("clock", advance_seconds=3)
    await until(lambda: len(merchant.shop.received) == 2)
    message = merchant.shop.received[1]
    merchant.verify(message)
    envelope = json.loads(message[1])
    assert envelope["event_type"] == "REFUND.SUCCESS"
    assert envelope["resource"]["original_type"] == "refund"
    opened = merchant.open(message[1])
    assert opened == {
        "mchid": merchant.mchid, "transaction_id": transaction_id, "out_trade_no": number,
        "refund_id": answer["refund_id"], "out_refund_no": answer["out_refund_no"],
        "refund_status": "SUCCESS", "success_time": opened["success_time"],
        "user_received_account": "支付用户零钱",
        "amount": {"total": 990, "refund": 100, "payer_total": 990, "payer_refund": 100},
    }  # fmt: skip


@pytest.mark.parametrize("outcome", ["closed", "abnormal"])
async def test_other_outcomes_are_told_too_and_have_no_success_time(merchant, until, outcome):
    number, _ = await paid(merchant)
    await merchant.faults(refunds=outcome)
    answer = (await refund(merchant, number)).json()
    await merchant.control("clock", advance_seconds=3)
    assert await status(merchant, answer["out_refund_no"]) == outcome.upper()
    await until(lambda: len(merchant.shop.received) == 2)
    opened = merchant.open(merchant.shop.received[1][1])
    assert opened["refund_status"] == outcome.upper()
    assert "success_time" not in opened


async def test_the_same_request_again_is_the_same_refund(merchant):
    number, _ = await paid(merchant)
    body = request(merchant, number)
    first = (await merchant.call("POST", REFUNDS, body)).json()
    await merchant.control("clock", advance_seconds=3)
    again = (await merchant.call("POST", REFUNDS, dict(reversed(body.items())))).json()
    assert again["refund_id"] == first["refund_id"]
    assert again["status"] == "SUCCESS"
    assert len((await merchant.control("orders"))["orders"][0]["refunds"]) == 1


@pytest.mark.parametrize("change", [{"reason": "x"}, {"amount": {"refund": 99, "total": 990, "currency": "CNY"}}])  # fmt: skip
async def test_the_same_number_with_other_parameters_is_refused(merchant, change):
    number, _ = await paid(merchant)
    body = request(merchant, number)
    await merchant.call("POST", REFUNDS, body)
    assert refusal(await merchant.call("POST", REFUNDS, body | change)) == (400, "INVALID_REQUEST")


async def test_two_refunds_of_one_payment_are_a_minute_apart(merchant):
    number, _ = await paid(merchant)
    other, _ = await paid(merchant)
    assert (await refund(merchant, number)).status_code == 200
    await merchant.control("clock", advance_seconds=58)
    early = await refund(merchant, number)
    assert refusal(early) == (429, "FREQUENCY_LIMITED")
    assert early.headers["Request-ID"].endswith("-268447840")
    assert (await refund(merchant, other)).status_code == 200
    await merchant.control("clock", advance_seconds=2)
    assert (await refund(merchant, number)).status_code == 200


async def test_a_payment_has_at_most_fifty_refunds(merchant):
    number, _ = await paid(merchant)
    for _ in range(50):
        assert (await refund(merchant, number, 1)).status_code == 200
        await merchant.control("clock", advance_seconds=60)
    answer = await refund(merchant, number, 1)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert "50" in answer.json()["message"]


async def test_refunds_never_exceed_the_payment_and_closed_ones_give_theirs_back(merchant):
    number, _ = await paid(merchant)
    assert refusal(await refund(merchant, number, 991)) == (400, "INVALID_REQUEST")
    await merchant.faults(refunds="closed")
    assert (await refund(merchant, number, 990)).status_code == 200
    await merchant.faults(refunds="abnormal")
    await merchant.control("clock", advance_seconds=60)
    assert (await refund(merchant, number, 600)).status_code == 200
    await merchant.control("clock", advance_seconds=60)
    assert refusal(await refund(merchant, number, 391)) == (400, "INVALID_REQUEST")
    assert (await refund(merchant, number, 390)).status_code == 200


async def test_a_payment_can_be_refunded_for_a_year(merchant):
    number, _ = await paid(merchant)
    await merchant.control("clock", advance_seconds=YEAR - 5)
    assert (await refund(merchant, number, 1)).status_code == 200
    await merchant.control("clock", advance_seconds=66)
    assert refusal(await refund(merchant, number, 1)) == (400, "INVALID_REQUEST")


async def test_what_is_not_paid_or_not_there_cannot_be_refunded(merchant):
    body, _ = await merchant.prepay()
    for number, message in ((body["out_trade_no"], "原订单不存在"), ("Snobody", "订单不存在")):
        answer = await refund(merchant, number)
        assert refusal(answer) == (404, "RESOURCE_NOT_EXISTS")
        assert answer.json()["message"] == message
        merchant.verify(answer)
    none = await refund(merchant, None, transaction_id="4200999")
    assert refusal(none) == (404, "RESOURCE_NOT_EXISTS")
    unknown = await merchant.call("GET", f"{REFUNDS}/Rnobody")
    assert refusal(unknown) == (404, "RESOURCE_NOT_EXISTS")


async def test_a_payment_is_named_by_either_number(merchant):
    _, transaction_id = await paid(merchant)
    answer = await refund(merchant, None, transaction_id=transaction_id)
    assert answer.json()["transaction_id"] == transaction_id


AMOUNT = {"refund": 100, "total": 990, "currency": "CNY"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": {"refund": 100, "total": 990}}, "/body/amount/currency"),
        ({"amount": AMOUNT | {"currency": "USD"}}, "/body/amount/currency"),
        ({"amount": AMOUNT | {"refund": 0}}, "/body/amount/refund"),
        ({"amount": AMOUNT | {"refund": "100"}}, "/body/amount/refund"),
        ({"amount": AMOUNT | {"refund": 1.0}}, "/body/amount/refund"),
        ({"amount": None}, "/body/amount"),
        ({"out_refund_no": None}, "/body/out_refund_no"),
        ({"out_refund_no": "R 1"}, "/body/out_refund_no"),
        ({"out_refund_no": "R" * 65}, "/body/out_refund_no"),
        ({"reason": "字" * 27}, "/body/reason"),
        ({"notify_url": "http://shop.example.com/"}, "/body/notify_url"),
        ({"notify_url": "https://shop.example.com/?a=1"}, "/body/notify_url"),
        ({"transaction_id": "4200"}, "/body/out_trade_no"),
        ({"out_trade_no": None}, "/body/out_trade_no"),
        ({"funds_account": "CASH"}, "/body/funds_account"),
        ({"sub_mchid": "9000000001"}, "/body/sub_mchid"),
        ({"surprise": 1}, "/body/surprise"),
    ],
)
async def test_a_wrong_field_is_refused_by_name(merchant, change, field):
    number, _ = await paid(merchant)
    answer = await refund(merchant, number, **change)
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert answer.json()["detail"]["field"] == field


async def test_another_total_than_the_orders_is_refused(merchant):
    number, _ = await paid(merchant)
    answer = await refund(merchant, number, amount=AMOUNT | {"total": 991})
    assert refusal(answer) == (400, "INVALID_REQUEST")


async def test_without_money_in_the_account_nothing_is_refunded(merchant):
    number, _ = await paid(merchant)
    await merchant.faults(refunds="not_enough", times=1)
    assert refusal(await refund(merchant, number)) == (403, "NOT_ENOUGH")
    assert (await merchant.query(number)).json()["trade_state"] == "SUCCESS"
    assert (await refund(merchant, number)).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("order_not_ready", 400, "INVALID_REQUEST"),
        ("frequency_limited", 429, "FREQUENCY_LIMITED"),
        ("invalid_req_too_much", 429, "FREQUENCY_LIMITED"),
        ("bizerr_need_retry", 500, "SYSTEM_ERROR"),
        ("10000001", 400, "INVALID_REQUEST"),
        ("user_account_abnormal", 403, "USER_ACCOUNT_ABNORMAL"),
    ],
)
async def test_a_refund_that_is_not_accepted_can_be_made_later_with_the_same_number(
    merchant, fault, status, code
):
    number, _ = await paid(merchant)
    await merchant.faults(refunds=fault, times=1)
    body = request(merchant, number)
    answer = await merchant.call("POST", REFUNDS, body)
    assert refusal(answer) == (status, code)
    merchant.verify(answer)
    if status == 400:
        assert answer.json()["message"] == "订单处理中，暂时无法退款，请稍后再试"
    assert refusal(await merchant.call("GET", f"{REFUNDS}/{body['out_refund_no']}")) == (
        *(404, "RESOURCE_NOT_EXISTS"),
    )
    assert (await merchant.call("POST", REFUNDS, body)).status_code == 200


async def test_a_coupon_goes_back_in_its_share(merchant):
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id, coupon_fen=99)
    coupon = (await merchant.query(body["out_trade_no"])).json()["promotion_detail"][0]
    made = (await refund(merchant, body["out_trade_no"], 100)).json()
    answer = made["amount"]
    assert (answer["payer_total"], answer["payer_refund"], answer["discount_refund"]) == (
        891,
        90,
        10,
    )
    assert made["promotion_detail"] == [
        {
            "promotion_id": coupon["coupon_id"],
            "scope": "GLOBAL",
            "type": "NOCASH",
            "amount": 99,
            "refund_amount": 10,
        }
    ]
    asked = await merchant.call("GET", f"{REFUNDS}/{made['out_refund_no']}")
    assert asked.json()["promotion_detail"] == made["promotion_detail"]


async def test_without_a_coupon_no_promotion_is_told(merchant):
    number, _ = await paid(merchant)
    assert "promotion_detail" not in (await refund(merchant, number)).json()


async def test_a_refund_in_the_merchant_platform_is_notified_beside_the_payments_address(merchant):
    number, _ = await paid(merchant)
    await merchant.faults(notifications="drop")
    made = await merchant.control("refund", out_trade_no=number, refund=300)
    await merchant.control("clock", advance_seconds=3)
    assert await status(merchant, made["out_refund_no"]) == "SUCCESS"
    entries = (await merchant.control("log"))["entries"]
    urls = [e["url"] for e in entries if e["kind"] == "notification"]
    assert urls[-1] == merchant.shop.url + "/refund"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"out_trade_no": "nobody", "refund": 1}, 404),
        ({"refund": 991}, 400),
        ({"refund": 0}, 400),
        ({"refund": True}, 400),
        ({"refund": 1.5}, 400),
        ({}, 400),
        ({"refund": 1, "surprise": 1}, 400),
    ],
)
async def test_the_platform_refunds_no_more_than_there_is(merchant, form, code):
    number, _ = await paid(merchant)
    answer = await merchant.http.post("/_sandbox/refund", json={"out_trade_no": number} | form)
    assert answer.status_code == code


async def test_a_refunds_notification_can_be_sent_again_and_falsified(merchant, until):
    number, _ = await paid(merchant)
    answer = (await refund(merchant, number)).json()
    await merchant.faults(notification_amount_delta_fen=1)
    await merchant.control("clock", advance_seconds=3)
    await until(lambda: len(merchant.shop.received) == 2)
    assert merchant.open(merchant.shop.received[1][1])["amount"]["refund"] == 101
    await merchant.control("notify", out_refund_no=answer["out_refund_no"])
    await until(lambda: len(merchant.shop.received) == 3)
    assert merchant.shop.received[1][1] == merchant.shop.received[2][1]


@pytest.mark.parametrize(
    ("fault", "done"), [("500", False), ("429", False), ("202", False), ("refuse", False),
                        ("reset_before", False), ("reset_after", True), ("wrong_key", True)],
)  # fmt: skip
async def test_faults_on_the_answer_of_a_refund(merchant, fault, done):
    number, _ = await paid(merchant)
    await merchant.faults(answers={"refund": fault}, times=1)
    body = request(merchant, number)
    with suppress(httpx.RemoteProtocolError):
        await merchant.call("POST", REFUNDS, body)
    query = await merchant.call("GET", f"{REFUNDS}/{body['out_refund_no']}")
    assert query.status_code == (200 if done else 404)
