"""Read a downloaded bill row by row, in constant memory, and check it against its own summary.

The file is text: a header, values each preceded by a backtick, and two summary lines. Layouts as
in pay.weixin.qq.com/docs/merchant/apis/bill-download/trade-bill/get-trade-bill.html.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

from .errors import BadLine
from .fields import BEIJING

_MAX_LINE = 64 * 1024
_YUAN = re.compile(r"(-?[0-9]{1,15})(?:\.([0-9]{1,2}))?")
_FEE = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,8})?")
_COUNT = re.compile(r"([0-9]{1,15})(?:\.0+)?")  # WeChat also writes 45.0
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_Row = TypeVar("_Row", "TradeRow", "FundRow")


@lru_cache  # most cells are 0.00
def fen(yuan: str) -> int:
    """Turn an amount in yuan into fen, exactly; raise ValueError, also for a third decimal."""
    if match := _YUAN.fullmatch(yuan):
        return int(match[1] + (match[2] or "").ljust(2, "0"))
    raise ValueError("an amount in yuan")


def _fee(yuan: str) -> Decimal:
    if _FEE.fullmatch(yuan):
        return Decimal(yuan)
    raise ValueError("a fee in yuan")


def _count(text: str) -> int:
    if match := _COUNT.fullmatch(text):
        return int(match[1])
    raise ValueError("a count")


def _time(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=BEIJING).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("a time")


def _maybe(text: str) -> str | None:
    return None if text in ("", "0") else text


def _maybe_time(text: str) -> datetime | None:
    return _time(text) if text else None


@dataclass(frozen=True)
class _Column:
    """The column that fills a field; `absent` is its text in layouts without it, if there are."""

    name: str
    read: Callable[[str], Any] = str
    absent: str | None = None


class TradeRow(NamedTuple):
    """A payment or a refund in the trade bill 交易账单; a refund has refund numbers and refund_fen.

    Compare total_fen and refund_fen; settlement amounts are without coupons. `refund_status` is
    that of the day on which the refund was accepted, never updated.
    """

    trade_time: Annotated[datetime, _Column("交易时间", _time)]
    appid: Annotated[str, _Column("公众账号ID")]
    mchid: Annotated[str, _Column("商户号")]
    sub_mchid: Annotated[str | None, _Column("特约商户号", _maybe)]
    transaction_id: Annotated[str, _Column("微信订单号")]
    out_trade_no: Annotated[str, _Column("商户订单号")]
    trade_type: Annotated[str, _Column("交易类型")]
    trade_state: Annotated[str, _Column("交易状态")]
    currency: Annotated[str, _Column("货币种类")]
    total_fen: Annotated[int, _Column("订单金额", fen)]
    settlement_total_fen: Annotated[int, _Column("应结订单金额", fen)]
    refund_id: Annotated[str | None, _Column("微信退款单号", _maybe, absent="")]
    out_refund_no: Annotated[str | None, _Column("商户退款单号", _maybe, absent="")]
    refund_fen: Annotated[int, _Column("申请退款金额", fen, absent="0")]
    settlement_refund_fen: Annotated[int, _Column("退款金额", fen, absent="0")]
    coupon_refund_fen: Annotated[int, _Column("充值券退款金额", fen, absent="0")]
    refund_status: Annotated[str | None, _Column("退款状态", _maybe, absent="")]
    refund_create_time: Annotated[datetime | None, _Column("退款申请时间", _maybe_time, absent="")]
    refund_success_time: Annotated[datetime | None, _Column("退款成功时间", _maybe_time, absent="")]
    fee_yuan: Annotated[Decimal, _Column("手续费", _fee)]

    def sums(self) -> dict[str, int]:
        """Return what this row adds to the bill's summary, in fen.

        手续费总金额 is not among it: fees have up to five decimals, and WeChat rounds their sum.
        """
        return {
            "总交易单数": 1,
            "应结订单总金额": self.settlement_total_fen,
            "退款总金额": self.settlement_refund_fen,
            "充值券退款总金额": self.coupon_refund_fen,
            "订单总金额": self.total_fen,
            "申请退款总金额": self.refund_fen,
        }


class FundRow(NamedTuple):
    """A movement in the fund-flow bill 资金账单; `direction` is 收入 (in) or 支出 (out)."""

    booked_at: Annotated[datetime, _Column("记账时间", _time)]
    transaction_id: Annotated[str, _Column("微信支付业务单号")]
    flow_id: Annotated[str, _Column("资金流水单号")]
    business: Annotated[str, _Column("业务名称")]
    kind: Annotated[str, _Column("业务类型")]
    direction: Annotated[str, _Column("收支类型")]
    amount_fen: Annotated[int, _Column("收支金额(元)", fen)]
    balance_fen: Annotated[int, _Column("账户结余(元)", fen)]
    note: Annotated[str, _Column("备注")]
    voucher: Annotated[str, _Column("业务凭证号")]

    def sums(self) -> dict[str, int]:
        """Return what this row adds to the bill's summary: counts, and amounts in fen."""
        word = self.direction
        return {"资金流水总笔数": 1, f"{word}笔数": 1, f"{word}金额": self.amount_fen}


