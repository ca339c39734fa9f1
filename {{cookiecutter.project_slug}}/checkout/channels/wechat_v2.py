"""WeChat's old API v2 (XML) for merchants that still need it; new shops use the channel wechat.

Its keys are SHOP_APIV2_KEY and, for refunds, SHOP_MERCHANT_CERT beside SHOP_MERCHANT_KEY.
"""

import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import Certificate
from httpx_aiohttp import AiohttpTransport

from checkout import channels as ch
from checkout.channels._sandbox import MARK, check_material, is_sandbox_certificate
from checkout.channels._wechat_config import merchant_number, own_scenes
from checkout.channels._wechat_words import (
    STATES,
    of_bills,
    rows_of,
    translated,
    with_way_back,
)
from checkout.clock import Clock
from checkout.config import Config, ConfigError, Env
from checkout.models import Payment, Refund, Share
from checkout.scenes import SCENES as WECHAT_SCENES
from wechat import errors, keys, v2, v2_refunds, v2_sign
from wechat.fields import BEIJING
from wechat.v2 import ClientV2, TransactionV2
from wechat.v2_refunds import RefundV2

PATH = "/notify/wechat/v2/payment"
REFUND_PATH = "/notify/wechat/v2/refund"
SEALED = b"<req_info>"
NOBODYS_NUMBER = "doctor0000000000"
TRADE_TYPES = {"jsapi": "JSAPI", "native": "NATIVE", "h5": "MWEB"}
ANSWERS = {"JSAPI": "prepay_id", "NATIVE": "code_url", "MWEB": "mweb_url"}
REFUND_STATES: Mapping[str, ch.RefundState] = {
    "SUCCESS": "SUCCESS",
    "REFUNDCLOSE": "CLOSED",
    "CHANGE": "ABNORMAL",
}
#: a refund that is answered so waits until the merchant has mended it
UNTIL_MENDED = ("NOTENOUGH", "NOAUTH", "SIGNERROR", "MCHID_NOT_EXIST", "CERT_ERROR")


@dataclass(frozen=True)
class WeChatV2Config:
    """The merchant's number and APIv2 key 密钥, and the PEM file that refunds show."""

    mchid: str
    key: str = field(repr=False)
    sign_type: str = "MD5"
    certificate: ssl.SSLContext | None = None


