"""An exercise: one file is a channel. Vouchers of a bank that lives in this process."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import httpx

from checkout import channels as ch
from checkout.clock import Clock
from checkout.config import Config, Env
from checkout.models import Payment, Refund, Share

PATH = "/notify/voucher"
PARTIES = {"bank": "7"}


@dataclass(frozen=True)
class VoucherConfig:
    """The key that the bank and we share."""

    key: bytes


class BankSays(Exception):
    """Raised when the bank answers "no"; `code` is its word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Voucher:
    """A voucher as the bank has it; the amount in fen."""

    fen: int
    state: ch.TradeState = "OPEN"


class Bank:
    """What the bank knows: each number's voucher, each refund's number and amount.

    `faults` says how often a call answers so: ("prepay", "BUSY") or ("prepay", "CUT").
    """

    def __init__(self) -> None:
        self.vouchers: dict[str, Voucher] = {}
        self.refunds: dict[str, tuple[str, int]] = {}
        self.asked: list[tuple[str, str]] = []
        self.faults: Counter[tuple[str, str]] = Counter()

    def order(self, number: str, body: str) -> str:
        """Write a voucher, once for each number; return the link that opens it."""
        self.asked.append((number, body))
        self._refuse("prepay")
        self.vouchers.setdefault(number, Voucher(json.loads(body)["fen"]))
        self._cut("prepay")
        return f"bank://{number}"

    def pay(self, number: str) -> bytes:
        """Let the person pay; return the notification. Raises BankSays when it is not open."""
        if self.vouchers[number].state != "OPEN":
            raise BankSays(self.vouchers[number].state)
        self.vouchers[number] = replace(self.vouchers[number], state="PAID")
        text = json.dumps({"number": number, "state": "PAID", "fen": self.vouchers[number].fen})
        return json.dumps({"text": text, "sign": sign(KEY, text)}).encode()

    def close(self, number: str) -> None:
        """Tear a voucher up."""
        if number not in self.vouchers:
            raise BankSays("UNKNOWN")
        if self.vouchers[number].state == "PAID":
            raise BankSays("PAID")
        self.vouchers[number] = replace(self.vouchers[number], state="CLOSED")

    def refund(self, out_refund_no: str, body: str) -> None:
        """Give money back, once for each number."""
        self._refuse("refund")
        asked = json.loads(body)
        self.refunds.setdefault(out_refund_no, (asked["number"], asked["fen"]))

    def _refuse(self, call: str) -> None:
        for word in ("BUSY", "NEVER", "LOST"):
            if self._takes(call, word):
                raise BankSays(word)

    def _cut(self, call: str) -> None:
        if self._takes(call, "CUT"):
            raise BankSays("CUT")

    def _takes(self, call: str, word: str) -> bool:
        if not self.faults[call, word]:
            return False
        self.faults[call, word] -= 1
        return True


