"""Huifu 汇付斗拱, an aggregator: WeChat pages and mini programs, Alipay and UnionPay by QR code.

Accepted is not paid: only trans_stat S of a proved notification or query is. Each request keeps its
req_date, without which nothing is found again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from huifu import errors, payments, sign
from huifu.client import Client
from huifu.payments import BEIJING, Trade
from shop import channels as ch
from shop import log
from shop.channels._huifu_refunds import (
    REFUND_PATH,
    UNKNOWN_NUMBER,
    RefundVerbs,
    compact,
    date_of,
    day_of,
    refund_heard,
    translated,
)
from shop.clock import Clock
from shop.models import Order, Payment
from shop.settings import Settings

PATH = "/notify/huifu/payment"
#: scene -> trade_type, and what its answer has
TRADE_TYPES = {
    "jsapi": ("T_JSAPI", "pay_info"),
    "miniprogram": ("T_MINIAPP", "pay_info"),
    "alipay": ("A_NATIVE", "qr_code"),
    "unionpay": ("U_NATIVE", "qr_code"),
}
STATES = {"S": "PAID", "F": "CLOSED"}
ALIPAY_SCANNER = "alipays://platformapi/startapp?saId=10000007&qrcode="
SETTINGS = (
    "SHOP_HUIFU_SYS_ID",
    "SHOP_HUIFU_PRODUCT_ID",
    "SHOP_HUIFU_ID",
    "SHOP_HUIFU_PRIVATE_KEY",
    "SHOP_HUIFU_PUBLIC_KEY",
)


class Huifu(RefundVerbs):
    """Translate between our Payment and Huifu's data; every value is a string."""

    name, books, rank = "huifu", "huifu", 9
    close_after = 60
    widget_scenes: Sequence[str] = ()
    notifications: Mapping[str, str] = {PATH: "payment", REFUND_PATH: "refund"}

    def __init__(self, settings: Settings, client: Client, clock: Clock) -> None:
        self.client, self.clock, self._url = client, clock, settings.public_url
        self.refund_url = settings.public_url + REFUND_PATH
        apps = {kind: app.appid for kind, app in settings.apps.items()}
        self.scenes = {}
        for scene in TRADE_TYPES:
            kind = ch.SCENES[scene].app
            wanted = not settings.scenes or scene in settings.scenes
            if wanted and (not kind or kind in apps):
                self.scenes[scene] = apps.get(kind, "")

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether all is ours, in a scene that Huifu knows."""
        return scene in self.scenes and list(merchants) == [""]

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the data of POST /v2/trade/payment/jspay 聚合正扫."""
        payment = draft.payments[0]
        trade_type, _ = TRADE_TYPES[payment.scene]
        data = {
            "req_date": day_of(payment.created_at),
            "req_seq_id": payment.out_trade_no,
            "huifu_id": self.client.huifu_id,
            "goods_desc": draft.descriptions[0],
            "trade_type": trade_type,
            "trans_amt": payments.yuan(payment.total_fen),
            "time_expire": f"{draft.order.expires_at.astimezone(BEIJING):%Y%m%d%H%M%S}",
            "notify_url": self._url + PATH,
        }
        if payment.payer:  # sub_appid with sub_openid, or openid: never neither
            payer = {"sub_appid": self.scenes[payment.scene], "sub_openid": payment.payer}
            data["wx_data"] = compact(payer)
        return ch.Prepared(trade_type, compact(data), [{"huifu_id": self.client.huifu_id}])

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds pay_info or qr_code opens the cashier."""
        return ch.SCENES[payment.scene].lasts

    async def prepay(self, payments_: Sequence[Payment]) -> dict[str, str]:
        """Send the stored data; a repeat of a number that was accepted has nothing to give back."""
        payment = payments_[0]
        _, answer = TRADE_TYPES[payment.scene]
        with translated():
            said = await payments.create(self.client, json.loads(payment.request))
        if not isinstance(said.get(answer), str):
            raise ch.Unknown(f"accepted without {answer}")
        return {answer: said[answer]}

    def invoke(self, payment: Payment, order: Order) -> dict[str, Any]:
        """Pass pay_info on unchanged: the channel signed it; or give the code and its app link."""
        prepay = payment.prepay
        if "pay_info" in prepay:
            return {"invoke": json.loads(prepay["pay_info"])}
        opens = {"code_url": prepay["qr_code"]}
        if payment.scene == "alipay":
            opens["app_url"] = ALIPAY_SCANNER + quote(prepay["qr_code"], safe="")
        return opens

    async def query(self, payments_: Sequence[Payment]) -> list[ch.Trade]:
        """Ask by our own number and its day 查单."""
        payment = payments_[0]
        with translated():
            found = await payments.query(
                self.client, date_of(payment.request), payment.out_trade_no
            )
        return [trade(found)]

    async def close(self, payments_: Sequence[Payment]) -> None:
        """Close by our own number and its day 关单; returning means trans_stat S."""
        payment = payments_[0]
        data = {
            "req_date": day_of(self.clock.now()),
            "req_seq_id": f"{payment.out_trade_no}C{int(self.clock.now().timestamp())}",
            "huifu_id": self.client.huifu_id,
            "org_req_date": date_of(payment.request),
            "org_req_seq_id": payment.out_trade_no,
        }
        with translated():
            if await payments.close(self.client, data) == "S":
                return
            again = {**data, "req_seq_id": f"{data['req_seq_id']}Q"}
            if await payments.close_query(self.client, again) == "S":
                return
        raise ch.Busy("the close is under way")

    def hint(self, kind: str, body: bytes) -> tuple[int, str, str] | None:
        """Know no unsigned messages."""
        return None

    async def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Prove a notification 验签; two come for one payment, from channel and accounting."""
        try:
            found = payments.read_notification(self.client.public_key, body)
        except errors.SignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        except errors.Malformed as error:
            raise ch.NotProved(str(error), code="undecodable") from error
        return f"{found.trade.hf_seq_id}-{found.notify_type}-{found.trade.trans_stat}"

    def read(self, kind: str, body: bytes) -> Sequence[ch.Trade] | ch.RefundTrade | None:
        """Read a proved notification."""
        try:
            found = payments.read_notification(self.client.public_key, body)
            return refund_heard(found.trade) if found.is_refund else [trade(found.trade)]
        except errors.Malformed as error:
            raise ch.Unreadable(str(error)) from error

    def received(self, body: bytes) -> tuple[int, str, str]:
        """Say the one text that ends the repeats."""
        found = payments.read_notification(self.client.public_key, body)
        return 200, "text/plain", found.received

    def failed(self, message: str) -> tuple[str, str]:
        """Say anything else, so that it comes again."""
        return "text/plain", f"FAIL {message}"

    async def examine(self) -> list[ch.Finding]:
        """Say what is offered, and let the gateway check the keys with a number nobody has."""
        what, advice = "Huifu accepts our signature", ""
        try:
            await payments.query(self.client, day_of(self.clock.now()), "doctor0000000000")
        except errors.Refused as error:
            if error.code not in UNKNOWN_NUMBER:
                advice = f"{error}: compare SHOP_HUIFU_ID, SHOP_HUIFU_SYS_ID and the keys"
        except errors.HuifuError as error:
            advice = str(error)
        scenes = ", ".join(self.scenes)
        return [ch.Finding(True, f"Huifu scenes: {scenes}"), ch.Finding(not advice, what, advice)]


