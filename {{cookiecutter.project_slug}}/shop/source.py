"""Where a truth came from, and what became of it."""

from dataclasses import dataclass
from typing import Any

from shop.channels import RefundTrade, Trade
from shop.models import Notification

FINAL = ("APPLIED", "DUPLICATE", "REFUSED", "IGNORED")


@dataclass(frozen=True)
class Verdict:
    """What became of a truth: one of FINAL, or RECEIVED, UNMATCHED, UNDECRYPTABLE; and why."""

    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Source:
    """The words for the history, and the notification that brought it, if one did."""

    cause: str
    inbox: Notification | None = None

    async def conclude(self, verdict: Verdict, trade: Trade | RefundTrade | None) -> Verdict:
        """Store the verdict with the notification, in the transaction that is open, if any."""
        if self.inbox is None:
            return verdict
        values: dict[str, Any] = {"outcome": verdict.outcome, "reason": verdict.reason[:255]}
        if trade is not None:
            values["out_trade_no"] = trade.out_trade_no
        if verdict.outcome in FINAL:
            values["due_at"] = None
        row = Notification.filter(id=self.inbox.id)
        if verdict.outcome == "DUPLICATE":
            row = row.exclude(outcome="APPLIED")  # a replay does not hide what it did first
        await row.update(**values)
        return verdict
