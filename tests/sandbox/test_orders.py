"""Order, order again, query, close: WeChat's rules for one out_trade_no."""

import pytest

from tests.sandbox.merchant import ORDERS, in_minutes

DAY = 24 * 3600


def refusal(answer):
    return answer.status_code, answer.json()["code"]


async def order(merchant, body):
    return await merchant.call("POST", f"{ORDERS}/jsapi", body)


async def test_the_same_order_again_gives_a_new_prepay_id_and_the_old_one_still_pays(merchant):
    body, first = await merchant.prepay()
    _, second = await merchant.prepay(dict(reversed(body.items())))
    assert first != second
    assert len((await merchant.control("orders"))["orders"]) == 1
    assert (await merchant.pay(first))["err_msg"] == "requestPayment:ok"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"total": 991, "currency": "CNY"}},
        {"amount": {"total": 990}},
        {"description": "两盒茶"},
        {"time_expire": in_minutes(20)},
        {"attach": "x"},
    ],
)
async def test_the_same_number_with_other_parameters_is_refused(merchant, change):
    body, _ = await merchant.prepay()
    answer = await order(merchant, body | change)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["message"] == "请求重入时，参数与首次请求时不一致，请核对后重试"
    merchant.verify(answer)
    assert answer.headers["Request-ID"].endswith("-268498688")


async def test_a_paid_order_cannot_be_ordered_or_closed(merchant):
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id)
    for answer in (await order(merchant, body), await merchant.close(body["out_trade_no"])):
        assert refusal(answer) == (400, "ORDER_PAID")
        assert answer.headers["Request-ID"].endswith("-268449538")


async def test_a_closed_order_stays_closed(merchant):
    body, prepay_id = await merchant.prepay()
    for _ in range(2):
        closed = await merchant.close(body["out_trade_no"])
        assert (closed.status_code, closed.content) == (204, b"")
        merchant.verify(closed)
    answer = await order(merchant, body)
    assert refusal(answer) == (400, "ORDER_CLOSED")
    assert answer.headers["Request-ID"].endswith("-268447914")
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "CLOSED"
    assert (await merchant.pay(prepay_id))["err_msg"] == "requestPayment:fail (订单已关闭)"


async def test_an_unpaid_order_shows_only_what_is_known(merchant):
    body, _ = await merchant.prepay(merchant.order(attach="x"))
    answer = await merchant.query(body["out_trade_no"])
    merchant.verify(answer)
    assert answer.json() == {
        "appid": body["appid"],
        "mchid": body["mchid"],
        "out_trade_no": body["out_trade_no"],
        "trade_state": "NOTPAY",
        "trade_state_desc": "订单未支付",
        "amount": {"total": 990, "currency": "CNY"},
    }


async def test_a_paid_order_is_found_by_both_numbers(merchant):
    body, prepay_id = await merchant.prepay()
    number = (await merchant.pay(prepay_id))["transaction_id"]
    assert len(number) == 28
    by_id = await merchant.call("GET", f"{ORDERS}/id/{number}?mchid={merchant.mchid}")
    merchant.verify(by_id)
    assert by_id.json() == (await merchant.query(body["out_trade_no"])).json()
    assert by_id.json()["payer"] == {"openid": "oBuyer"}
    assert by_id.json()["trade_type"] == "JSAPI"


async def test_a_coupon_lowers_payer_total_only(merchant):
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id, coupon_fen=100)
    paid = (await merchant.query(body["out_trade_no"])).json()
    assert paid["amount"]["total"] == 990
    assert paid["amount"]["payer_total"] == 890
    assert paid["promotion_detail"][0]["amount"] == 100


async def test_unknown_numbers_do_not_exist(merchant):
    by_id = await merchant.call("GET", f"{ORDERS}/id/4200000000?mchid={merchant.mchid}")
    for answer in (await merchant.query("S7654321"), by_id):
        assert refusal(answer) == (404, "ORDER_NOT_EXIST")
        assert answer.headers["Request-ID"].endswith("-268512771")


