"""H5, Native and App: what opens them, how long, from where, and what is signed."""

from urllib.parse import quote

import pytest

from tests.sandbox.merchant import ORDERS, app_invoke, in_minutes

HERE = {"payer_client_ip": "203.0.113.10", "h5_info": {"type": "Wap"}}
PAGE = "http://127.0.0.1:8000/"
PHONE = {"user-agent": "Mozilla/5.0 (iPhone) Safari"}


async def opened(merchant, product, **changes):
    """Order something that anybody can pay; the number and what opens it."""
    changes = {"scene_info": HERE if product == "h5" else None, **changes}
    body = merchant.order(payer=None, **changes)
    answer = await merchant.post(f"{ORDERS}/{product}", body)
    return body["out_trade_no"], *answer.values()


def app_of(merchant):
    return next(app for app in merchant.credentials["apps"] if app["kind"] == "app")["appid"]


async def paid_trade(merchant, number):
    trade = (await merchant.query(number)).json()
    assert trade["trade_state"] == "SUCCESS"
    return trade


async def test_a_code_is_scanned_and_paid_by_whoever_scans_it(merchant):
    number, code_url = await opened(merchant, "native")
    assert code_url.startswith("weixin://wxpay/bizpayurl?pr=")
    assert (await merchant.control("scan", code_url=code_url, openid="oScanner"))["err_msg"] == "ok"
    trade = await paid_trade(merchant, number)
    assert (trade["trade_type"], trade["payer"]) == ("NATIVE", {"openid": "oScanner"})


async def test_a_code_lives_two_hours_and_a_new_one_replaces_it(merchant):
    body = merchant.order(payer=None)
    first = (await merchant.post(f"{ORDERS}/native", body))["code_url"]
    second = (await merchant.post(f"{ORDERS}/native", body))["code_url"]
    answer = await merchant.control("scan", code_url=first)
    assert (answer["err_msg"], answer["err_desc"]) == ("fail", "二维码已过期，请重新生成")
    await merchant.control("clock", advance_seconds=2 * 3600)
    assert (await merchant.control("scan", code_url=second))["err_msg"] == "fail"
    assert (await merchant.control("scan", code_url="weixin://wxpay/x"))["err_msg"] == "fail"
    third = (await merchant.post(f"{ORDERS}/native", body))["code_url"]
    assert (await merchant.control("scan", code_url=third, outcome="cancel")) == {
        "err_msg": "cancel"
    }
    assert (await merchant.control("scan", code_url=third))["err_msg"] == "ok"


async def test_a_code_belongs_to_the_first_wechat_user_who_scans_it(merchant):
    body = merchant.order(payer=None)
    code_url = (await merchant.post(f"{ORDERS}/native", body))["code_url"]
    await merchant.control("scan", code_url=code_url, openid="oFirst", outcome="cancel")
    answer = await merchant.control("scan", code_url=code_url, openid="oSecond")
    assert answer == {"err_msg": "fail", "err_desc": "商家订单信息有误，请重新下单支付"}
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "NOTPAY"
    assert (await merchant.control("scan", code_url=code_url, openid="oFirst"))["err_msg"] == "ok"


async def test_a_new_code_of_the_same_order_is_anybodys_again(merchant):
    body = merchant.order(payer=None)
    first = (await merchant.post(f"{ORDERS}/native", body))["code_url"]
    await merchant.control("scan", code_url=first, openid="oFirst", outcome="cancel")
    second = (await merchant.post(f"{ORDERS}/native", body))["code_url"]
    assert (await merchant.control("scan", code_url=second, openid="oSecond"))["err_msg"] == "ok"


async def test_an_h5_link_belongs_to_the_first_wechat_user_who_opens_it(merchant):
    _, h5_url = await opened(merchant, "h5")
    await merchant.control("h5", h5_url=h5_url, openid="oFirst", outcome="fail")
    answer = await merchant.control("h5", h5_url=h5_url, openid="oSecond")
    assert answer == {"err_msg": "fail", "err_desc": "系统繁忙，请稍后再试"}
    assert (await merchant.control("h5", h5_url=h5_url, openid="oFirst"))["err_msg"] == "ok"


async def test_a_code_that_was_paid_or_is_overdue_says_so(merchant):
    _, code_url = await opened(merchant, "native")
    await merchant.control("scan", code_url=code_url)
    used = await merchant.control("scan", code_url=code_url)
    assert used == {"err_msg": "fail", "err_desc": "该订单已支付"}
    _, late = await opened(merchant, "native", time_expire=in_minutes(5))
    await merchant.control("clock", advance_seconds=300)
    answer = await merchant.control("scan", code_url=late)
    assert answer == {"err_msg": "fail", "err_desc": "该订单已失效，请重新返回商户下单支付"}


async def test_the_page_of_an_h5_link_says_when_it_is_paid_closed_or_overdue(merchant):
    from_shop = {**PHONE, "referer": PAGE}
    number, paid = await opened(merchant, "h5")
    await merchant.control("h5", h5_url=paid)
    assert "该订单已支付" in (await merchant.http.get(paid, headers=from_shop)).text
    number, closed = await opened(merchant, "h5")
    await merchant.close(number)
    assert "订单已关闭" in (await merchant.http.get(closed, headers=from_shop)).text
    _, late = await opened(merchant, "h5", time_expire=in_minutes(2))
    await merchant.control("clock", advance_seconds=120)
    assert "该订单已失效" in (await merchant.http.get(late, headers=from_shop)).text


