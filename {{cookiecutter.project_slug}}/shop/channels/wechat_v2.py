"""WeChat's old API v2 (XML) for merchants that still need it; new shops use the channel wechat.

Its keys are SHOP_APIV2_KEY and, for refunds, SHOP_MERCHANT_CERT beside SHOP_MERCHANT_KEY.
"""

import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from httpx_aiohttp import AiohttpTransport

from shop import channels as ch
from shop import log
from shop.channels._cashier import STATES, with_way_back
from shop.channels._merchant import read_merchant, translated
from shop.channels._parties import own_apps
from shop.channels._refunds import proved, put_off, rows_of
from shop.clock import Clock
from shop.models import Order, Payment, Refund
from shop.settings import Env, Settings
from wechat import errors, v2, v2_refunds, v2_sign
from wechat.fields import BEIJING
from wechat.v2 import ClientV2, TransactionV2
from wechat.v2_refunds import RefundV2

PATH, REFUND_PATH = "/notify/wechat/v2/payment", "/notify/wechat/v2/refund"
SEALED = b"<req_info>"
TRADE_TYPES = {"jsapi": "JSAPI", "native": "NATIVE", "h5": "MWEB"}
ANSWERS = {"JSAPI": "prepay_id", "NATIVE": "code_url", "MWEB": "mweb_url"}
REFUND_STATES = {"SUCCESS": "SUCCESS", "REFUNDCLOSE": "CLOSED", "CHANGE": "ABNORMAL"}
#: not the refund's fault: it waits until the merchant has mended it
NOT_NOW = ("NOTENOUGH", "NOAUTH", "SIGNERROR", "MCHID_NOT_EXIST", "CERT_ERROR")


