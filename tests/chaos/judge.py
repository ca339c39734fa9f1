"""The judge of a storm or a walk: are the books what the sandbox knows to be true?"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

import httpx
from checkout.ledger import LET_GO, UNDER_WAY
from checkout.models import Event, Order, Payment, Refund, Share, Transition

Row = dict[str, Any]
LIVE = ("NEW", "OPEN", "HELD")
PAID = ("PAID", "REFUNDED")
#: only the answers of these books say what a coupon took off
TELLS_COUPONS = "wechat"


class Judged(Protocol):
    """What the judge looks at beside the database."""

    @property
    def sandbox(self) -> httpx.AsyncClient:
        """Return a client of the sandbox."""
        ...

    def heard_events(self) -> list[tuple[str, bool]]:
        """Return the events that the owner heard of: id, whether it was committed by then."""
        ...


class Books(NamedTuple):
    """All rows, by what they belong to."""

    orders: list[Order]
    payments: dict[int, list[Payment]]
    shares: dict[int, list[Share]]
    refunds: dict[int, list[Refund]]

    def shares_of(self, order: Order, *, surplus: bool) -> list[Share]:
        """Return the paid shares of an order: those that it needed, or those that came besides."""
        paid = [p for p in self.payments[order.id] if p.state == "PAID" and p.surplus is surplus]
        return [share for payment in paid for share in self.shares[payment.id]]

    def refunds_of(self, order: Order) -> list[Refund]:
        """Return the refunds of what the order needed; surplus money never was the order's."""
        shares = self.shares_of(order, surplus=False)
        return [refund for share in shares for refund in self.refunds[share.id]]


async def judge(judged: Judged) -> list[str]:
    """Return what is wrong in the books, one sentence each."""
    books = await _read()
    there = {row["out_trade_no"]: row async for row in _trades(judged.sandbox)}
    return [
        *_trades_that_differ(books, there),
        *[
            line
            for payments in books.payments.values()
            for p in payments
            for line in _sums(p, books)
        ],
        *[line for order in books.orders for line in _order(order, books, there)],
        *await _moved_twice(),
        *await _events(books, judged.heard_events()),
    ]


async def _read() -> Books:
    books = Books(await Order.all(), defaultdict(list), defaultdict(list), defaultdict(list))
    for payment in await Payment.all().order_by("id"):
        books.payments[payment.order_id].append(payment)
    for share in await Share.all().order_by("id"):
        books.shares[share.payment_id].append(share)
    for refund in await Refund.all().order_by("id"):
        books.refunds[refund.share_id].append(refund)
    return books


async def _trades(sandbox: httpx.AsyncClient) -> AsyncIterator[Row]:
    """Yield every order of the sandbox as it truly is."""
    after = 0
    while after is not None:
        page = (await sandbox.get(f"/_sandbox/orders?after={after}")).json()
        for row in page["orders"]:
            yield row
        after = page["next"]


def _trades_that_differ(books: Books, there: dict[str, Row]) -> list[str]:
    """Compare share by share: what is paid there is PAID here, and nothing else is."""
    wrong = []
    here = set[str]()
    for payments in books.payments.values():
        for payment in payments:
            for share in books.shares[payment.id]:
                here.add(share.out_trade_no)
                wrong += _share(payment, share, there.get(share.out_trade_no), books)
    return wrong + [f"{number}: there, but unknown here" for number in there.keys() - here]


def _share(payment: Payment, share: Share, row: Row | None, books: Books) -> list[str]:
    paid_there = bool(row and row["transaction_id"])
    number = share.out_trade_no
    if paid_there is not (payment.state == "PAID"):
        word = "paid" if paid_there else "not paid"
        return [f"{number}: {word} there, {payment.state} here"]
    refunds = {r.out_refund_no: r for r in books.refunds[share.id]}
    accepted = [r for r in refunds.values() if r.state not in ("PENDING", "REJECTED")]
    here = {r.out_refund_no: (r.refund_fen, r.state) for r in accepted}
    there = {r["out_refund_no"]: (r["refund"], r["status"]) for r in row["refunds"]} if row else {}
    wrong = [f"{number}: refunds {here} here, {there} there"] if here != there else []
    if row and (share.transaction_id, share.total_fen) != (row["transaction_id"], row["total"]):
        wrong.append(f"{number}: another transaction or amount")
    if (f"{number}S" in refunds) is not payment.surplus:
        wrong.append(f"{number}: surplus without its refund, or the reverse")
    return wrong


