"""Bills 账单: apply for one, then download and prove it at once, for the link soon expires.

Follows pay.weixin.qq.com/docs/merchant/apis/bill-download/trade-bill/get-trade-bill.html. A bill
of a day (in Beijing) exists from about 10:00 of the next day. `bill_rows` reads the file.
"""

import datetime
import hashlib
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from . import fields
from .client import Client
from .errors import BillNotReady, HashMismatch, MalformedAnswer, Refused, TooBig, Truncated

TRADE_BILLS = ("ALL", "SUCCESS", "REFUND")
ACCOUNTS = ("BASIC", "OPERATION", "FEES")
MAX_BYTES = 2 * 1024**3  # unpacked: about six million rows
_PIECE = 64 * 1024


@dataclass(frozen=True)
class BillTicket:
    """Where a bill lies (for 30 seconds to 5 minutes) and the SHA1 of its unpacked bytes."""

    hash_type: str
    hash_value: str
    download_url: str = field(repr=False)
    gzip: bool = True


async def apply_trade_bill(
    client: Client, *, date: datetime.date, bill_type: str = "ALL", gzip: bool = True
) -> BillTicket | None:
    """Apply for the trade bill 交易账单 of a day in Beijing; None when nothing happened that day.

    `bill_type`: ALL, SUCCESS (payments) or REFUND. Raises BillNotReady, ValueError naming the
    argument, and what Client.get raises (INVALID_REQUEST: today, or over three months ago).
    """
    if bill_type not in TRADE_BILLS:
        raise ValueError(f"bill_type: one of {', '.join(TRADE_BILLS)}")
    return await _apply(client, "tradebill", date, {"bill_type": bill_type}, gzip)


async def apply_fund_flow(
    client: Client, *, date: datetime.date, account_type: str = "BASIC", gzip: bool = True
) -> BillTicket | None:
    """Apply for the fund-flow bill 资金账单 of one account: BASIC, OPERATION or FEES.

    Otherwise like apply_trade_bill().
    """
    if account_type not in ACCOUNTS:
        raise ValueError(f"account_type: one of {', '.join(ACCOUNTS)}")
    return await _apply(client, "fundflowbill", date, {"account_type": account_type}, gzip)


async def _apply(
    client: Client, kind: str, date: datetime.date, params: dict[str, str], gzip: bool
) -> BillTicket | None:
    if not isinstance(date, datetime.date) or isinstance(date, datetime.datetime):
        raise ValueError("date: a date without time, the day in Beijing")
    params = {"bill_date": date.isoformat(), **params, **({"tar_type": "GZIP"} if gzip else {})}
    try:
        answer = await client.get(f"/v3/bill/{kind}", params)
    except Refused as error:
        if error.is_code("NO_STATEMENT_EXIST"):
            return None
        if error.is_code("STATEMENT_CREATING"):
            raise BillNotReady(f"WeChat is still writing the bill of {date}") from error
        raise
    hash_type = fields.string(answer, "hash_type")
    value = fields.string(answer, "hash_value")
    if hash_type != "SHA1":
        raise MalformedAnswer("hash_type", f"{hash_type[:40]!r} is not SHA1")
    if not re.fullmatch("[0-9a-fA-F]{40}", value):
        raise MalformedAnswer("hash_value", "not 40 hex digits")
    return BillTicket(hash_type, value, fields.string(answer, "download_url"), gzip)


async def download(client: Client, ticket: BillTicket, to: Path) -> int:
    """Download a bill, unpacked, into the file `to`; returns its size in bytes.

    `to` is only touched when everything is there and the hash holds. Raises Cut (apply again),
    Truncated, TooBig, HashMismatch, OSError, and what Client.download raises.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    size = 0
    with _replacing(to) as file:
        async with client.download(ticket.download_url) as pieces:
            async for piece in _unpacked(pieces) if ticket.gzip else pieces:
                size += len(piece)
                if size > MAX_BYTES:
                    raise TooBig(f"the bill has more than {MAX_BYTES} bytes")
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != ticket.hash_value.lower():
            raise HashMismatch(f"SHA1 {digest.hexdigest()}, announced was {ticket.hash_value}")
    return size


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Unpack gzip in small steps, whatever the ratio of compression."""
    gzip = zlib.decompressobj(wbits=31)
    try:
        async for packed in pieces:
            rest = packed
            while not gzip.eof and (piece := gzip.decompress(rest, _PIECE)):
                yield piece
                rest = gzip.unconsumed_tail
    except zlib.error as error:
        raise Truncated(f"damaged, or no gzip data at all ({error})") from None
    if not gzip.eof:
        raise Truncated("the gzip data ends too early")


@contextmanager
def _replacing(to: Path) -> Iterator[BinaryIO]:
    """Write a file beside `to`, readable for its owner only; it becomes `to` on success."""
    handle, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    try:
        with open(handle, "wb") as file:
            yield file
        Path(name).replace(to)
    finally:
        Path(name).unlink(missing_ok=True)
