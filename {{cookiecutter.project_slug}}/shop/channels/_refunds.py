"""Refunds and bills of WeChat Pay APIv3: the same paths for every kind of merchant."""

import datetime
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

from shop import channels as ch
from shop.channels._merchant import House, translated
from shop.models import Payment, Refund
from wechat import bill_rows, bills, errors, refunds
from wechat.client import Client, to_json

REFUND_PATH = "/notify/wechat/refund"
STATES = ("PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL")
#: not the refund's fault: it waits until the merchant has mended it
NOT_NOW = ("NOT_ENOUGH", "NO_AUTH", "SIGN_ERROR", "MCH_NOT_EXISTS", "RULE_LIMIT")


class RefundVerbs:
    """What WeChat's channels share once money has come."""

    house: House
    refund_url: str

    def prepare_refund(self, refund: Refund, payment: Payment) -> str:
        """Build the body of POST /v3/refund/domestic/refunds 申请退款."""
        body = refunds.refund_order(
            transaction_id=payment.transaction_id,
            out_refund_no=refund.out_refund_no,
            reason=refund.reason,
            refund_fen=refund.refund_fen,
            total_fen=payment.total_fen,
            notify_url=self.refund_url,
            sub_mchid=payment.parties.get("sub_mchid"),
        )
        return to_json(body).decode()

    async def refund(self, payment: Payment, refund: Refund) -> ch.RefundTrade:
        """Send the stored body, byte for byte."""
        client = self.house.client_for(payment)
        with put_off(NOT_NOW), translated():
            return refund_trade(await refunds.create(client, refund.request.encode()))

    async def query_refund(
        self, payment: Payment, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        """Ask by the refund's own number 查退款."""
        client, sub = self.house.client_for(payment), payment.parties.get("sub_mchid")
        with translated():
            return refund_trade(
                await refunds.query(client, out_refund_no=out_refund_no, sub_mchid=sub)
            )

    async def bill(self, date: datetime.date) -> AsyncIterator[ch.BillRow]:
        """Fetch every merchant's trade bill 交易账单; yield its rows once its hash holds."""
        for client in self.house.clients:
            async for row in self._bill_of(client, date):
                yield row

    async def _bill_of(self, client: Client, date: datetime.date) -> AsyncIterator[ch.BillRow]:
        with tempfile.TemporaryDirectory(prefix="bill-") as folder:
            file = Path(folder, "bill.csv")
            with proved():
                ticket = await bills.apply_trade_bill(client, date=date)
                if ticket is None:
                    return
                await bills.download(client, ticket, file)
            for row in rows_of(file):
                yield row

    def hint(self, kind: str, body: bytes) -> tuple[int, str, str] | None:
        """Recognise a v2 refund notification at the v3 address: it is not signed."""
        if kind != "refund" or not refunds.is_v2_xml(body):
            return None
        return 200, "text/xml", refunds.V2_RECEIVED


@contextmanager
def put_off(codes: Collection[str]) -> Iterator[None]:
    """Turn refusals that are not the refund's own fault into NotNow: it waits."""
    try:
        yield
    except ch.Refused as error:
        if error.code in codes:
            raise ch.NotNow(str(error), code=error.code) from error
        raise


@contextmanager
def proved() -> Iterator[None]:
    """Turn the errors of bills into the channel protocol's."""
    try:
        with translated():
            yield
    except errors.BillNotReady as error:
        raise ch.NoBillYet(str(error)) from error
    except errors.BillError as error:
        raise ch.BillBroken(str(error)) from error


def rows_of(file: Path) -> Iterator[ch.BillRow]:
    """Read a bill row by row; raise BillBroken at the line that is not one."""
    rows = bill_rows.rows(file)
    while True:
        with proved():
            row = next(rows, None)
        if row is None:
            return
        yield bill_row(row)


def bill_row(row: bill_rows.TradeRow) -> ch.BillRow:
    """Translate a line of their bill."""
    return ch.BillRow(
        out_trade_no=row.out_trade_no,
        transaction_id=row.transaction_id,
        state="CLOSED" if row.trade_state == "REVOKED" else "PAID",
        total_fen=row.total_fen,
        out_refund_no=row.out_refund_no or "",
        refund_fen=row.refund_fen,
    )


def refund_trade(refund: refunds.Refund) -> ch.RefundTrade:
    """Translate their refund object."""
    known = refund.status if refund.status in STATES else "PROCESSING"
    return ch.RefundTrade(
        out_refund_no=refund.out_refund_no,
        refund_id=refund.refund_id,
        out_trade_no=refund.out_trade_no,
        transaction_id=refund.transaction_id,
        state=cast(Literal["PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL"], known),
        said=refund.status,
        refund_fen=refund.refund_fen,
        total_fen=refund.total_fen,
        parties=refund.parties,
        accepted_at=refund.create_time,
        refunded_at=refund.success_time,
    )
