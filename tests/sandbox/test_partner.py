"""Service providers 服务商: sp_ and sub_ names, and walls between sub merchants."""

import pytest

from tests.sandbox.merchant import ORDERS, app_invoke

BASE = "/v3/pay/partner/transactions"


@pytest.fixture
def sp(merchant):
    return merchant.become(merchant.credentials["sp"])


def subs(merchant):
    return [sub["mchid"] for sub in merchant.credentials["sub"]]


def sub_app(merchant, n=0, kind="miniprogram"):
    apps = merchant.credentials["sub"][n]["apps"]
    return next(app["appid"] for app in apps if app["kind"] == kind)


def order(sp, n=0, **changes):
    """Build an order of the sub merchant n, paid in the provider's mini program."""
    body = sp.order(appid=None, mchid=None, payer={"sp_openid": "oProviders"})
    parties = {"sp_appid": sp.mini["appid"], "sp_mchid": sp.mchid, "sub_mchid": subs(sp)[n]}
    return {k: v for k, v in (body | parties | changes).items() if v is not None}


async def query(sp, number, n=0):
    both = f"sp_mchid={sp.mchid}&sub_mchid={subs(sp)[n]}"
    return await sp.call("GET", f"{BASE}/out-trade-no/{number}?{both}")


async def test_the_providers_app_pays_with_sp_openid(sp):
    body = order(sp)
    prepay_id = (await sp.post(f"{BASE}/jsapi", body))["prepay_id"]
    assert (await sp.pay(prepay_id))["err_msg"] == "requestPayment:ok"
    trade = (await query(sp, body["out_trade_no"])).json()
    assert trade["trade_state"] == "SUCCESS"
    assert trade["payer"] == {"sp_openid": "oProviders"}
    assert {k: trade[k] for k in ("sp_appid", "sp_mchid", "sub_mchid")} == {
        k: body[k] for k in ("sp_appid", "sp_mchid", "sub_mchid")
    }
    assert not {"appid", "mchid", "sub_appid"} & trade.keys()


async def test_the_sub_merchants_app_pays_with_sub_openid(sp):
    appid = sub_app(sp)
    body = order(sp, sub_appid=appid, payer={"sub_openid": "oSubs"})
    prepay_id = (await sp.post(f"{BASE}/jsapi", body))["prepay_id"]
    wrong = await sp.pay(prepay_id)
    assert "the order was made for" in wrong["err_desc"]
    answer = await sp.control("pay", **sp.invoke(prepay_id, appid))
    assert answer["err_msg"] == "requestPayment:ok"
    trade = (await query(sp, body["out_trade_no"])).json()
    assert (trade["sub_appid"], trade["payer"]["sub_openid"]) == (appid, "oSubs")


