"""Read a downloaded bill row by row, in constant memory, and check it against its own summary.

The file is text: a header, values each preceded by a backtick, and two summary lines. Layouts as
in pay.weixin.qq.com/docs/merchant/apis/bill-download/trade-bill/get-trade-bill.html.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Generic, TypeVar

from .errors import BadLine
from .transactions import BEIJING

_MAX_LINE = 64 * 1024
_YUAN = re.compile(r"(-?[0-9]{1,15})(?:\.([0-9]{1,2}))?")
_FEE = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,8})?")
_COUNT = re.compile(r"([0-9]{1,15})(?:\.0+)?")  # WeChat also writes 45.0
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A payment or a refund in the trade bill; a refund has refund_id and a total_fen of 0.

    Compare total_fen 订单金额 and refund_fen 申请退款金额; the settlement amounts are without
    coupons. `refund_status` is that of the day of acceptance and never updated.
    """

    trade_time: datetime
    appid: str
    mchid: str
    sub_mchid: str | None
    transaction_id: str
    out_trade_no: str
    trade_type: str
    trade_state: str
    currency: str
    total_fen: int
    settlement_total_fen: int
    refund_id: str | None
    out_refund_no: str | None
    refund_fen: int
    settlement_refund_fen: int
    coupon_refund_fen: int
    refund_status: str | None
    refund_create_time: datetime | None
    refund_success_time: datetime | None
    fee_yuan: Decimal


@dataclass(frozen=True, slots=True)
class FundRow:
    """A movement in the fund-flow bill; `direction` is 收入 (in) or 支出 (out)."""

    booked_at: datetime
    transaction_id: str
    flow_id: str
    business: str
    kind: str
    direction: str
    amount_fen: int
    balance_fen: int
    note: str
    voucher: str


@dataclass(frozen=True)
class Summary:
    """The last two lines: how many rows, and counts and amounts in fen by WeChat's own words."""

    rows: int
    sums: Mapping[str, int]


def rows(path: Path) -> Iterator[TradeRow]:
    """Yield the rows of a trade bill (ALL, SUCCESS, REFUND), times in UTC.

    Raises BadLine at the line where it is wrong; counts and sums are checked after the last row.
    """
    return _read(path, _TRADE)


def fund_rows(path: Path) -> Iterator[FundRow]:
    """Yield the rows of a fund-flow bill; otherwise like rows()."""
    return _read(path, _FUND)