class WeChatV2:
    """Translate between our Payment and APIv2's fields; stored requests lack nonce and sign."""

    name = "wechat_v2"
    books = "wechat"
    rank = 5
    close_after = 300
    least_seconds = v2.MIN_EXPIRE_SECONDS
    widget_scenes: Sequence[str] = ()
    notifications: Mapping[str, str] = {PATH: "payment", REFUND_PATH: "refund"}

    def __init__(self, own: Config, client: ClientV2, opened: httpx.AsyncClient | None) -> None:
        self.client = client
        self._opened = opened
        self.scenes: Mapping[str, str] = {
            scene: appid
            for scene, appid in own_scenes(own).items()
            if WECHAT_SCENES[scene].product in TRADE_TYPES
        }
        self._url = own.public_url

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether all is ours, in a scene that v2 knows."""
        return scene in self.scenes and list(merchants) in ([""], [self.client.mch_id])

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the fields of POST /pay/unifiedorder 统一下单."""
        [share] = draft.shares
        trade_type = TRADE_TYPES[WECHAT_SCENES[draft.scene].product]
        parties = {"appid": self.scenes[draft.scene], "mch_id": self.client.mch_id}
        scene_info = {"h5_info": {"type": "Wap", "wap_url": self._url}}
        more = {
            "JSAPI": {"openid": draft.payer},
            "NATIVE": {"product_id": share.out_trade_no},
            "MWEB": {"scene_info": _compact(scene_info)},
        }
        fields = {
            **parties,
            "body": share.description,
            "out_trade_no": share.out_trade_no,
            "total_fee": str(share.total_fen),
            "spbill_create_ip": draft.client_ip,
            "time_expire": f"{draft.expires_at.astimezone(BEIJING):%Y%m%d%H%M%S}",
            "notify_url": self._url + PATH,
            "trade_type": trade_type,
            **more[trade_type],
        }
        return ch.Prepared(
            product=trade_type,
            body=_compact(fields),
            parties=parties,
            share_parties=[parties],
            expires_at=draft.expires_at,
        )

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds a prepay_id, code_url or mweb_url opens the cashier."""
        return WECHAT_SCENES[payment.scene].lasts

    async def prepay(self, payment: Payment) -> dict[str, str]:
        """Send the stored fields, with a fresh nonce and sign."""
        name = ANSWERS[payment.product]
        with translated():
            answer = await v2.unified_order(self.client, json.loads(payment.request))
            return {name: v2.need(answer, name)}

    def invoke(self, payment: Payment, order_no: str) -> dict[str, Any]:
        """Sign what the bridge and wx.requestPayment take 调起; or give the link, the code."""
        prepay = payment.prepay
        if "code_url" in prepay:
            return {"code_url": prepay["code_url"]}
        if "mweb_url" in prepay:
            return {"h5_url": with_way_back(prepay["mweb_url"], order_no, self._url)}
        appid = payment.parties["appid"]
        now = int(Clock.real())
        return {"invoke": v2.invoke(self.client, appid, prepay["prepay_id"], timestamp=now)}

    async def query(self, payment: Payment, shares: Sequence[Share]) -> ch.Trade:
        """Ask by our own number 查询订单."""
        with translated():
            return trade(await v2.query(self.client, payment.parties["appid"], payment.number))

    async def close(self, payment: Payment, shares: Sequence[Share]) -> None:
        """Close by our own number 关闭订单; returning means a proved SUCCESS."""
        with translated():
            await v2.close(self.client, payment.parties["appid"], payment.number)

    def prepare_refund(self, refund: Refund, share: Share, payment: Payment) -> str:
        """Build the fields of POST /secapi/pay/refund 申请退款."""
        return _compact(
            {
                "appid": share.parties["appid"],
                "mch_id": self.client.mch_id,
                "transaction_id": share.transaction_id,
                "out_refund_no": refund.out_refund_no,
                "total_fee": str(share.total_fen),
                "refund_fee": str(refund.refund_fen),
                "refund_desc": refund.reason,
                "notify_url": self._url + REFUND_PATH,
            }
        )

    async def refund(self, refund: Refund, share: Share) -> ch.RefundTrade:
        """Send the stored fields, with a fresh nonce and sign."""
        with translated(UNTIL_MENDED):
            return refund_trade(await v2_refunds.refund(self.client, json.loads(refund.request)))

    async def query_refund(
        self, share: Share, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        """Ask by the refund's own number 查询退款."""
        appid = share.parties["appid"]
        with translated():
            return refund_trade(await v2_refunds.query(self.client, appid, out_refund_no))

    async def bill(self, day: date) -> AsyncIterator[ch.BillRow]:
        """Fetch the bill 对账单 of a day; nothing proves it but its own summary."""
        appid = next(iter(self.scenes.values()), "")
        with of_bills():
            content = await v2_refunds.download_bill(self.client, appid, day)
        if content is None:
            return
        with tempfile.NamedTemporaryFile(prefix="bill-", suffix=".csv") as file:
            file.write(content)
            file.flush()
            for row in rows_of(Path(file.name)):
                yield row

    async def prove(
        self, kind: str, headers: Mapping[str, str], body: bytes
    ) -> ch.Proved | ch.NotOurs | ch.ReasonToAsk:
        """Prove a payment's notification 验签; a refund's is sealed with our key, not signed."""
        try:
            if SEALED in body:
                refund = v2_refunds.open_refund(self.client.key, body)
                return ch.ReasonToAsk(refund.out_trade_no, refund.out_refund_no)
            answer = v2.read_payment(self.client, body)
            paid = trade(answer)
        except errors.SignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        except (errors.DecryptFailed, errors.MalformedAnswer) as error:
            raise ch.NotProved(str(error), code="undecodable") from error
        key = f"{answer.transaction_id or answer.out_trade_no}-{answer.trade_state}"
        return ch.Proved(key, paid)

    def read(self, body: bytes) -> ch.Trade | ch.RefundTrade | None:
        """Read a stored notification again; result_code FAIL is no payment and changes nothing."""
        return trade(v2.read_payment(self.client, body))

    def received(self, body: bytes) -> ch.Reply:
        """Say SUCCESS in XML."""
        return ch.Reply(200, "text/xml", v2.RECEIVED)

    def failed(self, status: int, message: str) -> ch.Reply:
        """Say FAIL in XML, so that it comes again."""
        return ch.Reply(status, "text/xml", v2.failed(message))

    async def examine(self, *, prove: bool = False) -> list[ch.Finding]:
        """Say what is offered and where notifications go, and let WeChat check the key."""
        scenes = ", ".join(self.scenes) or "none"
        return [
            ch.Finding(bool(self.scenes), f"APIv2 scenes: {scenes}", "set the appids"),
            ch.Finding(True, f"APIv2 notify_url: {self._url}{PATH}"),
            await self._accepted(),
        ]

    async def _accepted(self) -> ch.Finding:
        """Ask for a number that nobody has: the answer says whether the key fits."""
        appid = next(iter(self.scenes.values()), "")
        advice = ""
        try:
            await v2.query(self.client, appid, NOBODYS_NUMBER)
        except errors.Refused as error:
            if error.is_code("SIGNERROR") or "签名" in error.message:
                click = "pay.weixin.qq.com > 账户中心 > API安全 > APIv2密钥"
                advice = (
                    f"is not this merchant's, or SHOP_APIV2_SIGN_TYPE is wrong: set it, {click}"
                )
            elif not error.is_code("ORDERNOTEXIST"):
                advice = f"{error.code} {error.message}"
        except errors.WeChatError as error:
            advice = f"{error}"
        return ch.Finding(not advice, "SHOP_APIV2_KEY", advice)

    async def aclose(self) -> None:
        """Close the client that shows the merchant's certificate."""
        if self._opened is not None:
            await self._opened.aclose()