def trade(found: Trade) -> ch.Trade:
    """Translate their trade; their hf_seq_id is our transaction_id."""
    state: Any = STATES.get(found.trans_stat, "OPEN")
    return ch.Trade(
        out_trade_no=found.req_seq_id,
        state=state,
        said=found.trans_stat,
        parties={"huifu_id": found.huifu_id},
        transaction_id=found.hf_seq_id or None,
        total_fen=found.fen,
        currency="CNY",
        paid_at=found.end_time,
    )


def demo_settings(known: Mapping[str, Any]) -> dict[str, str]:
    """Take the sandbox's own keys."""
    given = known["huifu"]
    names = ("sys_id", "product_id", "huifu_id", "merchant_private_key", "huifu_public_key")
    return dict(zip(SETTINGS, (given[name] for name in names), strict=True))


def build(parts: ch.Parts) -> Huifu | None:
    """Build the channel if SHOP_HUIFU_ID is set; what is wrong is noted in `parts.env`."""
    env, settings = parts.env, parts.settings
    values = [env.get(name) for name in SETTINGS]
    if not any(values) and "huifu" not in settings.channels:
        return None
    for name, text in zip(SETTINGS, values, strict=True):
        if not text:
            env.problem(name, "is missing while the others are set", "see docs/huifu.md")
    sys_id, product_id, huifu_id, private, public = values
    log.hide([private])
    host = {"host": settings.sandbox_url} if settings.sandbox_url else {}
    try:
        own, theirs = sign.private_key(private), sign.public_key(public)
    except ValueError:
        env.problem("SHOP_HUIFU_PRIVATE_KEY", "or _PUBLIC_KEY is not an RSA key", "base64 or PEM")
        return None
    return Huifu(
        settings, Client(parts.http, sys_id, product_id, huifu_id, own, theirs, **host), parts.clock
    )
