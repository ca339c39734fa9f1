"""Payments 支付单: start one or go on with it, ask WeChat about it, close it, cancel its order."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from tortoise.exceptions import IntegrityError

from checkout import channels as ch
from checkout import errors, log, sql, upstream
from checkout.channels import Channel, Channels, Draft, known_scenes
from checkout.clock import SKEW, Clock
from checkout.config import Config
from checkout.ledger import FIRST_LOOK, Ledger, Query
from checkout.models import Order, OrderItem, Payment, Share
from checkout.orders import shares_of
from checkout.work import Overtaken, Work, again
from checkout.writes import Writes

LAST_CALL = 60  # seconds: no new payment this near to the end of an order
FORGOTTEN = timedelta(minutes=5)  # after the last send, "no such number" means it never came
POLITE = timedelta(seconds=3)
REFRESHED = 2  # payments of an order that a buyer's refresh asks about
TRIES = 8  # turns of start(): each follows a twin, or makes room


@dataclass(frozen=True)
class Payer:
    """Who pays: the openids by appid, and the address the buyer comes from."""

    openids: Mapping[str, str] = field(default_factory=dict)
    client_ip: str = ""


class Started(NamedTuple):
    """A payment, the number that its buyer is told, and what opens its cashier 调起."""

    out_trade_no: str
    scene: str
    opens: dict[str, Any]
    is_new: bool


class Wanted(NamedTuple):
    """What a payment must be for to be reused; `payer` is an openid, an address, or nothing."""

    scene: str
    payer: str
    channel: str


class Payments:
    """The verbs of paying; each is called as one unit of work."""

    def __init__(
        self, config: Config, channels: Channels, ledger: Ledger, clock: Clock, work: Work
    ) -> None:
        self._prefix = config.trade_prefix
        self._shop_name = config.shop_name
        self._channels = channels
        self._scenes = known_scenes()
        self._ledger = ledger
        self._clock = clock
        self._work = work

    # -- start

    async def start(
        self, order_no: str, buyer: str, payer: Payer, scene: str, channel: str | None = None
    ) -> Started:
        """Return the live payment for this scene, payer and channel, or a new one.

        A live payment for another one is closed at WeChat first. Raises NotFound, OrderPaid,
        OrderClosed, OrderExpired, SceneOff, OpenidRequired, VirtualGoods, PaymentInProgress,
        WeChatRefused, WeChatUnproved, TooManyRequests, CallAgain.
        """
        for _ in range(TRIES):
            order, items, live = await self._read(order_no, buyer)
            _check_open(order)
            chosen = self._choose(order, items, scene, channel)
            wanted = Wanted(scene, self._payer(payer, scene, chosen), chosen.name)
            if live is not None and _is_for(live, wanted):
                return await self._go_on(order, live, is_new=False)
            if live is not None:
                await self._make_room(live)
                continue
            payment = await self._write_down(order, items, wanted, payer.client_ip)
            if payment is not None:
                return await self._go_on(order, payment, is_new=True)
        raise errors.CallAgain("others start payments of this order", retry_after=1)

    async def _read(self, order_no: str, buyer: str) -> sql.OrderToPay:
        rows = await sql.order_to_pay(order_no)
        if rows is None or buyer not in (rows.order.buyer, rows.order.claimed_by):
            raise errors.NotFound("no such order")
        return rows

    def _choose(
        self, order: Order, items: Sequence[OrderItem], scene: str, name: str | None
    ) -> Channel:
        """Return the first channel that serves this scene for all merchants of the order."""
        if scene not in self._scenes:
            raise errors.BadRequest("there is no such scene", field="scene")
        if scene == "miniprogram" and any(item.kind == "virtual" for item in items):
            raise errors.VirtualGoods("virtual goods need 小程序虚拟支付 in a mini program")
        merchants = list(dict.fromkeys(item.merchant for item in items))
        for channel in self._channels.offered():
            if name in (None, channel.name, channel.books) and channel.serves(scene, merchants):
                _check_time(order, self._clock.now(), channel)
                return channel
        several = f" for {len(merchants)} merchants" if len(merchants) > 1 else ""
        raise errors.SceneOff(f"{scene} is not offered here{several}")

    def _payer(self, payer: Payer, scene: str, channel: Channel) -> str:
        """Return what the payment is bound to: an openid, an address, or nothing."""
        bound_to = self._scenes[scene].payer
        if bound_to != "openid":
            return payer.client_ip if bound_to == "address" else ""
        openid = payer.openids.get(channel.scenes[scene])
        if openid is None:
            raise errors.OpenidRequired(f"{scene} needs an openid of its app", scene=scene)
        return openid

    async def _write_down(
        self, order: Order, items: Sequence[OrderItem], wanted: Wanted, client_ip: str
    ) -> Payment | None:
        """Commit number and request before anything is sent; None when a twin was faster."""
        now = self._clock.now()
        n = order.payments_made + 1
        base = f"{self._prefix}{order.order_no}{n:02}"
        draft_shares = shares_of(items, base, self._shop_name)
        draft = Draft(
            number=f"{base}C" if len(draft_shares) > 1 else base,
            scene=wanted.scene,
            payer=wanted.payer,
            client_ip=client_ip,
            widget=order.widget,
            created_at=now,
            expires_at=order.expires_at,
            shares=draft_shares,
        )
        prepared = self._channels[wanted.channel].prepare(draft)

        async def insert() -> Payment | None:
            payment = _payment(order, draft, prepared, wanted.channel)
            shares = _shares(draft, prepared, wanted.channel)
            writes = Writes()
            writes.run(
                sql.TAKE_NUMBER,
                id=order.id,
                payments_made=order.payments_made,
                payments_made__next=n,
            )
            writes.insert(payment)
            writes.insert_all(Share, *shares, payment_id=payment)
            try:
                await writes.commit()
            except (Overtaken, IntegrityError):
                return None  # a twin took the number, `live` is taken, the order is not OPEN
            return payment

        return await again(insert)

    async def _make_room(self, payment: Payment) -> None:
        """Close the live payment so that another may take its place."""
        await self.close(payment, "another payment wanted")
        if payment.state == "PAID":
            raise errors.OrderPaid("the order is paid")
        if payment.state != "CLOSED":
            raise errors.PaymentInProgress("another payment is under way", retry_after=5)

    async def _go_on(self, order: Order, payment: Payment, *, is_new: bool) -> Started:
        """Make sure that the payment can be paid, and say what opens its cashier."""
        if not self._is_usable(payment):
            prepay = partial(self._prepay, payment, is_new=is_new)
            payment = await self._work.once(payment.number, prepay)
        _check_payable(payment)
        channel = self._channels[payment.channel]
        opens = channel.invoke(payment, order.order_no)
        return Started(_first_number(payment), payment.scene, opens, is_new)

    def _is_usable(self, payment: Payment) -> bool:
        """Tell whether nothing is to be sent: its answer still opens the cashier, or it ended."""
        lasts = timedelta(seconds=self._channels[payment.channel].lasts(payment))
        prepaid_at = payment.prepaid_at
        usable = prepaid_at is not None and not self._clock.has_passed(lasts, prepaid_at)
        return payment.state not in ("NEW", "OPEN") or usable

    async def _prepay(self, payment: Payment, *, is_new: bool) -> Payment:
        """Send the stored request 下单; return the payment as it is afterwards."""
        if not is_new:
            payment = await Payment.get(id=payment.id)  # with its request, as others left it
            if self._is_usable(payment):
                return payment
            await sql.SENT.run(id=payment.id, sent_at=self._clock.now())
        try:
            async with upstream.deadline():
                prepay = await self._channels[payment.channel].prepay(payment)
        except (ch.AlreadyPaid, ch.NumberTaken) as error:
            upstream.report("WeChat refuses a number of ours", payment.number, error, alarm=True)
            await self.ask(payment, "prepay refused")
        except ch.AnswerLost:  # nobody can pay it any more: close it, the next call begins anew
            await self.close(payment, "the answer of its prepay was lost")
        except ch.ChannelError as error:
            is_refused = await self._is_refused(payment, error)
            event = "prepay refused" if is_refused else "prepay failed"
            upstream.report(event, payment.number, error, alarm=is_refused)
            raise _answer(error, is_refused=is_refused) from error
        else:
            await self._ledger.open_payment(payment, prepay)
        return payment

    async def _is_refused(self, payment: Payment, error: ch.ChannelError) -> bool:
        """Tell a refusal from an outage: a 5xx is one when its code came before for this number."""
        if not isinstance(error, ch.Failed):
            return isinstance(error, ch.Declined)
        before = payment.failed_code
        code = error.code[:64]
        await sql.FAILED.run(id=payment.id, failed_code=code)
        payment.failed_code = code
        return before == code

    # -- ask 查单, close 关单

    async def ask(self, payment: Payment, cause: str, *, seconds: float | None = None) -> bool:
        """Query a payment and record the answer; tell whether there was one that proves.

        Afterwards `payment` is fresh. No answer within `seconds` leaves everything as it was.
        """
        proved = await self._ask(payment, cause, seconds)
        await sql.refresh(payment)
        return proved

    async def _ask(self, payment: Payment, cause: str, seconds: float | None) -> bool:
        channel = self._channels.get(payment.channel)
        if channel is None:
            return False  # it is switched off: nobody can be asked
        shares = await sql.shares_in(payment.id)
        try:
            async with upstream.deadline(seconds):
                trade = await channel.query(payment, shares)
        except ch.NoSuchTrade as error:
            await self._forget(payment, shares, cause)
            return error.proved
        except ch.ChannelError as error:
            is_refused = await self._is_refused(payment, error)
            upstream.report("query failed", payment.number, error, alarm=is_refused, cause=cause)
            return False
        await self._ledger.record([payment.channel], trade, Query(f"query, {cause}"))
        return True

    async def _forget(self, payment: Payment, shares: Sequence[Share], cause: str) -> None:
        """Close a payment that WeChat never got; a send that is still under way may arrive."""
        fresh = await Payment.get(id=payment.id)
        last_sent = fresh.sent_at or fresh.created_at
        if self._clock.has_passed(FORGOTTEN, last_sent):
            number = shares[0].out_trade_no
            await self._ledger.close_payment(number, f"{cause}: WeChat never got it")

    async def ask_politely(self, payment: Payment) -> None:
        """Query unless somebody did in the last three seconds, in any process."""
        now = self._clock.now()
        if await sql.POLITE.run(
            id=payment.id,
            asked_at=now,
            asked_at__before=now - POLITE,
            asked_at__tomorrow=now + SKEW,
        ):
            await self.ask(payment, "buyer asks")

    async def close(self, payment: Payment, cause: str) -> bool:
        """Close a payment at WeChat, or close it again; tell whether an answer proves something.

        What is not a verified "closed" is queried, or left. Afterwards `payment` is fresh.
        """
        channel = self._channels.get(payment.channel)
        if channel is None:
            return False
        close_after = timedelta(seconds=channel.close_after)
        may_be_closed = self._clock.has_passed(close_after, payment.created_at)
        if payment.state in ("PAID", "HELD") or not may_be_closed:
            return False
        shares = await sql.shares_in(payment.id)
        try:
            async with upstream.deadline():
                await channel.close(payment, shares)
        except ch.Later as error:
            log.info("not closed yet", number=payment.number, why=str(error), code=error.code)
            return False
        except ch.CannotClose:
            return await self._let_run_out(payment, shares, cause)
        except ch.ChannelError as error:
            _report_not_closed(payment, error, cause)
            proved = await self.ask(payment, f"{cause}, close refused")
            # paid there, and not yet here: whatever the query said, nothing is proved
            return proved and (payment.state == "PAID" or not isinstance(error, ch.AlreadyPaid))
        await self._ledger.close_payment(shares[0].out_trade_no, cause)
        await sql.refresh(payment)
        return True

    async def _let_run_out(self, payment: Payment, shares: Sequence[Share], cause: str) -> bool:
        """Wait for the end of a payment that cannot be closed; then what is not paid is closed."""
        proved = await self.ask(payment, f"{cause}, cannot be closed")
        over = self._clock.now() > payment.expires_at + timedelta(seconds=LAST_CALL)
        if proved and over and payment.state in ("NEW", "OPEN"):
            await self._ledger.close_payment(shares[0].out_trade_no, f"{cause}: its time is over")
            await sql.refresh(payment)
        return proved

    # -- an order

    async def cancel(self, order_no: str) -> Order:
        """Close an order, at WeChat first; CLOSING means that WeChat does not let go yet.

        Raises OrderPaid when the buyer was faster.
        """
        order = await self._ledger.start_closing(order_no, "cancel")
        if order.state == "CLOSING":
            live = await Payment.get_or_none(live=order.id)
            if live is not None:
                await self.close(live, "cancel")
            await order.refresh_from_db()
        if order.state in ("PAID", "REFUNDED"):
            raise errors.OrderPaid("the order is paid")
        return order

    async def refresh(self, order: Order) -> None:
        """Ask WeChat about what of an order may still be paid, at most once in three seconds.

        That is its live payment, and the newest that was closed and is still watched: whoever
        switched scenes may have paid in the first one.
        """
        watched = Payment.filter(order_id=order.id, state__in=("NEW", "OPEN", "HELD", "CLOSED"))
        newest = watched.filter(due_at__not_isnull=True).order_by("-id").limit(REFRESHED)
        await asyncio.gather(*map(self.ask_politely, await newest))

    def widget_scenes(self) -> list[str]:
        """Return the scenes in which the amount widget 金额控件 can be used."""
        offered = self._channels.offered()
        return [scene for channel in offered for scene in channel.widget_scenes]


def _payment(order: Order, draft: Draft, prepared: ch.Prepared, channel: str) -> Payment:
    """Build the row of a payment whose request leaves as soon as it is committed."""
    return Payment(
        order_id=order.id,
        number=draft.number,
        channel=channel,
        scene=draft.scene,
        product=prepared.product,
        payer=draft.payer,
        total_fen=order.total_fen,
        state="NEW",
        live=order.id,
        parties=dict(prepared.parties),
        request=prepared.body,
        prepay={},
        sent_at=draft.created_at,
        expires_at=prepared.expires_at,
        request_id=log.request_id.get(),
        created_at=draft.created_at,
        due_at=draft.created_at + FIRST_LOOK,
    )


def _shares(draft: Draft, prepared: ch.Prepared, channel: str) -> list[dict[str, Any]]:
    return [
        {
            "out_trade_no": share.out_trade_no,
            "merchant": share.merchant,
            "channel": channel,
            "parties": dict(parties),
            "total_fen": share.total_fen,
        }
        for share, parties in zip(draft.shares, prepared.share_parties, strict=True)
    ]


def _first_number(payment: Payment) -> str:
    """Return the first share's out_trade_no: of a combined payment it is numbered M1."""
    if payment.number.endswith("C"):
        return f"{payment.number.removesuffix('C')}M1"
    return payment.number