def _sums(payment: Payment, books: Books) -> list[str]:
    """Check what a payment and its shares say about themselves."""
    shares = books.shares[payment.id]
    number = payment.number
    wrong = []
    if payment.total_fen != sum(share.total_fen for share in shares):
        wrong.append(f"{number}: its shares do not add up")
    if payment.live != (payment.order_id if payment.state in LIVE else None):
        wrong.append(f"{number} is {payment.state}: live is {payment.live}")
    if payment.state == "HELD":
        wrong.append(f"{number} is HELD, nobody lied in a query")
    for share in shares:
        refunds = books.refunds[share.id]
        holding = [r.refund_fen for r in refunds if r.state not in LET_GO]
        done = [r.refund_fen for r in refunds if r.state == "SUCCESS"]
        sums = (sum(holding), sum(done), len(refunds))
        if (share.reserved_fen, share.refunded_fen, share.refunds_made) != sums:
            wrong.append(f"{share.out_trade_no}: its sums do not fit its refunds")
    return wrong


def _order(order: Order, books: Books, there: dict[str, Row]) -> list[str]:
    """Check an order against its payments and refunds, surplus money left out."""
    name = f"{order.order_no} is {order.state}"
    shares = books.shares_of(order, surplus=False)
    wrong = []
    if len({share.payment_id for share in shares}) != (order.state in PAID):
        wrong.append(f"{name} with {len(shares)} shares PAID")
    if sum(share.total_fen for share in shares) != (order.total_fen if shares else 0):
        wrong.append(f"{name}: paid by another amount")
    paid = sum(_paid_there(share, there) for share in shares) if shares else None
    refunds = books.refunds_of(order)
    refunded = _sum(refunds, ("SUCCESS",))
    sums = (order.paid_fen, order.refunded_fen, order.refunding_fen)
    if sums != (paid, refunded, _sum(refunds, UNDER_WAY)):
        wrong.append(f"{name}: its sums {sums} do not fit its shares and refunds")
    if (order.state == "REFUNDED") is not (bool(shares) and refunded == order.total_fen):
        wrong.append(f"{name} with {refunded} of {order.total_fen} refunded")
    return wrong


def _paid_there(share: Share, there: dict[str, Row]) -> int:
    row = there.get(share.out_trade_no)
    if row is None or not share.channel.startswith(TELLS_COUPONS):
        return int(share.total_fen)
    return int(row["payer_total"] or 0)


def _sum(refunds: Sequence[Refund], states: Sequence[str]) -> int:
    return sum(refund.refund_fen for refund in refunds if refund.state in states)


async def _moved_twice() -> list[str]:
    """Look for a move that was made twice: each leaves one line of history."""
    lines = await Transition.all().values_list("subject", "number", "to_state")
    twice = [line for line, count in Counter(lines).items() if count > 1]
    return [f"{subject} {number} became {state} twice" for subject, number, state in twice]


async def _events(books: Books, heard_events: Sequence[tuple[str, bool]]) -> list[str]:
    """Compare what must be told, what is written, and what the owner heard of, and when."""
    expected = {event_id for order in books.orders for event_id in _due_events(order, books)}
    written = {event.event_id for event in await Event.all()}
    heard = {event_id for event_id, _ in heard_events}
    early = {event_id for event_id, committed in heard_events if not committed}
    return [
        *[f"{event_id} was not written" for event_id in expected - written],
        *[f"{event_id} was written, for nothing" for event_id in written - expected],
        *[f"{event_id} was never told" for event_id in written - heard],
        *[f"{event_id} was told, but is not written" for event_id in heard - written],
        *[f"{event_id} was told before it was committed" for event_id in early],
    ]


def _due_events(order: Order, books: Books) -> list[str]:
    if order.state == "CLOSED":
        return [f"{order.order_no}-on_closed"]
    if order.state not in PAID:
        return []
    done = [refund for refund in books.refunds_of(order) if refund.state == "SUCCESS"]
    refunded = [f"{order.order_no}-on_refunded-{refund.id}" for refund in done]
    return [f"{order.order_no}-on_paid", *refunded]
