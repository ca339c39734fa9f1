"""Start a payment, go on with it, cancel: what a buyer can do with an order."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from tortoise.exceptions import IntegrityError
from tortoise.expressions import F

from shop import channels as ch
from shop import errors, log
from shop.clock import Clock
from shop.ledger import Ledger
from shop.models import Identity, Order, Payment
from shop.ordering import describe
from shop.truth import Truth
from shop.work import Work, transaction

LAST_CALL = timedelta(seconds=60)  # no new payment this near to the end of an order
FIRST_LOOK = timedelta(seconds=5)


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
        self, order: Order, scene: str, channel: str | None = None
    ) -> tuple[Payment, dict[str, Any], bool]:
        """Return the live payment for this scene, what opens its cashier, and whether it is new.

        A live payment of another scene, payer or channel is closed at WeChat first.
        Raises OrderPaid, OrderClosed, OrderExpired, SceneOff, OpenidRequired,
        PaymentInProgress, WeChatRefused, TooManyRequests, OutcomeUnknown.
        """
        self._check_open(order)
        way = self._channel_for(scene, channel)
        payer = await self._payer(order, scene, way)
        while True:
            payment = await Payment.get_or_none(live=order.order_no)
            new = payment is None
            if payment is None:
                payment = await self._new_payment(order, scene, payer, way)
            elif (payment.scene, payment.payer, payment.channel) != (scene, payer, way.name):
                await self._make_room(payment)
                payment = None
            if payment is not None:
                await self.work.once(payment.out_trade_no, partial(self._prepay, payment))
                await payment.refresh_from_db()
                self._check_payable(payment)
                return payment, way.invoke(payment), new

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

    def _channel_for(self, scene: str, channel: str | None) -> ch.Channel:
        for way in self.channels.values():
            if scene in way.scenes and channel in (None, way.name):
                return way
        raise errors.SceneOff(f"{scene} is not offered here")

    async def _payer(self, order: Order, scene: str, way: ch.Channel) -> str:
        kind = ch.IDENTITY_OF_SCENE.get(scene)
        if kind is None:
            return ""
        identity = await Identity.get_or_none(buyer_id=order.buyer_id, appid=way.scenes[scene])
        if identity is None:
            login = "/oauth/start" if kind == "official_account" else "/api/sessions/miniprogram"
            raise errors.OpenidRequired(f"{scene} needs a login by {login}", login=login)
        return identity.openid

    async def _new_payment(
        self, order: Order, scene: str, payer: str, way: ch.Channel
    ) -> Payment | None:
        """Write a payment down, with the request word for word; None when a twin was faster."""
        now = self.clock.now()
        description = await describe(order)
        try:
            async with transaction():
                counted = Order.filter(id=order.id, state="OPEN")
                if not await counted.update(payments_made=F("payments_made") + 1):
                    raise errors.OrderClosed("the order is closed")
                await order.refresh_from_db()
                payment = Payment(
                    order_id=order.id,
                    out_trade_no=f"{self.trade_prefix}{order.order_no}{order.payments_made:02}",
                    channel=way.name,
                    scene=scene,
                    payer=payer,
                    total_fen=order.total_fen,
                    state="NEW",
                    live=order.order_no,
                    prepay={},
                    request_id=log.request_id.get(),
                    created_at=now,
                    due_at=now + FIRST_LOOK,
                )
                prepared = way.prepare(payment, order, description)
                payment.request, payment.parties = prepared.body, dict(prepared.parties)
                await payment.save()
        except IntegrityError:
            return None
        return payment

    async def _make_room(self, payment: Payment) -> None:
        """Close the live payment so that another may take its place."""
        await self.truth.close(payment, "another payment wanted")
        if payment.state == "PAID":
            raise errors.OrderPaid("the order is paid")
        if payment.state != "CLOSED":
            raise errors.PaymentInProgress("another payment is under way", retry_after=5)

    async def _prepay(self, payment: Payment) -> None:
        """Send the stored request unless its answer can still be used."""
        await payment.refresh_from_db()
        way, now = self.channels[payment.channel], self.clock.now()
        lasts = timedelta(seconds=way.lasts(payment))
        if payment.state not in ("NEW", "OPEN"):
            return
        if payment.prepaid_at and now < payment.prepaid_at + lasts:
            return
        await Payment.filter(id=payment.id).update(sent_at=now)
        try:
            prepay = await way.prepay([payment])
        except (ch.AlreadyPaid, ch.NumberClosed) as error:
            log.alarm("prepay of our number refused", number=payment.out_trade_no, code=error.code)
            await self.truth.ask(payment, "prepay refused")
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
