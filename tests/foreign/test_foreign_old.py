"""The PyPI packages wechatpy (APIv2) and dg-sdk (Huifu), unchanged, are merchants of the sandbox.

Only their way to the network is bent. They sign and verify with code that shares nothing with
wechat/, huifu/ or sandbox/.
"""

import json
import secrets
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs
from zipfile import ZipFile

import dg_sdk
import pytest
import requests
from dg_sdk.v4.Payment import Payment
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from wechatpy import WeChatClient
from wechatpy.exceptions import InvalidSignatureException
from wechatpy.pay import WeChatPay, WeChatPayException

from foreign.sandbox_alone import BEIJING, Sandbox, redirect
from running import Notified

HOSTS = ("api.mch.weixin.qq.com", "api.weixin.qq.com", "api.huifu.com")


@pytest.fixture(autouse=True)
def redirected(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    redirect(monkeypatch, sandbox, *HOSTS)
    yield
    sandbox.control("faults")


def number() -> str:
    return f"P{secrets.token_hex(10)}"


def today() -> str:
    return f"{datetime.now(BEIJING):%Y%m%d}"


class TestWechatpy:
    @pytest.fixture
    def sdk(self, sandbox: Sandbox) -> Any:
        appid = sandbox.app("miniprogram")["appid"]
        return WeChatPay(appid, sandbox.credentials["apiv2_key"], sandbox.credentials["mchid"])

    def order(self, sandbox: Sandbox, sdk: Any, url: str, **changes: Any) -> tuple[str, Any]:
        ours = number()
        _, openid = sandbox.login_code()
        options = {"user_id": openid, "client_ip": "203.0.113.7", "out_trade_no": ours} | changes
        kind = options.pop("trade_type", "JSAPI")
        return ours, sdk.order.create(kind, "一盒茶 & more", 990, url, **options)

    def test_it_orders_pays_queries_and_reads_the_notification(
        self, sandbox: Sandbox, sdk: Any, notified: Notified
    ) -> None:
        ours, answer = self.order(sandbox, sdk, notified.url)
        assert sdk.order.query(out_trade_no=ours)["trade_state"] == "NOTPAY"
        form = sdk.jsapi.get_jsapi_params(answer["prepay_id"])
        assert sandbox.control("pay", **form)["err_msg"] == "requestPayment:ok"
        _, body = notified.next()
        notification = sdk.parse_payment_result(body)
        assert (notification["out_trade_no"], notification["total_fee"]) == (ours, 990)
        with pytest.raises(InvalidSignatureException):
            sdk.parse_payment_result(body.replace(b"990", b"991"))
        paid = sdk.order.query(transaction_id=notification["transaction_id"])
        assert (paid["trade_state"], paid["out_trade_no"]) == ("SUCCESS", ours)

    def test_it_scans_and_refunds(self, sandbox: Sandbox, sdk: Any, notified: Notified) -> None:
        kinds = {"trade_type": "NATIVE", "product_id": "tea", "user_id": None}
        ours, answer = self.order(sandbox, sdk, notified.url, **kinds)
        assert sandbox.control("scan", code_url=answer["code_url"])["err_msg"] == "ok"
        sdk.refund.apply(990, 100, f"{ours}R", out_trade_no=ours)
        assert sdk.refund.query(out_refund_no=f"{ours}R")["refund_status_0"] == "PROCESSING"
        with pytest.raises(WeChatPayException) as caught:
            sdk.refund.apply(991, 100, f"{ours}S", out_trade_no=ours)
        assert caught.value.errcode

    def test_it_closes_but_not_in_the_first_five_minutes(
        self, sandbox: Sandbox, sdk: Any, notified: Notified
    ) -> None:
        ours, _ = self.order(sandbox, sdk, notified.url)
        with pytest.raises(WeChatPayException):
            sdk.order.close(ours)
        sandbox.control("clock", advance_seconds=301)
        sdk.order.close(ours)
        assert sdk.order.query(out_trade_no=ours)["trade_state"] == "CLOSED"

    def test_it_downloads_a_bill(self, sandbox: Sandbox, sdk: Any, notified: Notified) -> None:
        ours, answer = self.order(sandbox, sdk, notified.url)
        form = sdk.jsapi.get_jsapi_params(answer["prepay_id"])
        assert sandbox.control("pay", **form)["err_msg"] == "requestPayment:ok"
        assert ours in sdk.tools.download_bill(date.fromisoformat(sandbox.write_bill()))

    def test_it_logs_an_app_in(self, sandbox: Sandbox) -> None:
        app = sandbox.app("official_account")
        client = WeChatClient(app["appid"], app["secret"])
        assert client.fetch_access_token()["expires_in"] == 7200
        assert client.jsapi.get_ticket()["errcode"] == 0

    def test_another_key_is_refused(self, sandbox: Sandbox, notified: Notified) -> None:
        sdk = WeChatPay(sandbox.app("miniprogram")["appid"], "0" * 32, sandbox.credentials["mchid"])
        with pytest.raises(WeChatPayException) as caught:
            self.order(sandbox, sdk, notified.url)
        assert caught.value.return_code == "FAIL"


class TestHuifu:
    @pytest.fixture(autouse=True)
    def configured(self, sandbox: Sandbox) -> None:
        keys = sandbox.credentials["huifu"]
        dg_sdk.DGClient.mer_config = dg_sdk.MerConfig(
            keys["merchant_private_key"],
            keys["huifu_public_key"],
            keys["sys_id"],
            keys["product_id"],
        )

    def order(
        self, sandbox: Sandbox, url: str, kind: str = "T_MINIAPP", version: str = "V2"
    ) -> Any:
        """Order with a request class of the SDK: the common fields of later calls, the answer."""
        request = getattr(dg_sdk, f"{version}TradePaymentJspayRequest")()
        request.req_date = today()
        request.req_seq_id = number()
        request.huifu_id = sandbox.credentials["huifu"]["huifu_id"]
        request.goods_desc = "一盒茶 <&>"
        request.trade_type = kind
        request.trans_amt = "9.90"
        _, openid = sandbox.login_code()
        payer = {"sub_appid": sandbox.app("miniprogram")["appid"], "sub_openid": openid}
        answer = request.post({"wx_data": json.dumps(payer), "notify_url": url})
        assert (answer["resp_code"], answer["trans_stat"]) == ("00000100", "P"), answer
        return request, answer

    def ask(self, name: str, request: Any, more: Any = None, **fields: str) -> Any:
        """Call about a payment by its own date and number."""
        wanted = getattr(dg_sdk, name)()
        wanted.huifu_id = request.huifu_id
        wanted.org_req_date = request.req_date
        wanted.org_req_seq_id = request.req_seq_id
        for field, value in fields.items():
            setattr(wanted, field, value)
        return wanted.post({"org_req_seq_id": wanted.org_req_seq_id} | (more or {}))

    @pytest.mark.parametrize("version", ["V2", "V3"])
    def test_it_orders_pays_queries_and_reads_both_notifications(
        self, sandbox: Sandbox, notified: Notified, version: str
    ) -> None:
        request, answer = self.order(sandbox, notified.url, version=version)
        assert sandbox.control("pay", **json.loads(answer["pay_info"]))["err_msg"].endswith(":ok")
        paid = self.ask(f"{version}TradePaymentScanpayQueryRequest", request)
        assert (paid["trans_stat"], paid["trans_amt"]) == ("S", "9.90")
        kinds = []
        for _ in range(2):
            form = {k: v[0] for k, v in parse_qs(notified.next()[1].decode()).items()}
            data = json.loads(form["resp_data"])
            assert (data["req_seq_id"], data["trans_stat"]) == (request.req_seq_id, "S")
            kinds.append(data["notify_type"])
        assert sorted(kinds) == ["1", "2"]

    @pytest.mark.parametrize("kind", ["A_NATIVE", "U_NATIVE"])
    def test_it_shows_a_code_that_is_paid_and_refunded(
        self, sandbox: Sandbox, notified: Notified, kind: str
    ) -> None:
        request, answer = self.order(sandbox, notified.url, kind)
        assert sandbox.control("scan", code_url=answer["qr_code"])["err_msg"] == "ok"
        own = {"req_date": request.req_date, "req_seq_id": number()}
        name = "V2TradePaymentScanpayRefundRequest"
        assert self.ask(name, request, **own, ord_amt="0.10")["trans_stat"] == "P"
        by_payment = self.ask("V2TradePaymentScanpayRefundqueryRequest", request)
        assert by_payment["resp_code"] == "23000001"
        by_refund = self.ask(
            "V2TradePaymentScanpayRefundqueryRequest",
            request,
            org_req_seq_id=own["req_seq_id"],
        )
        assert by_refund["ord_amt"] == "0.10"
        too_much = self.ask(name, request, **own | {"req_seq_id": number()}, ord_amt="9.81")
        assert too_much["resp_code"] == "23000003"

    def test_it_downloads_a_statement(self, sandbox: Sandbox, notified: Notified) -> None:
        request, answer = self.order(sandbox, notified.url)
        sandbox.control("pay", **json.loads(answer["pay_info"]))
        next_day = date.fromisoformat(sandbox.write_bill()) + timedelta(days=1)
        wanted = dg_sdk.V2TradeCheckFilequeryRequest()
        wanted.req_date = wanted.file_date = f"{next_day:%Y%m%d}"
        wanted.req_seq_id = number()
        wanted.huifu_id = request.huifu_id
        [file] = wanted.post({})["file_details"]
        packed = requests.get(file["download_url"], timeout=20).content
        with ZipFile(BytesIO(packed)) as files:
            assert request.req_seq_id in files.read(files.namelist()[0]).decode()

    def test_it_closes_but_not_in_the_first_minute(
        self, sandbox: Sandbox, notified: Notified
    ) -> None:
        request, _ = self.order(sandbox, notified.url)
        name = "V2TradePaymentScanpayCloseRequest"
        own = {"req_date": request.req_date}
        early = self.ask(name, request, **own, req_seq_id=number())
        assert early["resp_code"] == "20000001"
        sandbox.control("clock", advance_seconds=61)
        assert self.ask(name, request, **own, req_seq_id=number())["trans_stat"] == "S"
        late = self.ask(name, request, **own, req_seq_id=number())
        assert late["resp_code"] == "23000000"

    def test_the_newest_generation_says_neither_wx_data_nor_org(
        self, sandbox: Sandbox, notified: Notified
    ) -> None:
        _, openid = sandbox.login_code()
        payer = {"sub_appid": sandbox.app("miniprogram")["appid"], "sub_openid": openid}
        order = dg_sdk.PaymentCreateRequest()
        order.req_date = today()
        order.req_seq_id = number()
        order.huifu_id = sandbox.credentials["huifu"]["huifu_id"]
        order.goods_desc = "茶"
        order.trade_type = "T_MINIAPP"
        order.trans_amt = "9.90"
        order.method_expand = json.dumps(payer)
        order.notify_url = notified.url
        assert Payment().create(order)["trans_stat"] == "P"
        query = dg_sdk.PaymentQueryRequest()
        query.huifu_id = order.huifu_id
        query.req_seq_id = order.req_seq_id
        query.req_date = order.req_date
        trade = Payment().query(query)
        assert (trade["req_seq_id"], trade["trans_stat"]) == (order.req_seq_id, "P")

    def test_it_refuses_an_answer_that_somebody_else_signed(
        self, sandbox: Sandbox, notified: Notified
    ) -> None:
        """Otherwise the tests above would say nothing about our signatures."""
        request, _ = self.order(sandbox, notified.url)
        sandbox.control("faults", answers={"query": "wrong_key"})
        with pytest.raises(RuntimeError):
            self.ask("V2TradePaymentScanpayQueryRequest", request)

    def test_its_own_signature_is_refused_when_a_byte_changes_on_the_way(
        self, sandbox: Sandbox, notified: Notified, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send = HTTPAdapter.send

        def dearer(self: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
            assert isinstance(request.body, bytes)
            request.body = request.body.replace(b"9.90", b"9.91")
            return send(self, request, **options)

        monkeypatch.setattr(HTTPAdapter, "send", dearer)
        with pytest.raises(TypeError):  # the SDK hands out HTTP 922 as a response, not as data
            self.order(sandbox, notified.url)
