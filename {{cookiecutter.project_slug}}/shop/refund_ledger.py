"""Record refunds 退款记账: reserve before anything is sent, then let what is proved move them.

The cap is the conditional UPDATE in `reserve`: every refund counts except CLOSED and REJECTED.
"""

from typing import Any

from tortoise.expressions import F

from shop import log
from shop.channels import RefundTrade
from shop.clock import Clock
from shop.models import Order, Payment, Refund
from shop.moves import REFUND, Moves
from shop.source import Source, Verdict
from shop.work import transaction

MOST = 50  # refunds of one payment, by WeChat's rule
#: said, here: an answer that was under way while another one moved the refund on
OLD_NEWS = {("PROCESSING", "SUCCESS"), ("PROCESSING", "CLOSED"), ("PROCESSING", "ABNORMAL")}


def mismatch(refund: Refund, payment: Payment, trade: RefundTrade) -> str:
    """Return the first thing in a RefundTrade that is not what we sent, or ""."""
    if trade.out_trade_no != payment.out_trade_no:
        return "out_trade_no"
    if trade.transaction_id != payment.transaction_id:
        return "transaction_id"
    for name, said in trade.parties.items():  # an answer names none, a notification the mchid
        if payment.parties.get(name) != said:
            return name
    if (trade.refund_fen, trade.total_fen) != (refund.refund_fen, payment.total_fen):
        return "amount"
    return "" if refund.refund_id in (None, trade.refund_id) else "refund_id"


def new_refund(payment: Payment, refund_fen: int, **more: Any) -> Refund:
    """Build a refund of a payment, PENDING and not saved yet; `more` sets other columns."""
    return Refund(
        order_id=payment.order_id,
        payment_id=payment.id,
        channel=payment.channel,
        refund_fen=refund_fen,
        request="",
        **{"out_refund_no": "", "state": "PENDING", **more},
    )


class RefundLedger:
    """Move refunds, and the sums of their payment and order with them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moves = Moves(clock)

    async def reserve(self, payment: Payment, refund: Refund) -> bool:
        """Insert a refund if its payment has room, or change nothing; ours gets its number here.

        Raises IntegrityError when the number or the idempotency key is taken.
        """
        fen = 0 if refund.state == "CLOSED" else refund.refund_fen  # made elsewhere, and failed
        ours = not refund.out_refund_no
        room = Payment.filter(id=payment.id, state="PAID", reserved_fen__lte=F("total_fen") - fen)
        if ours:
            room = room.filter(refunds_made__lt=MOST)
        async with transaction():
            taken: dict[str, Any] = {
                "reserved_fen": F("reserved_fen") + fen,
                "refunds_made": F("refunds_made") + 1,
            }
            if not ours:  # WeChat counts it when it spaces refunds
                taken["refund_sent_at"] = refund.created_at
            if not await room.update(**taken):
                return False
            await payment.refresh_from_db()
            if ours:
                refund.out_refund_no = f"{payment.out_trade_no}R{payment.refunds_made:02}"
            await _add(payment, refunding_fen=fen)
            await refund.save()
        return True

    async def record(self, refund: Refund, trade: RefundTrade, source: Source) -> Verdict:
        """Let a proved RefundTrade move its refund, at most once; afterwards `refund` is fresh."""
        payment = await Payment.get(id=refund.payment_id)
        log.info("refund", number=refund.out_refund_no, said=trade.said, cause=source.cause)
        if wrong := mismatch(refund, payment, trade):
            return await self._refuse(refund, trade, source, wrong)
        while refund.state == "PENDING" or trade.state in REFUND[refund.state]:
            moved = await self._step(refund, payment, trade, source)
            await refund.refresh_from_db()
            if moved:
                return Verdict("APPLIED")
        if refund.state == trade.state or (trade.state, refund.state) in OLD_NEWS:
            return await source.conclude(Verdict("DUPLICATE"), trade)
        return await self._refuse(refund, trade, source, f"it is {refund.state} here")

    async def _step(
        self, refund: Refund, payment: Payment, trade: RefundTrade, source: Source
    ) -> bool:
        """Move to PROCESSING and beyond in one transaction; whoever moves first, moves all."""
        done = trade.state in REFUND["PROCESSING"]
        accepted_at = trade.accepted_at or refund.accepted_at or refund.sent_at
        proof = {"refund_id": trade.refund_id, "trouble": "", "accepted_at": accepted_at}
        proof["refunded_at"] = trade.refunded_at
        async with transaction():
            if refund.state == "PENDING":
                if not await self._moves.move(refund, "PROCESSING", source.cause, **proof):
                    return False
                refund.state = "PROCESSING"
            if done:
                if not await self._moves.move(
                    refund, trade.state, source.cause, due_at=None, **proof
                ):
                    return False
                await self._finish(refund, payment, trade.state, source.cause)
            await source.conclude(Verdict("APPLIED"), trade)
        return True

    async def reject(self, refund: Refund, why: str) -> None:
        """Give up a refund that was refused for good: its amount may be refunded again."""
        payment = await Payment.get(id=refund.payment_id)
        async with transaction():
            if await self._moves.move(refund, "REJECTED", why, due_at=None, trouble=why[:255]):
                await self._finish(refund, payment, "REJECTED", why)
        await refund.refresh_from_db()

    async def _finish(self, refund: Refund, payment: Payment, state: str, cause: str) -> None:
        """Book what became of the reservation; CLOSED, ABNORMAL and REJECTED need a person."""
        fen = refund.refund_fen
        if state != "SUCCESS":
            log.alarm("refund failed", number=refund.out_refund_no, state=state, why=cause)
        if state == "ABNORMAL":
            return
        if state == "SUCCESS":
            await Payment.filter(id=payment.id).update(refunded_fen=F("refunded_fen") + fen)
            await _add(payment, refunding_fen=-fen, refunded_fen=fen)
            await self._refunded(refund, payment, cause)
        else:
            await Payment.filter(id=payment.id).update(reserved_fen=F("reserved_fen") - fen)
            await _add(payment, refunding_fen=-fen)

    async def _refunded(self, refund: Refund, payment: Payment, cause: str) -> None:
        """Tell the owner; an order of which nothing is left is REFUNDED."""
        if payment.surplus:
            return
        order = await Order.get(id=payment.order_id)
        if order.refunded_fen == order.total_fen:
            await self._moves.move(order, "REFUNDED", cause)
        await self._moves.event(order, "on_refunded", refund)

    async def _refuse(
        self, refund: Refund, trade: RefundTrade, source: Source, reason: str
    ) -> Verdict:
        said = {"said": trade.said, "fen": trade.refund_fen, "expected_fen": refund.refund_fen}
        log.alarm("refund's truth refused", number=refund.out_refund_no, reason=reason, **said)
        return await source.conclude(Verdict("REFUSED", reason), trade)


async def _add(payment: Payment, **fen: int) -> None:
    """Add to the sums of the payment's order, unless the money never was the order's."""
    if not payment.surplus:
        sums = {column: F(column) + change for column, change in fen.items()}
        await Order.filter(id=payment.order_id).update(**sums)
