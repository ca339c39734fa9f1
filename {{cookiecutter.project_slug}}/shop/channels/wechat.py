"""WeChat Pay APIv3 for a merchant number of your own 直连商户: JSAPI and mini program."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from shop import channels as ch
from shop.channels._merchant import client_for, examine, translated
from shop.channels._refunds import REFUND_PATH, RefundVerbs, refund_trade
from shop.clock import Clock
from shop.models import Order, Payment
from shop.settings import Settings
from wechat import errors, invoke, notify, refunds, transactions
from wechat.client import Client

PATH = "/notify/wechat/payment"
STATES: Mapping[str, Literal["PAID", "CLOSED"]] = {
    "SUCCESS": "PAID",
    "REFUND": "PAID",  # refunded in part or whole: it was paid
    "CLOSED": "CLOSED",
    "REVOKED": "CLOSED",
}
PREPAY_ID_SECONDS = 2 * 3600


class WeChat(RefundVerbs):
    """Translate between our Payment and WeChat's transaction; refunds and bills: _refunds.py."""

    name = "wechat"
    close_after = 0
    notifications: Mapping[str, str] = {PATH: "payment", REFUND_PATH: "refund"}

    def __init__(self, settings: Settings, client: Client) -> None:
        apps, wanted = settings.apps, ch.IDENTITY_OF_SCENE.items()
        self.scenes = {scene: apps[kind].appid for scene, kind in wanted if kind in apps}
        self.client = client
        self._notify_url = settings.public_url + PATH
        self.refund_url = settings.public_url + REFUND_PATH

    def prepare(self, payment: Payment, order: Order, description: str) -> ch.Prepared:
        """Build the body of POST /v3/pay/transactions/jsapi 下单."""
        parties = {"mchid": self.client.merchant.mchid, "appid": self.scenes[payment.scene]}
        body = transactions.jsapi_order(
            **parties,
            openid=payment.payer,
            description=description,
            out_trade_no=payment.out_trade_no,
            total_fen=payment.total_fen,
            notify_url=self._notify_url,
            time_expire=order.expires_at,
        )
        return ch.Prepared(json.dumps(body, ensure_ascii=False, separators=(",", ":")), parties)

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds a prepay_id opens the cashier."""
        return PREPAY_ID_SECONDS

    async def prepay(self, payments: Sequence[Payment]) -> dict[str, str]:
        """Send the stored body, byte for byte."""
        with translated():
            body = payments[0].request.encode()
            return {"prepay_id": await transactions.prepay(self.client, body)}

    def invoke(self, payment: Payment) -> dict[str, Any]:
        """Sign what WeixinJSBridge and wx.requestPayment take 调起."""
        appid, prepay_id = payment.parties["appid"], payment.prepay["prepay_id"]
        merchant, now, nonce = self.client.merchant, int(Clock.real()), secrets.token_hex(16)
        fields = invoke.bridge(merchant, appid, prepay_id, timestamp=now, nonce=nonce)
        return {"invoke": fields}

    async def query(self, payment: Payment) -> ch.Trade:
        """Ask by our own number 查单."""
        with translated():
            mchid, number = payment.parties["mchid"], payment.out_trade_no
            return trade(await transactions.query(self.client, mchid=mchid, out_trade_no=number))

    async def close(self, payments: Sequence[Payment]) -> None:
        """Close by our own number 关单; returning means a verified 204."""
        with translated():
            mchid, number = payments[0].parties["mchid"], payments[0].out_trade_no
            await transactions.close(self.client, mchid=mchid, out_trade_no=number)

    async def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Prove a notification 验签; its key is the notification id."""
        try:
            await notify.verify(self.client, headers, body)
        except errors.SignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        try:
            return notify.parse(body).id
        except errors.MalformedAnswer:
            return hashlib.sha256(body).hexdigest()

    def read(self, kind: str, body: bytes) -> ch.Trade | ch.RefundTrade | None:
        """Decrypt a proved notification; None when it is about another product."""
        key = self.client.merchant.apiv3_key
        try:
            envelope = notify.parse(body)
            if envelope.original_type == "refund":
                return refund_trade(refunds.open_refund(key, envelope))
            if envelope.original_type != "transaction":
                return None
            return trade(notify.open_payment(key, envelope))
        except (errors.DecryptFailed, errors.MalformedAnswer) as error:
            raise ch.Unreadable(str(error)) from error

    def received(self) -> tuple[int, str, str]:
        """Say 204: nothing else is needed, anything but 200 and 204 counts as failed."""
        return 204, "application/json", ""

    def failed(self, message: str) -> tuple[str, str]:
        """Say FAIL, so that it comes again."""
        return "application/json", json.dumps({"code": "FAIL", "message": message})

    async def examine(self) -> list[ch.Finding]:
        """Say what is offered and where notifications go, and let WeChat check the keys."""
        scenes = ", ".join(self.scenes) or "none"
        return [
            ch.Finding(
                bool(self.scenes), f"scenes: {scenes}", "set SHOP_MINIPROGRAM_APPID and _SECRET"
            ),
            ch.Finding(True, f"notify_url: {self._notify_url}"),
            *await examine(self.client),
        ]


def trade(transaction: transactions.Transaction) -> ch.Trade:
    """Translate their order object; any state we do not know leaves the payment open."""
    return ch.Trade(
        out_trade_no=transaction.out_trade_no,
        state=STATES.get(transaction.trade_state, "OPEN"),
        said=transaction.trade_state,
        parties={"mchid": transaction.mchid, "appid": transaction.appid},
        transaction_id=transaction.transaction_id,
        total_fen=transaction.total_fen,
        currency=transaction.currency,
        paid_at=transaction.success_time,
    )


def build(parts: ch.Parts) -> WeChat | None:
    """Build the channel; what is wrong with its settings is noted in `parts.env`."""
    client = client_for(parts)
    return WeChat(parts.settings, client) if client else None