def summary(path: Path) -> Summary:
    """Read the summary of either bill from the end of the file, before its rows; raise BadLine."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_LINE))
        *_, header, values = [b"", b"", *file.read().splitlines()]
    layout = _FUND if header.startswith(_FUND.count.encode()) else _TRADE
    return _summary(layout, -2, _text(-2, header), _text(-1, values))


class _Values:
    """One line of values, by the name of their column."""

    def __init__(self, line: int, columns: Mapping[str, int], text: str) -> None:
        self.line = line
        self._columns = columns
        self._values = text[1:].split(",`")  # a comma inside a name separates nothing
        if text[:1] != "`" or len(self._values) != len(columns):
            found = f"{len(self._values)} values for {len(columns)} columns"
            raise BadLine(line, "", found if text[:1] == "`" else "values begin with a backtick")

    def text(self, column: str) -> str:
        return self._values[self._columns[column]]

    def maybe(self, column: str) -> str | None:
        """Return None for an absent column and for the "0" and "" that mean none."""
        value = self.text(column) if column in self._columns else ""
        return None if value in ("", "0") else value

    def fen(self, column: str) -> int:
        """Turn yuan into fen exactly; an absent column is 0."""
        if column not in self._columns:
            return 0
        found = self._match(column, _YUAN, "an amount in yuan")
        return int(found[1] + (found[2] or "").ljust(2, "0"))

    def number(self, column: str) -> int:
        return int(self._match(column, _COUNT, "a count")[1])

    def fee(self, column: str) -> Decimal:
        return Decimal(self._match(column, _FEE, "a fee in yuan")[0])

    def time(self, column: str) -> datetime:
        text = self._match(column, _TIME, "a time in Beijing")[0]
        try:
            return datetime.fromisoformat(text).replace(tzinfo=BEIJING).astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadLine(self.line, column, f"{text!r} is no time") from None

    def maybe_time(self, column: str) -> datetime | None:
        return self.time(column) if self.maybe(column) else None

    def _match(self, column: str, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = pattern.fullmatch(self.text(column))
        if found is None:
            raise BadLine(self.line, column, f"{self.text(column)[:40]!r} is not {what}")
        return found


def _trade_row(values: _Values) -> TradeRow:
    return TradeRow(
        trade_time=values.time("交易时间"),
        appid=values.text("公众账号ID"),
        mchid=values.text("商户号"),
        sub_mchid=values.maybe("特约商户号"),
        transaction_id=values.text("微信订单号"),
        out_trade_no=values.text("商户订单号"),
        trade_type=values.text("交易类型"),
        trade_state=values.text("交易状态"),
        currency=values.text("货币种类"),
        total_fen=values.fen("订单金额"),
        settlement_total_fen=values.fen("应结订单金额"),
        refund_id=values.maybe("微信退款单号"),
        out_refund_no=values.maybe("商户退款单号"),
        refund_fen=values.fen("申请退款金额"),
        settlement_refund_fen=values.fen("退款金额"),
        coupon_refund_fen=values.fen("充值券退款金额"),
        refund_status=values.maybe("退款状态"),
        refund_create_time=values.maybe_time("退款申请时间"),
        refund_success_time=values.maybe_time("退款成功时间"),
        fee_yuan=values.fee("手续费"),
    )


def _fund_row(values: _Values) -> FundRow:
    return FundRow(
        booked_at=values.time("记账时间"),
        transaction_id=values.text("微信支付业务单号"),
        flow_id=values.text("资金流水单号"),
        business=values.text("业务名称"),
        kind=values.text("业务类型"),
        direction=values.text("收支类型"),
        amount_fen=values.fen("收支金额(元)"),
        balance_fen=values.fen("账户结余(元)"),
        note=values.text("备注"),
        voucher=values.text("业务凭证号"),
    )


def _trade_sums(row: TradeRow) -> dict[str, int]:
    return {
        "应结订单总金额": row.settlement_total_fen,
        "退款总金额": row.settlement_refund_fen,
        "充值券退款总金额": row.coupon_refund_fen,
        "订单总金额": row.total_fen,
        "申请退款总金额": row.refund_fen,
    }


def _fund_sums(row: FundRow) -> dict[str, int]:
    return {f"{row.direction}笔数": 1, f"{row.direction}金额": row.amount_fen}


@dataclass(frozen=True)
class _Layout(Generic[Row]):
    """What a bill must have: its columns, and a summary that begins with `count`."""

    columns: str
    read: Callable[[_Values], Row]
    count: str
    sums: Callable[[Row], dict[str, int]]


_TRADE = _Layout(
    "交易时间 公众账号ID 商户号 微信订单号 商户订单号 交易类型 交易状态 货币种类 应结订单金额 订单金额 手续费",
    _trade_row,
    "总交易单数",
    _trade_sums,
)
_FUND = _Layout(
    "记账时间 微信支付业务单号 资金流水单号 业务名称 业务类型 收支类型 收支金额(元) 账户结余(元) 备注 业务凭证号",
    _fund_row,
    "资金流水总笔数",
    _fund_sums,
)
# 手续费总金额 is not compared: WeChat rounds it its own way
_SUMS = "应结订单总金额 退款总金额 充值券退款总金额 订单总金额 申请退款总金额 收入金额 支出金额".split()
_COUNTS = "收入笔数 支出笔数".split()


def _read(path: Path, layout: _Layout[Row]) -> Iterator[Row]:
    count, found = 0, Counter[str]()
    with path.open("rb") as file:
        lines = enumerate(iter(lambda: file.readline(_MAX_LINE), b""), 1)
        line, header = next(lines, (1, b""))
        columns = _columns(layout, _text(1, header.removeprefix(b"\xef\xbb\xbf")))
        for line, raw in lines:
            text = _text(line, raw)
            if text.startswith(layout.count):
                said = _summary(layout, line, text, _text(line + 1, next(lines, (0, b""))[1]))
                _compare(line + 1, layout, said, Summary(count, found))
                if next(lines, None):
                    raise BadLine(line + 2, "", "nothing follows the summary")
                return
            row = layout.read(_Values(line, columns, text))
            count += 1
            found.update(layout.sums(row))
            yield row
    raise BadLine(line + 1, layout.count, "the bill ends without its summary")


def _text(line: int, raw: bytes) -> str:
    try:
        return raw.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise BadLine(line, "", "not UTF-8") from None


def _columns(layout: _Layout[Row], header: str) -> dict[str, int]:
    columns = {name: index for index, name in enumerate(header.split(","))}
    for name in layout.columns.split():
        if name not in columns:
            raise BadLine(1, name, "no such column")
    return columns


def _summary(layout: _Layout[Row], line: int, header: str, text: str) -> Summary:
    columns = _columns_of_summary
