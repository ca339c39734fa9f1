"""Give money back 退款: take the order, send it, follow it until the truth is known."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from tortoise.exceptions import IntegrityError
from tortoise.expressions import Q

from shop import channels as ch
from shop import errors, log
from shop.clock import Clock
from shop.models import Order, Payment, Refund
from shop.refund_ledger import MOST, RefundLedger, mismatch, new_refund
from shop.source import Source, Verdict
from shop.truth import FORGOTTEN, Truth

SPACING = timedelta(seconds=60)  # between two refunds of one payment, by WeChat's rule
LEASE = timedelta(seconds=60)
POOR = timedelta(minutes=5)  # between two tries while the merchant has no money
LOOKS = (60, 120, 300, 900, 3600, 6 * 3600)  # seconds between looks at a PROCESSING refund


@dataclass(frozen=True)
class Refunds:
    """The verbs of the way back; each is called as one unit of work."""

    channels: Mapping[str, ch.Channel]
    ledger: RefundLedger
    truth: Truth
    clock: Clock

    async def start(
        self, order: Order, refund_fen: int, reason: str, key: str, out_trade_no: str | None = None
    ) -> tuple[Refund, bool]:
        """Write a refund down, and send it if it is its payment's turn; tell whether it is new.

        Raises BadRequest, PartRequired, RefundExceeds, RefundLimit, IdempotencyKeyReused.
        """
        asked = [refund_fen, reason, out_trade_no]
        request_hash = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
        known = await Refund.get_or_none(order_id=order.id, idempotency_key=key)
        if known is None:
            payment = await self._part(order, out_trade_no)
            now, once = self.clock.now(), {"idempotency_key": key, "request_hash": request_hash}
            dates = {"created_at": now, "due_at": now + LEASE}
            new = new_refund(payment, refund_fen, reason=reason, origin="admin", **once, **dates)
            try:
                await self._reserve(payment, new)
            except IntegrityError:  # a twin of this request was faster
                known = await Refund.get(order_id=order.id, idempotency_key=key)
            else:
                await self.send(new)
                return new, True
        if known.request_hash != request_hash:
            raise errors.IdempotencyKeyReused("this Idempotency-Key came with another refund")
        return known, False

    async def look(self, refund: Refund) -> None:
        """Go on with a refund that is due: send what is PENDING, ask about what is PROCESSING."""
        if refund.state == "PENDING":
            await self.send(refund)
            return
        await self.ask(refund, "sweep")
        if refund.state in ("PROCESSING", "ABNORMAL"):
            wait = timedelta(seconds=LOOKS[min(refund.looks, len(LOOKS) - 1)])
            await self._wait(refund, wait, looks=refund.looks + 1)

    async def send(self, refund: Refund) -> None:
        """Send a PENDING refund, unless an earlier one of its payment goes first or just went."""
        payment = await Payment.get(id=refund.payment_id)
        if wait := await self._turn(refund, payment):
            await self._wait(refund, wait)
            return
        sent_before = refund.sent_at
        await self._write_down(refund, payment)
        try:
            trade = await self.channels[refund.channel].refund(payment, refund)
        except ch.NotNow as error:
            log.alarm("refund waits", number=refund.out_refund_no, code=error.code, why=str(error))
            await self._wait(refund, POOR, trouble=error.code)
        except ch.Refused as error:
            await self._check_refused(refund, error, sent_before)
        except ch.ChannelError as error:
            log.warning("refund unknown", number=refund.out_refund_no, why=str(error))
            await self._wait(refund, SPACING, trouble=error.code or "no answer")
            await self.ask(refund, "refund unknown")
        else:
            await self.ledger.record(refund, trade, Source(f"refund, {refund.origin}"))
        await Payment.filter(id=payment.id).update(refund_sent_at=self.clock.now())

    async def ask(self, refund: Refund, cause: str) -> bool:
        """Query 查退款 and record the answer; False when WeChat says that it has no such refund."""
        payment = await Payment.get(id=refund.payment_id)
        try:
            trade = await self.channels[refund.channel].query_refund(
                payment, refund.out_refund_no, refund.request
            )
        except ch.NoSuchTrade:
            return False
        except ch.ChannelError as error:
            log.warning("refund query failed", number=refund.out_refund_no, why=str(error))
        else:
            await self.ledger.record(refund, trade, Source(f"query, {cause}"))
        return True

    async def hear(self, channels: Sequence[str], trade: ch.RefundTrade, source: Source) -> Verdict:
        """Record a refund's notification.

        One that tells no end, or of a number that is not ours, is only a reason to ask.
        """
        theirs = Payment.filter(out_trade_no=trade.out_trade_no, channel__in=channels)
        payment = await theirs.first()
        if payment is None:
            log.alarm("unmatched", number=trade.out_refund_no, cause=source.cause)
            return await source.conclude(Verdict("UNMATCHED", "unknown number"), trade)
        number = trade.out_refund_no
        refund = await Refund.get_or_none(out_refund_no=number, channel=payment.channel)
        if refund is not None and trade.state != "PROCESSING":
            return await self.ledger.record(refund, trade, source)
        if payment.state != "PAID":
            await self.truth.ask(payment, "its refund came first")
        try:
            way = self.channels[payment.channel]
            request = refund.request if refund else ""
            proved = await way.query_refund(payment, trade.out_refund_no, request)
        except ch.ChannelError as error:
            log.warning("refund not confirmed", number=trade.out_refund_no, why=str(error))
            return await source.conclude(Verdict("RECEIVED", "not confirmed"), trade)
        refund = refund or await self._adopt(payment, proved)
        if refund is None:
            log.alarm("refund made elsewhere does not fit", number=trade.out_refund_no)
            return await source.conclude(Verdict("UNMATCHED", "does not fit the payment"), trade)
        return await self.ledger.record(refund, proved, source)

    async def ask_again(self, channel: str) -> None:
        """Let the sweep ask within a minute: something unsigned spoke of a refund."""
        soon = self.clock.now() + SPACING
        channels = ch.of_same_books(self.channels, channel)
        rows = Refund.filter(channel__in=channels, state__in=("PROCESSING", "ABNORMAL"))
        await rows.filter(Q(due_at=None) | Q(due_at__gt=soon)).update(due_at=soon)

    async def _part(self, order: Order, out_trade_no: str | None) -> Payment:
        """Return the payment that the refund is taken from."""
        paid = await Payment.filter(order_id=order.id, state="PAID").order_by("id")
        if out_trade_no is not None:
            paid = [payment for payment in paid if payment.out_trade_no == out_trade_no]
        else:  # surplus money goes back by itself, and counts only when there is no other
            paid = [payment for payment in paid if not payment.surplus] or paid
        if len(paid) > 1:
            raise errors.PartRequired("paid in several parts: say which", field="out_trade_no")
        if not paid and out_trade_no is not None:
            raise errors.BadRequest("no paid payment of this order", field="out_trade_no")
        if not paid:
            raise errors.RefundExceeds("nothing of this order is paid")
        return paid[0]

    async def _reserve(self, payment: Payment, refund: Refund) -> None:
        if await self.ledger.reserve(payment, refund):
            return
        await payment.refresh_from_db()
        if payment.refunds_made >= MOST:
            raise errors.RefundLimit(f"WeChat takes {MOST} refunds of one payment")
        left = payment.total_fen - payment.reserved_fen
        raise errors.RefundExceeds(f"{left} fen can still be refunded")

    async def _turn(self, refund: Refund, payment: Payment) -> timedelta:
        """Take the payment's turn, nothing to wait then; or return how long to wait for it."""
        now = self.clock.now()
        before = await Refund.filter(
            payment_id=payment.id, state="PENDING", id__lt=refund.id
        ).count()
        free = Payment.filter(Q(refund_sent_at=None) | Q(refund_sent_at__lte=now - SPACING))
        if not before and await free.filter(id=payment.id).update(refund_sent_at=now):
            return timedelta(0)
        await payment.refresh_from_db()
        first = payment.refund_sent_at + SPACING if payment.refund_sent_at else now
        wait: timedelta = first + SPACING * before - now
        # a minute at most: whoever has the turn may be counted twice while it is being sent
        return min(max(wait, timedelta(seconds=1)), SPACING)

    async def _write_down(self, refund: Refund, payment: Payment) -> None:
        """Commit the request before it leaves; a repeat sends the one that is stored."""
        mine = Refund.filter(id=refund.id)
        if not refund.request:
            request = self.channels[refund.channel].prepare_refund(refund, payment)
            await mine.filter(request="").update(request=request)
        await mine.update(sent_at=self.clock.now())
        await refund.refresh_from_db()

    async def _check_refused(
        self, refund: Refund, error: ch.Refused, sent_before: datetime | None
    ) -> None:
        """Reject for good what WeChat does not know; an earlier sending may still turn up."""
        log.warning("refund refused", number=refund.out_refund_no, code=error.code, why=str(error))
        if await self.ask(refund, f"refund refused: {error.code}"):
            return
        if sent_before and self.clock.now() < sent_before + FORGOTTEN:
            await self._wait(refund, FORGOTTEN, trouble=error.code)
        else:
            await self.ledger.reject(refund, f"refused: {error.code}")

    async def _adopt(self, payment: Payment, trade: ch.RefundTrade) -> Refund | None:
        """Write down what was refunded in the merchant platform; None when it does not fit."""
        now = self.clock.now()
        state = "CLOSED" if trade.state == "CLOSED" else "PROCESSING"
        values = {"out_refund_no": trade.out_refund_no, "state": state, "reason": ""}
        dates = {"created_at": now, "due_at": now + LEASE}
        origin = {"origin": "merchant_platform"}
        refund = new_refund(payment, trade.refund_fen, **values, **dates, **origin)
        if mismatch(refund, payment, trade):
            return None
        try:
            return refund if await self.ledger.reserve(payment, refund) else None
        except IntegrityError:  # a copy of this notification was faster
            return await Refund.get(out_refund_no=trade.out_refund_no, channel=payment.channel)

    async def _wait(self, refund: Refund, wait: timedelta, **values: Any) -> None:
        due_at = self.clock.now() + wait
        await Refund.filter(id=refund.id).update(due_at=due_at, **values)
