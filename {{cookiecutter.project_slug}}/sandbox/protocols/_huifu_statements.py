"""The statement files of Huifu: a zip of one CSV; Huifu publishes no layout, this one is ours."""

import csv
import io
import re
import secrets
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from sanic import HTTPResponse, Request, raw

from ..clock import BEIJING
from ..models import Order
from ..state import State
from ._huifu_keys import HUIFU_ID
from ._huifu_wire import Data, GatewayError, yuan

HUIFU_HOST = "api.huifu.com"
READY = 10  # o'clock of the day after
COLUMNS = [
    "交易类型",
    "商户流水号",
    "汇付流水号",
    "原商户流水号",
    "原汇付流水号",
    "交易金额",
    "交易状态",
]


class Statements:
    """The files that merchants asked for: each link has a token that names a day."""

    def __init__(self) -> None:
        self._days: dict[str, date] = {}

    def apply(self, state: State, asked: Data, host: str) -> Data:
        """Answer check/filequery: the files of the day before file_date."""
        text = asked.get("file_date", "")
        day = _day_before(text)
        now = datetime.fromtimestamp(state.clock.now(), BEIJING)
        is_yesterday = now.date() == day + timedelta(days=1)
        if now.date() <= day or (is_yesterday and now.hour < READY):
            return _answer([], task_stat="P")
        token = secrets.token_urlsafe(16)
        self._days[token] = day
        file = {
            "download_url": f"{_origin(host)}/huifu/statement?token={token}",
            "file_date": text,
            "bill_type": "TRADE_BILL",
        }
        return _answer([file], task_stat="S")

    async def download(self, state: State, request: Request) -> HTTPResponse:
        """Answer the link of a statement file: a zip of one CSV."""
        day = self._days.get(request.args.get("token", ""))
        if day is None:
            return HTTPResponse(status=404, content_type="text/plain")
        rows = list(_rows(state, day))
        if state.faults.take("bill") == "missing_row":
            del rows[:1]
        return raw(_pack(day, rows), content_type="application/zip")


def _origin(host: str) -> str:
    """Return where links lead: to Huifu, for whoever bends its address to the sandbox."""
    return f"https://{HUIFU_HOST}" if host == HUIFU_HOST else f"http://{host}"


def _day_before(text: str) -> date:
    try:
        if not re.fullmatch(r"\d{8}", text, re.ASCII):
            raise ValueError(text)
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) - timedelta(days=1)
    except ValueError:
        raise GatewayError("10000000", "file_date") from None


def _answer(files: list[Data], task_stat: str) -> Data:
    return {
        "resp_code": "00000000",
        "file_details": files,
        "task_details": [{"task_stat": task_stat}],
    }


def _rows(state: State, day: date) -> Iterator[list[str]]:
    for order in state.orders.values():
        if order.mchid == HUIFU_ID:
            yield from _rows_of(order, day)


def _rows_of(order: Order, day: date) -> Iterator[list[str]]:
    numbers = [order.out_trade_no, order.provider_id]
    for paid in order.transactions:
        if _day(paid.paid_at) == day:
            yield ["支付", *numbers, "", "", yuan(order.total), "S"]
    for refund in order.refunds:
        if _day(refund.accepted_at) == day:
            refund_numbers = [refund.out_refund_no, refund.refund_id]
            yield ["退款", *refund_numbers, *numbers, yuan(refund.refund), "S"]


def _day(moment: float) -> date:
    return datetime.fromtimestamp(moment, BEIJING).date()


def _pack(day: date, rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *rows])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr(f"{day}.csv", "\ufeff" + text.getvalue())
    return packed.getvalue()
