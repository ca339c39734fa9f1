"""Give money back 退款: reserve it, send it, follow it until what became of it is proved."""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import msgspec
from tortoise.exceptions import IntegrityError
from tortoise.expressions import Q

from checkout import channels as ch
from checkout import errors, log, sql, upstream
from checkout.buckets import Buckets
from checkout.channels import Channels, ReasonToAsk, RefundTrade
from checkout.clock import SKEW, Clock
from checkout.ledger import MOST_REFUNDS, Ledger, Outcome, Query, Source
from checkout.models import Order, Payment, Refund, Share
from checkout.orders import MAX_TOTAL_FEN, check_int, check_text
from checkout.pace import Pace
from checkout.payments import FORGOTTEN, Payments
from checkout.work import Overtaken, again, transaction

SPACING = timedelta(seconds=60)  # between two refunds of one share, by WeChat's rule
LEASE = timedelta(seconds=60)
AFTER_A_FAILURE = timedelta(seconds=2)  # of a refund, before the merchant's next one leaves
DAILY = timedelta(days=1)  # a surplus refund that is refused is tried again
LOOKS = (60, 120, 300, 900, 3600, 6 * 3600)  # seconds between looks at a PROCESSING refund
Asked = Literal["recorded", "unknown number", "not proved", "no answer"]
UNSIGNED = "an unsigned notification"


class RefundStarted(NamedTuple):
    """A refund with what it belongs to, and whether it is new."""

    refund: Refund
    share: Share
    order: Order
    is_new: bool


