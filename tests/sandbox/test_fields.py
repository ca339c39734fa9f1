"""Every field of an order: what is refused, with WeChat's code, message and detail."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.fields import prepay
from sandbox.schema import read_body
from sandbox.wire import RefusalError

from tests.sandbox.merchant import ORDERS, in_minutes

PREPAY = prepay("jsapi", partner=False)


async def order(merchant, **changes):
    return await merchant.call("POST", f"{ORDERS}/jsapi", merchant.order(**changes))


async def test_the_published_sample_of_a_too_small_total(merchant):
    answer = await order(merchant, amount={"total": 0, "currency": "CNY"})
    assert answer.status_code == 400
    issue = "值低于最小值 1"
    assert answer.json() == {
        "code": "PARAM_ERROR",
        "message": f"输入源“/body/amount/total”映射到数值字段“总金额”规则校验失败，{issue}",
        "detail": {"field": "/body/amount/total", "value": 0, "issue": issue, "location": "body"},
    }
    assert answer.headers["Request-ID"].endswith("-268435464")


@pytest.mark.parametrize(
    ("changes", "label", "length", "most"),
    [
        ({"description": "茶" * 33 + "x" * 36}, "商品描述", 135, 127),
        ({"attach": "备" * 67 + "xx"}, "附加数据", 203, 128),
    ],
)
async def test_the_limits_of_description_and_attach_count_bytes(
    merchant, changes, label, length, most
):
    answer = await order(merchant, **changes)
    (name,) = changes
    issue = f"字节数 {length}，大于最大值 {most}"
    assert answer.json() == {
        "code": "PARAM_ERROR",
        "message": f"输入源“/body/{name}”映射到值字段“{label}”字符串规则校验失败，{issue}",
        "detail": {"field": f"/body/{name}", "value": length, "issue": issue, "location": "body"},
    }
    assert answer.headers["Request-ID"].endswith("-268435464")
    merchant.verify(answer)


async def test_what_is_missing_is_refused_in_wechats_words(merchant):
    answer = await order(merchant, amount=None)
    assert answer.json()["message"] == (
        "输入源“/body/amount”映射到字段“订单金额”必填性规则校验失败，此字段为必填项"
    )


async def test_a_wrong_number_names_the_pattern(merchant):
    answer = await order(merchant, out_trade_no="订单号1")
    assert answer.json()["detail"]["value"] == "订单号1"
    assert answer.json()["message"] == (
        "输入源“/body/out_trade_no”映射到值字段“商户订单号”字符串规则校验失败，"
        r"字符串必须匹配正则表达式“^[0-9a-zA-Z_\-\|\*]+$”"
    )


@pytest.mark.parametrize("suffix", ["Z", ".120+08:00", ".123456789Z", "-11:30", "+00:00"])
async def test_time_expire_is_rfc_3339_as_such(merchant, suffix):
    day = in_minutes(3 * 24 * 60)[:19]
    await merchant.prepay(merchant.order(time_expire=day + suffix))


async def test_a_time_expire_that_is_none_is_refused_in_wechats_words(merchant):
    answer = await order(merchant, time_expire="20220421191948")
    assert answer.json()["detail"]["value"] == "20220421191948"
    assert answer.json()["message"] == (
        "输入源“/body/time_expire”映射到值字段“交易结束时间”字符串规则校验失败，"
        "字符串必须是符合 RFC3339 日期时间格式"
    )


GOODS = {"merchant_goods_id": "tea", "quantity": 1, "unit_price": 990}
WRONG = [
    ({"appid": None}, "appid"),
    ({"mchid": None}, "mchid"),
    ({"mchid": "19000001O9"}, "mchid"),
    ({"mchid": 1900000109}, "mchid"),
    ({"description": ""}, "description"),
    ({"description": " "}, "description"),
    ({"description": "茶" * 42 + "xx"}, "description"),
    ({"attach": "备" * 43}, "attach"),
    ({"out_trade_no": "S1234"}, "out_trade_no"),
    ({"out_trade_no": "S" * 33}, "out_trade_no"),
    ({"out_trade_no": "S12345@7"}, "out_trade_no"),
    ({"out_trade_no": "茶茶茶茶茶茶"}, "out_trade_no"),
    ({"attach": "x" * 129}, "attach"),
    ({"goods_tag": "x" * 33}, "goods_tag"),
    ({"notify_url": None}, "notify_url"),
    ({"notify_url": "http://shop.example.com/notify"}, "notify_url"),
    ({"notify_url": "https://shop.example.com/notify?a=1"}, "notify_url"),
    ({"notify_url": "http://127.0.0.1/notify?a=1"}, "notify_url"),
    ({"notify_url": "http://127.0.0.1.example.com/notify"}, "notify_url"),
    ({"notify_url": "http://127.0.0.1@example.com/notify"}, "notify_url"),
    ({"notify_url": "/notify"}, "notify_url"),
    ({"notify_url": "https://shop.example.com/" + "x" * 240}, "notify_url"),
    ({"time_expire": "2030-01-01 00:00:00"}, "time_expire"),
    ({"time_expire": "20300101000000"}, "time_expire"),
    ({"time_expire": "2030-01-01T00:00:00"}, "time_expire"),
    ({"time_expire": "2030-13-01T00:00:00+08:00"}, "time_expire"),
    ({"time_expire": in_minutes(91 * 24 * 60)}, "time_expire"),
    ({"amount": None}, "amount"),
    ({"amount": 990}, "amount"),
    ({"amount": {"currency": "CNY"}}, "amount/total"),
    ({"amount": {"total": 9.9}}, "amount/total"),
    ({"amount": {"total": True}}, "amount/total"),
    ({"amount": {"total": "990"}}, "amount/total"),
    ({"amount": {"total": -1}}, "amount/total"),
    ({"amount": {"total": 2**63}}, "amount/total"),
    ({"amount": {"total": 990, "currency": "USD"}}, "amount/currency"),
    ({"payer": {"openid": "o" * 129}}, "payer/openid"),
    ({"payer": {"openid": "o buyer"}}, "payer/openid"),
    ({"limit_pay": []}, "limit_pay"),
    ({"limit_pay": ["no_money"]}, "limit_pay/0"),
    ({"support_fapiao": 1}, "support_fapiao"),
    ({"settle_info": {"profit_sharing": "Y"}}, "settle_info/profit_sharing"),
    ({"scene_info": {}}, "scene_info/payer_client_ip"),
    ({"scene_info": {"payer_client_ip": "1.2.3"}}, "scene_info/payer_client_ip"),
    (
        {"scene_info": {"payer_client_ip": "1.2.3.4", "store_info": {"name": "x"}}},
        "scene_info/store_info/id",
    ),
    ({"detail": {"goods_detail": []}}, "detail/goods_detail"),
    ({"detail": {"goods_detail": [GOODS | {"quantity": 0}]}}, "detail/goods_detail/0/quantity"),
    ({"detail": {"goods_detail": [GOODS | {"goods_name": "x" * 200}] * 60}}, "detail"),
]


@pytest.mark.parametrize(("changes", "field"), WRONG)
async def test_a_wrong_field_is_refused_by_name(merchant, changes, field):
    answer = await order(merchant, **changes)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "PARAM_ERROR"
    assert answer.json()["detail"]["field"] == f"/body/{field}"
    assert answer.json()["detail"]["location"] == "body"
    assert f"“/body/{field}”" in answer.json()["message"]


@pytest.mark.parametrize("at", ["", "amount", "payer", "scene_info"])
async def test_unknown_fields_are_refused_at_every_depth(merchant, at):
    body = merchant.order(scene_info={"payer_client_ip": "203.0.113.10"})
    (body[at] if at else body)["surprise"] = 1
    answer = await merchant.call("POST", f"{ORDERS}/jsapi", body)
    assert answer.status_code == 400
    field = "/".join(filter(None, ["/body", at, "surprise"]))
    issue = "请求中含有未在API文档中定义的参数"
    assert answer.json() == {
        "code": "PARAM_ERROR",
        "message": issue,
        "detail": {"field": field, "value": [field], "issue": issue, "location": None},
    }
    assert answer.headers["Request-ID"].endswith("-270924358")


@pytest.mark.parametrize("payer", [None, {}])
async def test_jsapi_needs_an_openid(merchant, payer):
    answer = await order(merchant, payer=payer)
    assert answer.json()["message"] == "JSAPI支付必须传openid"
    assert answer.headers["Request-ID"].endswith("-268501013")


async def test_null_is_not_the_same_as_absent(merchant):
    body = merchant.order() | {"attach": None}
    answer = await merchant.call("POST", f"{ORDERS}/jsapi", body)
    assert answer.json()["detail"]["issue"] == "值不能为null"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"mchid":"1","mchid":"2"}',
        b'{"amount":NaN}',
        b'{"a":' * 30_000,
        b"[" * 100_000,
        b'{"attach":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"amount":1e999}',
        b'"text"',
    ],
)
async def test_what_is_not_a_json_object_of_text_is_refused(merchant, body):
    answer = await merchant.call("POST", f"{ORDERS}/jsapi", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")


async def test_a_body_that_is_not_utf_8_is_refused_as_such(merchant):
    answer = await merchant.call("POST", f"{ORDERS}/native", '{"description":"茶"}'.encode("gbk"))
    body = {"code": "INVALID_REQUEST", "message": "请求内容传入了非UTF8参数"}
    assert (answer.status_code, answer.json()) == (400, body)


async def test_a_key_that_comes_twice_is_not_guessed_at(merchant):
    body = json.dumps(merchant.order()).encode()
    twice = body[:-1] + b', "amount": {"total": 1}}'
    answer = await merchant.call("POST", f"{ORDERS}/jsapi", twice)
    assert answer.json()["detail"]["issue"] == "请求体不是合法的JSON"


async def test_every_documented_field_is_accepted_at_its_limits(merchant):
    store = {"id": "0" * 32, "name": "店" * 256, "area_code": "440305", "address": "路" * 512}
    scene = {"payer_client_ip": "2001:db8::1", "device_id": "d" * 32, "store_info": store}
    await merchant.prepay(
        merchant.order(
            description="茶" * 42 + "x",
            out_trade_no="S|_-*" + "x" * 27,
            time_expire=in_minutes(30),
            attach="备" * 42 + "xx",
            goods_tag="T" * 32,
            limit_pay=["no_credit", "no_debit"],
            support_fapiao=True,
            amount={"total": 1},
            detail={"cost_price": 990, "invoice_id": "i", "goods_detail": [GOODS]},
            scene_info=scene,
            settle_info={"profit_sharing": False},
        )
    )


async def test_what_needs_a_special_permission_is_not_granted(merchant):
    identity = {"type": "IDCARD", "number": "x", "name": "x"}
    answer = await order(merchant, payer={"openid": "oBuyer", "identity": identity})
    assert (answer.status_code, answer.json()["code"]) == (403, "NO_AUTH")


async def test_an_appid_of_somebody_else_is_refused(merchant):
    answer = await order(merchant, appid="wx0000000000000000")
    assert (answer.status_code, answer.json()["code"]) == (400, "APPID_MCHID_NOT_MATCH")
    assert answer.headers["Request-ID"].endswith("-268445527")


@pytest.mark.parametrize("openid", ["not-an-openid", "o", "oOfTheOtherApp"])
async def test_an_openid_of_another_app_is_refused(merchant, openid):
    other = merchant.official["appid"]
    await merchant.control("oauth-code", appid=other, openid="oOfTheOtherApp")
    answer = await order(merchant, payer={"openid": openid})
    assert (answer.status_code, answer.json()["code"]) == (500, "OPENID_MISMATCH")


TEXTS = st.text('aS1|茶 /\x00"\ud800', max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5
)


@settings(database=None, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(PREPAY.fields)) | TEXTS, JSON, max_size=5))
def test_any_json_is_either_accepted_or_refused_with_a_field(body):
    refusal = None
    try:
        read_body(json.dumps(body).encode(), PREPAY)
    except RefusalError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code == "PARAM_ERROR"
        assert refusal.detail["field"].startswith("/body")
        assert refusal.answer().body


async def test_an_openid_nobody_has_seen_belongs_to_the_first_app_that_names_it(merchant):
    assert (await order(merchant, payer={"openid": "oStranger"})).status_code == 200
    other = merchant.order(appid=merchant.official["appid"], payer={"openid": "oStranger"})
    refused = await merchant.call("POST", "/v3/pay/transactions/jsapi", other)
    assert refused.json()["code"] == "OPENID_MISMATCH"
