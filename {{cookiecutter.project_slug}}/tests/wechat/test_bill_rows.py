"""The bill's text: layouts as documented, every malformed line, sums that must be right."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wechat import bill_rows
from wechat.errors import BadLine


def names(text: str) -> list[str]:
    return text.split(",")


ALL = names(
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
SUCCESS = [name for name in ALL if "退款" not in name]
REFUND = [*ALL[:14], "退款申请时间", "退款成功时间", *ALL[14:]]
FUND = names(
    "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),"
    "资金变更提交申请人,备注,业务凭证号"
)
SUMMARY = names(
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
FUND_SUMMARY = names("资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额")

PAYMENT = {
    "交易时间": "2026-11-20 00:00:01",
    "公众账号ID": "wxd678efh567hg6787",
    "商户号": "1900007291",
    "特约商户号": "0",
    "微信订单号": "4200000000202611200000000001",
    "商户订单号": "S2026112000000001",
    "用户标识": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    "交易类型": "JSAPI",
    "交易状态": "SUCCESS",
    "付款银行": "OTHERS",
    "货币种类": "CNY",
    "应结订单金额": "12.30",
    "代金券金额": "0.04",
    "微信退款单号": "0",
    "商户退款单号": "0",
    "退款金额": "0.00",
    "充值券退款金额": "0.00",
    "商品名称": "一盒茶, 大",
    "手续费": "0.07380",
    "费率": "0.60%",
    "订单金额": "12.34",
    "申请退款金额": "0.00",
}
REFUNDED = {
    **PAYMENT,
    "交易时间": "2026-11-20 23:59:59",
    "交易状态": "REFUND",
    "应结订单金额": "0.00",
    "代金券金额": "0.00",
    "微信退款单号": "50300000002026112000000000001",
    "商户退款单号": "S2026112000000001R1",
    "退款金额": "5.00",
    "充值券退款金额": "0.01",
    "退款类型": "ORIGINAL",
    "退款状态": "PROCESSING",
    "手续费": "-0.03000",
    "订单金额": "0.00",
    "申请退款金额": "5.01",
    "退款申请时间": "2026-11-20 23:59:59",
    "退款成功时间": "",
}
TOTALS = ["2.0", "12.30", "5.00", "0.01", "0.04", "12.34", "5.01"]
INCOME = {
    "记账时间": "2026-11-20 12:00:00",
    "微信支付业务单号": "4200000000202611200000000001",
    "资金流水单号": "4200000000202611200000000009",
    "业务名称": "交易",
    "业务类型": "交易",
    "收支类型": "收入",
    "收支金额(元)": "12.34",
    "账户结余(元)": "-1.00",
    "资金变更提交申请人": "system",
    "备注": "结算总金额12.34元;含手续费0.07元",
    "业务凭证号": "S2026112000000001",
}
EXPENSE = {**INCOME, "收支类型": "支出", "业务类型": "退款", "收支金额(元)": "5.01"}


def line(values: list[str]) -> str:
    return ",".join(f"`{value}" for value in values)


def lines(columns: list[str], *rows: dict[str, str]) -> list[str]:
    return [",".join(columns), *(line([row.get(name, "") for name in columns]) for row in rows)]


@pytest.fixture
def bill(tmp_path: Path) -> Any:
    def write(text: list[str] | bytes, *, end: str = "\r\n", bom: str = "\ufeff") -> Path:
        path = tmp_path / "bill.csv"
        joined = "".join(row + end for row in text) if isinstance(text, list) else ""
        path.write_bytes(text if isinstance(text, bytes) else (bom + joined).encode())
        return path

    return write


def trade(*rows: dict[str, str], columns: list[str] = ALL, totals: list[str] = TOTALS) -> list[str]:
    return [*lines(columns, *(rows or (PAYMENT, REFUNDED))), ",".join(SUMMARY), line(totals)]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("bom", ["\ufeff", ""])
def test_a_payment_and_a_refund_are_read_in_fen_and_utc(bill: Any, end: str, bom: str) -> None:
    paid, refunded = bill_rows.rows(bill(trade(), end=end, bom=bom))
    assert paid.trade_time == datetime(2026, 11, 19, 16, 0, 1, tzinfo=UTC)
    assert paid.trade_time.tzinfo is UTC
    assert (paid.out_trade_no, paid.trade_state) == ("S2026112000000001", "SUCCESS")
    assert (paid.total_fen, paid.settlement_total_fen, paid.refund_fen) == (1234, 1230, 0)
    assert (paid.sub_mchid, paid.refund_id, paid.out_refund_no) == (None, None, None)
    assert (paid.refund_status, paid.fee_yuan) == (None, Decimal("0.07380"))
    assert refunded.trade_time == datetime(2026, 11, 20, 15, 59, 59, tzinfo=UTC)
    assert (refunded.out_refund_no, refunded.refund_status) == ("S2026112000000001R1", "PROCESSING")
    assert (refunded.total_fen, refunded.refund_fen, refunded.settlement_refund_fen) == (
        0,
        501,
        500,
    )
    assert refunded.fee_yuan == Decimal("-0.03")


def test_the_bill_of_payments_has_no_refund_columns(bill: Any) -> None:
    totals = ["1", "12.30", "0.00", "0.00", "0.07380", "12.34", "0.00"]
    (paid,) = bill_rows.rows(bill(trade(PAYMENT, columns=SUCCESS, totals=totals)))
    assert (paid.total_fen, paid.refund_fen, paid.refund_id) == (1234, 0, None)


def test_the_bill_of_refunds_has_two_more_times(bill: Any) -> None:
    done = {**REFUNDED, "退款成功时间": "2026-11-21 00:00:03"}
    totals = ["2", "0.00", "10.00", "0.02", "-0.06", "0.00", "10.02"]
    open_, closed = bill_rows.rows(bill(trade(REFUNDED, done, columns=REFUND, totals=totals)))
    assert open_.refund_create_time == datetime(2026, 11, 20, 15, 59, 59, tzinfo=UTC)
    assert open_.refund_success_time is None
    assert closed.refund_success_time == datetime(2026, 11, 20, 16, 0, 3, tzinfo=UTC)


def test_columns_are_found_by_name_whatever_their_order_and_company(bill: Any) -> None:
    columns = ["新的一列", *reversed(ALL)]
    assert [row.total_fen for row in bill_rows.rows(bill(trade(columns=columns)))] == [1234, 0]


def test_a_fund_flow_bill_is_read(bill: Any) -> None:
    text = [
        *lines(FUND, INCOME, EXPENSE, EXPENSE),
        ",".join(FUND_SUMMARY),
        line(["3", "1", "12.34", "2", "10.02"]),
    ]
    path = bill(text)
    first, second, _ = bill_rows.fund_rows(path)
    assert first.booked_at == datetime(2026, 11, 20, 4, tzinfo=UTC)
    assert (first.direction, first.amount_fen, first.balance_fen) == ("收入", 1234, -100)
    assert (second.direction, second.amount_fen, second.voucher) == (
        "支出",
        501,
        INCOME["业务凭证号"],
    )
    assert bill_rows.summary(path) == {
        "资金流水总笔数": 3,
        "收入笔数": 1,
        "收入金额": 1234,
        "支出笔数": 2,
        "支出金额": 1002,
    }


def test_the_summary_is_known_before_the_rows_are_read(bill: Any) -> None:
    assert bill_rows.summary(bill(trade(*[PAYMENT] * 1000))) == {
        "总交易单数": 2,
        "应结订单总金额": 1230,
        "退款总金额": 500,
        "充值券退款总金额": 1,
        "订单总金额": 1234,
        "申请退款总金额": 501,
    }


def test_a_bill_without_rows_is_read(bill: Any) -> None:
    empty = [",".join(ALL), ",".join(SUMMARY), line(["0", "0.00", "0.0", "0", "0", "0.00", "0.00"])]
    assert list(bill_rows.rows(bill(empty))) == []
    assert bill_rows.summary(bill(empty))["总交易单数"] == 0


def changed(**values: str) -> list[str]:
    return trade(PAYMENT, {**REFUNDED, **values})


@pytest.mark.parametrize(
    ("text", "number", "column"),
    [
        (changed(订单金额="12.345"), 3, "订单金额"),
        (changed(订单金额="1,234.00"), 3, "订单金额"),
        (changed(申请退款金额=""), 3, "申请退款金额"),
        (changed(申请退款金额="5.01 "), 3, "申请退款金额"),
        (changed(退款金额="1e3"), 3, "退款金额"),
        (changed(退款金额="٥.00"), 3, "退款金额"),
        (changed(应结订单金额="¥1.00"), 3, "应结订单金额"),
        (changed(应结订单金额=".5"), 3, "应结订单金额"),
        (changed(充值券退款金额="NaN"), 3, "充值券退款金额"),
        (changed(手续费="0.60%"), 3, "手续费"),
        (changed(交易时间="2026-11-20T12:00:00"), 3, "交易时间"),
        (changed(交易时间="2026-11-20 24:00:00"), 3, "交易时间"),
        (changed(交易时间="2026-02-30 12:00:00"), 3, "交易时间"),
        (changed(交易时间="2026-11-20 05:01+08"), 3, "交易时间"),
        (changed(交易时间="0001-01-01 00:00:00"), 3, "交易时间"),
        (changed(交易时间=""), 3, "交易时间"),
        (changed(商品名称="茶,`茶"), 3, ""),
        (changed(商品名称="茶\n茶"), 3, ""),
        (changed(商品名称="茶" * 70_000), 3, ""),
        ([*trade()[:2], trade()[2][1:], *trade()[3:]], 3, ""),
        ([*trade()[:2], "", *trade()[2:]], 3, ""),
        (trade(columns=[name for name in ALL if name != "订单金额"]), 1, "订单金额"),
        (trade(columns=["总金额" if name == "订单金额" else name for name in ALL]), 1, "订单金额"),
        (trade(columns=FUND), 1, "交易时间"),
        ([], 1, "交易时间"),
        ([b"\xff".decode("latin-1"), *trade()], 1, "交易时间"),
        (trade()[:-1], 5, ""),
        (trade()[:-2], 4, ""),
        ([*trade(), *trade()[1:]], 6, ""),
        (trade(totals=TOTALS[:-1]), 5, ""),
        (trade(totals=["two", *TOTALS[1:]]), 5, "总交易单数"),
        (trade(totals=["2.5", *TOTALS[1:]]), 5, "总交易单数"),
        (trade(totals=["3.0", *TOTALS[1:]]), 5, "总交易单数"),
        (trade(totals=[*TOTALS[:5], "12.35", "5.01"]), 5, "订单总金额"),
        (trade(totals=[*TOTALS[:6], "5.00"]), 5, "申请退款总金额"),
        (trade(totals=["2", "12.31", *TOTALS[2:]]), 5, "应结订单总金额"),
    ],
)
def test_a_malformed_line_is_named_with_its_column(
    bill: Any, text: list[str], number: int, column: str
) -> None:
    with pytest.raises(BadLine) as caught:
        list(bill_rows.rows(bill(text)))
    assert (caught.value.line, caught.value.column) == (number, column)
    assert str(caught.value).startswith(f"line {number}, ")
    assert len(str(caught.value)) < 200


def test_bytes_that_are_not_text_are_named(bill: Any) -> None:
    text = "\r\n".join(trade()).encode().replace("茶".encode(), b"\xb2\xe8", 1)
    with pytest.raises(BadLine, match="line 2, all columns: not UTF-8"):
        list(bill_rows.rows(bill(text)))


def test_rows_before_a_wrong_one_have_been_given(bill: Any) -> None:
    rows = bill_rows.rows(bill(changed(订单金额="x")))
    assert next(rows).total_fen == 1234
    with pytest.raises(BadLine):
        next(rows)


def test_sums_of_a_fund_flow_bill_must_be_right(bill: Any) -> None:
    text = [*lines(FUND, INCOME, EXPENSE), ",".join(FUND_SUMMARY)]
    for totals, column in [
        (["2", "1", "12.34", "1", "5.00"], "支出金额"),
        (["2", "1", "12.30", "1", "5.01"], "收入金额"),
        (["2", "2", "12.34", "1", "5.01"], "收入笔数"),
        (["1", "1", "12.34", "1", "5.01"], "资金流水总笔数"),
    ]:
        with pytest.raises(BadLine, match=column):
            list(bill_rows.fund_rows(bill([*text, line(totals)])))


@pytest.mark.parametrize("text", [[], ["nonsense"], trade()[:-1], trade()[:-2], lines(ALL)])
def test_a_file_that_does_not_end_in_a_summary_has_none(bill: Any, text: list[str]) -> None:
    with pytest.raises(BadLine) as caught:
        bill_rows.summary(bill(text))
    assert caught.value.line < 0  # counted from the end


def test_a_long_bill_is_read_in_constant_memory(bill: Any) -> None:
    count = 10_000
    totals = [
        f"{count}.0",
        f"{count * 12.30:.2f}",
        "0",
        "0",
        "738.00000",
        f"{count * 12.34:.2f}",
        "0",
    ]
    path = bill(trade(*[PAYMENT] * count, totals=totals))
    tracemalloc.start()
    assert sum(row.total_fen for row in bill_rows.rows(path)) == count * 1234
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000 < path.stat().st_size / 4


@given(amount=st.integers(-(10**14), 10**14))
def test_yuan_become_fen_exactly(amount: int) -> None:
    yuan = f"{Decimal(amount).scaleb(-2):f}"
    assert bill_rows.fen(yuan) == amount
    assert bill_rows.fen(yuan.removesuffix("0")) == amount  # 0.1 as well as 0.10


@given(text=st.text(max_size=12) | st.from_regex(r"-?\d{0,4}[.,]?\d{0,4}"))
def test_what_is_not_yuan_is_refused_and_never_rounded(text: str) -> None:
    try:
        amount = bill_rows.fen(text)
    except ValueError:
        return
    assert Decimal(text) * 100 == amount


TEXT = st.text(st.characters(exclude_characters="`\r\n", codec="utf-8"), max_size=20)
CELLS = st.fixed_dictionaries(
    {
        "商品名称": TEXT,
        "商户数据包": TEXT,
        "订单金额": st.integers(0, 10**9).map(lambda fen: f"{fen // 100}.{fen % 100:02}"),
        "交易时间": st.datetimes(datetime(2014, 1, 1), datetime(2040, 1, 1)).map(
            lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S")
        ),
    }
)


@given(cells=st.lists(CELLS, max_size=5), end=st.sampled_from(["\n", "\r\n"]))
def test_rows_survive_the_way_there_and_back(
    tmp_path_factory: Any, cells: list[dict[str, str]], end: str
) -> None:
    written = [{**PAYMENT, **cell, "应结订单金额": cell["订单金额"]} for cell in cells]
    total = str(sum(Decimal(cell["订单金额"]) for cell in cells))
    totals = [str(len(cells)), total, "0", "0", "0", total, "0"]
    text = [*lines(ALL, *written), ",".join(SUMMARY), line(totals)]
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    path.write_bytes("".join(row + end for row in text).encode())
    rows = list(bill_rows.rows(path))
    assert [f"{Decimal(row.total_fen) / 100:.2f}" for row in rows] == [
        cell["订单金额"] for cell in cells
    ]
    beijing = [(row.trade_time + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S") for row in rows]
    assert beijing == [cell["交易时间"] for cell in cells]
    assert bill_rows.summary(path)["总交易单数"] == len(cells)


@given(data=st.binary(max_size=300))
def test_no_file_raises_anything_but_bad_line(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for start in (b"", (",".join(ALL) + "\n").encode()):
        path.write_bytes(start + data)
        with pytest.raises(BadLine):
            list(bill_rows.rows(path))
        with pytest.raises(BadLine):
            bill_rows.summary(path)
