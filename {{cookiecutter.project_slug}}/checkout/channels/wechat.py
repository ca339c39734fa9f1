"""WeChat Pay APIv3: an order of one merchant 直连 服务商, or of several combined 合单."""

import hashlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, cast

import httpx

from checkout import channels as ch
from checkout import log
from checkout.channels import _wechat_doctor
from checkout.channels._wechat_config import Parties, check_world
from checkout.channels._wechat_config import WeChatConfig as WeChatConfig
from checkout.channels._wechat_config import read as read
from checkout.channels._wechat_words import (
    STATES,
    of_bills,
    rows_of,
    translated,
    with_way_back,
)
from checkout.clock import Clock
from checkout.config import Config
from checkout.models import Payment, Refund, Share
from checkout.scenes import SCENES
from wechat import bills, combine, errors, fields, invoke, notify, refunds, transactions
from wechat.cipher import open_resource
from wechat.client import Client, Exchange, to_json
from wechat.combine import Combined
from wechat.keys import Merchant
from wechat.payment import Transaction
from wechat.trust import Trust

PAYMENT_PATH = "/notify/wechat/payment"
COMBINE_PATH = "/notify/wechat/combine"
REFUND_PATH = "/notify/wechat/refund"
NOTIFICATIONS = {PAYMENT_PATH: "payment", COMBINE_PATH: "combine", REFUND_PATH: "refund"}
REFUND_STATES = ("PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL")
#: a refund that is answered so waits until the merchant has mended it; see wechat/meanings.py for
#: everything else that means "later"
UNTIL_MENDED = ("NOT_ENOUGH", "NO_AUTH", "SIGN_ERROR", "MCH_NOT_EXISTS", "RULE_LIMIT")
#: the app that shows the cashier, by the name that its appid has in the order
CASHIERS = ("sub_appid", "combine_appid", "sp_appid", "appid")
DEVICE_ID = "shop0001"  # older pages of combined orders want 7 to 16 characters, and always


