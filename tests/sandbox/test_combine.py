"""Combined orders 合单: the whole, or nothing."""

import pytest

from tests.sandbox.merchant import in_minutes

BASE = "/v3/combine-transactions"
SCENE = {"payer_client_ip": "203.0.113.10", "device_id": "shop0001"}


def combined(merchant, *, subs=2, **changes):
    """Build a combined order of our merchant and the other one; a change to None removes."""
    single = merchant.order()
    mchids = [merchant.mchid, merchant.credentials["others"][0]["mchid"]]
    body = {
        "combine_appid": merchant.mini["appid"],
        "combine_mchid": merchant.mchid,
        "combine_out_trade_no": single["out_trade_no"] + "C",
        "scene_info": SCENE,
        "sub_orders": [
            {
                "mchid": mchids[n % 2],
                "out_trade_no": f"{single['out_trade_no']}{n:02}",
                "attach": "shop",
                "amount": {"total_amount": 100 + n, "currency": "CNY"},
                "description": f"茶{n}",
            }
            for n in range(subs)
        ],
        "combine_payer_info": {"openid": "oBuyer"},
        "notify_url": merchant.shop.url,
    }
    return {k: v for k, v in (body | changes).items() if v is not None}


async def queried(merchant, body):
    answer = await merchant.call("GET", f"{BASE}/out-trade-no/{body['combine_out_trade_no']}")
    assert answer.status_code == 200, answer.text
    merchant.verify(answer)
    return answer.json()


def refuses_other_parameters(answer):
    return answer.json()["code"] == "INVALID_REQUEST" and "参数与首次请求时不一致" in answer.text


async def test_one_payment_pays_every_part_and_is_notified_once(merchant):
    body = combined(merchant)
    prepay_id = (await merchant.post(f"{BASE}/jsapi", body))["prepay_id"]
    before = await queried(merchant, body)
    assert [sub_order["trade_state"] for sub_order in before["sub_orders"]] == ["NOTPAY", "NOTPAY"]
    assert "transaction_id" not in before["sub_orders"][0]
    assert (await merchant.pay(prepay_id, coupon_fen=150))["err_msg"] == "requestPayment:ok"
    after = await queried(merchant, body)
    assert [sub_order["trade_state"] for sub_order in after["sub_orders"]] == ["SUCCESS", "SUCCESS"]
    assert [sub_order["amount"]["total_amount"] for sub_order in after["sub_orders"]] == [100, 101]
    assert sum(sub_order["amount"]["payer_amount"] for sub_order in after["sub_orders"]) == 51
    assert len({sub_order["transaction_id"] for sub_order in after["sub_orders"]}) == 2
    assert after["combine_payer_info"] == {"openid": "oBuyer"}
    assert after["scene_info"] == {"device_id": "shop0001"}
    while not merchant.shop.received:
        await merchant.control("clock")
    notification = merchant.open(merchant.shop.received[0][1])
    assert notification["sub_orders"] == after["sub_orders"]
    assert len(merchant.shop.received) == 1


async def test_a_part_alone_can_neither_be_queried_nor_closed(merchant):
    body = combined(merchant)
    await merchant.post(f"{BASE}/jsapi", body)
    number = body["sub_orders"][0]["out_trade_no"]
    assert (await merchant.query(number)).json()["code"] == "ORDER_NOT_EXIST"
    assert (await merchant.close(number)).json()["code"] == "ORDER_NOT_EXIST"
    single = merchant.order(out_trade_no=number)
    answer = await merchant.call("POST", "/v3/pay/transactions/jsapi", single)
    assert refuses_other_parameters(answer)


async def test_close_names_exactly_all_parts(merchant):
    body = combined(merchant)
    await merchant.post(f"{BASE}/jsapi", body)
    path = f"{BASE}/out-trade-no/{body['combine_out_trade_no']}/close"
    subs = [
        {k: sub_order[k] for k in ("mchid", "out_trade_no")} for sub_order in body["sub_orders"]
    ]
    stranger = {**subs[0], "out_trade_no": "S1234567"}
    for wrong in (subs[:1], [*subs, stranger], [stranger, subs[1]], [subs[0], subs[0]]):
        close = {"combine_appid": body["combine_appid"], "sub_orders": wrong}
        answer = await merchant.call("POST", path, close)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    other = {"combine_appid": merchant.official["appid"], "sub_orders": subs}
    assert (await merchant.call("POST", path, other)).status_code == 400
    close = {"combine_appid": body["combine_appid"], "sub_orders": subs[::-1]}
    for _ in range(2):  # again is accepted
        assert (await merchant.call("POST", path, close)).status_code == 204
    assert {
        sub_order["trade_state"] for sub_order in (await queried(merchant, body))["sub_orders"]
    } == {"CLOSED"}
    again = await merchant.call("POST", f"{BASE}/jsapi", body)
    assert again.json()["code"] == "ORDER_CLOSED"


