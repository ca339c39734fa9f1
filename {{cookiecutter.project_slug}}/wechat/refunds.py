"""Refunds 退款: build, create 申请退款, query 查退款, and read their notification.

Follows pay.weixin.qq.com/docs/merchant/apis/refund/refunds/create.html. Accepted is not refunded:
only SUCCESS is. After OutcomeUnknown repeat the same number; a new one might refund twice.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from . import fields
from .cipher import open_resource
from .client import Client
from .errors import MalformedAnswer
from .notify import Envelope

V2_RECEIVED = "<xml><return_code>SUCCESS</return_code><return_msg>OK</return_msg></xml>"
REASON_BYTES = 80  # characters, perhaps: bytes are safe either way
_PATH = "/v3/refund/domestic/refunds"
_V2_START = re.compile(rb"(\xef\xbb\xbf)?\s*+(<\?xml[^>]*\?>\s*+)?<xml\s*+>")


def refund_order(
    *,
    out_refund_no: str,
    refund_fen: int,
    total_fen: int,
    notify_url: str,
    out_trade_no: str | None = None,
    transaction_id: str | None = None,
    reason: str | None = None,
    sub_mchid: str | None = None,
) -> dict[str, Any]:
    """Build the body of a refund; raise ValueError naming the field that WeChat would refuse.

    Name the payment by out_trade_no or by transaction_id. `total_fen` is what the whole payment
    cost. `notify_url` is always sent: without it the notification comes as v2 XML. `reason` is
    shown to the buyer, and cut to what WeChat takes.
    """
    if (out_trade_no is None) == (transaction_id is None):
        raise ValueError("out_trade_no: exactly one of out_trade_no and transaction_id")
    if fields.amount("refund_fen", refund_fen) > fields.amount("total_fen", total_fen):
        raise ValueError(f"refund_fen: {refund_fen} is more than the payment's {total_fen}")
    body: dict[str, Any] = {}
    if sub_mchid is not None:
        body["sub_mchid"] = fields.text("sub_mchid", sub_mchid, 32)
    if out_trade_no is not None:
        body["out_trade_no"] = fields.number("out_trade_no", out_trade_no, 6, 32)
    if transaction_id is not None:
        body["transaction_id"] = fields.text("transaction_id", transaction_id, 32)
    body["out_refund_no"] = _number(out_refund_no)
    if reason is not None:
        body["reason"] = fields.short("reason", reason, REASON_BYTES)
    body["notify_url"] = fields.url("notify_url", notify_url)
    body["amount"] = {"refund": refund_fen, "total": total_fen, "currency": "CNY"}
    return body


async def create(client: Client, body: bytes | Mapping[str, Any]) -> "RefundAnswer":
    """Ask for a refund; the same bytes again are the same refund. Mostly PROCESSING at first.

    Raises what Client.post raises, and MalformedAnswer. meanings.is_later() knows what is no
    refusal: NOT_ENOUGH, or an order that is still being processed.
    """
    asked: Mapping[str, Any] = json.loads(body) if isinstance(body, bytes) else body
    return _about(asked.get("out_refund_no"), await client.post(_PATH, body))


async def query(
    client: Client, *, out_refund_no: str, sub_mchid: str | None = None
) -> "RefundAnswer":
    """Ask what became of our number 商户退款单号; Refused RESOURCE_NOT_EXISTS when unknown."""
    path = f"{_PATH}/{quote(_number(out_refund_no), safe='*@')}"
    return _about(
        out_refund_no, await client.get(path, {"sub_mchid": sub_mchid} if sub_mchid else None)
    )


@dataclass(frozen=True)
class RefundAnswer:
    """What WeChat says of one refund; fields it did not send are None, new words are kept.

    `status` is SUCCESS, PROCESSING, CLOSED (nothing went back; a new number may try again) or
    ABNORMAL (the buyer's account cannot take it: a person decides). Only notifications name
    `parties` (mchid, or sp_mchid and sub_mchid), only answers currency, channel and create_time.
    """

    refund_id: str
    out_refund_no: str
    transaction_id: str
    out_trade_no: str
    status: str
    refund_fen: int
    total_fen: int
    currency: str | None
    success_time: datetime | None
    create_time: datetime | None
    user_received_account: str | None = field(repr=False)
    channel: str | None
    parties: Mapping[str, str]
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, answer: dict[str, Any]) -> "RefundAnswer":
        """Read the answer of create or query; raise MalformedAnswer naming a field."""
        return cls._read(answer, fields.string(answer, "status"))

    @classmethod
    def parse_notification(cls, resource: dict[str, Any]) -> "RefundAnswer":
        """Read a decrypted notification, where status is called refund_status."""
        return cls._read(resource, fields.string(resource, "refund_status"))

    @classmethod
    def _read(cls, data: dict[str, Any], status: str) -> "RefundAnswer":
        amount = fields.group(data, "amount")
        refund_fen = fields.fen(amount, "refund")
        total_fen = fields.fen(amount, "total")
        if refund_fen is None or total_fen is None:
            raise MalformedAnswer("amount", "without refund or total")
        return cls(
            refund_id=fields.string(data, "refund_id"),
            out_refund_no=fields.string(data, "out_refund_no"),
            transaction_id=fields.string(data, "transaction_id"),
            out_trade_no=fields.string(data, "out_trade_no"),
            status="CLOSED" if status == "CLOSE" else status,  # old pages write CLOSE
            refund_fen=refund_fen,
            total_fen=total_fen,
            currency=fields.optional(amount, "currency"),
            success_time=fields.time(data, "success_time"),
            create_time=fields.time(data, "create_time"),
            user_received_account=fields.optional(data, "user_received_account"),
            channel=fields.optional(data, "channel"),
            parties={
                name: mchid
                for name in ("mchid", "sp_mchid", "sub_mchid")
                if (mchid := fields.optional(data, name))
            },
            raw=data,
        )


def open_refund(apiv3_key: bytes, envelope: Envelope) -> RefundAnswer:
    """Decrypt a refund's notification; raise DecryptFailed, or MalformedAnswer if it is none."""
    if envelope.original_type != "refund":
        raise MalformedAnswer("resource.original_type", f"{envelope.original_type} is no refund")
    opened = open_resource(apiv3_key, envelope.resource)
    return RefundAnswer.parse_notification(fields.json_object("resource", opened))


def is_v2_xml(body: bytes) -> bool:
    """Recognise a v2 refund notification; it is unsigned, so only a reason to query.

    WeChat sends it for refunds made in the merchant platform, also to the v3 address. Nothing is
    parsed here: no XML parser ever sees these bytes. Answer V2_RECEIVED.
    """
    return bool(_V2_START.match(body)) and b"<req_info>" in body


def _about(out_refund_no: object, answer: dict[str, Any]) -> RefundAnswer:
    refund = RefundAnswer.parse(answer)
    if refund.out_refund_no != out_refund_no:
        raise MalformedAnswer("out_refund_no", f"{refund.out_refund_no} is not what was asked")
    return refund


def _number(value: str) -> str:
    return fields.number("out_refund_no", value, 1, 64, "_-|*@")