class WeChat:
    """Translate between our Payment and WeChat's order; several shares are a combined order."""

    name = "wechat"
    books = "wechat"
    rank = 0
    close_after = 0
    least_seconds = 60
    notifications: Mapping[str, str] = NOTIFICATIONS

    def __init__(self, config: WeChatConfig, own: Config, clients: Sequence[Client]) -> None:
        """Take one client for each merchant of ours, the first for the merchant that orders."""
        self._client = clients[0]
        self._clients = {client.merchant.mchid: client for client in clients}
        self._parties = Parties(
            mchid=config.merchant.mchid,
            appids=own.appids,
            sp_appid=config.sp_appid,
            sub_mchid=config.sub_mchid,
            sub_appid=config.sub_appid,
        )
        self._url = own.public_url
        self.scenes: Mapping[str, str] = self._parties.scenes(own.scenes)
        by_jsapi = [name for name in self.scenes if SCENES[name].product == "jsapi"]
        self.widget_scenes: Sequence[str] = by_jsapi if config.sub_mchid else []

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether one merchant can be paid here, or so many at once."""
        if scene not in self.scenes:
            return False
        parties = self._parties
        own_app = self.scenes[scene] != parties.sub_appid
        if parties.sub_mchid:  # another sub merchant, or several, need the provider's own app
            alone = list(merchants) in ([""], [parties.sub_mchid])
            return alone or (own_app and len(merchants) <= combine.MOST)
        ours = {"", *self._clients}
        return set(merchants) <= ours and len(merchants) <= combine.MOST_DIRECT

    # -- order 下单, open the cashier 调起

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the body of POST /v3/pay/[partner/]transactions/{product}, or of a combined one."""
        if len(draft.shares) > 1:
            return self._prepare_combined(draft)
        [share] = draft.shares
        appid = self.scenes[draft.scene]
        product = "scannedpos" if draft.widget else SCENES[draft.scene].product
        parties = self._parties.of_order(appid, share.merchant)
        body = transactions.order(
            product,
            parties,
            payer=self._parties.payer(appid, draft.payer),
            scene_info=_scene_info(product, draft, parties.get("sub_mchid", "")),
            description=share.description,
            out_trade_no=share.out_trade_no,
            total_fen=share.total_fen,
            notify_url=self._url + PAYMENT_PATH,
            time_expire=draft.expires_at,
        )
        return ch.Prepared(
            product=product,
            body=to_json(body).decode(),
            parties=parties,
            share_parties=[self._parties.of_share(share.merchant)],
            expires_at=draft.expires_at,
        )

    def _prepare_combined(self, draft: ch.Draft) -> ch.Prepared:
        """Build the body of POST /v3/combine-transactions/{product} 合单下单."""
        product = SCENES[draft.scene].product
        appid = self.scenes[draft.scene]
        share_parties = [self._parties.of_share(share.merchant) for share in draft.shares]
        body = combine.combine_order(
            product,
            combine_appid=appid,
            combine_mchid=self._parties.mchid,
            combine_out_trade_no=draft.number,
            sub_orders=[
                combine.SubOrder(
                    **_sub_order(named, share.out_trade_no),
                    total_fen=share.total_fen,
                    description=share.description,
                    attach=draft.number,
                )
                for named, share in zip(share_parties, draft.shares, strict=True)
            ],
            openid=draft.payer,
            scene_info=fields.scene(draft.client_ip, h5=product == "h5", device_id=DEVICE_ID),
            notify_url=self._url + COMBINE_PATH,
            time_expire=draft.expires_at,
        )
        return ch.Prepared(
            product=product,
            body=to_json(body).decode(),
            parties={"combine_appid": appid, "combine_mchid": self._parties.mchid},
            share_parties=share_parties,
            expires_at=draft.expires_at,
        )

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds a prepay_id, code_url or h5_url opens the cashier."""
        return SCENES[payment.scene].lasts

    async def prepay(self, payment: Payment) -> dict[str, str]:
        """Send the stored body, byte for byte."""
        client = self._of(payment)
        product = payment.product
        body = payment.request.encode()
        with translated():
            if _is_combined(payment):
                ticket = await combine.prepay(client, product, body)
            else:
                ticket = await transactions.prepay(client, product, payment.parties, body)
        return {transactions.PRODUCTS[product]: ticket}

    def invoke(self, payment: Payment, order_no: str) -> dict[str, Any]:
        """Sign what the bridge, wx.requestPayment or the App SDK takes; or give the link."""
        prepay = payment.prepay
        if "code_url" in prepay:
            return {"code_url": prepay["code_url"]}
        if "h5_url" in prepay:
            return {"h5_url": with_way_back(prepay["h5_url"], order_no, self._url)}
        sign = invoke.app if payment.product == "app" else invoke.bridge
        signed = sign(
            self._of(payment).merchant,
            next(payment.parties[name] for name in CASHIERS if name in payment.parties),
            prepay["prepay_id"],
            timestamp=int(Clock.real()),
            nonce=secrets.token_hex(16),
        )
        return {"invoke": signed}

    # -- query 查单, close 关单

    async def query(self, payment: Payment, shares: Sequence[Share]) -> ch.Trade:
        """Ask by our own number; of a combined order the whole, a sub order alone is unknown."""
        client = self._of(payment)
        with translated():
            if _is_combined(payment):
                return _combined_trade(await combine.query(client, payment.number))
            return _trade(await transactions.query(client, payment.parties, payment.number))

    async def close(self, payment: Payment, shares: Sequence[Share]) -> None:
        """Close by our own number; returning means a verified 204."""
        client = self._of(payment)
        with translated():
            if not _is_combined(payment):
                await transactions.close(client, payment.parties, payment.number)
                return
            await combine.close(
                client,
                combine_appid=payment.parties["combine_appid"],
                combine_out_trade_no=payment.number,
                sub_orders=[_sub_order(share.parties, share.out_trade_no) for share in shares],
            )

    # -- refund 退款, bill 账单

    def prepare_refund(self, refund: Refund, share: Share, payment: Payment) -> str:
        """Build the body of POST /v3/refund/domestic/refunds 申请退款."""
        body = refunds.refund_order(
            transaction_id=share.transaction_id,
            out_refund_no=refund.out_refund_no,
            reason=refund.reason,
            refund_fen=refund.refund_fen,
            total_fen=share.total_fen,
            notify_url=self._url + REFUND_PATH,
            sub_mchid=share.parties.get("sub_mchid"),
        )
        return to_json(body).decode()

    async def refund(self, refund: Refund, share: Share) -> ch.RefundTrade:
        """Send the stored body, byte for byte."""
        with translated(UNTIL_MENDED):
            return _refund_trade(await refunds.create(self._of(share), refund.request.encode()))

    async def query_refund(
        self, share: Share, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        """Ask by the refund's own number 查退款."""
        sub_mchid = share.parties.get("sub_mchid")
        with translated():
            return _refund_trade(
                await refunds.query(
                    self._of(share), out_refund_no=out_refund_no, sub_mchid=sub_mchid
                )
            )

    async def bill(self, day: date) -> AsyncIterator[ch.BillRow]:
        """Fetch every merchant's trade bill 交易账单; yield its rows once its hash holds."""
        for client in self._clients.values():
            async for row in _bill_of(client, day):
                yield row

    # -- notifications 通知

    async def prove(
        self, kind: str, headers: Mapping[str, str], body: bytes
    ) -> ch.Proved | ch.NotOurs | ch.ReasonToAsk:
        """Verify the raw bytes, then read them; v2 XML at the refund's address is not signed."""
        if kind == "refund" and refunds.is_v2_xml(body):
            return ch.ReasonToAsk()
        try:
            await notify.verify(self._client, headers, body)
        except errors.SignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        try:
            envelope = notify.parse(body)
        except errors.MalformedAnswer as error:
            key = hashlib.sha256(body).hexdigest()  # what cannot be read is unique by its bytes
            raise ch.MalformedNotification(str(error), key=key) from error
        try:
            trade = self._open(envelope)
        except ch.Unreadable as error:
            raise type(error)(str(error), key=envelope.id) from error
        return ch.Proved(envelope.id, trade) if trade else ch.NotOurs(envelope.id)

    def read(self, body: bytes) -> ch.Trade | ch.RefundTrade | None:
        """Decrypt a proved notification."""
        try:
            return self._open(notify.parse(body))
        except errors.MalformedAnswer as error:
            raise ch.MalformedNotification(str(error)) from error

    def _open(self, envelope: notify.Envelope) -> ch.Trade | ch.RefundTrade | None:
        """Decrypt it with a merchant's key; a refund is sealed for the one that gave it back."""
        problem: Exception = errors.DecryptFailed("no key")
        for client in self._clients.values():
            try:
                return _open(client.merchant.apiv3_key, envelope)
            except errors.DecryptFailed as error:
                problem = error
            except errors.MalformedAnswer as error:
                raise ch.MalformedNotification(str(error)) from error
        raise ch.Unreadable(str(problem)) from problem

    def received(self, body: bytes) -> ch.Reply:
        """Say 204: anything but 200 and 204 counts as failed; v2 XML wants XML."""
        if refunds.is_v2_xml(body):
            return ch.Reply(200, "text/xml", refunds.V2_RECEIVED)
        return ch.Reply(204, "application/json", "")

    def failed(self, status: int, message: str) -> ch.Reply:
        """Say FAIL, so that it comes again."""
        body = json.dumps({"code": "FAIL", "message": message})
        return ch.Reply(status, "application/json", body)

    # -- for the doctor

    async def examine(self, *, prove: bool = False) -> list[ch.Finding]:
        """Say what is offered and where notifications go, and let WeChat check the keys."""
        scenes = ", ".join(self.scenes) or "none"
        sub = self._parties.sub_mchid
        mode = f"service provider 服务商 of {sub}" if sub else "direct merchant 直连商户"
        by_key = bool(self._client.trust.public_keys)
        trust = "public key 微信支付公钥" if by_key else "platform certificates 平台证书"
        advice = "no scene is on: set SHOP_MINIPROGRAM_APPID and SHOP_MINIPROGRAM_SECRET"
        every = [self._keys(client) for client in self._clients.values()]
        return [
            ch.Finding(bool(self.scenes), f"scenes: {scenes}", advice),
            ch.Finding(True, mode),
            ch.Finding(True, f"notify_url: {self._url}{PAYMENT_PATH}"),
            ch.Finding(True, f"notify_url of combined orders 合单: {self._url}{COMBINE_PATH}"),
            ch.Finding(True, f"trust mode: {trust}"),
            *[await _wechat_doctor.signature(keys) for keys in every],
            *[await _wechat_doctor.apiv3_key(keys) for keys in every if prove],
        ]

    def _keys(self, client: Client) -> _wechat_doctor.Keys:
        other = client is not self._client
        mchid = {"mchid": client.merchant.mchid}
        parties = mchid if other else self._parties.of_order("", "")
        return _wechat_doctor.Keys(client, parties, other)

    async def aclose(self) -> None:
        """Close nothing: the http client belongs to whoever gave it."""

    def _of(self, row: Payment | Share) -> Client:
        """Return the client of the merchant whose order it is, by default the one that orders."""
        return self._clients.get(row.parties.get("mchid", ""), self._client)