def rows(path: Path) -> Iterator[TradeRow]:
    """Yield the rows of a trade bill (ALL, SUCCESS or REFUND), times in UTC.

    Raises BadLine where a line is wrong; counts and sums are checked after the last row.
    """
    return _read(path, TradeRow)


def fund_rows(path: Path) -> Iterator[FundRow]:
    """Yield the rows of a fund-flow bill; otherwise like rows()."""
    return _read(path, FundRow)


def summary(path: Path) -> dict[str, int]:
    """Read the summary at the end of either bill, without its rows: counts, and amounts in fen.

    Keys are WeChat's words, 总交易单数 or 资金流水总笔数 first. Raises BadLine.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_LINE))
        *_, header, values = [b"", b"", *file.read().splitlines()]
    return _summary(-1, _text(-2, header), _text(-1, values))


_STARTS = ("总交易单数,", "资金流水总笔数,")
_SUMMARY: dict[str, Callable[[str], int]] = {
    **dict.fromkeys(("总交易单数", "资金流水总笔数", "收入笔数", "支出笔数"), _count),
    **dict.fromkeys(("订单总金额", "申请退款总金额", "收入金额", "支出金额"), fen),
    **dict.fromkeys(("应结订单总金额", "退款总金额", "充值券退款总金额"), fen),
}


def _read(path: Path, row: type[_Row]) -> Iterator[_Row]:
    totals = Counter[str]()
    with path.open("rb") as file:
        lines = enumerate(iter(lambda: file.readline(_MAX_LINE), b""), 1)
        line, header = next(lines, (1, b""))
        read = _reader(row, _text(1, header.removeprefix(b"\xef\xbb\xbf")))
        for line, raw in lines:
            text = _text(line, raw)
            if text.startswith(_STARTS):
                line, values = next(lines, (line + 1, b""))
                _compare(line, totals, _summary(line, text, _text(line, values)))
                if trailing := next(lines, None):
                    raise BadLine(trailing[0], "", "nothing follows a summary")
                return
            entry = read(line, text)
            totals.update(entry.sums())
            yield entry
    raise BadLine(line + 1, "", "the bill ends without its summary")


def _reader(row: type[_Row], header: str) -> Callable[[int, str], _Row]:
    """Match the fields of a row with the columns of this file, once."""
    places = {name: place for place, name in enumerate(header.split(","))}
    hints = get_type_hints(row, include_extras=True).values()
    columns: list[_Column] = [hint.__metadata__[0] for hint in hints]
    if lacking := [
        column.name for column in columns if column.absent is None and column.name not in places
    ]:
        raise BadLine(1, lacking[0], "no such column")
    plan = [(column.read, places.get(column.name), column.absent or "") for column in columns]

    def read_line(line: int, text: str) -> _Row:
        values = _values(line, text, len(places))
        texts = [absent if place is None else values[place] for _, place, absent in plan]
        try:
            return row(*[read(text) for (read, _, _), text in zip(plan, texts, strict=True)])
        except ValueError:
            for column, text in zip(columns, texts, strict=True):
                _cell(line, column.name, column.read, text)
            raise

    return read_line


def _cell(line: int, column: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise BadLine(line, column, f"{text[:40]!r} is not {error}") from None


def _values(line: int, text: str, columns: int) -> list[str]:
    values = text[1:].split(",`")  # a plain comma belongs to the name of a product
    if text[:1] != "`":
        raise BadLine(line, "", "values begin with a backtick")
    if len(values) != columns:
        raise BadLine(line, "", f"{len(values)} values for {columns} columns")
    return values


def _text(line: int, raw: bytes) -> str:
    try:
        return raw.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise BadLine(line, "", "not UTF-8") from None


def _summary(line: int, header: str, text: str) -> dict[str, int]:
    if not header.startswith(_STARTS):
        raise BadLine(line - 1, "", "the bill ends without its summary")
    names = header.split(",")
    cells = zip(names, _values(line, text, len(names)), strict=True)
    return {
        name: _cell(line, name, _SUMMARY[name], value) for name, value in cells if name in _SUMMARY
    }


def _compare(line: int, totals: Mapping[str, int], announced: Mapping[str, int]) -> None:
    for name, value in announced.items():
        if totals[name] != value:
            raise BadLine(line, name, f"{value}, but the rows make {totals[name]}")