async def test_the_same_number_needs_the_same_parts(merchant):
    body = combined(merchant)
    first = await merchant.post(f"{BASE}/jsapi", body)
    assert await merchant.post(f"{BASE}/jsapi", body) != first
    changed = {
        **body,
        "sub_orders": [*body["sub_orders"][:1], {**body["sub_orders"][1], "attach": "x"}],
    }
    for path, other in ((f"{BASE}/jsapi", changed), (f"{BASE}/app", {**body})):
        answer = await merchant.call("POST", path, other)
        assert refuses_other_parameters(answer)
    taken = {**combined(merchant), "sub_orders": body["sub_orders"]}
    answer = await merchant.call("POST", f"{BASE}/jsapi", taken)
    assert refuses_other_parameters(answer)


@pytest.mark.parametrize(("subs", "right"), [(1, False), (2, True), (50, True), (51, False)])
async def test_a_direct_merchant_combines_two_to_fifty(merchant, subs, right):
    answer = await merchant.call("POST", f"{BASE}/jsapi", combined(merchant, subs=subs))
    assert (answer.status_code == 200) is right, answer.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"combine_mchid": "9000000000"}, "PARAM_ERROR"),
        ({"combine_appid": "wx8888888888888888"}, "APPID_MCHID_NOT_MATCH"),
        ({"combine_payer_info": None}, "PARAM_ERROR"),
        ({"notify_url": "http://shop.example.com/x"}, "PARAM_ERROR"),
        ({"notify_url": None}, "PARAM_ERROR"),
        ({"scene_info": {"device_id": "shop0001"}}, "PARAM_ERROR"),
        ({"combine_out_trade_no": "S1"}, "PARAM_ERROR"),
        ({"appid": "wx"}, "PARAM_ERROR"),
    ],
)
async def test_a_wrong_combined_order_is_refused(merchant, changes, code):
    answer = await merchant.call("POST", f"{BASE}/jsapi", combined(merchant, **changes))
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mchid": "1900000109"}, "APPID_MCHID_NOT_MATCH"),
        ({"sub_mchid": "1900000109"}, "NO_AUTH"),
        ({"amount": {"total_amount": 0, "currency": "CNY"}}, "PARAM_ERROR"),
        ({"amount": {"total_amount": 1_000_000_001, "currency": "CNY"}}, "PARAM_ERROR"),
        ({"amount": {"total": 100, "currency": "CNY"}}, "PARAM_ERROR"),
        ({"amount": {"total_amount": 100}}, "PARAM_ERROR"),
        ({"detail": {}}, "PARAM_ERROR"),
    ],
)
async def test_a_wrong_part_is_refused(merchant, change, code):
    body = combined(merchant)
    body["sub_orders"][1] |= change
    answer = await merchant.call("POST", f"{BASE}/jsapi", body)
    assert answer.json()["code"] == code


async def test_a_part_is_refunded_by_its_own_merchant_and_stands_in_its_bill(merchant):
    body = combined(merchant)
    prepay_id = (await merchant.post(f"{BASE}/jsapi", body))["prepay_id"]
    await merchant.pay(prepay_id)
    other = merchant.become(merchant.credentials["others"][0])
    part = body["sub_orders"][1]
    refund = {
        "out_trade_no": part["out_trade_no"],
        "out_refund_no": "R1",
        "notify_url": merchant.shop.url,
        "amount": {"refund": 1, "total": 101, "currency": "CNY"},
    }
    path = "/v3/refund/domestic/refunds"
    assert (await merchant.call("POST", path, refund)).json()["code"] == "RESOURCE_NOT_EXISTS"
    assert (await other.call("POST", path, refund)).status_code == 200
    now = (await merchant.control("clock"))["now"]
    await merchant.control("clock", advance_seconds=2 * 86400)
    for whose, number in (
        (merchant, body["sub_orders"][0]["out_trade_no"]),
        (other, part["out_trade_no"]),
    ):
        applied = await whose.call("GET", f"/v3/bill/tradebill?bill_date={now[:10]}")
        url = "/v3/" + applied.json()["download_url"].partition("/v3/")[2]
        text = (await whose.call("GET", url)).text
        assert [sub_order["out_trade_no"] in text for sub_order in body["sub_orders"]].count(
            True
        ) == 1
        assert number in text
        stranger = other if whose is merchant else merchant
        assert (await stranger.call("GET", url)).status_code == 403


