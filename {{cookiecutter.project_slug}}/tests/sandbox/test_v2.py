"""What APIv2 refuses, with its codes: return_code when the message is bad, err_code when the wish is."""

import hashlib
import hmac
import re
import secrets
from typing import Any

import pytest

from tests.sandbox.kit import Merchant

Fields = dict[str, str]


class Old:
    """Signs and verifies with the APIv2 key that the sandbox hands out."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant, self.key = merchant, merchant.credentials["apiv2_key"]

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
        found = re.findall(r"<(\w+)>(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?</\1>", answer.text[5:-6])
        return dict(found)

    async def call(self, path: str, **fields: str) -> Fields:
        """Call with appid, mch_id, nonce and sign; prove the answer."""
        whole = {
            "appid": self.merchant.mini["appid"],
            "mch_id": self.merchant.mchid,
            "nonce_str": secrets.token_hex(8),
        } | fields
        said = await self.send(path, whole, sign=self.sign(whole))
        if said["return_code"] == "SUCCESS":
            assert said["sign"] == self.sign(said, fields.get("sign_type", "MD5"))
        return said

    def order(self, number: str = "S1000001", **changes: str) -> Fields:
        whole = {
            "body": "茶",
            "out_trade_no": number,
            "total_fee": "990",
            "spbill_create_ip": "203.0.113.7",
            "notify_url": self.merchant.shop.url,
            "trade_type": "JSAPI",
            "openid": "oBuyer",
        } | changes
        return {name: value for name, value in whole.items() if value}

    async def paid(self, number: str) -> str:
        said = await self.call(
            "/pay/unifiedorder", **self.order(number, trade_type="NATIVE", product_id="1")
        )
        answer = await self.merchant.control("scan", code_url=said["code_url"])
        return str(answer["transaction_id"])


@pytest.fixture
def old(merchant: Merchant) -> Old:
    return Old(merchant)


@pytest.mark.parametrize("sign_type", ["", "MD5", "HMAC-SHA256"])
async def test_both_sign_types_are_spoken(old: Old, sign_type: str) -> None:
    wish = {"sign_type": sign_type} if sign_type else {}
    said = await old.call("/pay/unifiedorder", **old.order(), **wish)
    assert said["result_code"] == "SUCCESS"
    assert said["prepay_id"].startswith("wx")


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
    whole = {"appid": old.merchant.mini["appid"], "mch_id": old.merchant.mchid, "nonce_str": "n"}
    whole |= old.order()
    said = await old.send("/pay/unifiedorder", {**whole, "sign": old.sign(whole)}, **changes)
    assert said["return_code"] == "FAIL"
    assert words in said["return_msg"]
    assert "sign" not in said


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
    said = await old.post("/pay/unifiedorder", text)
    assert said["return_code"] == "FAIL"
    assert "root:" not in str(said)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"openid": ""}, "PARAM_ERROR"),
        ({"total_fee": "0"}, "PARAM_ERROR"),
        ({"total_fee": "9.9"}, "PARAM_ERROR"),
        ({"out_trade_no": "S 1"}, "PARAM_ERROR"),
        ({"notify_url": "http://shop.example.com/n"}, "PARAM_ERROR"),
        ({"notify_url": "https://shop.example.com/n?x=1"}, "PARAM_ERROR"),
        ({"spbill_create_ip": "here"}, "PARAM_ERROR"),
        ({"trade_type": "MICROPAY"}, "PARAM_ERROR"),
        ({"trade_type": "NATIVE"}, "LACK_PARAMS"),
        ({"trade_type": "MWEB"}, "PARAM_ERROR"),
        ({"body": ""}, "LACK_PARAMS"),
        ({"body": "茶" * 128}, "PARAM_ERROR"),
        ({"appid": "wx0000000000000000"}, "APPID_MCHID_NOT_MATCH"),
    ],
)
async def test_an_order_that_is_wrong_has_an_err_code(old: Old, changes: Fields, code: str) -> None:
    wish: Any = old.order(**changes)
    said = await old.call("/pay/unifiedorder", **wish)
    assert (said["return_code"], said["result_code"], said["err_code"]) == ("SUCCESS", "FAIL", code)


async def test_a_number_stands_for_one_order(old: Old) -> None:
    first = await old.call("/pay/unifiedorder", **old.order())
    again = await old.call("/pay/unifiedorder", **old.order())
    assert first["result_code"] == again["result_code"] == "SUCCESS"
    other = await old.call("/pay/unifiedorder", **old.order(total_fee="991"))
    assert other["result_code"] == "FAIL"


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


async def test_an_invoke_object_of_the_other_sign_type_does_not_pay(old: Old) -> None:
    said = await old.call("/pay/unifiedorder", **old.order())
    form = {
        "appId": old.merchant.mini["appid"],
        "timeStamp": "1700000000",
        "nonceStr": "n",
        "package": f"prepay_id={said['prepay_id']}",
        "signType": "HMAC-SHA256",
    }
    sign = old.sign(form, "HMAC-SHA256")
    refused = await old.merchant.control("pay", **form, paySign=sign)
    assert "the order was signed with MD5" in refused["err_msg"]
    form["signType"] = "MD5"
    good = old.sign(form, "MD5")
    assert (await old.merchant.control("pay", **form, paySign=good))["err_msg"].endswith(":ok")