async def test_closing_a_number_that_was_never_ordered_is_accepted_and_burns_it(merchant):
    body = merchant.order()
    for _ in range(2):
        closed = await merchant.close(body["out_trade_no"])
        assert (closed.status_code, closed.content) == (204, b"")
        merchant.verify(closed)
    answer = await order(merchant, body)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.headers["Request-ID"].endswith("-268498688")
    assert refusal(await merchant.query(body["out_trade_no"])) == (404, "ORDER_NOT_EXIST")


async def test_another_merchants_transaction_is_not_shown(merchant):
    _, prepay_id = await merchant.prepay()
    number = (await merchant.pay(prepay_id))["transaction_id"]
    other = merchant.become(merchant.credentials["others"][0])
    answer = await other.call("GET", f"{ORDERS}/id/{number}?mchid={other.mchid}")
    assert refusal(answer) == (404, "ORDER_NOT_EXIST")
    assert answer.headers["Request-ID"].endswith("-268447843")


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("out-trade-no/S12345?mchid=", "/query/mchid"),
        ("out-trade-no/S12345", "/query/mchid"),
        ("out-trade-no/S1?mchid=9", "/uri_template/out_trade_no"),
        ("out-trade-no/S%E8%8C%B61234?mchid=9", "/uri_template/out_trade_no"),
        ("id/4200-1?mchid=9", "/uri_template/transaction_id"),
    ],
)
async def test_numbers_in_the_url_are_checked_too(merchant, target, field):
    answer = await merchant.call("GET", f"{ORDERS}/{target}")
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert answer.json()["detail"]["field"] == field


async def test_a_prepay_id_lives_two_hours(merchant):
    body, prepay_id = await merchant.prepay()
    await merchant.control("clock", advance_seconds=2 * 3600)
    assert "prepay_id has expired" in (await merchant.pay(prepay_id))["err_desc"]
    _, fresh = await merchant.prepay(body)
    assert (await merchant.pay(fresh))["err_msg"] == "requestPayment:ok"


async def test_after_time_expire_nobody_can_pay_but_the_state_stays(merchant):
    body, prepay_id = await merchant.prepay(merchant.order(time_expire=in_minutes(5)))
    await merchant.control("clock", advance_seconds=5 * 60)
    assert "订单已过期" in (await merchant.pay(prepay_id))["err_desc"]
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "NOTPAY"
    assert refusal(await order(merchant, body)) == (400, "ORDER_CLOSED")
    assert (await merchant.close(body["out_trade_no"])).status_code == 204


async def test_a_time_expire_of_less_than_a_minute_is_raised_to_one(merchant):
    _, prepay_id = await merchant.prepay(merchant.order(time_expire=in_minutes(-10)))
    assert (await merchant.pay(prepay_id))["err_msg"] == "requestPayment:ok"


async def test_after_seven_days_an_unpaid_order_closes_by_itself(merchant):
    body, _ = await merchant.prepay()
    await merchant.control("clock", advance_seconds=7 * DAY)
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "CLOSED"


async def test_while_the_password_is_typed_close_is_told_to_wait(merchant):
    body, prepay_id = await merchant.prepay()
    assert (await merchant.pay(prepay_id, outcome="typing"))["err_msg"] == "requestPayment:typing"
    waiting = await merchant.close(body["out_trade_no"])
    merchant.verify(waiting)
    assert refusal(waiting) == (202, "USER_PAYING")
    await merchant.pay(prepay_id, outcome="cancel")
    assert (await merchant.close(body["out_trade_no"])).status_code == 204


async def test_a_number_in_the_url_that_is_too_long_says_how_long(merchant):
    answer = await merchant.close("S" * 35)
    issue = "字节数 35，大于最大值 32"
    assert answer.json()["detail"]["location"] == "uri_template"
    assert answer.json()["detail"]["value"] == 35
    assert answer.json()["message"] == (
        f"输入源“/uri_template/out_trade_no”映射到值字段“商户订单号”字符串规则校验失败，{issue}"
    )
