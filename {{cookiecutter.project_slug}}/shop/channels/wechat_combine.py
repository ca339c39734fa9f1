"""Combined orders 合单 of WeChat Pay: several merchants, one cashier, all paid or none."""

from collections.abc import Mapping, Sequence
from typing import Any

from shop import channels as ch
from shop.channels._cashier import opens, trade
from shop.channels._merchant import House, house_for, translated
from shop.channels._notices import NotificationVerbs
from shop.channels._refunds import REFUND_PATH, RefundVerbs
from shop.models import Order, Payment
from shop.settings import Settings
from wechat import combine, fields, transactions
from wechat.client import to_json
from wechat.notify import Envelope

PATH = "/notify/wechat/combine"
DEVICE_ID = "shop0001"  # older pages want 7 to 16 characters, and always


class WeChatCombine(NotificationVerbs, RefundVerbs):
    """Translate between the payments of an order and WeChat's sub orders 子单."""

    name, books, rank = "wechat_combine", "wechat", 1
    close_after = 0
    widget_scenes: Sequence[str] = ()
    notifications: Mapping[str, str] = {PATH: "payment"}

    def __init__(self, settings: Settings, house: House) -> None:
        self.house, self._parties = house, house.parties
        found = self._parties.scenes(settings.scenes)
        sub = self._parties.sub_appid  # combine_appid must be our own, and so must its openid
        self.scenes = {scene: appid for scene, appid in found.items() if appid != sub}
        self._notify_url = settings.public_url + PATH
        self.refund_url = settings.public_url + REFUND_PATH
        self._shop_url = settings.public_url

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether so many merchants, all of them known, can be paid at once."""
        if self._parties.sub_mchid:
            return scene in self.scenes and 2 <= len(merchants) <= combine.MOST
        known = {"", self._parties.mchid, *self.house.others}
        return (
            scene in self.scenes
            and 2 <= len(merchants) <= combine.MOST_DIRECT
            and set(merchants) <= known
        )

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the body of POST /v3/combine-transactions/{product} 合单下单."""
        first = draft.payments[0]
        appid, product = self.scenes[first.scene], ch.SCENES[first.scene].product
        whole = {
            "combine_appid": appid,
            "combine_mchid": self._parties.mchid,
            "combine_out_trade_no": first.combine_out_trade_no,
        }
        parts = zip(draft.payments, draft.descriptions, strict=True)
        subs = [self._sub_order(payment, words) for payment, words in parts]
        body = combine.combine_order(
            product,
            **whole,
            sub_orders=subs,
            openid=first.payer,
            scene_info=fields.scene(draft.client_ip, h5=product == "h5", device_id=DEVICE_ID),
            notify_url=self._notify_url,
            time_expire=draft.order.expires_at,
        )
        named = [_named({**whole, **one.numbers()}) for one in subs]
        return ch.Prepared(product, to_json(body).decode(), named)

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds a prepay_id, code_url or h5_url opens the cashier."""
        return ch.SCENES[payment.scene].lasts

    async def prepay(self, payments: Sequence[Payment]) -> dict[str, str]:
        """Send the stored body, byte for byte."""
        product, body = payments[0].product, payments[0].request.encode()
        with translated():
            ticket = await combine.prepay(self.house.client, product, body)
        return {transactions.PRODUCTS[product]: ticket}

    def invoke(self, payment: Payment, order: Order) -> dict[str, Any]:
        """Sign with combine_mchid's key what opens the cashier of combine_appid 调起."""
        return opens(payment, order, self.house.client.merchant, self._shop_url)

    async def query(self, payments: Sequence[Payment]) -> list[ch.Trade]:
        """Ask for the whole order 合单查单: a sub order alone is unknown there."""
        with translated():
            number = payments[0].combine_out_trade_no
            return _trades(await combine.query(self.house.client, number))

    async def close(self, payments: Sequence[Payment]) -> None:
        """Close the whole order 合单关单, naming exactly all its parts."""
        numbers = [self._sub_order(payment, "-").numbers() for payment in payments]
        with translated():
            await combine.close(
                self.house.client,
                combine_appid=payments[0].parties["combine_appid"],
                combine_out_trade_no=payments[0].combine_out_trade_no,
                sub_orders=numbers,
            )

    def open(self, key: bytes, envelope: Envelope) -> list[ch.Trade]:
        """Decrypt a combined payment."""
        return _trades(combine.open_combined(key, envelope))

    async def examine(self) -> list[ch.Finding]:
        """Say where notifications go."""
        return [ch.Finding(True, f"notify_url of combined orders 合单: {self._notify_url}")]

    def _sub_order(self, payment: Payment, description: str) -> combine.SubOrder:
        own, sub = self._parties.mchid, self._parties.sub_mchid
        return combine.SubOrder(
            mchid=own if sub else payment.merchant or own,
            sub_mchid=(payment.merchant or sub) if sub else None,
            out_trade_no=payment.out_trade_no,
            total_fen=payment.total_fen,
            description=description,
            attach=payment.combine_out_trade_no,
        )


def _trades(combined: combine.Combined) -> list[ch.Trade]:
    return [trade(part, _named(part.parties)) for part in combined.parts]


def _named(parties: Mapping[str, str]) -> dict[str, str]:
    """Name a service provider's own number as its refunds do; the part's number is no party."""
    named = {name: value for name, value in parties.items() if name != "out_trade_no"}
    if "sub_mchid" in named:
        named["sp_mchid"] = named.pop("mchid")
    return named


def build(parts: ch.Parts) -> WeChatCombine | None:
    """Build the channel; what is wrong with its settings is noted in `parts.env`."""
    house = house_for(parts)
    return WeChatCombine(parts.settings, house) if house else None
