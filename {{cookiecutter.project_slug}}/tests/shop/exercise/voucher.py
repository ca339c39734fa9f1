"""An exercise: one file is a channel. Vouchers of a bank that lives in this process."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from checkout import channels as ch
from checkout.clock import Clock
from checkout.models import Order, Payment, Refund

KEY = b"the bank's and ours"


class Bank:
    """What the bank knows: a state and an amount for each number, and each refund's amount."""

    def __init__(self) -> None:
        self.trades: dict[str, tuple[Any, int]] = {}
        self.refunds: dict[str, tuple[str, int]] = {}

    def pay(self, number: str) -> bytes:
        """Let the person pay; return the notification."""
        _, fen = self.trades[number]
        self.trades[number] = "PAID", fen
        said = json.dumps({"number": number, "state": "PAID", "fen": fen})
        return json.dumps({"said": said, "sign": sign(said)}).encode()


def sign(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


class Voucher:
    """Translate between our payment and the bank's numbers."""

    name, books, rank = "voucher", "voucher", 20
    scenes: Mapping[str, str] = {"native": ""}
    widget_scenes: Sequence[str] = ()
    close_after = 0
    notifications: Mapping[str, str] = {"/notify/voucher": "payment"}

    def __init__(self, bank: Bank, clock: Clock) -> None:
        self.bank, self.clock = bank, clock

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        return scene in self.scenes and list(merchants) == [""]

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        [payment] = draft.payments
        return ch.Prepared("voucher", json.dumps({"fen": payment.total_fen}), [{"bank": "7"}])

    def lasts(self, payment: Payment) -> int:
        return 600

    async def prepay(self, payments: Sequence[Payment]) -> dict[str, str]:
        number = payments[0].out_trade_no
        self.bank.trades.setdefault(number, ("OPEN", json.loads(payments[0].request)["fen"]))
        return {"code_url": f"bank://{number}"}

    def invoke(self, payment: Payment, order: Order) -> dict[str, Any]:
        return dict(payment.prepay)

    async def query(self, payments: Sequence[Payment]) -> Sequence[ch.Trade]:
        number = payments[0].out_trade_no
        if number not in self.bank.trades:
            raise ch.NoSuchTrade(number)
        state, fen = self.bank.trades[number]
        return [self._trade(number, state, fen, self.clock.now())]

    async def close(self, payments: Sequence[Payment]) -> None:
        state, fen = self.bank.trades.get(payments[0].out_trade_no, ("OPEN", 0))
        if state == "PAID":
            raise ch.AlreadyPaid("paid")
        self.bank.trades[payments[0].out_trade_no] = "CLOSED", fen

    def prepare_refund(self, refund: Refund, payment: Payment) -> str:
        return json.dumps({"fen": refund.refund_fen})

    async def refund(self, payment: Payment, refund: Refund) -> ch.RefundTrade:
        fen = json.loads(refund.request)["fen"]
        self.bank.refunds.setdefault(refund.out_refund_no, (payment.out_trade_no, fen))
        return await self.query_refund(payment, refund.out_refund_no)

    async def query_refund(
        self, payment: Payment, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        if out_refund_no not in self.bank.refunds:
            raise ch.NoSuchTrade(out_refund_no)
        number, fen = self.bank.refunds[out_refund_no]
        return ch.RefundTrade(
            out_refund_no=out_refund_no,
            refund_id=f"b{out_refund_no}",
            out_trade_no=number,
            transaction_id=payment.transaction_id or "",
            state="SUCCESS",
            said="DONE",
            refund_fen=fen,
            total_fen=payment.total_fen,
            parties={},
            refunded_at=self.clock.now(),
        )

    async def bill(self, date: date) -> AsyncIterator[ch.BillRow]:
        for number, (state, fen) in self.bank.trades.items():
            if state == "PAID":
                yield ch.BillRow(number, f"b{number}", "PAID", fen)
        for refund, (number, fen) in self.bank.refunds.items():
            yield ch.BillRow(number, f"b{number}", "PAID", 0, refund, fen)

    def hint(self, kind: str, body: bytes) -> tuple[int, str, str] | None:
        return None

    async def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        try:
            whole = json.loads(body)
            said, given = str(whole["said"]), str(whole["sign"])
        except (ValueError, KeyError, TypeError):
            raise ch.NotProved("not ours", code="undecodable") from None
        if not hmac.compare_digest(sign(said), given):
            raise ch.NotProved("not signed by the bank", code="bad_signature")
        return given

    def read(self, kind: str, body: bytes) -> Sequence[ch.Trade] | ch.RefundTrade | None:
        said = json.loads(json.loads(body)["said"])
        return [self._trade(said["number"], said["state"], said["fen"], self.clock.now())]

    def received(self, body: bytes) -> tuple[int, str, str]:
        return 200, "text/plain", "thanks"

    def failed(self, message: str) -> tuple[str, str]:
        return "text/plain", message

    async def examine(self) -> list[ch.Finding]:
        return []

    def _trade(self, number: str, state: Any, fen: int, at: datetime) -> ch.Trade:
        return ch.Trade(
            out_trade_no=number,
            state=state,
            said=state,
            parties={"bank": "7"},
            transaction_id=f"b{number}" if state == "PAID" else None,
            total_fen=fen,
            currency="CNY",
            paid_at=at if state == "PAID" else None,
        )


BANK = Bank()


def build(parts: ch.Parts) -> Voucher:
    return Voucher(BANK, parts.clock)
