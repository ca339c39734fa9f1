"""WeChat Pay APIv3, one merchant for each order: of our own 直连, or a sub merchant's 服务商."""

from collections.abc import Mapping, Sequence
from typing import Any

from shop import channels as ch
from shop.channels._cashier import opens, scene_info, trade
from shop.channels._merchant import House, examine, house_for, translated
from shop.channels._notices import NotificationVerbs
from shop.channels._refunds import REFUND_PATH, RefundVerbs
from shop.models import Order, Payment
from shop.settings import Settings
from wechat import notify, transactions
from wechat.client import to_json
from wechat.notify import Envelope

PATH = "/notify/wechat/payment"


class WeChat(NotificationVerbs, RefundVerbs):
    """Translate between our Payment and WeChat's order; more verbs: _notices.py, _refunds.py."""

    name, books, rank = "wechat", "wechat", 0
    close_after = 0
    notifications: Mapping[str, str] = {PATH: "payment", REFUND_PATH: "refund"}

    def __init__(self, settings: Settings, house: House) -> None:
        self.house, self._parties = house, house.parties
        self.scenes = self._parties.scenes(settings.scenes)
        widget = [name for name in self.scenes if ch.SCENES[name].product == "jsapi"]
        self.widget_scenes = widget if self._parties.sub_mchid else []
        self._notify_url = settings.public_url + PATH
        self.refund_url = settings.public_url + REFUND_PATH
        self._shop_url = settings.public_url

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether one merchant gets all; another sub merchant's needs our own app."""
        if scene not in self.scenes or len(merchants) != 1:
            return False
        if self._parties.sub_mchid:
            own = merchants[0] in ("", self._parties.sub_mchid)
            return own or self.scenes[scene] != self._parties.sub_appid
        return merchants[0] in ("", self._parties.mchid, *self.house.others)

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the body of POST /v3/pay/[partner/]transactions/{product} 下单."""
        payment, appid = draft.payments[0], self.scenes[draft.payments[0].scene]
        product = "scannedpos" if draft.order.widget else ch.SCENES[payment.scene].product
        parties = self._parties.named(appid, payment.merchant)
        body = transactions.order(
            product,
            parties,
            payer=self._parties.payer(appid, payment.payer),
            scene_info=scene_info(product, draft, parties.get("sub_mchid", "")),
            description=draft.descriptions[0],
            out_trade_no=payment.out_trade_no,
            total_fen=payment.total_fen,
            notify_url=self._notify_url,
            time_expire=draft.order.expires_at,
        )
        return ch.Prepared(product, to_json(body).decode(), [parties])

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds a prepay_id, code_url or h5_url opens the cashier."""
        return ch.SCENES[payment.scene].lasts

    async def prepay(self, payments: Sequence[Payment]) -> dict[str, str]:
        """Send the stored body, byte for byte."""
        payment, client = payments[0], self.house.client_for(payments[0])
        with translated():
            ticket = await transactions.prepay(
                client, payment.product, payment.parties, payment.request.encode()
            )
        return {transactions.PRODUCTS[payment.product]: ticket}

    def invoke(self, payment: Payment, order: Order) -> dict[str, Any]:
        """Sign what opens the cashier 调起, or give the link."""
        merchant = self.house.client_for(payment).merchant
        return opens(payment, order, merchant, self._shop_url)

    async def query(self, payments: Sequence[Payment]) -> list[ch.Trade]:
        """Ask by our own number 查单."""
        payment, client = payments[0], self.house.client_for(payments[0])
        with translated():
            return [trade(await transactions.query(client, payment.parties, payment.out_trade_no))]

    async def close(self, payments: Sequence[Payment]) -> None:
        """Close by our own number 关单; returning means a verified 204."""
        payment, client = payments[0], self.house.client_for(payments[0])
        with translated():
            await transactions.close(client, payment.parties, payment.out_trade_no)

    def open(self, key: bytes, envelope: Envelope) -> list[ch.Trade]:
        """Decrypt a payment."""
        return [trade(notify.open_payment(key, envelope))]

    async def examine(self) -> list[ch.Finding]:
        """Say what is offered and where notifications go, and let WeChat check the keys."""
        scenes, sub = ", ".join(self.scenes) or "none", self._parties.sub_mchid
        mode = f"service provider 服务商 of {sub}" if sub else "direct merchant 直连商户"
        return [
            ch.Finding(
                bool(self.scenes), f"scenes: {scenes}", "set SHOP_MINIPROGRAM_APPID and _SECRET"
            ),
            ch.Finding(True, mode),
            ch.Finding(True, f"notify_url: {self._notify_url}"),
            *await examine(self.house),
        ]


def build(parts: ch.Parts) -> WeChat | None:
    """Build the channel; what is wrong with its settings is noted in `parts.env`."""
    house = house_for(parts)
    return WeChat(parts.settings, house) if house else None