def _is_combined(payment: Payment) -> bool:
    return "combine_mchid" in payment.parties


def _scene_info(product: str, draft: ch.Draft, store: str) -> dict[str, Any] | None:
    """Say where the buyer is, for the products that ask; `store` is where the amount was typed."""
    if product == "h5":
        return fields.scene(draft.client_ip, h5=True)
    if product == "scannedpos":
        return fields.scene(draft.client_ip, store_info={"out_id": store})
    return None


def _sub_order(parties: Mapping[str, str], out_trade_no: str) -> dict[str, str]:
    """Name a sub order 子单 as WeChat does: `mchid` is the service provider's, if there is one."""
    named = {"mchid": parties.get("sp_mchid") or parties["mchid"], "out_trade_no": out_trade_no}
    if "sub_mchid" in parties:
        named["sub_mchid"] = parties["sub_mchid"]
    return named


def _trade(transaction: Transaction) -> ch.Trade:
    """Translate their order object; any state we do not know leaves the payment open."""
    return ch.Trade(
        number=transaction.out_trade_no,
        word=transaction.trade_state,
        parties=transaction.parties,
        shares=[_share(transaction, transaction.parties)],
        paid_at=transaction.success_time,
    )


def _combined_trade(combined: Combined) -> ch.Trade:
    """Translate a combined order; a part's `mchid` is called as its refunds call it."""
    first = combined.parts[0]
    return ch.Trade(
        number=combined.combine_out_trade_no,
        word=first.trade_state,
        parties=first.parties,
        shares=[_share(part, _as_in_refunds(part.parties)) for part in combined.parts],
        paid_at=first.success_time,
    )