async def test_an_h5_link_is_paid_and_its_trade_is_called_mweb(merchant):
    number, h5_url = await opened(merchant, "h5")
    assert "/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx" in h5_url
    back = f"{h5_url}&redirect_url={quote(PAGE, safe='')}"
    assert (await merchant.control("h5", h5_url=back, referer=PAGE))["err_msg"] == "ok"
    assert (await paid_trade(merchant, number))["trade_type"] == "MWEB"


@pytest.mark.parametrize(
    ("referer", "more", "problem"),
    [
        ("", "", "商家参数格式有误，请联系商家解决"),
        ("https://other.example.com/", "", "商家存在未配置的参数，请联系商家解决"),
        (PAGE, "&redirect_url=https%3A%2F%2Fother.example.com", "商家存在未配置的参数"),
        (PAGE, "&state=1", "商家参数格式有误"),
        (PAGE, "0", "商家参数格式有误"),
    ],
)
async def test_a_link_opened_from_the_wrong_place_says_so(merchant, referer, more, problem):
    number, h5_url = await opened(merchant, "h5")
    answer = await merchant.control("h5", h5_url=h5_url + more, referer=referer)
    assert answer["err_msg"] == "fail"
    assert problem in answer["err_desc"]
    page = await merchant.http.get(h5_url + more, headers={**PHONE, "referer": referer})
    assert problem in page.text
    assert (await merchant.query(number)).json()["trade_state"] == "NOTPAY"


async def test_a_link_lives_five_minutes_and_not_inside_wechat(merchant):
    _, h5_url = await opened(merchant, "h5")
    from_shop = {**PHONE, "referer": PAGE}
    assert "打开微信并支付" in (await merchant.http.get(h5_url, headers=from_shop)).text
    inside = {"referer": PAGE, "user-agent": "MicroMessenger/8.0"}
    assert "请在微信外打开订单" in (await merchant.http.get(h5_url, headers=inside)).text
    await merchant.control("clock", advance_seconds=300)
    late = "支付请求已失效，请重新发起支付"
    assert late in (await merchant.http.get(h5_url, headers=from_shop)).text
    assert (await merchant.control("h5", h5_url=h5_url))["err_desc"] == late


@pytest.mark.parametrize("scene", [None, {"payer_client_ip": "203.0.113.10"}])
async def test_h5_needs_the_scene(merchant, scene):
    answer = await merchant.call(
        "POST", f"{ORDERS}/h5", merchant.order(payer=None, scene_info=scene)
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "1.2.3", ""])
async def test_h5_needs_the_buyers_real_address(merchant, address):
    body = merchant.order(payer=None, scene_info={**HERE, "payer_client_ip": address})
    answer = await merchant.call("POST", f"{ORDERS}/h5", body)
    assert answer.status_code == 400
    assert answer.json()["detail"]["field"] == "/body/scene_info/payer_client_ip"


async def test_an_app_signs_the_bare_prepay_id(merchant):
    appid = app_of(merchant)
    number, prepay_id = await opened(merchant, "app", appid=appid)
    invoke = app_invoke(merchant, prepay_id, appid)
    wrong = merchant.sign(f"{appid}\n1700000000\nnonce\nprepay_id={prepay_id}\n".encode())
    for change in (
        {"sign": wrong},
        {"partnerId": "1900000109"},
        {"packageValue": f"prepay_id={prepay_id}"},
        {"appId": merchant.mini["appid"]},
        {"timeStamp": 1700000000},
        {"extra": "x"},
    ):
        answer = await merchant.control("pay", **{**invoke, **change})
        assert answer["err_msg"] == "app:-1", change
    assert (await merchant.control("pay", **invoke, outcome="cancel"))["err_msg"] == "app:-2"
    assert (await merchant.control("pay", **invoke))["err_msg"] == "app:0"
    assert (await paid_trade(merchant, number))["trade_type"] == "APP"


async def test_an_order_for_a_mini_programs_appid_opens_no_app(merchant):
    appid = merchant.mini["appid"]
    _, prepay_id = await opened(merchant, "app")
    assert (await merchant.control("pay", **app_invoke(merchant, prepay_id, appid)))[
        "err_msg"
    ] == "app:-1"
    _, mini = await merchant.prepay()
    answer = await merchant.control("pay", **app_invoke(merchant, mini, appid))
    assert "was made for jsapi" in answer["err_desc"]


@pytest.mark.parametrize("product", ["native", "app", "h5"])
async def test_a_number_belongs_to_its_product(merchant, product):
    body, _ = await merchant.prepay()
    again = {name: value for name, value in body.items() if name != "payer"}
    if product == "h5":
        again["scene_info"] = HERE
    answer = await merchant.call("POST", f"{ORDERS}/{product}", again)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert answer.headers["Request-ID"].endswith("-268498688")


@pytest.mark.parametrize("product", ["native", "app", "h5"])
async def test_only_jsapi_names_a_payer(merchant, product):
    scene = HERE if product == "h5" else None
    answer = await merchant.call("POST", f"{ORDERS}/{product}", merchant.order(scene_info=scene))
    assert answer.json()["detail"]["field"] == "/body/payer/openid"


async def test_the_bill_tells_the_products_apart(merchant):
    _, code_url = await opened(merchant, "native")
    _, h5_url = await opened(merchant, "h5")
    await merchant.control("scan", code_url=code_url, coupon_fen=90)
    await merchant.control("h5", h5_url=h5_url)
    now = (await merchant.control("clock"))["now"]
    await merchant.control("clock", advance_seconds=2 * 86400)
    applied = await merchant.call("GET", f"/v3/bill/tradebill?bill_date={now[:10]}")
    url = applied.json()["download_url"].partition("/v3/")[2]
    text = (await merchant.call("GET", f"/v3/{url}")).text
    assert "`NATIVE" in text
    assert "`MWEB" in text