@pytest.mark.parametrize("product", ["h5", "native", "app"])
async def test_every_product_combines(merchant, product):
    scene = {**SCENE, "h5_info": {"type": "Wap"}} if product == "h5" else SCENE
    body = combined(merchant, combine_payer_info=None, scene_info=scene)
    answer = await merchant.post(f"{BASE}/{product}", body)
    if product == "native":
        assert (await merchant.control("scan", **answer))["err_msg"] == "ok"
        assert (await queried(merchant, body))["sub_orders"][0]["trade_type"] == "NATIVE"
    if product == "h5":
        assert (await merchant.control("h5", **answer))["err_msg"] == "ok"


async def test_a_provider_combines_its_sub_merchants(merchant):
    sp = merchant.become(merchant.credentials["sp"])
    body = combined(merchant, combine_appid=sp.mini["appid"], combine_mchid=sp.mchid)
    for sub_order, sub in zip(body["sub_orders"], merchant.credentials["sub"], strict=True):
        sub_order |= {"mchid": sp.mchid, "sub_mchid": sub["mchid"]}
    body["combine_payer_info"] = {"openid": "oProviders"}
    prepay_id = (await sp.post(f"{BASE}/jsapi", body))["prepay_id"]
    assert (await sp.pay(prepay_id))["err_msg"] == "requestPayment:ok"
    trade = await queried(sp, body)
    assert [sub_order["sub_mchid"] for sub_order in trade["sub_orders"]] == [
        sub_order["mchid"] for sub_order in merchant.credentials["sub"]
    ]


async def test_a_provider_may_combine_one_sub_merchant_alone(merchant):
    sp = merchant.become(merchant.credentials["sp"])
    body = combined(merchant, subs=1, combine_appid=sp.mini["appid"], combine_mchid=sp.mchid)
    body["sub_orders"][0] |= {"mchid": sp.mchid, "sub_mchid": sp.credentials["sub"][0]["mchid"]}
    body["combine_payer_info"] = {"openid": "oProviders"}
    await sp.post(f"{BASE}/jsapi", body)


async def test_a_provider_names_the_sub_merchant_of_every_part(merchant):
    sp = merchant.become(merchant.credentials["sp"])
    body = combined(merchant, combine_appid=sp.mini["appid"], combine_mchid=sp.mchid)
    body["sub_orders"][0] |= {"mchid": sp.mchid, "sub_mchid": sp.credentials["sub"][0]["mchid"]}
    body["sub_orders"][1] |= {"mchid": sp.mchid}
    answer = await sp.call("POST", f"{BASE}/jsapi", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert answer.headers["Request-ID"].endswith("-268443704")


@pytest.mark.parametrize("suffix", ["Z", ".123456789+08:00"])
async def test_time_expire_of_a_combined_order_is_rfc_3339_as_such(merchant, suffix):
    until = in_minutes(3 * 24 * 60)[:19] + suffix
    await merchant.post(f"{BASE}/jsapi", combined(merchant, time_expire=until))


async def test_closing_a_combined_number_that_was_never_ordered_burns_it(merchant):
    body = combined(merchant)
    path = f"{BASE}/out-trade-no/{body['combine_out_trade_no']}/close"
    subs = [
        {k: sub_order[k] for k in ("mchid", "out_trade_no")} for sub_order in body["sub_orders"]
    ]
    close = {"combine_appid": body["combine_appid"], "sub_orders": subs}
    assert (await merchant.call("POST", path, close)).status_code == 204
    answer = await merchant.call("POST", f"{BASE}/jsapi", body)
    assert (answer.status_code, refuses_other_parameters(answer)) == (400, True)


@pytest.mark.parametrize("start", ["20300101000000", "2030-01-01 00:00:00"])
async def test_time_start_is_rfc_3339_too(merchant, start):
    answer = await merchant.call("POST", f"{BASE}/jsapi", combined(merchant, time_start=start))
    assert answer.json()["detail"]["field"] == "/body/time_start"
    assert "RFC3339" in answer.json()["message"]
