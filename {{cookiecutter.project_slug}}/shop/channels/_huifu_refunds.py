"""Refunds and statements of Huifu, its errors in our words, and the day that each number needs."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

from huifu import errors, payments, statements
from huifu.client import Client
from huifu.payments import BEIJING, Trade
from shop import channels as ch
from shop.clock import Clock
from shop.models import Payment, Refund

REFUND_PATH = "/notify/huifu/refund"
REFUND_STATES = {"S": "SUCCESS", "F": "CLOSED"}
UNKNOWN_NUMBER = ("20000004", "23000001")
FINAL = ("23000000", "10000016")


class RefundVerbs:
    """What Huifu does once money has come."""

    client: Client
    clock: Clock
    refund_url: str

    def prepare_refund(self, refund: Refund, payment: Payment) -> str:
        """Build the data of a refund 退款."""
        return compact(
            {
                "req_date": day_of(refund.created_at),
                "req_seq_id": refund.out_refund_no,
                "huifu_id": self.client.huifu_id,
                "ord_amt": payments.yuan(refund.refund_fen),
                "org_req_date": date_of(payment.request),
                "org_req_seq_id": payment.out_trade_no,
                "remark": refund.reason[:84],
                "notify_url": self.refund_url,
            }
        )

    async def refund(self, payment: Payment, refund: Refund) -> ch.RefundTrade:
        """Send the stored data; the same number again is the same refund."""
        with translated():
            said = await payments.refund(self.client, json.loads(refund.request))
        return refund_trade(said, payment)

    async def query_refund(
        self, payment: Payment, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        """Ask by the refund's own number and day 查退款."""
        if not request:
            raise ch.NoSuchTrade("a refund of which we do not know the day")
        with translated():
            found = await payments.refund_query(self.client, date_of(request), out_refund_no)
        return refund_trade(found, payment)

    async def bill(self, date: date) -> AsyncIterator[ch.BillRow]:
        """Fetch the statement files 对账单 of a day and yield their rows."""
        data = {
            "req_date": day_of(self.clock.now()),
            "req_seq_id": f"B{int(self.clock.now().timestamp() * 1000)}",
            "huifu_id": self.client.huifu_id,
        }
        try:
            with translated():
                packed = await statements.fetch(self.client, date, data)
            for one in packed:
                for line in statements.lines(one):
                    yield bill_row(line)
        except statements.NotReady as error:
            raise ch.NoBillYet(str(error)) from error
        except errors.Malformed as error:
            raise ch.BillBroken(str(error)) from error


def refund_trade(found: Trade, payment: Payment) -> ch.RefundTrade:
    """Translate a refund that was asked for by its own number."""
    state: Any = REFUND_STATES.get(found.trans_stat, "PROCESSING")
    return ch.RefundTrade(
        out_refund_no=found.req_seq_id,
        refund_id=found.hf_seq_id,
        out_trade_no=payment.out_trade_no,
        transaction_id=payment.transaction_id or "",
        state=state,
        said=found.trans_stat,
        refund_fen=found.fen or 0,
        total_fen=payment.total_fen,
        parties={"huifu_id": found.huifu_id} if found.huifu_id else {},
        refunded_at=found.end_time,
    )


def refund_heard(found: Trade) -> ch.RefundTrade:
    """Translate a refund's notification, which names the payment in its org_ fields."""
    raw, total = found.raw, str(found.raw.get("org_ord_amt") or "0")
    state: Any = REFUND_STATES.get(found.trans_stat, "PROCESSING")
    return ch.RefundTrade(
        out_refund_no=found.req_seq_id,
        refund_id=found.hf_seq_id,
        out_trade_no=str(raw.get("org_req_seq_id", "")),
        transaction_id=str(raw.get("org_hf_seq_id") or raw.get("org_nkp_seq_id") or ""),
        state=state,
        said=found.trans_stat,
        refund_fen=found.fen or 0,
        total_fen=payments.fen(total),
        parties={"huifu_id": found.huifu_id},
        refunded_at=found.end_time,
    )


def bill_row(line: statements.Line) -> ch.BillRow:
    """Translate a line of their statement."""
    state = "PAID" if line.state == "S" else "CLOSED"
    if line.org_req_seq_id:
        numbers = (line.org_req_seq_id, line.org_hf_seq_id)
        return ch.BillRow(*numbers, state, 0, line.req_seq_id, line.fen)
    return ch.BillRow(line.req_seq_id, line.hf_seq_id, state, line.fen)


@contextmanager
def translated() -> Iterator[None]:
    """Turn Huifu's errors into the channel protocol's."""
    try:
        yield
    except errors.Refused as error:
        if error.code in UNKNOWN_NUMBER:
            raise ch.NoSuchTrade(str(error), code=error.code) from error
        if error.code in FINAL:
            raise ch.AlreadyPaid(str(error), code=error.code) from error
        if error.code == "20000000":
            raise ch.AnswerLost(str(error), code=error.code) from error
        raise ch.Refused(str(error), code=error.code) from error
    except errors.HuifuError as error:
        raise ch.Unknown(str(error)) from error


def date_of(request: str) -> str:
    """Return the req_date that a stored request was sent with."""
    return str(json.loads(request)["req_date"])


def day_of(moment: datetime) -> str:
    """Write a day in Beijing."""
    return f"{moment.astimezone(BEIJING):%Y%m%d}"


def compact(data: Mapping[str, Any]) -> str:
    """Write data as it is stored and signed."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
