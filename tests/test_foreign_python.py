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
Sdk = Callable[..., Any]


@pytest.fixture
def sdk(
    demo: Demo,
    notified: Notified,
    faults: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> Sdk:
    """Return a function that makes the SDK for a trust mode, as its README says.

    `whose` is a merchant of the sandbox, our own or the service provider.
    """
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

    def make(mode: str, whose: Any = None, **more: Any) -> Any:
        faults(signing=mode)
        whose = whose or known
        return WeChatPay(
            wechatpay_type=WeChatPayType.MINIPROG,
            mchid=whose["mchid"],
            private_key=whose["merchant_private_key_pem"],
            cert_serial_no=whose["merchant_serial"],
            appid=app_of(whose),
            apiv3_key=whose["apiv3_key"],
            notify_url=notified.url,
            **more,
            **(public_key if mode == "public_key" else {}),
        )

    return make


def app_of(whose: Any, kind: str = "miniprogram") -> str:
    return str(next(app["appid"] for app in whose["apps"] if app["kind"] == kind))


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


def said(answer: tuple[int, str]) -> Any:
    """Read an answer that must be a success."""
    code, text = answer
    assert code in (200, 204), text
    return json.loads(text) if text else {}


HERE = {"payer_client_ip": "203.0.113.7", "device_id": "shop0001"}
H5 = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "scene", "trade_type"),
    [("NATIVE", None, "NATIVE"), ("H5", H5, "MWEB"), ("APP", None, "APP")],
)
def test_it_orders_h5_native_and_app(
    demo: Demo, sdk: Sdk, kind: str, scene: Any, trade_type: str, mode: str
) -> None:
    wechatpay, number = sdk(mode), f"P{secrets.token_hex(10)}"
    appid = app_of(demo.known, "app")
    kinds = {"pay_type": WeChatPayType[kind], "scene_info": scene, "appid": appid}
    answer = said(wechatpay.pay("茶", number, {"total": 990}, **kinds))
    if kind == "APP":
        signed = [appid, "1700000000", "nonce", answer["prepay_id"]]
        form = dict(zip(("appId", "timeStamp", "nonceStr", "prepayId"), signed, strict=True))
        form |= {"partnerId": demo.known["mchid"], "packageValue": "Sign=WXPay"}
        form["sign"] = wechatpay.sign(signed, SignType.RSA_SHA256)
        assert demo.control("pay", **form)["err_msg"] == "app:0"
    else:
        control = {"NATIVE": "scan", "H5": "h5"}[kind]
        assert demo.control(control, **answer)["err_msg"] == "ok"
    trade = said(wechatpay.query(out_trade_no=number))
    assert (trade["trade_state"], trade["trade_type"]) == ("SUCCESS", trade_type)


@pytest.mark.parametrize("mode", MODES)
def test_it_is_a_service_provider(demo: Demo, sdk: Sdk, notified: Notified, mode: str) -> None:
    sp, [sub, other] = demo.known["sp"], demo.known["sub"]
    wechatpay, number = sdk(mode, sp, partner_mode=True), f"P{secrets.token_hex(10)}"
    mine = {"sub_mchid": sub["mchid"]}
    payer = {"sp_openid": f"o{secrets.token_hex(8)}"}
    prepay = said(wechatpay.pay("茶", number, {"total": 990}, payer, **mine))["prepay_id"]
    assert said(wechatpay.query(out_trade_no=number, **mine))["trade_state"] == "NOTPAY"
    assert wechatpay.query(out_trade_no=number, sub_mchid=other["mchid"])[0] == 404
    signed = [app_of(sp), "1700000000", "nonce", f"prepay_id={prepay}"]
    names = ("appId", "timeStamp", "nonceStr", "package")
    form = dict(zip(names, signed, strict=True)) | {"signType": "RSA"}
    form["paySign"] = wechatpay.sign(signed, SignType.RSA_SHA256)
    paid = demo.control("pay", **form)
    assert paid["err_msg"] == "requestPayment:ok", paid
    trade = wechatpay.callback(*notified.next())["resource"]
    assert (trade["sp_mchid"], trade["sub_mchid"]) == (sp["mchid"], sub["mchid"])
    amount = {"refund": 90, "total": 990, "currency": "CNY"}
    refund = {"out_trade_no": number, "notify_url": notified.url, **mine}
    assert said(wechatpay.refund(f"R{number}", amount, **refund))["status"] == "PROCESSING"
    assert said(wechatpay.query_refund(f"R{number}", **mine))["amount"]["refund"] == 90
    assert wechatpay.query_refund(f"R{number}", sub_mchid=other["mchid"])[0] == 404
    unpaid = f"P{secrets.token_hex(10)}"
    said(wechatpay.pay("茶", unpaid, {"total": 1}, payer, **mine))
    assert wechatpay.close(unpaid, **mine)[0] == 204


@pytest.mark.parametrize("mode", MODES)
def test_it_combines_orders(demo: Demo, sdk: Sdk, notified: Notified, mode: str) -> None:
    wechatpay, number = sdk(mode), f"P{secrets.token_hex(9)}"
    mchids = (demo.known["mchid"], demo.known["others"][0]["mchid"])
    subs = [
        {
            "mchid": mchid,
            "out_trade_no": f"{number}{n}",
            "attach": "shop",
            "amount": {"total_amount": 100 + n, "currency": "CNY"},
            "description": "茶",
        }
        for n, mchid in enumerate(mchids)
    ]
    kinds = {"scene_info": HERE, "pay_type": WeChatPayType.NATIVE}
    code = said(wechatpay.combine_pay(f"{number}C", subs, **kinds))
    before = said(wechatpay.combine_query(f"{number}C"))
    assert {one["trade_state"] for one in before["sub_orders"]} == {"NOTPAY"}
    assert demo.control("scan", **code)["err_msg"] == "ok"
    trade = wechatpay.callback(*notified.next())["resource"]
    assert [one["amount"]["total_amount"] for one in trade["sub_orders"]] == [100, 101]
    other = [{**one, "out_trade_no": f"{one['out_trade_no']}x"} for one in subs]
    said(wechatpay.combine_pay(f"{number}D", other, **kinds))
    named = [{"mchid": one["mchid"], "out_trade_no": one["out_trade_no"]} for one in other]
    assert wechatpay.combine_close(f"{number}D", named[:1])[0] == 400
    assert wechatpay.combine_close(f"{number}D", named)[0] == 204
