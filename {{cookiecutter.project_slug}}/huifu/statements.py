"""Statement files 对账单: where they lie, and their lines by the names of the columns.

Huifu publishes no layout of the CSV inside the zip; COLUMNS is the one place that knows it.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx

from . import transport
from .client import HuifuClient
from .errors import HuifuUnknown, Malformed
from .payments import fen

PATH = "/v2/trade/check/filequery"
MOST_BYTES = 64 * 1024**2  # of one zip, and of what is in it eight times as much
COLUMNS = {
    "kind": "交易类型",
    "req_seq_id": "商户流水号",
    "hf_seq_id": "汇付流水号",
    "org_req_seq_id": "原商户流水号",
    "org_hf_seq_id": "原汇付流水号",
    "amount": "交易金额",
    "state": "交易状态",
}


class NotReady(Exception):
    """Raised when the files of a day are not written yet."""


@dataclass(frozen=True)
class Line:
    """One line: a payment, or (`org_req_seq_id`) a refund of one; the amount in fen."""

    req_seq_id: str
    hf_seq_id: str
    org_req_seq_id: str
    org_hf_seq_id: str
    fen: int
    state: str


async def fetch(client: HuifuClient, day: date, data: dict[str, str]) -> list[bytes]:
    """Fetch the zips of a trade day; Huifu files them under the day after. Raises NotReady."""
    asked = {**data, "file_date": f"{day + timedelta(days=1):%Y%m%d}", "bill_type": "TRADE_BILL"}
    answer = await client.call(PATH, asked)
    files = _objects(answer, "file_details")
    tasks = _objects(answer, "task_details")
    if not files and any(task.get("task_stat") in ("I", "P", "DP") for task in tasks):
        raise NotReady("the statement is not written yet")
    return [await _download(client.http, str(file.get("download_url", ""))) for file in files]


def _objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty where it is absent; raise Malformed."""
    objects = answer.get(name) or []
    if not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
        raise Malformed(name, "not a list of objects")
    return objects


def lines(packed: bytes) -> Iterator[Line]:
    """Read the CSV files of a zip; raise Malformed naming the column."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as files:
            if sum(entry.file_size for entry in files.infolist()) > 8 * MOST_BYTES:
                raise Malformed("zip", "too big")
            for name in files.namelist():
                text = files.read(name).decode("utf-8-sig")
                yield from map(_line, csv.DictReader(io.StringIO(text)))
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise Malformed("zip", f"cannot be read ({type(error).__name__})") from error


def _line(row: dict[str, str]) -> Line:
    if missing := [name for name in COLUMNS.values() if row.get(name) is None]:
        raise Malformed(missing[0], "no such column")
    cells = {name: row[column].strip() for name, column in COLUMNS.items()}
    return Line(
        cells["req_seq_id"],
        cells["hf_seq_id"],
        cells["org_req_seq_id"],
        cells["org_hf_seq_id"],
        fen(cells["amount"]),
        cells["state"],
    )


async def _download(http: httpx.AsyncClient, url: str) -> bytes:
    try:
        status, packed = await transport.fetch(http, "GET", url, most_bytes=MOST_BYTES)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise HuifuUnknown(f"the file was not fetched ({type(error).__name__})") from error
    if status != 200:
        raise HuifuUnknown(f"the file was not fetched (HTTP {status})")
    return packed