def _share(part: Transaction, parties: Mapping[str, str]) -> ch.TradeShare:
    return ch.TradeShare(
        out_trade_no=part.out_trade_no,
        state=STATES.get(part.trade_state, "OPEN"),
        parties=parties,
        transaction_id=part.transaction_id,
        total_fen=part.total_fen,
        payer_total_fen=part.payer_total_fen,
        currency=part.currency,
    )


def _as_in_refunds(parties: Mapping[str, str]) -> dict[str, str]:
    if "sub_mchid" not in parties:
        return {"mchid": parties["mchid"]}
    return {"sp_mchid": parties["mchid"], "sub_mchid": parties["sub_mchid"]}


def _refund_trade(refund: refunds.RefundAnswer) -> ch.RefundTrade:
    state = refund.status if refund.status in REFUND_STATES else "PROCESSING"
    return ch.RefundTrade(
        out_refund_no=refund.out_refund_no,
        refund_id=refund.refund_id,
        out_trade_no=refund.out_trade_no,
        transaction_id=refund.transaction_id,
        state=cast(ch.RefundState, state),
        word=refund.status,
        refund_fen=refund.refund_fen,
        total_fen=refund.total_fen,
        parties=refund.parties,
        accepted_at=refund.create_time,
        refunded_at=refund.success_time,
    )


async def _bill_of(client: Client, day: date) -> AsyncIterator[ch.BillRow]:
    with tempfile.TemporaryDirectory(prefix="bill-") as folder:
        file = Path(folder, "bill.csv")
        with of_bills():
            ticket = await bills.apply_trade_bill(client, date=day)
            if ticket is None:
                return
            await bills.download(client, ticket, file)
        for row in rows_of(file):
            yield row


def _open(apiv3_key: bytes, envelope: notify.Envelope) -> ch.Trade | ch.RefundTrade | None:
    """Decrypt by what is inside, whatever the path: a refund, a payment, or another product."""
    if envelope.original_type == "refund":
        return _refund_trade(refunds.open_refund(apiv3_key, envelope))
    if envelope.original_type != "transaction":
        return None
    opened = fields.json_object("resource", open_resource(apiv3_key, envelope.resource))
    if "combine_mchid" in opened:
        return _combined_trade(Combined.parse(opened))
    return _trade(Transaction.parse(opened))


def build(config: WeChatConfig, own: Config, http: httpx.AsyncClient, clock: Clock) -> ch.Channel:
    """Build the channel with one client for each merchant.

    Raises ConfigError for sandbox keys in production, and for real ones in the sandbox.
    """
    check_world(config, own)
    merchants = (config.merchant, *config.others)
    clients = [_client(merchant, config, own, http) for merchant in merchants]
    return WeChat(config, own, clients)


def _client(
    merchant: Merchant, config: WeChatConfig, own: Config, http: httpx.AsyncClient
) -> Client:
    trust = Trust(merchant.apiv3_key, public_keys=config.public_keys)
    if own.sandbox_url:
        return Client(
            http, merchant, trust, host=own.sandbox_url, standby=None, on_exchange=_exchanged
        )
    return Client(http, merchant, trust, on_exchange=_exchanged)


def _exchanged(exchange: Exchange) -> None:
    log.info(
        "wechat",
        call=f"{exchange.method} {exchange.target}",
        status=exchange.status,
        ms=round(exchange.seconds * 1000),
        wechat_request_id=exchange.request_id,
        error=exchange.error,
    )
