"""The text of a bill: a header, values each preceded by a backtick, and a summary; UTF-8 with BOM.

docs/merchant/apis/bill-download/trade-bill/get-trade-bill.html. A bill that is falsified on
purpose is right in itself: its summary and its hash fit.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from functools import cache, lru_cache
from operator import itemgetter

from .clock import BEIJING
from .models import Order, Refund, Transaction
from .objects import TRADE_TYPES, split
from .state import State


def _names(text: str) -> list[str]:
    return text.split(",")


ALL = _names(
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
OF_REFUNDS = "微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,申请退款金额"
COLUMNS = {
    "ALL": ALL,
    "SUCCESS": [name for name in ALL if name not in _names(OF_REFUNDS)],
    "REFUND": [*ALL[:14], "退款申请时间", "退款成功时间", *ALL[14:]],
}
SUMS = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
FLOW = _names(
    "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),"
    "资金变更提交申请人,备注,业务凭证号"
)
Row = dict[str, str]
NONE = dict.fromkeys([*ALL, "退款申请时间", "退款成功时间"], "") | {
    **dict.fromkeys(("应结订单金额", "代金券金额", "订单金额"), "0.00"),
    **dict.fromkeys(("退款金额", "充值券退款金额", "申请退款金额"), "0.00"),
    **dict.fromkeys(("微信退款单号", "商户退款单号"), "0"),
    "付款银行": "OTHERS",
    "货币种类": "CNY",
    "手续费": "0.00000",
    "费率": "0.00%",
}
REFUNDED = {"交易状态": "REFUND", "退款类型": "ORIGINAL", "退款状态": "PROCESSING"}


def trade_bill(state: State, mchid: str, sub_mchid: str | None, day: date, kind: str) -> bytes:
    """Write a merchant's trade bill of a day; b"" when nothing happened.

    `kind`: ALL, SUCCESS, REFUND. A service provider's holds all its sub merchants, or one.
    """
    orders = _orders_of(state, mchid)
    if sub_mchid is not None:
        orders = [order for order in orders if order.parties.get("sub_mchid") == sub_mchid]
    payments = _payments_on(orders, day)
    refunds = _refunds_on(orders, day)
    _falsify(state.faults.menu["bill"], payments, refunds)
    rows = []
    if kind != "REFUND":
        rows += payments
    if kind != "SUCCESS":
        rows += refunds
    rows.sort(key=itemgetter("交易时间"))
    summary = {"总交易单数": f"{len(rows)}.0"}
    for total, column in SUMS.items():
        summary[total] = yuan(sum(fen(row[column]) for row in rows))
    return _write(COLUMNS[kind], rows, summary) if rows else b""


def fund_flow(state: State, mchid: str, day: date) -> bytes:
    """Write the fund-flow bill of a day: payments in, refunds out, and the balance after each."""
    balance = 0
    changes = []
    rows = []
    for moment, number, change in sorted(_movements(_orders_of(state, mchid))):
        balance += change
        if change and _on(moment, day):
            changes.append(change)
            rows.append(_flow(moment, number, change, balance))
    income = [change for change in changes if change > 0]
    spent = [-change for change in changes if change < 0]
    summary = {
        "资金流水总笔数": f"{len(rows)}.0",
        "收入笔数": f"{len(income)}.0",
        "收入金额": yuan(sum(income)),
        "支出笔数": f"{len(spent)}.0",
        "支出金额": yuan(sum(spent)),
    }
    return _write(FLOW, rows, summary) if rows else b""


def _orders_of(state: State, mchid: str) -> list[Order]:
    return [order for order in state.orders.values() if order.mchid == mchid]


def _payments_on(orders: Iterable[Order], day: date) -> list[Row]:
    rows = [
        _payment(order, paid)
        for order in orders
        for paid in order.transactions
        if _on(paid.paid_at, day)
    ]
    return sorted(rows, key=itemgetter("交易时间"))


def _refunds_on(orders: Iterable[Order], day: date) -> list[Row]:
    rows = [
        _refund(order, refund)
        for order in orders
        for refund in order.refunds
        if _on(refund.accepted_at, day)
    ]
    return sorted(rows, key=itemgetter("交易时间"))


def yuan(amount: int) -> str:
    """Write fen as yuan."""
    return f"{amount // 100}.{amount % 100:02}"


@lru_cache
def fen(text: str) -> int:
    """Read yuan with two decimals as fen."""
    return int(text.replace(".", ""))


@cache
def _start(day: date) -> float:
    return datetime.combine(day, time(), BEIJING).timestamp()


def _on(moment: float, day: date) -> bool:
    return 0 <= moment - _start(day) < 24 * 3600


def _time(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), BEIJING).isoformat(" ")[:19]


def _order_columns(order: Order, paid: Transaction) -> Row:
    purchase = order.purchase
    return NONE | {
        "公众账号ID": order.parties.get("sp_appid") or purchase.appid,
        "商户号": order.mchid,
        "特约商户号": order.parties.get("sub_mchid", "0"),
        "设备号": purchase.body.get("scene_info", {}).get("device_id", ""),
        "微信订单号": paid.transaction_id,
        "商户订单号": order.out_trade_no,
        "用户标识": paid.openid,
        "交易类型": TRADE_TYPES[purchase.product],
        "商品名称": _plain(order.body["description"]),
        "商户数据包": _plain(order.body.get("attach", "")),
    }


def _payment(order: Order, paid: Transaction) -> Row:
    return _order_columns(order, paid) | {
        "交易时间": _time(paid.paid_at),
        "交易状态": "SUCCESS",
        "应结订单金额": yuan(paid.payer_total),
        "代金券金额": yuan(paid.coupon_fen),
        "订单金额": yuan(order.total),
    }


def _refund(order: Order, refund: Refund) -> Row:
    return _order_columns(order, order.transaction_of(refund)) | {
        **REFUNDED,
        "交易时间": _time(refund.accepted_at),
        "微信退款单号": refund.refund_id,
        "商户退款单号": refund.out_refund_no,
        "退款金额": yuan(split(order, refund)["payer_refund"]),
        "申请退款金额": yuan(refund.refund),
        "退款申请时间": _time(refund.accepted_at),
    }


def _falsify(fault: str, payments: list[Row], refunds: list[Row]) -> None:
    """Make one line wrong: of the first payment, or of the first refund of the day."""
    match fault:
        case "missing_row" if payments:
            del payments[0]
        case "extra_row" if payments:
            number = payments[0]["商户订单号"][:-4] + "0000"
            payments.append(payments[0] | {"商户订单号": number, "微信订单号": "4" + "0" * 27})
        case "wrong_amount" if payments:
            _add(payments[0], ("订单金额", "应结订单金额"), 100)
        case "wrong_state" if payments:
            payments[0]["交易状态"] = "REVOKED"
        case "missing_refund" if refunds:
            del refunds[0]
        case "extra_refund" if payments or refunds:
            refunds.append(_refund_of_nothing((payments or refunds)[0]))
        case "wrong_refund_amount" if refunds:
            _add(refunds[0], ("申请退款金额", "退款金额"), 1)


def _refund_of_nothing(row: Row) -> Row:
    """Make the line of a refund that nobody made, of the payment of another line."""
    number = "5" + "0" * 27
    return {
        **row,
        **REFUNDED,
        "订单金额": "0.00",
        "应结订单金额": "0.00",
        "代金券金额": "0.00",
        "微信退款单号": number,
        "商户退款单号": number,
        "退款申请时间": row["交易时间"],
        "退款金额": "0.01",
        "申请退款金额": "0.01",
    }


def _add(row: Row, columns: Iterable[str], more: int) -> None:
    for name in columns:
        row[name] = yuan(fen(row[name]) + more)


def _movements(orders: Iterable[Order]) -> Iterable[tuple[float, str, int]]:
    for order in orders:
        for paid in order.transactions:
            yield paid.paid_at, paid.transaction_id, paid.payer_total
        for refund in order.refunds:
            if refund.outcome != "CLOSED":
                yield refund.accepted_at, refund.refund_id, -split(order, refund)["payer_refund"]


def _flow(moment: float, number: str, change: int, balance: int) -> Row:
    incoming = change > 0
    return dict.fromkeys(FLOW, "") | {
        "记账时间": _time(moment),
        "微信支付业务单号": number,
        "资金流水单号": number,
        "业务名称": "交易" if incoming else "退款",
        "业务类型": "交易" if incoming else "退款",
        "收支类型": "收入" if incoming else "支出",
        "收支金额(元)": yuan(abs(change)),
        "账户结余(元)": yuan(balance),
        "资金变更提交申请人": "system" if incoming else "API",
        "业务凭证号": number,
    }


def _plain(text: str) -> str:
    """Take out what would break the file: lines, and a comma before a backtick."""
    return re.sub(r"[\r\n]+", " ", text).replace("`", "'")


def _write(columns: Sequence[str], rows: Sequence[Row], summary: Row) -> bytes:
    lines = [",".join(columns)]
    lines += ["`" + ",`".join(itemgetter(*columns)(row)) for row in rows]
    lines += [",".join(summary), ",".join(f"`{value}" for value in summary.values())]
    return b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode()
