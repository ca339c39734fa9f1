"""Orders of mini programs and of pages inside WeChat: prepay 下单, query 查单, close 关单.

Both use the same call, pay.weixin.qq.com/doc/v3/merchant/4012525167 (JSAPI) and 4012525182 (mini
program). Amounts are int fen, times are aware; what WeChat says of a payment is a Transaction.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from . import fields
from .client import Client
from .errors import MalformedAnswer, OutcomeUnknown

BEIJING = timezone(timedelta(hours=8))


def jsapi_order(
    *,
    appid: str,
    mchid: str,
    openid: str,
    description: str,
    out_trade_no: str,
    total_fen: int,
    notify_url: str,
    time_expire: datetime,
    attach: str | None = None,
) -> dict[str, Any]:
    """Build the body of a prepay; raise ValueError naming the field that WeChat would refuse.

    `openid` is the buyer's under exactly this `appid`. `time_expire` is sent in whole seconds.
    """
    if time_expire.tzinfo is None:
        raise ValueError("time_expire: a datetime with a time zone")
    order: dict[str, Any] = {
        "appid": fields.text("appid", appid, 32),
        "mchid": fields.text("mchid", mchid, 32),
        "description": fields.text("description", description, 127),
        "out_trade_no": _number(out_trade_no),
        "time_expire": time_expire.astimezone(BEIJING).isoformat(timespec="seconds"),
        "notify_url": fields.url("notify_url", notify_url),
        "amount": {"total": fields.amount("total_fen", total_fen), "currency": "CNY"},
        "payer": {"openid": fields.text("openid", openid, 128)},
    }
    if attach is not None:
        order["attach"] = fields.text("attach", attach, 128)
    return order


async def prepay(client: Client, body: bytes | Mapping[str, Any]) -> str:
    """Place the order at WeChat; returns the prepay_id, good for 2 hours.

    After OutcomeUnknown send the same bytes again: the same number with other parameters is
    OUT_TRADE_NO_USED. Raises what Client.post raises, and MalformedAnswer.
    """
    answer = await client.post("/v3/pay/transactions/jsapi", body)
    return fields.string(answer, "prepay_id")


async def query(client: Client, *, mchid: str, out_trade_no: str) -> "Transaction":
    """Ask what became of our number 商户订单号; Refused ORDER_NOT_EXIST when unknown."""
    path = f"/v3/pay/transactions/out-trade-no/{_in_path(out_trade_no)}"
    found = Transaction.parse(await client.get(path, {"mchid": mchid}))
    if found.out_trade_no != out_trade_no:
        raise MalformedAnswer("out_trade_no", f"{found.out_trade_no} is not what was asked")
    return found


async def query_by_id(client: Client, *, mchid: str, transaction_id: str) -> "Transaction":
    """Ask what became of WeChat's number 微信支付订单号; otherwise like query()."""
    if not re.fullmatch("[0-9A-Za-z]{1,32}", transaction_id):
        raise ValueError("transaction_id: 1 to 32 letters and digits")
    path = f"/v3/pay/transactions/id/{transaction_id}"
    found = Transaction.parse(await client.get(path, {"mchid": mchid}))
    if found.transaction_id != transaction_id:
        raise MalformedAnswer("transaction_id", f"{found.transaction_id} is not what was asked")
    return found


async def close(client: Client, *, mchid: str, out_trade_no: str) -> None:
    """Close an unpaid order (doc/v3/merchant/4012556398); returns only on a verified 204.

    Raises Refused (ORDER_PAID: query it), TryAgain or RateLimited (the buyer is typing the
    password: nothing is closed), OutcomeUnknown (query it).
    """
    path = f"/v3/pay/transactions/out-trade-no/{_in_path(out_trade_no)}/close"
    if await client.post(path, {"mchid": mchid}):
        raise OutcomeUnknown("close was answered with a body instead of 204")


@dataclass(frozen=True)
class Transaction:
    """What WeChat says of one payment; fields it has not sent yet are None.

    `total_fen` is the price, `payer_total_fen` what is left after coupons. trade_state REFUND means
    paid, then refunded at least in part. Unknown states and banks are kept as they came.
    """

    mchid: str
    appid: str
    out_trade_no: str
    trade_state: str
    trade_state_desc: str
    transaction_id: str | None
    trade_type: str | None
    bank_type: str | None
    attach: str | None
    success_time: datetime | None
    openid: str | None = field(repr=False)
    total_fen: int | None
    payer_total_fen: int | None
    currency: str | None
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> "Transaction":
        """Read a query answer or a decrypted notification; raise MalformedAnswer naming a field."""
        amount, payer = fields.group(data, "amount"), fields.group(data, "payer")
        found = cls(
            mchid=fields.string(data, "mchid"),
            appid=fields.string(data, "appid"),
            out_trade_no=fields.string(data, "out_trade_no"),
            trade_state=fields.string(data, "trade_state"),
            trade_state_desc=fields.optional(data, "trade_state_desc") or "",
            transaction_id=fields.optional(data, "transaction_id"),
            trade_type=fields.optional(data, "trade_type"),
            bank_type=fields.optional(data, "bank_type"),
            attach=fields.optional(data, "attach"),
            success_time=fields.time(data, "success_time"),
            openid=fields.optional(payer, "openid"),
            total_fen=fields.fen(amount, "total"),
            payer_total_fen=fields.fen(amount, "payer_total"),
            currency=fields.optional(amount, "currency"),
            raw=data,
        )
        paid = found.trade_state in ("SUCCESS", "REFUND")
        if paid and not (found.transaction_id and found.total_fen):
            raise MalformedAnswer("trade_state", "paid without transaction_id or amount.total")
        return found


def _number(value: str) -> str:
    return fields.number("out_trade_no", value, 6, 32)


def _in_path(out_trade_no: str) -> str:
    return quote(_number(out_trade_no), safe="*@")  # as every HTTP library sends it