class WeChatV2:
    """Translate between our Payment and APIv2's fields; stored requests lack nonce and sign."""

    name, books, rank = "wechat_v2", "wechat", 5
    close_after = 300
    widget_scenes: Sequence[str] = ()
    notifications: Mapping[str, str] = {PATH: "payment", REFUND_PATH: "refund"}

    def __init__(self, settings: Settings, client: ClientV2) -> None:
        self.client = client
        self.scenes = {
            scene: appid
            for scene, appid in own_apps(settings).items()
            if ch.SCENES[scene].product in TRADE_TYPES
        }
        self._url = settings.public_url

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether all is ours, in a scene that v2 knows."""
        return scene in self.scenes and list(merchants) in ([""], [self.client.mch_id])

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the fields of POST /pay/unifiedorder 统一下单."""
        payment, appid = draft.payments[0], self.scenes[draft.payments[0].scene]
        trade_type = TRADE_TYPES[ch.SCENES[payment.scene].product]
        parties = {"appid": appid, "mch_id": self.client.mch_id}
        fields = {
            **parties,
            "body": draft.descriptions[0],
            "out_trade_no": payment.out_trade_no,
            "total_fee": str(payment.total_fen),
            "spbill_create_ip": draft.client_ip,
            "time_expire": f"{draft.order.expires_at.astimezone(BEIJING):%Y%m%d%H%M%S}",
            "notify_url": self._url + PATH,
            "trade_type": trade_type,
        }
        more = {
            "JSAPI": {"openid": payment.payer},
            "NATIVE": {"product_id": payment.out_trade_no},
            "MWEB": {"scene_info": _compact({"h5_info": {"type": "Wap", "wap_url": self._url}})},
        }
        return ch.Prepared(trade_type, _compact({**fields, **more[trade_type]}), [parties])

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds a prepay_id, code_url or mweb_url opens the cashier."""
        return ch.SCENES[payment.scene].lasts

    async def prepay(self, payments: Sequence[Payment]) -> dict[str, str]:
        """Send the stored fields, with a fresh nonce and sign."""
        name = ANSWERS[payments[0].product]
        with translated():
            said = await v2.unified_order(self.client, json.loads(payments[0].request))
            return {name: v2.need(said, name)}

    def invoke(self, payment: Payment, order: Order) -> dict[str, Any]:
        """Sign what the bridge and wx.requestPayment take 调起; or give the link, the code."""
        prepay = payment.prepay
        if "code_url" in prepay:
            return {"code_url": prepay["code_url"]}
        if "mweb_url" in prepay:
            return {"h5_url": with_way_back(prepay["mweb_url"], order, self._url)}
        appid, now = payment.parties["appid"], int(Clock.real())
        return {"invoke": v2.invoke(self.client, appid, prepay["prepay_id"], timestamp=now)}

    async def query(self, payments: Sequence[Payment]) -> list[ch.Trade]:
        """Ask by our own number 查询订单."""
        payment = payments[0]
        with translated():
            found = await v2.query(self.client, payment.parties["appid"], payment.out_trade_no)
        return [trade(found)]

    async def close(self, payments: Sequence[Payment]) -> None:
        """Close by our own number 关闭订单; returning means a proved SUCCESS."""
        with translated():
            await v2.close(self.client, payments[0].parties["appid"], payments[0].out_trade_no)

    def prepare_refund(self, refund: Refund, payment: Payment) -> str:
        """Build the fields of POST /secapi/pay/refund 申请退款."""
        return _compact(
            {
                "appid": payment.parties["appid"],
                "mch_id": self.client.mch_id,
                "transaction_id": payment.transaction_id,
                "out_refund_no": refund.out_refund_no,
                "total_fee": str(payment.total_fen),
                "refund_fee": str(refund.refund_fen),
                "refund_desc": refund.reason,
                "notify_url": self._url + REFUND_PATH,
            }
        )

    async def refund(self, payment: Payment, refund: Refund) -> ch.RefundTrade:
        """Send the stored fields, with a fresh nonce and sign."""
        with put_off(NOT_NOW), translated():
            return refund_trade(await v2_refunds.refund(self.client, json.loads(refund.request)))

    async def query_refund(
        self, payment: Payment, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        """Ask by the refund's own number 查询退款."""
        appid = payment.parties["appid"]
        with translated():
            return refund_trade(await v2_refunds.query(self.client, appid, out_refund_no))

    async def bill(self, date: date) -> AsyncIterator[ch.BillRow]:
        """Fetch the bill 对账单 of a day; nothing proves it but its own summary."""
        appid = next(iter(self.scenes.values()), "")
        with proved():
            content = await v2_refunds.download_bill(self.client, appid, date)
        if content is None:
            return
        with tempfile.NamedTemporaryFile(prefix="bill-", suffix=".csv") as file:
            file.write(content)
            file.flush()
            for row in rows_of(Path(file.name)):
                yield row

    def hint(self, kind: str, body: bytes) -> tuple[int, str, str] | None:
        """Know no message that our key does not prove."""
        return None

    async def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Prove a notification 验签; its key is what it says of which number."""
        try:
            if SEALED in body:
                made = v2_refunds.open_refund(self.client.key, body)
                return f"{made.refund_id}-{made.status}"
            found = v2.read_payment(self.client, body)
        except errors.SignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        except (errors.DecryptFailed, errors.MalformedAnswer) as error:
            raise ch.NotProved(str(error), code="undecodable") from error
        return f"{found.transaction_id or found.out_trade_no}-{found.trade_state}"

    def read(self, kind: str, body: bytes) -> Sequence[ch.Trade] | ch.RefundTrade | None:
        """Read a proved notification; result_code FAIL is no payment and changes nothing.

        Only our key opens a refund's, but nobody signed it: PROCESSING, so that WeChat is asked.
        """
        if kind == "refund":
            made = v2_refunds.open_refund(self.client.key, body)
            return replace(refund_trade(made), state="PROCESSING")
        return [trade(v2.read_payment(self.client, body))]

    def received(self, body: bytes) -> tuple[int, str, str]:
        """Say SUCCESS in XML."""
        return 200, "text/xml", v2.RECEIVED

    def failed(self, message: str) -> tuple[str, str]:
        """Say FAIL in XML, so that it comes again."""
        return "text/xml", v2.failed(message)

    async def examine(self) -> list[ch.Finding]:
        """Say what is offered and where notifications go."""
        scenes = ", ".join(self.scenes) or "none"
        return [
            ch.Finding(bool(self.scenes), f"APIv2 scenes: {scenes}", "set the appids"),
            ch.Finding(True, f"APIv2 notify_url: {self._url}{PATH}"),
        ]


def trade(found: TransactionV2) -> ch.Trade:
    """Translate their order; any state we do not know leaves the payment open."""
    return ch.Trade(
        out_trade_no=found.out_trade_no,
        state=STATES.get(found.trade_state, "OPEN"),
        said=found.trade_state,
        parties={"appid": found.appid, "mch_id": found.mch_id},
        transaction_id=found.transaction_id,
        total_fen=found.total_fen,
        currency=found.currency,
        paid_at=found.success_time,
    )


def refund_trade(found: RefundV2) -> ch.RefundTrade:
    """Translate their refund; a word we do not know, or none yet, is PROCESSING."""
    state: Any = REFUND_STATES.get(found.status or "", "PROCESSING")
    return ch.RefundTrade(
        out_refund_no=found.out_refund_no,
        refund_id=found.refund_id,
        out_trade_no=found.out_trade_no,
        transaction_id=found.transaction_id,
        state=state,
        said=found.status or "",
        refund_fen=found.refund_fen,
        total_fen=found.total_fen,
        parties={},
        refunded_at=found.success_time,
    )


def _compact(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def build(parts: ch.Parts) -> WeChatV2 | None:
    """Build the channel if SHOP_APIV2_KEY is set; what is wrong is noted in `parts.env`."""
    env, settings = parts.env, parts.settings
    text, sign_type = env.get("SHOP_APIV2_KEY"), env.get("SHOP_APIV2_SIGN_TYPE", "MD5")
    if not text and "wechat_v2" not in settings.channels:
        return None
    if sign_type not in v2_sign.SIGN_TYPES:
        env.problem("SHOP_APIV2_SIGN_TYPE", "is no sign type", " or ".join(v2_sign.SIGN_TYPES))
    try:
        key = v2_sign.apiv2_key(text)
    except errors.KeyMaterialError as error:
        env.problem("SHOP_APIV2_KEY", str(error), "the 32 characters you set 32位")
        return None
    log.hide([key])
    secure = _with_certificate(env, parts)
    mchid = read_merchant(env, bool(settings.sandbox_url))
    host = {"host": settings.sandbox_url} if settings.sandbox_url else {}
    return WeChatV2(settings, ClientV2(parts.http, secure, mchid, key, sign_type, **host))


def demo_settings(known: Mapping[str, Any]) -> dict[str, str]:
    """Take the sandbox's APIv2 key."""
    return {"SHOP_APIV2_KEY": str(known["apiv2_key"])}


def _with_certificate(env: Env, parts: ch.Parts) -> httpx.AsyncClient:
    """Return a client that shows the merchant's certificate; the sandbox has no TLS to ask."""
    path = env.get("SHOP_MERCHANT_CERT")
    if parts.settings.sandbox_url:
        return parts.http
    context = ssl.create_default_context()
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as key:
            text = env.get("SHOP_MERCHANT_KEY")
            key.write(text if "-----BEGIN" in text else Path(text).read_text())
            key.flush()
            context.load_cert_chain(path, key.name)
    except (OSError, ssl.SSLError, ValueError) as error:
        what = f"refunds of APIv2 need it and its key ({type(error).__name__})"
        env.problem("SHOP_MERCHANT_CERT", what, "certs/apiclient_cert.pem")
    transport = AiohttpTransport(trust_env=False, verify=context)
    parts.clients.append(httpx.AsyncClient(transport=transport, trust_env=False))
    return parts.clients[-1]
