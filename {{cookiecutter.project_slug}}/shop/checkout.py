"""Start a payment, go on with it, cancel: what a buyer can do with an order."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from shop import channels as ch
from shop import errors, log
from shop.clock import Clock
from shop.ledger import Ledger
from shop.models import Identity, Order, Payment
from shop.ordering import parts
from shop.payments import FIRST_LOOK, Shares, write_down
from shop.truth import Truth
from shop.work import Work

LAST_CALL = timedelta(seconds=60)  # no new payment this near to the end of an order


class Buyer(NamedTuple):
    """Who pays, and from where."""

    id: str
    client_ip: str


@dataclass(frozen=True)
class Checkout:
    """The verbs of the till; each is called as one unit of work."""

    trade_prefix: str
    channels: Mapping[str, ch.Channel]
    ledger: Ledger
    truth: Truth
    clock: Clock
    work: Work

    async def start_payment(
        self, order: Order, buyer: Buyer, scene: str, channel: str | None = None
    ) -> tuple[Payment, dict[str, Any], bool]:
        """Return the live payment for this scene, what opens its cashier, and whether it is new.

        A live payment of another scene, payer or channel is closed at WeChat first.
        Raises OrderPaid, OrderClosed, OrderExpired, SceneOff, OpenidRequired,
        PaymentInProgress, WeChatRefused, TooManyRequests, OutcomeUnknown.
        """
        self._check_open(order)
        shares = await parts(order)
        way = self._channel_for(scene, channel, shares)
        payer = await self._payer(buyer, scene, way)
        while True:
            payment = await Payment.get_or_none(live=order.order_no)
            new = payment is None
            if payment is None:
                payment = await write_down(
                    order,
                    shares,
                    way,
                    prefix=self.trade_prefix,
                    client_ip=buyer.client_ip,
                    at=self.clock.now(),
                    scene=scene,
                    payer=payer,
                )
            elif (payment.scene, payment.payer, payment.channel) != (scene, payer, way.name):
                await self._make_room(payment)
                payment = None
            if payment is not None:
                await self.work.once(payment.out_trade_no, partial(self._prepay, payment))
                await payment.refresh_from_db()
                self._check_payable(payment)
                return payment, way.invoke(payment, order), new

    def has_widget(self, scene: str) -> bool:
        """Tell whether the amount widget 金额控件 can be used in this scene."""
        return any(scene in way.widget_scenes for way in self.channels.values())

    async def cancel(self, order: Order) -> Order:
        """Close the order, at WeChat first; CLOSING means that WeChat does not let go yet.

        Raises OrderPaid when the buyer was faster.
        """
        if order.state == "OPEN":
            await self.ledger.start_closing(order, "cancel")
        live = await Payment.get_or_none(live=order.order_no)
        if live is not None:
            await self.truth.close(live, "cancel")
            await order.refresh_from_db()
        await self.ledger.close_order(order, "cancel")
        if order.state == "PAID":
            raise errors.OrderPaid("the order is paid")
        return order

    async def refresh(self, order: Order) -> None:
        """Ask WeChat about the order's live payment, at most once in three seconds."""
        live = await Payment.get_or_none(live=order.order_no)
        if live is not None:
            await self.truth.ask_politely(live)

    def _check_open(self, order: Order) -> None:
        if order.state in ("PAID", "REFUNDED"):
            raise errors.OrderPaid("the order is paid")
        if order.state != "OPEN":
            raise errors.OrderClosed("the order is closed")
        if self.clock.now() > order.expires_at - LAST_CALL:
            raise errors.OrderExpired("the order has expired")

    def _check_payable(self, payment: Payment) -> None:
        if payment.state == "PAID":
            raise errors.OrderPaid("the order is paid")
        if payment.state == "HELD":
            raise errors.PaymentInProgress("the payment is being examined", retry_after=600)
        if payment.state != "OPEN":
            raise errors.PaymentInProgress("the payment was closed meanwhile", retry_after=1)

    def _channel_for(self, scene: str, channel: str | None, shares: Shares) -> ch.Channel:
        for way in self.channels.values():
            if channel in (None, way.name, way.books) and way.serves(scene, list(shares)):
                return way
        several = f" for {len(shares)} merchants" if len(shares) > 1 else ""
        raise errors.SceneOff(f"{scene} is not offered here{several}")

    async def _payer(self, buyer: Buyer, scene: str, way: ch.Channel) -> str:
        """Return what the payment is bound to: an openid, an address, or nothing."""
        place = ch.SCENES[scene]
        if place.payer != "openid":
            return buyer.client_ip if place.payer else ""
        identity = await Identity.get_or_none(buyer_id=buyer.id, appid=way.scenes[scene])
        if identity is None:
            said = f"{scene} needs a login by {place.login}"
            raise errors.OpenidRequired(said, login=place.login)
        return identity.openid

    async def _make_room(self, payment: Payment) -> None:
        """Close the live payment so that another may take its place."""
        await self.truth.close(payment, "another payment wanted")
        if payment.state == "PAID":
            raise errors.OrderPaid("the order is paid")
        if payment.state != "CLOSED":
            raise errors.PaymentInProgress("another payment is under way", retry_after=5)

    def _is_fresh(self, payment: Payment) -> bool:
        """Tell whether nothing is to be sent: its answer still opens the cashier, or it ended."""
        lasts = timedelta(seconds=self.channels[payment.channel].lasts(payment))
        usable = payment.prepaid_at and self.clock.now() < payment.prepaid_at + lasts
        return payment.state not in ("NEW", "OPEN") or bool(usable)

    async def _prepay(self, payment: Payment) -> None:
        """Send the stored request unless its answer can still be used."""
        await payment.refresh_from_db()
        way, now = self.channels[payment.channel], self.clock.now()
        if self._is_fresh(payment):
            return
        await Payment.filter(id=payment.id).update(sent_at=now)
        try:
            prepay = await way.prepay(await payment.parts())
        except (ch.AlreadyPaid, ch.NumberClosed) as error:
            log.alarm("prepay of our number refused", number=payment.out_trade_no, code=error.code)
            await self.truth.ask(payment, "prepay refused")
        except ch.AnswerLost:  # nobody can pay it any more: close it, the next call begins anew
            await self.truth.close(payment, "the answer of its prepay was lost")
        except ch.Busy as error:
            raise errors.TooManyRequests("WeChat asks us to wait", retry_after=5) from error
        except ch.Refused as error:
            raise errors.WeChatRefused(
                str(error), wechat_code=error.code, wechat_request_id=error.request_id
            ) from error
        except ch.Unknown as error:
            raise errors.OutcomeUnknown(
                "WeChat did not answer, call again", retry_after=2
            ) from error
        else:
            await self.ledger.open_payment(payment, prepay, due_at=now + FIRST_LOOK)
