"""What WeChat's client refuses, and the words its callback gets."""

import httpx
import pytest

from tests.sandbox.merchant import in_minutes


@pytest.fixture
async def official(merchant):
    """An order of the official account and its prepay_id."""
    appid = merchant.official["appid"]
    await merchant.control("oauth-code", appid=appid, openid="oReader")
    return await merchant.prepay(merchant.order(appid=appid, payer={"openid": "oReader"}))


def tapped(merchant, prepay_id, **options):
    invoke = merchant.invoke(prepay_id, merchant.official["appid"])
    return merchant.control("pay", **(invoke | options))


@pytest.mark.parametrize("outcome", ["ok", "cancel", "fail"])
async def test_a_page_and_a_mini_program_hear_different_words(merchant, official, outcome):
    result = await tapped(merchant, official[1], outcome=outcome)
    assert result["err_msg"] == f"get_brand_wcpay_request:{outcome}"
    _, prepay_id = await merchant.prepay()
    words = {"ok": "ok", "cancel": "fail cancel", "fail": "fail ("}
    result = await merchant.pay(prepay_id, outcome=outcome)
    assert result["err_msg"].startswith(f"requestPayment:{words[outcome]}")


async def test_a_mini_program_passes_no_appid(merchant):
    invoke = merchant.invoke((await merchant.prepay())[1])
    appid = invoke.pop("appId")
    assert (await merchant.control("pay", **invoke))["err_msg"] == "requestPayment:ok"
    entries = (await merchant.http.get("/_sandbox/log")).json()["entries"]
    assert any(str(entry["signed_message"]).startswith(f"{appid}\n") for entry in entries)


async def test_a_page_has_to_pass_the_appid(merchant, official):
    invoke = merchant.invoke(official[1], merchant.official["appid"])
    del invoke["appId"]
    result = await merchant.control("pay", **invoke)
    assert "parameter.appId should be String" in result["err_desc"]


@pytest.mark.parametrize("both", [True, False], ids=["both names", "chooseWXPay's"])
async def test_a_page_may_name_the_time_as_choose_wx_pay_does(merchant, official, both):
    invoke = merchant.invoke(official[1], merchant.official["appid"])
    invoke["timestamp"] = invoke["timeStamp"] if both else invoke.pop("timeStamp")
    assert (await merchant.control("pay", **invoke))["err_msg"] == "get_brand_wcpay_request:ok"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timeStamp": 1700000000}, "parameter.timeStamp should be String instead of int"),
        ({"timeStamp": "1700000001"}, "支付验证签名失败"),
        ({"nonceStr": "n" * 33}, "at most 32"),
        ({"package": "wx1"}, "支付验证签名失败"),
        ({"signType": "MD5"}, "signType"),
        ({"paySign": "AAAA"}, "支付验证签名失败"),
        ({"paySign": None}, "parameter.paySign"),
        ({"openid": "oStranger"}, "下单账号与支付账号不一致"),
        ({"outcome": "maybe"}, "outcome"),
        ({"coupon_fen": 991}, "coupon_fen"),
        ({"coupon_fen": 1.5}, "coupon_fen"),
        ({"force": "yes"}, "force"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_wrong_invocation_fails_with_a_reason_and_moves_nothing(merchant, change, reason):
    body, prepay_id = await merchant.prepay()
    result = await merchant.control("pay", **(merchant.invoke(prepay_id) | change))
    assert result["err_msg"].startswith("requestPayment:fail (")
    assert reason in result["err_desc"]
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "NOTPAY"


async def test_a_signature_for_another_app_is_refused(merchant, official):
    result = await merchant.pay(official[1])
    assert "the order was made for" in result["err_desc"]


async def test_an_unknown_prepay_id_is_refused(merchant):
    assert "no prepay_id of ours" in (await merchant.pay("wx1"))["err_desc"]


async def test_the_signed_text_is_in_the_log_with_the_reason(merchant):
    _, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id, paySign="AAAA")
    entry = (await merchant.control("log"))["entries"][-1]
    assert entry["url"] == "/_sandbox/pay"
    assert entry["signed_message"].endswith(f"\nprepay_id={prepay_id}\n")
    assert "支付验证签名失败" in entry["verdict"]


@pytest.mark.parametrize(
    ("page", "registered"),
    [
        ("http://127.0.0.1:8000/", True),
        ("http://localhost:8123/pay?order=1", True),
        ("https://shop.example.com/", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://localhost@example.com/", False),
    ],
)
async def test_the_payment_directory_is_checked(merchant, official, page, registered):
    result = await tapped(merchant, official[1], page_url=page)
    if registered:
        assert result["err_msg"] == "get_brand_wcpay_request:ok"
    else:
        assert result["err_msg"] == "get_brand_wcpay_request:fail"
        assert result["err_desc"] == f"当前页面的URL未注册：{page}"


async def test_money_cannot_come_twice_unless_forced(merchant, shop, until):
    body, prepay_id = await merchant.prepay()
    first = (await merchant.pay(prepay_id))["transaction_id"]
    assert "该订单已支付" in (await merchant.pay(prepay_id))["err_desc"]
    second = (await merchant.pay(prepay_id, force=True))["transaction_id"]
    await until(lambda: len(shop.received) == 2)
    notified = [merchant.open(body)["transaction_id"] for _, body in shop.received]
    assert sorted(notified) == sorted([first, second])
    rows = (await merchant.control("orders"))["orders"]
    assert [row["transaction_id"] for row in rows] == [first, second]
    assert {row["out_trade_no"] for row in rows} == {body["out_trade_no"]}


async def test_forced_money_reaches_a_closed_order(merchant):
    body, prepay_id = await merchant.prepay()
    await merchant.close(body["out_trade_no"])
    assert (await merchant.pay(prepay_id, force=True))["err_msg"] == "requestPayment:ok"
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "SUCCESS"


async def test_the_cookie_chooses_the_person(merchant, sandbox_url):
    _, prepay_id = await merchant.prepay()
    cookies = {"sandbox_openid": "oStranger"}
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, cookies=cookies) as http:
        result = (await http.post("/_sandbox/pay", json=merchant.invoke(prepay_id))).json()
    assert "下单账号与支付账号不一致" in result["err_desc"]


async def test_the_payment_sheet_knows_what_is_paid(merchant):
    _, prepay_id = await merchant.prepay()
    sheet = await merchant.control("preview", **merchant.invoke(prepay_id))
    assert (sheet["description"], sheet["total"]) == ("一盒茶", 990)
    unknown = await merchant.http.post("/_sandbox/preview", json=merchant.invoke("wx1"))
    assert unknown.status_code == 404
    assert unknown.json()["message"]


async def test_a_password_screen_can_be_left_although_the_order_has_expired(merchant):
    body, prepay_id = await merchant.prepay(merchant.order(time_expire=in_minutes(2)))
    await merchant.pay(prepay_id, outcome="typing")
    await merchant.control("clock", advance_seconds=8_000)
    assert (await merchant.close(body["out_trade_no"])).status_code == 202
    await merchant.pay(prepay_id, outcome="cancel")
    assert (await merchant.close(body["out_trade_no"])).status_code == 204
