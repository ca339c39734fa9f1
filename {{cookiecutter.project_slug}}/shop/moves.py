"""The states and their only moves, each by compare-and-set, with its history and its event."""

from typing import Any

from shop import log
from shop.clock import Clock
from shop.models import Event, Order, Payment, Refund, Transition

#: from -> to; anything else is refused and logged
PAYMENT = {
    "NEW": {"OPEN", "PAID", "CLOSED", "HELD"},
    "OPEN": {"PAID", "CLOSED", "HELD"},
    "CLOSED": {"PAID"},  # late money is still money
    "HELD": {"PAID", "CLOSED"},  # CLOSED by a person only
    "PAID": set[str](),
}
ORDER = {
    "OPEN": {"PAID", "CLOSING"},
    "CLOSING": {"CLOSED", "PAID"},
    "CLOSED": set[str](),
    "PAID": {"REFUNDED"},
    "REFUNDED": set[str](),
}
REFUND = {
    "PENDING": {"PROCESSING", "REJECTED"},
    "PROCESSING": {"SUCCESS", "CLOSED", "ABNORMAL"},
    "ABNORMAL": {"SUCCESS", "CLOSED"},
    "SUCCESS": set[str](),
    "CLOSED": set[str](),
    "REJECTED": set[str](),
}


class Moves:
    """The only writer of a state; call it inside a transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def move(self, row: Order | Payment | Refund, to: str, cause: str, **values: Any) -> bool:
        """Compare and set: move `row` from the state it was read in, or change nothing."""
        subject, number, moves = _about(row)
        if to not in moves[row.state]:
            log.warning("move refused", number=number, before=row.state, after=to, cause=cause)
            return False
        if not await type(row).filter(id=row.id, state=row.state).update(state=to, **values):
            return False
        await Transition.create(
            subject=subject,
            number=number,
            before=row.state,
            after=to,
            cause=cause[:255],
            at=self._clock.now(),
        )
        log.info("moved", number=number, before=row.state, after=to, cause=cause)
        return True

    async def event(self, order: Order, kind: str, refund: Refund | None = None) -> None:
        """Write down what the owner's on_paid.py must hear of."""
        now, which = self._clock.now(), f"-{refund.id}" if refund else ""
        await Event.create(
            event_id=f"{order.order_no}-{kind}{which}",
            order_id=order.id,
            refund_id=refund.id if refund else None,
            kind=kind,
            created_at=now,
            due_at=now,
        )


def _about(row: Order | Payment | Refund) -> tuple[str, str, dict[str, set[str]]]:
    if isinstance(row, Order):
        return "order", row.order_no, ORDER
    if isinstance(row, Payment):
        return "payment", row.out_trade_no, PAYMENT
    return "refund", row.out_refund_no, REFUND
