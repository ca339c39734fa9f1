"""What WeChat says of a payment: the answer of a query, or a decrypted notification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import fields
from .errors import MalformedAnswer

DIRECT = ("appid", "mchid")
PARTNER = ("sp_appid", "sp_mchid", "sub_mchid")
PAID = ("SUCCESS", "REFUND")


@dataclass(frozen=True)
class Transaction:
    """What WeChat says of one payment; fields it has not sent yet are None.

    `parties`: {appid, mchid}, or of a service provider 服务商 {sp_appid, sp_mchid, sub_mchid} and
    sub_appid if it was sent. `total_fen` is the price, `payer_total_fen` what is left after
    coupons. trade_state REFUND means paid, then refunded at least in part. Unknown states and
    banks are kept as they came.
    """

    parties: Mapping[str, str]
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
        payer = fields.group(data, "payer")
        openids = [fields.optional(payer, name) for name in ("openid", "sub_openid", "sp_openid")]
        needed = PARTNER if "sp_mchid" in data else DIRECT
        parties = {name: fields.string(data, name) for name in needed}
        if needed is PARTNER and (sub_appid := fields.optional(data, "sub_appid")):
            parties["sub_appid"] = sub_appid
        openid = next(filter(None, openids), None)
        return cls.read(data, parties, openid, total="total", payer_total="payer_total")

    @classmethod
    def read(
        cls,
        data: dict[str, Any],
        parties: Mapping[str, str],
        openid: str | None,
        *,
        total: str,
        payer_total: str,
    ) -> "Transaction":
        """Read what every kind of order has; `total` and `payer_total` name its amounts."""
        amount = fields.group(data, "amount")
        transaction = cls(
            parties=parties,
            out_trade_no=fields.string(data, "out_trade_no"),
            trade_state=fields.string(data, "trade_state"),
            trade_state_desc=fields.optional(data, "trade_state_desc") or "",
            transaction_id=fields.optional(data, "transaction_id"),
            trade_type=fields.optional(data, "trade_type"),
            bank_type=fields.optional(data, "bank_type"),
            attach=fields.optional(data, "attach"),
            success_time=fields.time(data, "success_time"),
            openid=openid,
            total_fen=fields.fen(amount, total),
            payer_total_fen=fields.fen(amount, payer_total),
            currency=fields.optional(amount, "currency"),
            raw=data,
        )
        if transaction.trade_state in PAID and not (
            transaction.transaction_id and transaction.total_fen
        ):
            raise MalformedAnswer("trade_state", f"paid without transaction_id or amount.{total}")
        return transaction
