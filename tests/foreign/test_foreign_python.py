"""The PyPI package wechatpayv3, unchanged, is a merchant of the sandbox.

Only its way to the network is bent: api.mch.weixin.qq.com is the sandbox here. It signs, verifies
and decrypts with code that shares nothing with wechat/ or sandbox/.
"""

import gzip
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from wechatpayv3 import SignType, WeChatPay, WeChatPayType

from foreign.sandbox_alone import Sandbox, redirect
from running import Notified

HOST = "api.mch.weixin.qq.com"
MODES = ("public_key", "certificate")
Sdk = Callable[..., Any]


@pytest.fixture
def sdk(
    sandbox: Sandbox,
    notified: Notified,
    set_faults: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> Sdk:
    """Return a function that makes the SDK for a trust mode, as its README says.

    `merchant` is one of the sandbox, our own or the service provider.
    """
    redirect(monkeypatch, sandbox, HOST)
    public_key = {
        "public_key": sandbox.credentials["public_key_pem"],
        "public_key_id": sandbox.credentials["public_key_id"],
    }

    def make(mode: str, merchant: Any = None, **more: Any) -> Any:
        set_faults(signing=mode)
        merchant = merchant or sandbox.credentials
        return WeChatPay(
            wechatpay_type=WeChatPayType.MINIPROG,
            mchid=merchant["mchid"],
            private_key=merchant["merchant_private_key_pem"],
            cert_serial_no=merchant["merchant_serial"],
            appid=app_of(merchant),
            apiv3_key=merchant["apiv3_key"],
            notify_url=notified.url,
            **more,
            **(public_key if mode == "public_key" else {}),
        )

    return make


def app_of(merchant: Any, kind: str = "miniprogram") -> str:
    return str(next(app["appid"] for app in merchant["apps"] if app["kind"] == kind))


def order(sandbox: Sandbox, sdk: Any) -> tuple[str, dict[str, str]]:
    """Order with the SDK; return the number, and what it signs for the cashier."""
    number = f"P{secrets.token_hex(10)}"
    _, openid = sandbox.login_code()
    code, answer = sdk.pay("一盒茶 & more", number, {"total": 990}, {"openid": openid})
    assert code == 200, answer
    package = f"prepay_id={json.loads(answer)['prepay_id']}"
    signed = [sdk._appid, "1700000000", secrets.token_hex(16), package]
    names = ("appId", "timeStamp", "nonceStr", "package")
    invoke = dict(zip(names, signed, strict=True))
    return number, {**invoke, "signType": "RSA", "paySign": sdk.sign(signed, SignType.RSA_SHA256)}


@pytest.mark.parametrize("mode", MODES)
def test_it_orders_queries_by_both_numbers_and_verifies_every_answer(
    sandbox: Sandbox, sdk: Sdk, notified: Notified, mode: str
) -> None:
    wechatpay = sdk(mode)
    number, invoke = order(sandbox, wechatpay)
    assert json.loads(wechatpay.query(out_trade_no=number)[1])["trade_state"] == "NOTPAY"
    paid = sandbox.control("pay", **invoke)
    assert paid["err_msg"] == "requestPayment:ok", paid
    for _, answer in (
        wechatpay.query(out_trade_no=number),
        wechatpay.query(transaction_id=paid["transaction_id"]),
    ):
        trade = json.loads(answer)
        assert (trade["trade_state"], trade["amount"]["total"]) == ("SUCCESS", 990)
        assert (trade["out_trade_no"], trade["transaction_id"]) == (number, paid["transaction_id"])


@pytest.mark.parametrize("mode", MODES)
def test_it_closes_and_the_empty_204_is_signed(sandbox: Sandbox, sdk: Sdk, mode: str) -> None:
    wechatpay = sdk(mode)
    number, _ = order(sandbox, wechatpay)
    assert wechatpay.close(number)[0] == 204
    assert json.loads(wechatpay.query(out_trade_no=number)[1])["trade_state"] == "CLOSED"


@pytest.mark.parametrize("mode", MODES)
def test_its_callback_reads_a_notification_that_was_really_sent(
    sandbox: Sandbox, sdk: Sdk, notified: Notified, mode: str
) -> None:
    wechatpay = sdk(mode)
    number, invoke = order(sandbox, wechatpay)
    transaction_id = sandbox.control("pay", **invoke)["transaction_id"]
    headers, body = notified.next()
    result = wechatpay.callback(headers, body)
    assert result["event_type"] == "TRANSACTION.SUCCESS"
    assert result["resource"]["out_trade_no"] == number
    assert result["resource"]["transaction_id"] == transaction_id
    assert not wechatpay.callback(headers, body.replace(b"SUCCESS", b"SUCCEED", 1))


@pytest.mark.parametrize("mode", MODES)
def test_it_refuses_an_answer_that_somebody_else_signed(
    sandbox: Sandbox, sdk: Sdk, set_faults: Callable[..., object], mode: str
) -> None:
    """Otherwise the tests above would say nothing about our signatures."""
    wechatpay = sdk(mode)
    number, _ = order(sandbox, wechatpay)
    set_faults(answers={"query": "wrong_key"})
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


def succeeded(answer: tuple[int, str]) -> Any:
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
    sandbox: Sandbox, sdk: Sdk, kind: str, scene: Any, trade_type: str, mode: str
) -> None:
    wechatpay = sdk(mode)
    number = f"P{secrets.token_hex(10)}"
    appid = app_of(sandbox.credentials, "app")
    kinds = {"pay_type": WeChatPayType[kind], "scene_info": scene, "appid": appid}
    answer = succeeded(wechatpay.pay("茶", number, {"total": 990}, **kinds))
    if kind == "APP":
        signed = [appid, "1700000000", "nonce", answer["prepay_id"]]
        form = dict(zip(("appId", "timeStamp", "nonceStr", "prepayId"), signed, strict=True))
        form |= {"partnerId": sandbox.credentials["mchid"], "packageValue": "Sign=WXPay"}
        form["sign"] = wechatpay.sign(signed, SignType.RSA_SHA256)
        assert sandbox.control("pay", **form)["err_msg"] == "app:0"
    else:
        control = {"NATIVE": "scan", "H5": "h5"}[kind]
        assert sandbox.control(control, **answer)["err_msg"] == "ok"
    trade = succeeded(wechatpay.query(out_trade_no=number))
    assert (trade["trade_state"], trade["trade_type"]) == ("SUCCESS", trade_type)


