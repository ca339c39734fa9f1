"""What APIv2 refuses, with its codes: return_code when the message is bad, err_code when the wish is."""

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any
from xml.sax.saxutils import unescape

import pytest
from kit import captured

from tests.sandbox.merchant import Merchant

Fields = dict[str, str]


class Old:
    """Signs and verifies with the APIv2 key that the sandbox hands out."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self.key = merchant.credentials["apiv2_key"]

    def sign(self, fields: Fields, sign_type: str = "") -> str:
        pairs = "&".join(f"{k}={v}" for k, v in sorted(fields.items()) if v and k != "sign")
        text = f"{pairs}&key={self.key}".encode()
        if (sign_type or fields.get("sign_type")) == "HMAC-SHA256":
            return hmac.new(self.key.encode(), text, hashlib.sha256).hexdigest().upper()
        return hashlib.md5(text).hexdigest().upper()

    async def send(self, path: str, fields: Fields, **changes: str) -> Fields:
        body = "".join(f"<{k}><![CDATA[{v}]]></{k}>" for k, v in (fields | changes).items())
        return await self.post(path, f"<xml>{body}</xml>")

    async def post(self, path: str, text: str) -> Fields:
        answer = await self.merchant.http.post(path, content=text.encode())
        assert answer.status_code == 200
        fields = re.findall(r"<(\w+)>(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?</\1>", answer.text[5:-6])
        return {name: unescape(value) for name, value in fields}

    async def call(self, path: str, **fields: str) -> Fields:
        """Call with appid, mch_id, nonce and sign; prove the answer."""
        signed = {
            "appid": self.merchant.mini["appid"],
            "mch_id": self.merchant.mchid,
            "nonce_str": secrets.token_hex(8),
        } | fields
        answer = await self.send(path, signed, sign=self.sign(signed))
        if answer["return_code"] == "SUCCESS":
            assert answer["sign"] == self.sign(answer, fields.get("sign_type", "MD5"))
        return answer

    def order(self, number: str = "S1000001", **changes: str) -> Fields:
        fields = {
            "body": "茶",
            "out_trade_no": number,
            "total_fee": "990",
            "spbill_create_ip": "203.0.113.7",
            "notify_url": self.merchant.shop.url,
            "trade_type": "JSAPI",
            "openid": "oBuyer",
        } | changes
        return {name: value for name, value in fields.items() if value}

    async def paid(self, number: str) -> str:
        reply = await self.call(
            "/pay/unifiedorder", **self.order(number, trade_type="NATIVE", product_id="1")
        )
        answer = await self.merchant.control("scan", code_url=reply["code_url"])
        return str(answer["transaction_id"])


@pytest.fixture
def old(merchant: Merchant) -> Old:
    return Old(merchant)


@pytest.mark.parametrize("sign_type", ["", "MD5", "HMAC-SHA256"])
async def test_both_sign_types_are_spoken(old: Old, sign_type: str) -> None:
    wish = {"sign_type": sign_type} if sign_type else {}
    answer = await old.call("/pay/unifiedorder", **old.order(), **wish)
    assert answer["result_code"] == "SUCCESS"
    assert answer["prepay_id"].startswith("wx")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sign": "0" * 32}, "签名错误"),
        ({"sign": ""}, "签名错误"),
        ({"sign_type": "RSA"}, "签名类型错误"),
        ({"total_fee": "991"}, "签名错误"),
        ({"mch_id": "1900000000"}, "mch_id"),
    ],
)
async def test_a_message_that_is_not_the_merchants_is_return_code_fail(
    old: Old, changes: Fields, words: str
) -> None:
    fields = {"appid": old.merchant.mini["appid"], "mch_id": old.merchant.mchid, "nonce_str": "n"}
    fields |= old.order()
    answer = await old.send("/pay/unifiedorder", {**fields, "sign": old.sign(fields)}, **changes)
    assert answer["return_code"] == "FAIL"
    assert words in answer["return_msg"]
    assert "sign" not in answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "<xml><a>1</a><a>2</a></xml>",
        "<xml><a><b>1</b></a></xml>",
        '<!DOCTYPE xml [<!ENTITY a "1">]><xml><a>&a;</a></xml>',
        '<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><a>&a;</a></xml>',
        '<?xml version="1.0" encoding="utf-16"?><xml><a>1</a></xml>',
    ],
)
async def test_what_is_not_their_xml_is_return_code_fail(old: Old, text: str) -> None:
    answer = await old.post("/pay/unifiedorder", text)
    assert answer["return_code"] == "FAIL"
    assert "root:" not in str(answer)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"openid": ""}, "PARAM_ERROR"),
        ({"out_trade_no": "S 1"}, "PARAM_ERROR"),
        ({"notify_url": "http://shop.example.com/n"}, "PARAM_ERROR"),
        ({"notify_url": "https://shop.example.com/n?x=1"}, "PARAM_ERROR"),
        ({"spbill_create_ip": "here"}, "PARAM_ERROR"),
        ({"trade_type": "MICROPAY"}, "PARAM_ERROR"),
        ({"trade_type": "NATIVE"}, "LACK_PARAMS"),
        ({"trade_type": "MWEB"}, "PARAM_ERROR"),
        ({"body": ""}, "LACK_PARAMS"),
        ({"appid": "wx0000000000000000"}, "APPID_MCHID_NOT_MATCH"),
    ],
)
async def test_an_order_that_is_wrong_has_an_err_code(old: Old, changes: Fields, code: str) -> None:
    wish: Any = old.order(**changes)
    answer = await old.call("/pay/unifiedorder", **wish)
    assert (answer["return_code"], answer["result_code"], answer["err_code"]) == (
        "SUCCESS",
        "FAIL",
        code,
    )


@pytest.mark.parametrize(
    ("changes", "issue"),
    [
        ({"body": "茶" * 42 + "xx"}, "“商品描述”字符串规则校验失败，字节数 128，大于最大值 127"),
        ({"attach": "备" * 43}, "“附加数据”字符串规则校验失败，字节数 129，大于最大值 127"),
    ],
)
async def test_a_text_that_is_too_long_in_bytes_is_return_code_fail(
    old: Old, changes: Fields, issue: str
) -> None:
    answer = await old.call("/pay/unifiedorder", **old.order(**changes))
    (name,) = changes
    assert answer == {
        "return_code": "FAIL",
        "return_msg": f"输入源“/body/xml/{name}”映射到值字段{issue}",
    }
    right = old.order(**{name: changes[name][:42]})
    assert (await old.call("/pay/unifiedorder", **right))["result_code"] == "SUCCESS"


@pytest.mark.parametrize("total_fee", ["0", "-1"])
async def test_an_order_of_nothing_is_return_code_fail(old: Old, total_fee: str) -> None:
    answer = await old.call("/pay/unifiedorder", **old.order(total_fee=total_fee))
    issue = "映射到数值字段“标价金额”规则校验失败，值低于最小值 1"
    assert answer == {"return_code": "FAIL", "return_msg": f"输入源“/body/xml/total_fee”{issue}"}


@pytest.mark.parametrize(("seconds", "right"), [(290, False), (-60, False), (310, True)])
async def test_an_order_lives_at_least_five_minutes(old: Old, seconds: int, right: bool) -> None:
    moment = datetime.now(timezone(timedelta(hours=8))) + timedelta(seconds=seconds)
    answer = await old.call("/pay/unifiedorder", **old.order(time_expire=f"{moment:%Y%m%d%H%M%S}"))
    assert (answer["result_code"] == "SUCCESS") is right
    if not right:
        assert answer["err_code"] == "PARAM_ERROR"
        assert answer["err_code_des"] == "time_expire时间过短，刷卡至少1分钟，其他5分钟"


@pytest.mark.parametrize("root", ["root", "XML", "html"])
async def test_another_xml_root_is_a_wrong_mch_id(old: Old, root: str) -> None:
    answer = await old.post("/pay/unifiedorder", f"<{root}><mch_id>9000000000</mch_id></{root}>")
    assert answer == {"return_code": "FAIL", "return_msg": "mch_id参数格式错误"}


async def test_a_nonce_has_at_most_32_characters(old: Old) -> None:
    answer = await old.call("/pay/orderquery", out_trade_no="S1000001", nonce_str="n" * 33)
    assert answer == {"return_code": "FAIL", "return_msg": "nonce_str参数长度有误"}


POSTPONED = {
    "not_enough": "NOTENOUGH",
    "order_not_ready": "ORDER_NOT_READY",
    "frequency_limited": "FREQUENCY_LIMITED",
    "invalid_req_too_much": "INVALID_REQ_TOO_MUCH",
    "bizerr_need_retry": "BIZERR_NEED_RETRY",
}


@pytest.mark.parametrize(("fault", "code"), POSTPONED.items())
async def test_a_refund_that_is_put_off_says_so_by_err_code_and_succeeds_later(
    old: Old, fault: str, code: str
) -> None:
    wish = {"transaction_id": await old.paid("S1000001"), "total_fee": "990", "refund_fee": "900"}
    await old.merchant.faults(refunds=fault, times=1)
    answer = await old.call("/secapi/pay/refund", **wish, out_refund_no="R1")
    assert (answer["return_code"], answer["result_code"], answer["err_code"]) == (
        "SUCCESS",
        "FAIL",
        code,
    )
    unknown = await old.call("/pay/refundquery", out_refund_no="R1")
    assert unknown["err_code"] == "REFUNDNOTEXIST"
    assert (await old.call("/secapi/pay/refund", **wish, out_refund_no="R1"))["refund_id"]


async def test_the_refund_of_an_unpaid_order_finds_no_order(old: Old) -> None:
    await old.call("/pay/unifiedorder", **old.order())
    wish = {"out_trade_no": "S1000001", "total_fee": "990", "refund_fee": "900"}
    answer = await old.call("/secapi/pay/refund", **wish, out_refund_no="R1")
    assert answer["err_code"] == "ORDERNOTEXIST"


async def test_a_coupon_is_told_by_payment_and_refund_alike(old: Old) -> None:
    order = old.order(trade_type="NATIVE", product_id="1", openid="")
    code_url = (await old.call("/pay/unifiedorder", **order))["code_url"]
    await old.merchant.control("scan", code_url=code_url, coupon_fen=99)
    paid = await old.call("/pay/orderquery", out_trade_no="S1000001")
    coupon = {"coupon_fee": "99", "coupon_count": "1", "coupon_fee_0": "99"}
    assert paid | coupon | {"cash_fee": "891", "settlement_total_fee": "891"} == paid
    wish = {"out_trade_no": "S1000001", "out_refund_no": "R1", "total_fee": "990"}
    made = await old.call("/secapi/pay/refund", **wish, refund_fee="100")
    split = {
        "cash_fee": "891",
        "cash_refund_fee": "90",
        "coupon_refund_fee": "10",
        "coupon_refund_count": "1",
        "coupon_refund_id_0": paid["coupon_id_0"],
        "coupon_refund_fee_0": "10",
        "settlement_refund_fee": "90",
    }
    assert made | split == made
    fields = await old.call("/pay/refundquery", out_refund_no="R1")
    listed = {"coupon_refund_fee_0": "10", "coupon_refund_count_0": "1", "cash_fee": "891"}
    listed |= {"coupon_refund_fee_0_0": "10", "coupon_refund_id_0_0": paid["coupon_id_0"]}
    assert fields | listed == fields


async def test_a_number_stands_for_one_order(old: Old) -> None:
    first = await old.call("/pay/unifiedorder", **old.order())
    again = await old.call("/pay/unifiedorder", **old.order())
    assert first["result_code"] == again["result_code"] == "SUCCESS"
    other = await old.call("/pay/unifiedorder", **old.order(total_fee="991"))
    assert (other["err_code"], other["err_code_des"]) == ("OUT_TRADE_NO_USED", "商户订单号重复")


async def test_an_order_is_not_closed_in_five_minutes_nor_when_it_is_paid(old: Old) -> None:
    await old.call("/pay/unifiedorder", **old.order())
    early = await old.call("/pay/closeorder", out_trade_no="S1000001")
    assert early["result_code"] == "FAIL"
    await old.merchant.control("clock", advance_seconds=300)
    closed = await old.call("/pay/closeorder", out_trade_no="S1000001")
    assert closed["result_code"] == "SUCCESS"
    again = await old.call("/pay/closeorder", out_trade_no="S1000001")
    assert again["err_code"] == "ORDERCLOSED"
    await old.paid("S1000002")
    paid = await old.call("/pay/closeorder", out_trade_no="S1000002")
    assert paid["err_code"] == "ORDERPAID"
    unknown = await old.call("/pay/orderquery", out_trade_no="S1000009")
    assert unknown["err_code"] == "ORDERNOTEXIST"


async def test_a_refund_never_exceeds_the_payment(old: Old) -> None:
    transaction_id = await old.paid("S1000001")
    wish = {"transaction_id": transaction_id, "total_fee": "990", "out_refund_no": "R1"}
    assert (await old.call("/secapi/pay/refund", **wish, refund_fee="900"))["refund_id"]
    await old.merchant.control("clock", advance_seconds=61)
    more = await old.call("/secapi/pay/refund", **wish | {"out_refund_no": "R2"}, refund_fee="91")
    assert more["result_code"] == "FAIL"
    assert (await old.call("/pay/refundquery", out_refund_no="R1"))["refund_status_0"] == "SUCCESS"
    unknown = await old.call("/pay/refundquery", out_refund_no="R9")
    assert unknown["err_code"] == "REFUNDNOTEXIST"


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("api.mch.weixin.qq.com", "https://wx.tenpay.com"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
    ],
)
async def test_an_h5_link_is_wechats_for_whoever_addresses_it(
    old: Old, host: str, page: str
) -> None:
    old.merchant.http.headers["Host"] = host
    scene = '{"h5_info":{"type":"Wap"}}'
    wish = old.order(openid="", trade_type="MWEB", scene_info=scene)
    answer = await old.call("/pay/unifiedorder", **wish)
    assert answer["mweb_url"].startswith(f"{page}/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx")


@pytest.mark.parametrize("names", ["v2", "sdk"])
async def test_an_app_opens_the_cashier_with_its_own_form(old: Old, names: str) -> None:
    apps = old.merchant.credentials["apps"]
    appid = next(app["appid"] for app in apps if app["kind"] == "app")
    answer = await old.call(
        "/pay/unifiedorder", **old.order(openid="", trade_type="APP"), appid=appid
    )
    form = {
        "appid": appid,
        "partnerid": old.merchant.mchid,
        "prepayid": answer["prepay_id"],
        "package": "Sign=WXPay",
        "noncestr": "n",
        "timestamp": "1700000000",
    }
    form["sign"] = old.sign(form, "MD5")
    if names == "sdk":
        sdk = ("appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign")
        form = dict(zip(sdk, form.values(), strict=True))
    for wrong in ("sign", next(iter(form))):
        refused = await old.merchant.control("pay", **form | {wrong: "0" * 32})
        assert refused["err_msg"] == "app:-1"
    assert (await old.merchant.control("pay", **form))["err_msg"] == "app:0"
    paid = await old.call("/pay/orderquery", out_trade_no="S1000001")
    assert (paid["trade_state"], paid["trade_type"]) == ("SUCCESS", "APP")


async def test_an_invoke_object_of_the_other_sign_type_does_not_pay(old: Old) -> None:
    answer = await old.call("/pay/unifiedorder", **old.order())
    form = {
        "appId": old.merchant.mini["appid"],
        "timeStamp": "1700000000",
        "nonceStr": "n",
        "package": f"prepay_id={answer['prepay_id']}",
        "signType": "HMAC-SHA256",
    }
    sign = old.sign(form, "HMAC-SHA256")
    refused = await old.merchant.control("pay", **form, paySign=sign)
    assert "the order was signed with MD5" in refused["err_msg"]
    form["signType"] = "MD5"
    good = old.sign(form, "MD5")
    assert (await old.merchant.control("pay", **form, paySign=good))["err_msg"].endswith(":ok")


FILES = captured.read_folder("wechat/captured/v2")
#: files that no call of the sandbox answers, and why
NOT_PLAYED = {
    "prepay-body-too-long": "an older answer: the reference says 127 bytes",
    "prepay-jsapi-off": "product_off stands for every product that is not opened",
    "prepay-parameter-missing": "nobody knows what was sent",
    "product-off-unsigned": "the same refusal was captured with a sign, too, and is sent so",
    "system-busy": "an answer of transfers, which are not played",
}
PAID = {"transaction_id": "", "total_fee": "990", "refund_fee": "900", "out_refund_no": "R1"}
#: the fault of the menu that an answer needs, and what is done then
CAPTURED: dict[str, tuple[dict[str, Any], str]] = {
    "bill-empty": ({}, "bill"),
    "close-paid": ({}, "close paid"),
    "openid-invalid": ({"answers": {"prepay": "openid_invalid"}}, "order"),
    "openid-mismatch": ({}, "order by a stranger"),
    "prepay-closed": ({}, "order closed"),
    "prepay-number-used": ({}, "order twice"),
    "prepay-paid": ({}, "order paid"),
    "prepay-product-off": ({"answers": {"prepay": "product_off"}}, "order"),
    "prepay-rate-limited": ({"answers": {"prepay": "429"}}, "order"),
    "prepay-mch-id-malformed": ({}, "order of nobody"),
    "prepay-receiving-restricted": ({"answers": {"prepay": "receiving_restricted"}}, "order"),
    "prepay-total-fee-no-number": ({}, "order for a fraction"),
    "prepay-time-expire-too-short": ({}, "order for a minute"),
    "query-unknown-number": ({}, "query"),
    "refund-account-abnormal": ({"refunds": "user_account_abnormal"}, "refund"),
    "refund-all-refunded": ({}, "refund of nothing left"),
    "refund-exceeds": ({}, "refund of too much"),
    "refund-fee-no-number": ({}, "refund of a fraction"),
    "refund-more-than-total": ({}, "refund above the total"),
    "refund-amount-differs": ({}, "refund twice"),
    "refund-not-enough": ({"refunds": "not_enough"}, "refund"),
    "refund-order-not-ready": ({"refunds": "order_not_ready"}, "refund"),
    "refund-overdue": ({}, "refund after a year"),
    "refund-query-unknown": ({}, "refund query"),
    "refund-rate-limited": ({"refunds": "frequency_limited"}, "refund"),
    "refund-retry-needed": ({"refunds": "bizerr_need_retry"}, "refund"),
    "refund-system-error": ({"answers": {"refund": "500"}}, "refund"),
    "refund-too-many-failures": ({"refunds": "invalid_req_too_much"}, "refund"),
    "sign-wrong": ({}, "query with another sign"),
}


#: what is wrong in these orders and refunds
WRONG_ORDERS = {"for a fraction": {"total_fee": "9.9"}, "of nobody": {"mch_id": "x"}}
WRONG_REFUNDS = {"of a fraction": {"refund_fee": "9.9"}, "above the total": {"refund_fee": "991"}}
#: what was given back before, and what is asked for then
SECOND_REFUNDS = {"of nothing left": ("990", "990"), "of too much": ("100", "891")}


async def ordered(old: Old, what: str) -> Fields:
    """Order as said, by APIv2."""
    if what == "by a stranger":
        appid = old.merchant.official["appid"]
        await old.merchant.control("oauth-code", appid=appid, openid="oReader")
        return await old.call("/pay/unifiedorder", **old.order(openid="oReader"))
    if what in WRONG_ORDERS:
        return await old.call("/pay/unifiedorder", **old.order(**WRONG_ORDERS[what]))
    if what == "for a minute":
        return await old.call("/pay/unifiedorder", **old.order(time_expire="20260101000000"))
    first = old.order(trade_type="NATIVE", product_id="1", openid="")
    answer = await old.call("/pay/unifiedorder", **first)
    if what == "paid":
        await old.merchant.control("scan", code_url=answer["code_url"])
    if what == "closed":
        await old.merchant.control("clock", advance_seconds=300)
        await old.call("/pay/closeorder", out_trade_no="S1000001")
    fee = "991" if what == "twice" else "990"
    return await old.call("/pay/unifiedorder", **first | {"total_fee": fee}) if what else answer


async def refunded(old: Old, what: str) -> Fields:
    """Refund a payment as said, by APIv2."""
    wish = PAID | {"transaction_id": await old.paid("S1000001")}
    if what == "after a year":
        await old.merchant.control("clock", advance_seconds=366 * 86400)
    if what == "twice":
        await old.call("/secapi/pay/refund", **wish)
        wish |= {"refund_fee": "899"}
    if what in SECOND_REFUNDS:
        first, second = SECOND_REFUNDS[what]
        await old.call("/secapi/pay/refund", **wish | {"refund_fee": first})
        await old.merchant.control("clock", advance_seconds=60)
        wish |= {"out_refund_no": "R2", "refund_fee": second}
    return await old.call("/secapi/pay/refund", **wish | WRONG_REFUNDS.get(what, {}))


async def answered(old: Old, what: str) -> Fields:
    """Do what was done when an answer was captured."""
    call, _, how = what.partition(" ")
    if what == "refund query":
        return await old.call("/pay/refundquery", out_refund_no="R9")
    if call == "order":
        return await ordered(old, how)
    if call == "refund":
        return await refunded(old, how)
    if call == "query" and not how:
        return await old.call("/pay/orderquery", out_trade_no="S9999999")
    if call == "close":
        await old.paid("S1000001")
        return await old.call("/pay/closeorder", out_trade_no="S1000001")
    if call == "bill":
        day = (await old.merchant.control("clock"))["now"][:10].replace("-", "")
        await old.merchant.control("clock", advance_seconds=2 * 86400)
        return await old.call("/pay/downloadbill", bill_date=day)
    return await old.send("/pay/orderquery", {"mch_id": old.merchant.mchid, "sign": "0" * 32})


def test_every_captured_answer_has_a_scenario_or_a_reason() -> None:
    assert captured.unregistered(FILES, CAPTURED, NOT_PLAYED) == []


@pytest.mark.parametrize("name", sorted(FILES.keys() & CAPTURED.keys()))
async def test_the_sandbox_answers_as_wechat_did(old: Old, name: str) -> None:
    menu, what = CAPTURED[name]
    if menu:
        await old.merchant.faults(**menu)
    wanted = dict(re.findall(r"<(\w+)><!\[CDATA\[(.*?)\]\]></\1>", FILES[name]["xml"]))
    answer = await answered(old, what)
    assert captured.differences(FILES[name] | {"body": wanted}, answer, "err_code_des") == [], (
        answer
    )
    assert ("sign" in answer) is (wanted["return_code"] == "SUCCESS")


NEEDED = {
    "/pay/unifiedorder": (
        "body",
        "out_trade_no",
        "total_fee",
        "spbill_create_ip",
        "notify_url",
        "trade_type",
    ),
    "/pay/closeorder": ("out_trade_no",),
    "/secapi/pay/refund": ("out_refund_no", "total_fee", "refund_fee"),
    "/pay/refundquery": (),
    "/pay/downloadbill": ("bill_date",),
}
RIGHT = {
    "out_refund_no": "R1000001",
    "refund_fee": "100",
    "bill_date": "20260101",
}


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in NEEDED.items() for name in names]
)
async def test_every_call_names_what_is_missing(old: Old, path: str, name: str) -> None:
    right = old.order() | RIGHT
    answer = await old.call(path, **{key: right[key] for key in NEEDED[path] if key != name})
    code = "LACK_PARAMS" if path == "/pay/unifiedorder" else "PARAM_ERROR"
    assert (answer["result_code"], answer["err_code"]) == ("FAIL", code)
    assert name in answer["err_code_des"]


@pytest.mark.parametrize("path", [*NEEDED, "/pay/orderquery"])
async def test_every_call_is_a_post_with_a_body(old: Old, path: str) -> None:
    for answer, words in (
        (await old.merchant.http.get(path), "请使用post方法"),
        (await old.merchant.http.post(path), "post数据为空"),
    ):
        assert answer.status_code == 200
        assert words in answer.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bill_type": "SUCCES"}, "invalid bill_type"),
        ({"tar_type": "ZIP"}, "invalid tar_type: Only GZIP supported"),
        ({"bill_type": "RECHARGE_REFUND"}, "No Bill Exist"),
    ],
)
async def test_a_bill_of_another_kind_does_not_exist(old: Old, changes: Fields, words: str) -> None:
    day = datetime.now(timezone(timedelta(hours=8))) - timedelta(days=3)
    answer = await old.call("/pay/downloadbill", bill_date=f"{day:%Y%m%d}", **changes)
    assert answer["return_msg"] == words


async def test_refunds_are_found_by_each_of_four_numbers(old: Old) -> None:
    transaction_id = await old.paid("S1000001")
    wish = {"out_trade_no": "S1000001", "total_fee": "990"}
    made = []
    for number, fee in (("R1", "100"), ("R2", "200")):
        refund = {"out_refund_no": number, "refund_fee": fee}
        made.append(await old.call("/secapi/pay/refund", **wish, **refund))
        await old.merchant.control("clock", advance_seconds=61)
    for numbers in ({"transaction_id": transaction_id}, {"out_trade_no": "S1000001"}):
        both = await old.call("/pay/refundquery", **numbers)
        assert (both["refund_count"], both["total_refund_count"]) == ("2", "2")
        assert (both["out_refund_no_0"], both["refund_fee_0"]) == ("R1", "100")
        assert (both["out_refund_no_1"], both["refund_fee_1"]) == ("R2", "200")
        assert (both["refund_status_0"], both["refund_status_1"]) == ("SUCCESS", "SUCCESS")
    rest = await old.call("/pay/refundquery", out_trade_no="S1000001", offset="1")
    assert (rest["refund_count"], rest["total_refund_count"]) == ("1", "2")
    assert rest["out_refund_no_0"] == "R2"
    second = await old.call("/pay/refundquery", refund_id=made[1]["refund_id"])
    assert (second["refund_count"], second["out_refund_no_0"]) == ("1", "R2")
    for wrong in ({}, {"out_trade_no": "S1000001", "offset": "x"}):
        assert (await old.call("/pay/refundquery", **wrong))["err_code"] == "PARAM_ERROR"


@pytest.mark.parametrize("path", [*NEEDED, "/pay/orderquery"])
async def test_every_call_is_refused_without_sign_and_with_another_merchant_or_root(
    old: Old, path: str
) -> None:
    fields = {"appid": old.merchant.mini["appid"], "mch_id": old.merchant.mchid, "nonce_str": "n"}
    unsigned = await old.send(path, fields)
    assert unsigned == {"return_code": "FAIL", "return_msg": "签名错误"}
    stranger = fields | {"mch_id": "9000000000"}
    assert (await old.send(path, {**stranger, "sign": old.sign(stranger)}))["return_code"] == "FAIL"
    rooted = await old.post(path, "<request><mch_id>9000000000</mch_id></request>")
    assert rooted == {"return_code": "FAIL", "return_msg": "mch_id参数格式错误"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/pay/orderquery", "ORDERNOTEXIST"),
        ("/pay/closeorder", "ORDERNOTEXIST"),
        ("/secapi/pay/refund", "ORDERNOTEXIST"),
        ("/pay/refundquery", "REFUNDNOTEXIST"),
    ],
)
async def test_every_call_knows_no_unknown_number(old: Old, path: str, code: str) -> None:
    right = {"out_trade_no": "S9999999", "total_fee": "990"} | RIGHT
    names = {*NEEDED.get(path, ()), "out_trade_no"}
    if path == "/pay/refundquery":
        names = {"out_refund_no"}
    answer = await old.call(path, **{name: right[name] for name in sorted(names)})
    assert (answer["result_code"], answer["err_code"]) == ("FAIL", code)
