"""What a proved answer means for our rows is decided without reading or writing anything."""

from dataclasses import replace
from typing import Any

import pytest

from checkout.channels import Trade, TradeShare
from checkout.ledger import decide, mismatch
from checkout.models import Order, Payment, Share
from checkout.sql import PaymentRows

PARTIES = {"appid": "wx0000000000000001", "mchid": "1900000001"}
SHARE = TradeShare(
    out_trade_no="S1",
    state="PAID",
    parties=PARTIES,
    transaction_id="4200000001",
    total_fen=100,
    payer_total_fen=90,
    currency="CNY",
)
TRADE = Trade(number="S1", word="SUCCESS", parties=PARTIES, shares=[SHARE])


def rows(state: str = "OPEN", transaction_id: str | None = None) -> PaymentRows:
    """Build what the ledger reads: a payment of one share, and its order."""
    payment = Payment(number="S1", state=state, parties=PARTIES, total_fen=100)
    share = Share(
        out_trade_no="S1",
        parties={"mchid": "1900000001"},
        total_fen=100,
        transaction_id=transaction_id,
    )
    return PaymentRows(payment, [share], Order(state="OPEN"), None)


def with_share(**changes: Any) -> Trade:
    return replace(TRADE, shares=[replace(SHARE, **changes)])


WRONG = {
    "amount": with_share(total_fen=99),
    "currency": with_share(currency="USD"),
    "transaction_id": with_share(transaction_id=None),
    "mchid": with_share(parties={"mchid": "1900000002"}),
    "appid": replace(TRADE, parties={**PARTIES, "appid": "wx0000000000000002"}),
    "number": replace(TRADE, number="S2"),
    "sub_orders": with_share(out_trade_no="S2"),
}


def test_what_fits_is_no_mismatch_and_a_coupon_changes_nothing() -> None:
    payment, shares, _, _ = rows()
    assert mismatch(payment, shares, TRADE) == ""
    assert decide(rows(), TRADE, by_query=True).state == "PAID"
    assert decide(rows(), TRADE, by_query=False).state == "PAID"


@pytest.mark.parametrize("reason", WRONG)
def test_each_thing_that_differs_is_named_and_only_a_query_holds(reason: str) -> None:
    heard = decide(rows(), WRONG[reason], by_query=False)
    assert (heard.outcome, heard.state) == (("REFUSED", reason), None)
    asked = decide(rows(), WRONG[reason], by_query=True)
    assert (asked.outcome, asked.state) == (("REFUSED", reason), "HELD")


@pytest.mark.parametrize("state", ["PAID", "CLOSED"])
def test_what_cannot_be_held_is_refused_without_a_move(state: str) -> None:
    assert decide(rows(state), WRONG["amount"], by_query=True).state is None


def test_the_same_transaction_again_is_a_duplicate_and_another_one_is_refused() -> None:
    again = decide(rows("PAID", "4200000001"), TRADE, by_query=False)
    assert (again.outcome.name, again.state) == ("DUPLICATE", None)
    second = decide(rows("PAID", "4200000002"), TRADE, by_query=True)
    assert (second.outcome, second.state) == (("REFUSED", "second transaction"), None)


@pytest.mark.parametrize(
    ("state", "moves"), [("NEW", "CLOSED"), ("OPEN", "CLOSED"), ("HELD", None)]
)
def test_a_query_closes_what_is_open_and_never_what_is_held(state: str, moves: str | None) -> None:
    closed = with_share(state="CLOSED", transaction_id=None)
    assert decide(rows(state), closed, by_query=True).state == moves
    heard = decide(rows(state), closed, by_query=False)
    assert (heard.outcome, heard.state) == (("REFUSED", "trade_state"), None)


def test_a_query_that_says_not_paid_yet_moves_nothing() -> None:
    still_open = with_share(state="OPEN", transaction_id=None, total_fen=None)
    decision = decide(rows(), still_open, by_query=True)
    assert (decision.outcome.name, decision.state) == ("APPLIED", None)