class Refunds:
    """The verbs of the way back; each is called as one unit of work."""

    def __init__(
        self, channels: Channels, ledger: Ledger, payments: Payments, clock: Clock
    ) -> None:
        self._channels = channels
        self._ledger = ledger
        self._payments = payments
        self._clock = clock
        self._pace = Pace(clock)
        self._named = Buckets(burst=1, per_minute=1, now=clock.seconds)
        self._unnamed = Buckets(burst=1, per_minute=60, now=clock.seconds)

    # -- begin

    async def start(
        self,
        order_no: str,
        refund_fen: int,
        reason: str,
        key: str,
        out_trade_no: str | None = None,
    ) -> RefundStarted:
        """Write a refund down; a share's first one is sent at once, others wait for their turn.

        While WeChat asks its merchant to wait, the first one waits, too.
        The same key and words give the same refund. Raises NotFound, BadRequest, PartRequired,
        RefundExceeds, RefundLimit, SceneOff, IdempotencyKeyReused.
        """
        check_int("refund_fen", refund_fen, 1, MAX_TOTAL_FEN)
        check_text("reason", reason, 80)
        check_text("idempotency_key", key, 64)
        asked = msgspec.json.encode([refund_fen, reason, out_trade_no])
        asked_hash = hashlib.sha256(asked).hexdigest()

        async def once() -> RefundStarted:
            rows = await sql.order_to_refund(order_no, key)
            if rows is None:
                raise errors.NotFound("no such order")
            if rows.refund is not None:
                return _same(rows, rows.refund, asked_hash)
            payment, share = _choose(rows.paid, out_trade_no)
            _check_room(share, refund_fen)
            if share.channel not in self._channels:
                raise errors.SceneOff("the channel it was paid by is switched off: set it up again")
            return await self._reserve(
                rows.order, payment, share, refund_fen, reason, key, asked_hash
            )

        started = await again(once)
        if started.is_new and started.refund.sent_at is not None:
            with self._pace.sending(_merchant(started.share)):
                await self._send(started.refund, started.share)
        return started

    async def _reserve(
        self,
        order: Order,
        payment: Payment,
        share: Share,
        refund_fen: int,
        reason: str,
        key: str,
        asked_hash: str,
    ) -> RefundStarted:
        """Commit number, request and reservation before anything is sent."""
        now = self._clock.now()
        at_once = share.refunds_made == 0 and self._pace.is_free(_merchant(share))
        refund = Refund(
            order_id=order.id,
            share_id=share.id,
            channel=share.channel,
            out_refund_no=f"{share.out_trade_no}R{share.refunds_made + 1:02}",
            refund_fen=refund_fen,
            reserved_fen=refund_fen,
            reason=reason,
            origin="admin",
            state="PENDING",
            request="",
            idempotency_key=key,
            request_hash=asked_hash,
            sent_at=now if at_once else None,
            created_at=now,
            due_at=now + (LEASE if at_once else timedelta(0)),
        )
        refund.request = self._channels[share.channel].prepare_refund(refund, share, payment)
        try:
            async with transaction():
                await self._ledger.reserve(
                    refund, share, surplus=payment.surplus, takes_turn=at_once
                )
        except IntegrityError as error:
            raise Overtaken("a twin was faster") from error
        return RefundStarted(refund, share, order, is_new=True)

    # -- send, follow

    async def look(self, refund: Refund) -> None:
        """Go on with a refund that is due: send what is PENDING, ask about what is under way."""
        share = await Share.get(id=refund.share_id)
        if refund.state == "PENDING" and refund.refused_at is not None:
            await self._after_quiet_period(refund, share)
        elif refund.state == "PENDING":
            await self._send_in_turn(refund, share)
        elif refund.state in ("PROCESSING", "ABNORMAL"):
            await self.ask(refund, share, "sweep")
            await refund.refresh_from_db()
            if refund.state in ("PROCESSING", "ABNORMAL"):
                wait = timedelta(seconds=LOOKS[min(refund.looks, len(LOOKS) - 1)])
                await self._wait(refund, wait, looks=refund.looks + 1)

    async def _send_in_turn(self, refund: Refund, share: Share) -> None:
        """Send a PENDING refund, unless it must wait for its merchant or for an earlier one."""
        merchant = _merchant(share)
        wait = self._pace.wait(merchant) or await self._take_turn(refund, share)
        if wait := wait or self._pace.wait(merchant):
            await self._wait(refund, wait)
            return
        with self._pace.sending(merchant):
            await self._write_request(refund, share)
            await self._send(refund, share)

    async def _write_request(self, refund: Refund, share: Share) -> None:
        """Write down what leaves now, and when."""
        if not refund.request:  # surplus: the ledger writes no requests
            payment = await Payment.get(id=share.payment_id)
            channel = self._channels[refund.channel]
            refund.request = channel.prepare_refund(refund, share, payment)
        refund.sent_at = self._clock.now()
        await Refund.filter(id=refund.id).update(request=refund.request, sent_at=refund.sent_at)

    async def _send(self, refund: Refund, share: Share) -> None:
        """Send the stored request 退款, and record the answer."""
        try:
            async with upstream.deadline():
                trade = await self._channels[refund.channel].refund(refund, share)
        except ch.Later as error:
            await self._postpone(refund, share, error)
        except ch.Declined as error:
            await self._refused(refund, share, error)
        except ch.ChannelError as error:
            await self._hold_back(share, AFTER_A_FAILURE)
            repeats = isinstance(error, ch.Failed) and _code(refund) == error.code
            upstream.report("refund unknown", refund.out_refund_no, error, alarm=repeats)
            await self._wait(refund, SPACING, trouble=_trouble(error))
            await self.ask(refund, share, "refund unknown")
        else:
            self._pace.succeeded(_merchant(share))
            answer = Query(f"refund, {refund.origin}")
            await self._ledger.record_refund(refund.channel, trade, answer)
        await refund.refresh_from_db()

    async def _postpone(self, refund: Refund, share: Share, error: ch.Later) -> None:
        """Keep the number and wait; the merchant's other refunds wait with it."""
        upstream.report("refund waits", refund.out_refund_no, error)
        wait = timedelta(seconds=error.seconds)
        await self._hold_back(share, wait)
        await self._wait(refund, wait, trouble=_trouble(error))

    async def _refused(self, refund: Refund, share: Share, error: ch.Declined) -> None:
        """Begin a quiet period, unless a query knows the refund: an earlier sending may turn up."""
        await self._hold_back(share, AFTER_A_FAILURE)
        upstream.report("refund refused", refund.out_refund_no, error, alarm=True)
        if await self.ask(refund, share, f"refund refused: {error.code}") == "recorded":
            return
        now = self._clock.now()
        await self._wait(refund, FORGOTTEN, trouble=_trouble(error), refused_at=now)

    async def _after_quiet_period(self, refund: Refund, share: Share) -> None:
        """Give a refused refund up when WeChat still does not know it; surplus money never."""
        asked = await self.ask(refund, share, f"refund refused: {refund.trouble}")
        if asked == "no answer":
            await self._wait(refund, SPACING)
        elif asked == "not proved":  # it may have been made: who strips signatures may do more
            _tell_refused("refund refused, but nobody signs it", refund)
            await self._wait(refund, FORGOTTEN)
        elif asked == "unknown number" and refund.origin == "surplus":
            _tell_refused("surplus refund refused: a person must decide", refund)
            await self._wait(refund, DAILY, refused_at=None)
        elif asked == "unknown number":
            cause = f"refused: {refund.trouble}"
            await self._ledger.reject(refund.channel, refund.out_refund_no, cause)

    async def ask(self, refund: Refund, share: Share, cause: str) -> Asked:
        """Query 查退款 and record the answer; what nobody signed decides nothing about money."""
        channel = self._channels.get(refund.channel)
        if channel is None:
            return "no answer"  # it is switched off
        try:
            async with upstream.deadline():
                trade = await channel.query_refund(share, refund.out_refund_no, refund.request)
        except ch.NoSuchTrade as error:
            return "unknown number" if error.proved else "not proved"
        except ch.ChannelError as error:
            is_refused = isinstance(error, ch.Declined)
            upstream.report(
                "refund query failed", refund.out_refund_no, error, alarm=is_refused, cause=cause
            )
            return "no answer"
        await self._ledger.record_refund(refund.channel, trade, Query(f"query, {cause}"))
        return "recorded"

    # -- notifications

    async def hear(self, books: Sequence[str], trade: RefundTrade, source: Source) -> Outcome:
        """Record a refund's notification; one that tells no end, or of an unknown number, is asked.

        UNMATCHED "not confirmed" when WeChat does not answer: the sweep asks.
        """
        share = await Share.get_or_none(out_trade_no=trade.out_trade_no)
        if share is None or share.channel not in books:
            log.alarm("unmatched", number=trade.out_refund_no)
            return await self._ledger.record_refund("", trade, source)
        await self._know_payment(share)
        refund = await Refund.get_or_none(channel=share.channel, out_refund_no=trade.out_refund_no)
        if refund is not None and trade.state != "PROCESSING":
            return await self._ledger.record_refund(share.channel, trade, source)
        request = refund.request if refund else trade.request
        confirmed = await self._confirm(share, trade.out_refund_no, request)
        if confirmed is None:
            return await self._ledger.record_unconfirmed(source, trade.out_trade_no)
        return await self._ledger.record_refund(share.channel, confirmed, source, adopts=True)

    async def ask_about(self, channel: str, reason: ReasonToAsk) -> Outcome:
        """Follow an unsigned message: it proves nothing, what it names is queried.

        Anybody can send one, so one refund is asked about once a minute at most. NOT_CONFIRMED when
        nothing was learned: it is not stored, so it must come again.
        """
        books = self._channels.of_same_books(channel)
        share = await Share.get_or_none(out_trade_no=reason.out_trade_no)
        if share is None or share.channel not in books:
            if not self._unnamed.take(channel):
                await self._ask_soon(Refund.filter(channel__in=books))
            return Outcome("ASKED", "unsigned")
        refund = await Refund.get_or_none(channel=share.channel, out_refund_no=reason.out_refund_no)
        too_often = self._named.take(f"{share.channel} {reason.out_refund_no}") > 0
        if refund is not None:
            unheard = ("no answer", "not proved")
            if too_often or await self.ask(refund, share, UNSIGNED) in unheard:
                await self._ask_soon(Refund.filter(id=refund.id))
            return Outcome("ASKED", "unsigned")
        if too_often:
            return Outcome("NOT_CONFIRMED", "unsigned")
        await self._know_payment(share)
        confirmed = await self._confirm(share, reason.out_refund_no, request="")
        if confirmed is None:
            return Outcome("NOT_CONFIRMED", "unsigned")
        query = Query(f"query, {UNSIGNED}")
        recorded = await self._ledger.record_refund(share.channel, confirmed, query, adopts=True)
        return Outcome("NOT_CONFIRMED" if recorded.name == "UNMATCHED" else "ASKED", "unsigned")

    async def _know_payment(self, share: Share) -> None:
        """Query a payment whose refund came first."""
        payment = await Payment.get(id=share.payment_id)
        if payment.state != "PAID":
            hurry = upstream.HURRY_SECONDS
            await self._payments.ask(payment, "its refund came first", seconds=hurry)

    async def _confirm(self, share: Share, out_refund_no: str, request: str) -> RefundTrade | None:
        """Let WeChat confirm by a query what a notification said; None without an answer."""
        fresh = await Share.get(id=share.id)
        try:
            async with upstream.deadline(upstream.HURRY_SECONDS):
                channel = self._channels[share.channel]
                return await channel.query_refund(fresh, out_refund_no, request)
        except ch.ChannelError as error:
            upstream.report("refund not confirmed", out_refund_no, error)
            return None

    async def _ask_soon(self, refunds: Any) -> None:
        """Let the sweep ask within a minute."""
        soon = self._clock.now() + SPACING
        under_way = refunds.filter(state__in=("PROCESSING", "ABNORMAL"))
        await under_way.filter(Q(due_at=None) | Q(due_at__gt=soon)).update(due_at=soon)

    # -- turns and pauses

    async def _hold_back(self, share: Share, wait: timedelta) -> None:
        """Let the merchant's other refunds wait: here, and in all other processes."""
        self._pace.failed(_merchant(share), wait)
        await sql.HOLD_BACK.run(
            channel=share.channel, merchant=share.merchant, due_at=self._clock.now() + wait
        )

    async def _take_turn(self, refund: Refund, share: Share) -> timedelta:
        """Take the share's turn, nothing to wait then; or return how long to wait for it."""
        now = self._clock.now()
        earlier = await Refund.filter(
            share_id=share.id, state="PENDING", refused_at=None, id__lt=refund.id
        ).count()
        if not earlier and await sql.TAKE_TURN.run(
            id=share.id,
            refund_sent_at=now,
            refund_sent_at__before=now - SPACING,
            refund_sent_at__tomorrow=now + SKEW,
        ):
            return timedelta(0)
        share = await Share.get(id=share.id)
        first = share.refund_sent_at + SPACING if share.refund_sent_at else now
        # a minute at most: whoever has the turn may be counted twice while it is being sent
        return min(max(first + SPACING * earlier - now, timedelta(seconds=1)), SPACING)

    async def _wait(self, refund: Refund, wait: timedelta, **values: Any) -> None:
        """Look at a refund again later; only while nobody has moved it on."""
        due_at = self._clock.now() + wait
        unmoved = Refund.filter(id=refund.id, state=refund.state)
        await unmoved.update(due_at=due_at, **values)