def _is_for(payment: Payment, wanted: Wanted) -> bool:
    return (payment.scene, payment.payer, payment.channel) == wanted


def _check_open(order: Order) -> None:
    if order.state in ("PAID", "REFUNDED"):
        raise errors.OrderPaid("the order is paid")
    if order.state != "OPEN":
        raise errors.OrderClosed("the order is closed")


def _check_time(order: Order, now: datetime, channel: Channel) -> None:
    """Refuse a payment that the channel would not let last until the order's end."""
    if now > order.expires_at - timedelta(seconds=max(LAST_CALL, channel.least_seconds)):
        raise errors.OrderExpired("the order has expired")


def _check_payable(payment: Payment) -> None:
    if payment.state == "PAID":
        raise errors.OrderPaid("the order is paid")
    if payment.state == "HELD":
        raise errors.PaymentInProgress("the payment is being examined", retry_after=600)
    if payment.state != "OPEN":
        raise errors.PaymentInProgress("the payment was closed meanwhile", retry_after=1)


def _report_not_closed(payment: Payment, error: ch.ChannelError, cause: str) -> None:
    """Tell why a payment was not closed; that it is paid or unknown is told by the query."""
    if isinstance(error, ch.AlreadyPaid) and payment.state == "CLOSED":
        event = "WeChat says that a closed payment is paid"
        upstream.report(event, payment.number, error, alarm=True)
    elif not isinstance(error, ch.AlreadyPaid | ch.NumberTaken | ch.NoSuchTrade):
        upstream.report("close failed", payment.number, error, cause=cause)


def _answer(error: ch.ChannelError, *, is_refused: bool) -> errors.CheckoutError:
    """Say to the buyer what became of a prepay."""
    words: dict[str, Any] = {
        "wechat_code": error.code or None,
        "wechat_request_id": error.request_id or None,
    }
    if isinstance(error, ch.Later):
        return errors.TooManyRequests("WeChat asks us to wait", retry_after=5)
    if is_refused:
        return errors.WeChatRefused(str(error), **words)
    if isinstance(error, ch.Unproved):
        return errors.WeChatUnproved("WeChat's answer could not be verified", **words)
    return errors.CallAgain("WeChat did not answer, call again", retry_after=2)