def trade(answer: TransactionV2) -> ch.Trade:
    """Translate their order; any state we do not know leaves the payment open."""
    parties = {"appid": answer.appid, "mch_id": answer.mch_id}
    share = ch.TradeShare(
        out_trade_no=answer.out_trade_no,
        state=STATES.get(answer.trade_state, "OPEN"),
        parties=parties,
        transaction_id=answer.transaction_id,
        total_fen=answer.total_fen,
        payer_total_fen=v2.fen(answer.raw, "cash_fee"),
        currency=answer.currency,
    )
    return ch.Trade(
        number=answer.out_trade_no,
        word=answer.trade_state,
        parties=parties,
        shares=[share],
        paid_at=answer.success_time,
    )


def refund_trade(answer: RefundV2) -> ch.RefundTrade:
    """Translate their refund; a word we do not know, or none yet, is PROCESSING."""
    return ch.RefundTrade(
        out_refund_no=answer.out_refund_no,
        refund_id=answer.refund_id,
        out_trade_no=answer.out_trade_no,
        transaction_id=answer.transaction_id,
        state=REFUND_STATES.get(answer.status or "", "PROCESSING"),
        word=answer.status or "",
        refund_fen=answer.refund_fen,
        total_fen=answer.total_fen,
        parties={},
        refunded_at=answer.success_time,
    )


def _compact(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def read(env: Env, own: Config) -> WeChatV2Config | None:
    """Read the settings if SHOP_APIV2_KEY is set; what is wrong is noted in `env`."""
    text = env.secret("SHOP_APIV2_KEY")
    sign_type = env.get("SHOP_APIV2_SIGN_TYPE", "MD5")
    if not text and "wechat_v2" not in own.channels:
        return None
    if sign_type not in v2_sign.SIGN_TYPES:
        env.problem("SHOP_APIV2_SIGN_TYPE", "is no sign type", " or ".join(v2_sign.SIGN_TYPES))
    try:
        key = v2_sign.apiv2_key(text)
        check_material(key.startswith(MARK), sandbox=bool(own.sandbox_url))
    except ValueError as error:
        env.problem("SHOP_APIV2_KEY", str(error), "the 32 characters you set 32位")
        return None
    certificate = None if own.sandbox_url else _certificate(env)
    try:
        mchid = merchant_number(bool(own.sandbox_url))(env.get("SHOP_MCHID"))
    except ValueError:
        mchid = ""  # the channel wechat notes it as a problem
    return WeChatV2Config(mchid, key, sign_type, certificate)


def _certificate(env: Env) -> ssl.SSLContext:
    """Read the merchant's certificate, which refunds show; the sandbox has no TLS to ask for it."""
    context = ssl.create_default_context()
    try:
        certificate = keys.certificate(env.get("SHOP_MERCHANT_CERT"))
        if is_sandbox_certificate(certificate):  # before it is compared
            env.problem("SHOP_MERCHANT_CERT", "belongs to the sandbox", "certs/apiclient_cert.pem")
            return context
        _show(context, certificate, keys.private_key(env.get("SHOP_MERCHANT_KEY")))
    except (OSError, ssl.SSLError, ValueError) as error:
        what = f"refunds of APIv2 need it and its key ({type(error).__name__})"
        env.problem("SHOP_MERCHANT_CERT", what, "certs/apiclient_cert.pem")
    return context


def _show(context: ssl.SSLContext, certificate: Certificate, key: RSAPrivateKey) -> None:
    """Let TLS show the certificate; Python takes it and its key from a file only."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as folder:  # nobody else may look into it
        file = Path(folder) / "merchant.pem"
        file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(file)


def build(config: WeChatV2Config, own: Config, http: httpx.AsyncClient, clock: Clock) -> ch.Channel:
    """Build the channel; refunds go through a client of their own that shows the certificate.

    Raises ConfigError for the sandbox's key in production.
    """
    try:
        check_material(config.key.startswith(MARK), sandbox=bool(own.sandbox_url))
    except ValueError as error:
        raise ConfigError(f"the APIv2 key {error}") from error
    opened = None
    if config.certificate is not None:
        transport = AiohttpTransport(trust_env=False, verify=config.certificate)
        opened = httpx.AsyncClient(transport=transport, trust_env=False)
    host = {"host": own.sandbox_url} if own.sandbox_url else {}
    client = ClientV2(http, opened or http, config.mchid, config.key, config.sign_type, **host)
    return WeChatV2(own, client, opened)


def demo_settings(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Take the sandbox's APIv2 key."""
    return {"SHOP_APIV2_KEY": str(credentials["apiv2_key"])}