async def test_the_notification_is_sealed_with_the_providers_key(sp):
    body = order(sp, notify_url=sp.shop.url)
    await sp.pay((await sp.post(f"{BASE}/jsapi", body))["prepay_id"])
    while not sp.shop.received:
        await sp.control("clock")
    sp.verify(sp.shop.received[0])
    trade = sp.open(sp.shop.received[0][1])
    assert (trade["sp_mchid"], trade["sub_mchid"]) == (sp.mchid, subs(sp)[0])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sub_mchid": "1900000109"}, "NO_AUTH"),
        ({"sub_mchid": "SP"}, "INVALID_REQUEST"),
        ({"sub_mchid": None}, "PARAM_ERROR"),
        ({"sp_mchid": None}, "PARAM_ERROR"),
        ({"sp_appid": None}, "PARAM_ERROR"),
        ({"sp_appid": "wx8888888888888888"}, "APPID_MCHID_NOT_MATCH"),
        ({"sub_appid": "OTHER"}, "APPID_MCHID_NOT_MATCH"),
        ({"payer": {"sub_openid": "oSubs"}}, "PARAM_ERROR"),
        ({"payer": {"openid": "oProviders"}}, "PARAM_ERROR"),
        ({"payer": {}}, "PARAM_ERROR"),
        ({"mchid": "1900000109"}, "PARAM_ERROR"),
    ],
)
async def test_half_a_provider_is_refused(sp, changes, code):
    values = {"SP": sp.mchid, "OTHER": sub_app(sp, 1)}
    changes = {
        name: values.get(value, value) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    answer = await sp.call("POST", f"{BASE}/jsapi", order(sp, **changes))
    assert (answer.status_code >= 400, answer.json()["code"]) == (True, code)


async def test_a_number_is_the_providers_over_all_sub_merchants(sp):
    body = order(sp)
    await sp.post(f"{BASE}/jsapi", body)
    other = order(sp, 1, out_trade_no=body["out_trade_no"])
    answer = await sp.call("POST", f"{BASE}/jsapi", other)
    assert answer.headers["Request-ID"].endswith("-268498688")
    asked = await query(sp, body["out_trade_no"], 1)
    assert (asked.status_code, asked.json()["code"]) == (404, "ORDER_NOT_EXIST")
    assert asked.headers["Request-ID"].endswith("-268447845")
    close = {"sp_mchid": sp.mchid, "sub_mchid": subs(sp)[1]}
    path = f"{BASE}/out-trade-no/{body['out_trade_no']}/close"
    assert (await sp.call("POST", path, close)).status_code == 404
    close["sub_mchid"] = subs(sp)[0]
    assert (await sp.call("POST", path, close)).status_code == 204


async def test_a_direct_merchant_is_no_provider(merchant, sp):
    body = {**order(sp), "sp_mchid": merchant.mchid, "sp_appid": merchant.mini["appid"]}
    assert (await merchant.call("POST", f"{BASE}/jsapi", body)).json()["code"] == "NO_AUTH"
    query = f"{BASE}/out-trade-no/{body['out_trade_no']}?sp_mchid={merchant.mchid}"
    assert (await merchant.call("GET", query)).json()["detail"]["field"] == "/query/sub_mchid"


@pytest.mark.parametrize("call", ["prepay", "query", "close"])
async def test_a_provider_on_the_direct_path_is_told_to_name_its_sub_merchant(sp, call):
    number = f"{ORDERS}/out-trade-no/S1234567"
    answer = await {
        "prepay": lambda: sp.call("POST", f"{ORDERS}/native", sp.order(payer=None)),
        "query": lambda: sp.call("GET", f"{number}?mchid={sp.mchid}"),
        "close": lambda: sp.call("POST", f"{number}/close", {"mchid": sp.mchid}),
    }[call]()
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert answer.headers["Request-ID"].endswith("-268443704")


async def test_refunds_and_bills_name_the_sub_merchant(sp):
    body = order(sp, notify_url=sp.shop.url)
    await sp.pay((await sp.post(f"{BASE}/jsapi", body))["prepay_id"])
    refund = {
        "out_trade_no": body["out_trade_no"],
        "out_refund_no": "R1",
        "notify_url": sp.shop.url,
        "amount": {"refund": 100, "total": 990, "currency": "CNY"},
    }
    path = "/v3/refund/domestic/refunds"
    missing = await sp.call("POST", path, refund)
    assert missing.json()["detail"]["field"] == "/body/sub_mchid"
    assert missing.headers["Request-ID"].endswith("-268443704")
    other = await sp.call("POST", path, {**refund, "sub_mchid": subs(sp)[1]})
    assert other.json()["code"] == "RESOURCE_NOT_EXISTS"
    own = await sp.call("POST", path, {**refund, "sub_mchid": subs(sp)[0]})
    assert own.status_code == 200, own.text
    for sub, status in (("", 400), (f"?sub_mchid={subs(sp)[1]}", 404)):
        assert (await sp.call("GET", f"{path}/R1{sub}")).status_code == status
    assert (await sp.call("GET", f"{path}/R1?sub_mchid={subs(sp)[0]}")).status_code == 200
    await sp.control("clock", advance_seconds=3)
    while len(sp.shop.received) < 2:
        await sp.control("clock")
    notification = sp.open(sp.shop.received[1][1])
    assert (notification["sp_mchid"], notification["sub_mchid"]) == (sp.mchid, subs(sp)[0])
    now = (await sp.control("clock"))["now"]
    await sp.control("clock", advance_seconds=2 * 86400)
    bill = f"/v3/bill/tradebill?bill_date={now[:10]}"
    for more in ("", f"&sub_mchid={subs(sp)[0]}"):
        assert (await sp.call("GET", bill + more)).status_code == 200
    assert (await sp.call("GET", f"{bill}&sub_mchid={subs(sp)[1]}")).json()["code"] == (
        "NO_STATEMENT_EXIST"
    )
    assert (await sp.call("GET", f"{bill}&sub_mchid=1900000109")).json()["code"] == "NO_AUTH"


async def test_the_amount_widget_orders_by_scannedpos_for_providers_only(merchant, sp):
    scene = {"payer_client_ip": "203.0.113.10", "store_info": {"id": "store1"}}
    body = order(sp, scene_info=scene)
    prepay_id = (await sp.post(f"{BASE}/scannedpos", body))["prepay_id"]
    assert prepay_id.startswith("up_wx")
    assert (await sp.pay(prepay_id))["err_msg"] == "requestPayment:ok"
    missing = await sp.call("POST", f"{BASE}/scannedpos", order(sp))
    assert missing.json()["detail"]["field"] == "/body/scene_info"
    direct = await merchant.call("POST", "/v3/pay/transactions/scannedpos", merchant.order())
    assert direct.status_code == 404


async def test_the_partner_of_an_app_is_the_provider_alone(sp):
    appid = sub_app(sp, kind="app")
    body = order(sp, sub_appid=appid, payer=None)
    prepay_id = (await sp.post(f"{BASE}/app", body))["prepay_id"]
    invoke = app_invoke(sp, prepay_id, appid)
    answer = await sp.control("pay", **invoke | {"partnerId": subs(sp)[0]})
    assert answer["err_msg"] == "app:-1"
    assert "partnerId" in answer["err_desc"]
    assert (await sp.control("pay", **invoke))["err_msg"] == "app:0"
