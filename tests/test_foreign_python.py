"""The PyPI package wechatpayv3, unchanged, is a merchant of the sandbox.

Only its way to the network is bent: api.mch.weixin.qq.com is the sandbox here. It signs, verifies
and decrypts with code that shares nothing with wechat/ or sandbox/.
"""

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from running import Demo, Notified
from wechatpayv3 import SignType, WeChatPay, WeChatPayType

HOST = "https://api.mch.weixin.qq.com"
MODES = ("public_key", "certificate")
Sdk = Callable[[str], Any]


@pytest.fixture
def sdk(
    demo: Demo,
    notified: Notified,
    faults: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> Sdk:
    """Return a function that makes the SDK for a trust mode, as its README says."""
    send = HTTPAdapter.send

    def redirected(self: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
        assert request.url
        request.url = request.url.replace(HOST, demo.sandbox, 1)
        return send(self, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", redirected)
    known = demo.known
    public_key = {
        "public_key": known["public_key_pem"],
        "public_key_id": known["public_key_id"],
    }

    def make(mode: str) -> Any:
        faults(signing=mode)
        return WeChatPay(
            wechatpay_type=WeChatPayType.MINIPROG,
            mchid=known["mchid"],
            private_key=known["merchant_private_key_pem"],
            cert_serial_no=known["merchant_serial"],
            appid=demo.app("miniprogram")["appid"],
            apiv3_key=known["apiv3_key"],
            notify_url=notified.url,
            **(public_key if mode == "public_key" else {}),
        )

    return make


def order(demo: Demo, sdk: Any) -> tuple[str, dict[str, str]]:
    """Order with the SDK; return the number, and what it signs for the cashier."""
    number = f"P{secrets.token_hex(10)}"
    _, openid = demo.login_code()
    code, answer = sdk.pay("一盒茶 & more", number, {"total": 990}, {"openid": openid})
    assert code == 200, answer
    package, nonce = f"prepay_id={json.loads(answer)['prepay_id']}", secrets.token_hex(16)
    signed = [sdk._appid, "1700000000", nonce, package]
    names = ("appId", "timeStamp", "nonceStr", "package")
    invoke = dict(zip(names, signed, strict=True))
    return number, {**invoke, "signType": "RSA", "paySign": sdk.sign(signed, SignType.RSA_SHA256)}


@pytest.mark.parametrize("mode", MODES)
def test_it_orders_queries_by_both_numbers_and_verifies_every_answer(
    demo: Demo, sdk: Sdk, notified: Notified, mode: str
) -> None:
    wechatpay = sdk(mode)
    number, invoke = order(demo, wechatpay)
    assert json.loads(wechatpay.query(out_trade_no=number)[1])["trade_state"] == "NOTPAY"
    paid = demo.control("pay", **invoke)
    assert paid["err_msg"] == "requestPayment:ok", paid
    for found in (
        wechatpay.query(out_trade_no=number),
        wechatpay.query(transaction_id=paid["transaction_id"]),
    ):
        trade = json.loads(found[1])
        assert (trade["trade_state"], trade["amount"]["total"]) == ("SUCCESS", 990)
        assert (trade["out_trade_no"], trade["transaction_id"]) == (number, paid["transaction_id"])


@pytest.mark.parametrize("mode", MODES)
def test_it_closes_and_the_empty_204_is_signed(demo: Demo, sdk: Sdk, mode: str) -> None:
    wechatpay = sdk(mode)
    number, _ = order(demo, wechatpay)
    assert wechatpay.close(number)[0] == 204
    assert json.loads(wechatpay.query(out_trade_no=number)[1])["trade_state"] == "CLOSED"


@pytest.mark.parametrize("mode", MODES)
def test_its_callback_reads_a_notification_that_was_really_sent(
    demo: Demo, sdk: Sdk, notified: Notified, mode: str
) -> None:
    wechatpay = sdk(mode)
    number, invoke = order(demo, wechatpay)
    transaction_id = demo.control("pay", **invoke)["transaction_id"]
    headers, body = notified.next()
    result = wechatpay.callback(headers, body)
    assert result["event_type"] == "TRANSACTION.SUCCESS"
    assert result["resource"]["out_trade_no"] == number
    assert result["resource"]["transaction_id"] == transaction_id
    assert not wechatpay.callback(headers, body.replace(b"SUCCESS", b"SUCCEED", 1))


@pytest.mark.parametrize("mode", MODES)
def test_it_refuses_an_answer_that_somebody_else_signed(
    demo: Demo, sdk: Sdk, faults: Callable[..., object], mode: str
) -> None:
    """Otherwise the tests above would say nothing about our signatures."""
    wechatpay = sdk(mode)
    number, _ = order(demo, wechatpay)
    faults(answers={"query": "wrong_key"})
    with pytest.raises(Exception, match="failed to verify the signature"):
        wechatpay.query(out_trade_no=number)


def test_its_own_signature_is_refused_when_a_byte_changes_on_the_way(
    sdk: Sdk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wechatpay = sdk("public_key")
    send = HTTPAdapter.send

    def dearer(self: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
        assert isinstance(request.body, bytes)
        request.body = request.body.replace(b"990", b"991")
        return send(self, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", dearer)
    code, answer = wechatpay.pay("茶", "P0000001", {"total": 990}, {"openid": "oForeignBuyer"})
    assert (code, json.loads(answer)["code"]) == (401, "SIGN_ERROR")
