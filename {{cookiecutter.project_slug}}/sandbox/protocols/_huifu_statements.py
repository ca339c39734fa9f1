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
from ..world import Order, World
from ._huifu_keys import HUIFU_ID
from ._huifu_wire import Data, GatewayError, yuan

COLUMNS = [
    "交易类型",
    "商户流水号",
    "汇付流水号",
    "原商户流水号",
    "原汇付流水号",
    "交易金额",
    "交易状态",
]


def statement(world: World, asked: Data, host: str) -> Data:
    """Answer check/filequery: the files of the day before file_date; the layout is ours."""
    text = asked.get("file_date", "")
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        raise GatewayError("10000000", "file_date")
    day = date(int(text[:4]), int(text[4:6]), int(text[6:])) - timedelta(days=1)
    now = datetime.fromtimestamp(world.clock.now(), BEIJING)
    if now.date() <= day or (now.date() == day + timedelta(days=1) and now.hour < 10):
        return {"resp_code": "00000000", "file_details": [], "task_details": [{"task_stat": "P"}]}
    token = secrets.token_urlsafe(16)
    world.packages[token] = day.isoformat()
    url = f"http://{host}/huifu/statement?token={token}"
    one = {"download_url": url, "file_date": text, "bill_type": "TRADE_BILL"}
    return {"resp_code": "00000000", "file_details": [one], "task_details": [{"task_stat": "S"}]}


async def download(world: World, request: Request) -> HTTPResponse:
    """Answer the link of a statement file: a zip of one CSV."""
    day = world.packages.get(request.args.get("token", ""))
    if day is None:
        return HTTPResponse(status=404, content_type="text/plain")
    rows = [list(COLUMNS), *_rows(world, day)]
    if world.faults.take("bill") == "missing_row" and len(rows) > 1:
        del rows[1]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr(f"{day}.csv", "\ufeff" + text.getvalue())
    return raw(packed.getvalue(), content_type="application/zip")


def _rows(world: World, day: str) -> list[list[str]]:
    ours = (order for order in world.orders.values() if order.mchid == HUIFU_ID)
    return [row for order in ours for row in _rows_of(order, day)]


def _rows_of(order: Order, day: str) -> Iterator[list[str]]:
    ids = [order.out_trade_no, order.provider_id]
    for paid in order.transactions:
        if _day(paid.paid_at) == day:
            yield ["支付", *ids, "", "", yuan(order.total), "S"]
    for made in order.refunds:
        if _day(made.accepted_at) == day:
            own = [made.out_refund_no, made.refund_id]
            yield ["退款", *own, *ids, yuan(made.refund), "S"]


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, BEIJING).date().isoformat()