def _trouble(error: ch.ChannelError) -> str:
    """Write why a refund waits: their code, and the Request-ID that names the answer."""
    return f"{error.code or 'unanswered'} {error.request_id}".strip()[:255]


def _code(refund: Refund) -> str:
    """Return the code in a refund's trouble."""
    return refund.trouble.partition(" ")[0]


def _tell_refused(event: str, refund: Refund) -> None:
    """Raise an alarm that names the answer in which a refund was refused."""
    code, _, request_id = refund.trouble.partition(" ")
    log.alarm(event, number=refund.out_refund_no, code=code, wechat_request_id=request_id)


def _merchant(share: Share) -> str:
    return f"{share.channel} {json.dumps(share.parties, sort_keys=True)}"


def _same(rows: sql.OrderToRefund, refund: Refund, asked_hash: str) -> RefundStarted:
    if refund.request_hash != asked_hash:
        raise errors.IdempotencyKeyReused("this Idempotency-Key came with another refund")
    share = next(share for _, share in rows.paid if share.id == refund.share_id)
    return RefundStarted(refund, share, rows.order, is_new=False)


def _choose(
    paid: Sequence[tuple[Payment, Share]], out_trade_no: str | None
) -> tuple[Payment, Share]:
    """Return the payment and the share that a refund is taken from."""
    if out_trade_no is not None:
        named = [pair for pair in paid if pair[1].out_trade_no == out_trade_no]
        if not named:
            raise errors.BadRequest("no paid payment of this order", field="out_trade_no")
        return named[0]
    if not paid:
        raise errors.RefundExceeds("nothing of this order is paid")
    # surplus money goes back by itself, and counts only when there is no other
    candidates = [pair for pair in paid if not pair[0].surplus] or list(paid)
    if len(candidates) > 1:
        raise errors.PartRequired("paid in several parts: say which", field="out_trade_no")
    return candidates[0]


def _check_room(share: Share, refund_fen: int) -> None:
    if share.refunds_made >= MOST_REFUNDS:
        raise errors.RefundLimit(f"WeChat takes {MOST_REFUNDS} refunds of one payment")
    left = share.total_fen - share.reserved_fen
    if refund_fen > left:
        raise errors.RefundExceeds(f"{left} fen can still be refunded")