def sign(key: bytes, text: str) -> str:
    """Sign as the bank does."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class VoucherChannel:
    """Translate between our payment and the bank's numbers."""

    name = "voucher"
    books = "voucher"
    rank = 20
    close_after = 0
    least_seconds = 0
    scenes: Mapping[str, str] = {"native": ""}
    widget_scenes: Sequence[str] = ()
    notifications: Mapping[str, str] = {PATH: "payment"}

    def __init__(self, config: VoucherConfig, bank: Bank, clock: Clock) -> None:
        self._key = config.key
        self._bank = bank
        self._clock = clock

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        return scene in self.scenes and list(merchants) == [""]

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        [share] = draft.shares
        return ch.Prepared(
            product="voucher",
            body=json.dumps({"fen": share.total_fen}),
            parties=PARTIES,
            share_parties=[PARTIES],
            expires_at=draft.expires_at,
        )

    def lasts(self, payment: Payment) -> int:
        return 600

    async def prepay(self, payment: Payment) -> dict[str, str]:
        try:
            return {"code_url": self._bank.order(payment.number, payment.request)}
        except BankSays as error:
            raise _translated(error) from error

    def invoke(self, payment: Payment, order_no: str) -> dict[str, Any]:
        return dict(payment.prepay)

    async def query(self, payment: Payment, shares: Sequence[Share]) -> ch.Trade:
        voucher = self._bank.vouchers.get(payment.number)
        if voucher is None:
            raise ch.NoSuchTrade(payment.number, proved=True)
        return self._trade(payment.number, voucher.state, voucher.fen)

    async def close(self, payment: Payment, shares: Sequence[Share]) -> None:
        try:
            self._bank.close(payment.number)
        except BankSays as error:
            raise _translated(error) from error

    def prepare_refund(self, refund: Refund, share: Share, payment: Payment) -> str:
        return json.dumps({"number": share.out_trade_no, "fen": refund.refund_fen})

    async def refund(self, refund: Refund, share: Share) -> ch.RefundTrade:
        try:
            self._bank.refund(refund.out_refund_no, refund.request)
        except BankSays as error:
            raise _translated(error) from error
        return await self.query_refund(share, refund.out_refund_no)

    async def query_refund(
        self, share: Share, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        if out_refund_no not in self._bank.refunds:
            raise ch.NoSuchTrade(out_refund_no, proved=True)
        number, fen = self._bank.refunds[out_refund_no]
        return ch.RefundTrade(
            out_refund_no=out_refund_no,
            refund_id=f"b{out_refund_no}",
            out_trade_no=number,
            transaction_id=f"b{number}",
            state="SUCCESS",
            word="DONE",
            refund_fen=fen,
            total_fen=self._bank.vouchers[number].fen,
            parties={},
            refunded_at=self._clock.now(),
        )

    async def bill(self, day: date) -> AsyncIterator[ch.BillRow]:
        for number, voucher in self._bank.vouchers.items():
            if voucher.state == "PAID":
                yield ch.BillRow(number, f"b{number}", "PAID", voucher.fen)
        for out_refund_no, (number, fen) in self._bank.refunds.items():
            yield ch.BillRow(number, f"b{number}", "PAID", 0, out_refund_no, fen)

    async def prove(
        self, kind: str, headers: Mapping[str, str], body: bytes
    ) -> ch.Proved | ch.NotOurs | ch.ReasonToAsk:
        try:
            sealed = json.loads(body)
            text = str(sealed["text"])
            signature = str(sealed["sign"])
        except (ValueError, KeyError, TypeError):
            raise ch.NotProved("not the bank's", code="undecodable") from None
        if not hmac.compare_digest(sign(self._key, text), signature):
            raise ch.NotProved("not signed by the bank", code="bad_signature")
        return ch.Proved(signature, self.read(body))

    def read(self, body: bytes) -> ch.Trade:
        notified = json.loads(json.loads(body)["text"])
        return self._trade(notified["number"], notified["state"], notified["fen"])

    def received(self, body: bytes) -> ch.Reply:
        return ch.Reply(200, "text/plain", "thanks")

    def failed(self, status: int, message: str) -> ch.Reply:
        return ch.Reply(status, "text/plain", message)

    async def examine(self, *, prove: bool = False) -> list[ch.Finding]:
        return []

    async def aclose(self) -> None:
        pass

    def _trade(self, number: str, state: ch.TradeState, fen: int) -> ch.Trade:
        paid = state == "PAID"
        share = ch.TradeShare(
            out_trade_no=number,
            state=state,
            parties=PARTIES,
            transaction_id=f"b{number}" if paid else None,
            total_fen=fen,
            currency="CNY",
        )
        return ch.Trade(number, state, PARTIES, [share], self._clock.now() if paid else None)


def _translated(error: BankSays) -> ch.ChannelError:
    """Turn the bank's words into the channel protocol's."""
    kinds: Mapping[str, type[ch.ChannelError]] = {
        "BUSY": ch.Later,
        "NEVER": ch.Declined,
        "LOST": ch.Unknown,
        "CUT": ch.Unknown,
        "PAID": ch.AlreadyPaid,
        "UNKNOWN": ch.NoSuchTrade,
    }
    return kinds[error.code](f"the bank says {error.code}", code=error.code)


KEY = b"the bank's and ours"
BANK = Bank()


def read(env: Env, own: Config) -> VoucherConfig | None:
    return VoucherConfig(KEY)


def build(config: VoucherConfig, own: Config, http: httpx.AsyncClient, clock: Clock) -> ch.Channel:
    return VoucherChannel(config, BANK, clock)