@pytest.mark.parametrize("mode", MODES)
def test_it_is_a_service_provider(
    sandbox: Sandbox, sdk: Sdk, notified: Notified, mode: str
) -> None:
    sp = sandbox.credentials["sp"]
    sub, other = sandbox.credentials["sub"]
    wechatpay = sdk(mode, sp, partner_mode=True)
    number = f"P{secrets.token_hex(10)}"
    named = {"sub_mchid": sub["mchid"]}
    payer = {"sp_openid": f"o{secrets.token_hex(8)}"}
    prepay = succeeded(wechatpay.pay("茶", number, {"total": 990}, payer, **named))["prepay_id"]
    assert succeeded(wechatpay.query(out_trade_no=number, **named))["trade_state"] == "NOTPAY"
    assert wechatpay.query(out_trade_no=number, sub_mchid=other["mchid"])[0] == 404
    signed = [app_of(sp), "1700000000", "nonce", f"prepay_id={prepay}"]
    names = ("appId", "timeStamp", "nonceStr", "package")
    form = dict(zip(names, signed, strict=True)) | {"signType": "RSA"}
    form["paySign"] = wechatpay.sign(signed, SignType.RSA_SHA256)
    paid = sandbox.control("pay", **form)
    assert paid["err_msg"] == "requestPayment:ok", paid
    trade = wechatpay.callback(*notified.next())["resource"]
    assert (trade["sp_mchid"], trade["sub_mchid"]) == (sp["mchid"], sub["mchid"])
    amount = {"refund": 90, "total": 990, "currency": "CNY"}
    refund = {"out_trade_no": number, "notify_url": notified.url, **named}
    assert succeeded(wechatpay.refund(f"R{number}", amount, **refund))["status"] == "PROCESSING"
    assert succeeded(wechatpay.query_refund(f"R{number}", **named))["amount"]["refund"] == 90
    assert wechatpay.query_refund(f"R{number}", sub_mchid=other["mchid"])[0] == 404
    unpaid = f"P{secrets.token_hex(10)}"
    succeeded(wechatpay.pay("茶", unpaid, {"total": 1}, payer, **named))
    assert wechatpay.close(unpaid, **named)[0] == 204


@pytest.mark.parametrize("mode", MODES)
def test_it_combines_orders(sandbox: Sandbox, sdk: Sdk, notified: Notified, mode: str) -> None:
    wechatpay = sdk(mode)
    number = f"P{secrets.token_hex(9)}"
    mchids = (sandbox.credentials["mchid"], sandbox.credentials["others"][0]["mchid"])
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
    code = succeeded(wechatpay.combine_pay(f"{number}C", subs, **kinds))
    before = succeeded(wechatpay.combine_query(f"{number}C"))
    assert {sub["trade_state"] for sub in before["sub_orders"]} == {"NOTPAY"}
    assert sandbox.control("scan", **code)["err_msg"] == "ok"
    trade = wechatpay.callback(*notified.next())["resource"]
    assert [sub["amount"]["total_amount"] for sub in trade["sub_orders"]] == [100, 101]
    other = [{**sub, "out_trade_no": f"{sub['out_trade_no']}x"} for sub in subs]
    succeeded(wechatpay.combine_pay(f"{number}D", other, **kinds))
    named = [{"mchid": sub["mchid"], "out_trade_no": sub["out_trade_no"]} for sub in other]
    assert wechatpay.combine_close(f"{number}D", named[:1])[0] == 400
    assert wechatpay.combine_close(f"{number}D", named)[0] == 204


@pytest.mark.parametrize("mode", MODES)
def test_it_downloads_a_bill_by_the_address_that_it_is_given(
    sandbox: Sandbox, sdk: Sdk, mode: str
) -> None:
    """It cuts WeChat's host off download_url and signs the rest."""
    wechatpay = sdk(mode)
    number, invoke = order(sandbox, wechatpay)
    transaction_id = sandbox.control("pay", **invoke)["transaction_id"]
    day = sandbox.write_bill()
    for applied, row in (
        (wechatpay.trade_bill(day, tar_type=""), number),
        (wechatpay.trade_bill(day), number),
        (wechatpay.fundflow_bill(day), transaction_id),
    ):
        bill = succeeded(applied)
        assert bill["download_url"].startswith(f"https://{HOST}/v3/billdownload/file?token=")
        code, content = wechatpay.download_bill(bill["download_url"])
        assert code == 200, content
        unpacked = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        assert hashlib.sha1(unpacked).hexdigest() == bill["hash_value"]
        assert row.encode() in unpacked
