"""Payments 聚合正扫: create, query, close, refund, refund query, and their notifications.

Every number of ours is req_seq_id with its req_date (a day in Beijing): without the day nothing is
found. Both generations of field names are read, and nkp_ where hf_ is meant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric import rsa

from . import sign
from .client import HuifuClient
from .errors import (
    CANNOT_CLOSE,
    REFUND_LATER,
    HuifuCannotClose,
    HuifuLater,
    HuifuRefused,
    Malformed,
)

BEIJING = timezone(timedelta(hours=8))
CREATE = "/v2/trade/payment/jspay"
SCANPAY = "/v2/trade/payment/scanpay"
#: the most UTF-8 bytes of texts; longer ones are cut. One page says 128 of goods_desc, another 127
GOODS_DESC_BYTES = 127
REMARK_BYTES = 255
REFUND_REMARK_BYTES = 84


@dataclass(frozen=True)
class HuifuTrade:
    """What Huifu says of a payment or a refund; only trans_stat S is money.

    `end_time` is trans_finish_time, or what older generations call end_time. `bank_message` is the
    bank's own reason, above all of a failure.
    """

    huifu_id: str
    req_seq_id: str
    req_date: str
    hf_seq_id: str
    trans_stat: str
    fen: int | None
    out_trans_id: str
    end_time: datetime | None
    raw: Mapping[str, Any] = field(repr=False)
    bank_message: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "HuifuTrade":
        """Read proved data; raise Malformed naming a field."""
        amount = _first(data, "trans_amt", "ord_amt", "actual_ref_amt")
        return cls(
            huifu_id=_first(data, "huifu_id"),
            req_seq_id=_need(data, "org_req_seq_id", "req_seq_id"),
            req_date=_first(data, "org_req_date", "req_date"),
            hf_seq_id=_first(data, "org_hf_seq_id", "org_nkp_seq_id", "hf_seq_id", "nkp_seq_id"),
            trans_stat=_need(data, "trans_stat"),
            fen=fen(amount) if amount else None,
            out_trans_id=_first(data, "out_trans_id"),
            end_time=_finished(data),
            raw=data,
            bank_message=_first(data, "bank_message", "bank_desc"),
        )


@dataclass(frozen=True)
class Original:
    """The payment that a refund's notification is about; `hf_seq_id` is mostly not sent."""

    req_date: str
    req_seq_id: str
    hf_seq_id: str


@dataclass(frozen=True)
class Notified:
    """A proved notification: `notify_type` 1 comes from the channel, 2 from the accounting.

    `original` is None for payments; of a refund it is found by req_date and req_seq_id.
    """

    trade: HuifuTrade
    notify_type: str
    is_refund: bool
    original: Original | None = None

    @property
    def key(self) -> str:
        """The same for every copy: hf_seq_id, or req_seq_id where it is absent, type and state."""
        number = self.trade.hf_seq_id or self.trade.req_seq_id
        return f"{number}-{self.notify_type}-{self.trade.trans_stat}"

    @property
    def received(self) -> str:
        """The one answer that ends the repeats, as text/plain within 5 seconds."""
        return f"RECV_ORD_ID_{self.trade.req_seq_id}"


async def create(client: HuifuClient, data: Mapping[str, str]) -> dict[str, Any]:
    """Order 下单; returns pay_info (a JSON string: pass it on unchanged) or qr_code.

    `goods_desc` and `remark` are cut to what Huifu takes.
    """
    longest = {"goods_desc": GOODS_DESC_BYTES, "remark": REMARK_BYTES}
    return await client.call(CREATE, _shortened(data, longest))


async def query(client: HuifuClient, req_date: str, req_seq_id: str) -> HuifuTrade:
    """Ask what became of our number; HuifuRefused 23000001 or 20000004 when unknown."""
    asked = {"huifu_id": client.huifu_id, "org_req_date": req_date, "org_req_seq_id": req_seq_id}
    return _about(req_seq_id, await client.call(f"{SCANPAY}/query", asked))


async def close(client: HuifuClient, data: Mapping[str, str]) -> str:
    """Close an unpaid number, not in its first minute; returns trans_stat: S is closed.

    Raises HuifuCannotClose for UnionPay codes: they end by their own time_expire; Malformed when
    the answer is about another number.
    """
    try:
        answer = await client.call(f"{SCANPAY}/close", data)
    except HuifuRefused as error:
        if error.code in CANNOT_CLOSE:
            raise HuifuCannotClose(error.code, error.words) from error
        raise
    return _closed(data, answer)


async def close_query(client: HuifuClient, data: Mapping[str, str]) -> str:
    """Ask what became of a close that was P, by the original number; raises Malformed."""
    return _closed(data, await client.call(f"{SCANPAY}/closequery", data))


def _closed(asked: Mapping[str, str], answer: Mapping[str, Any]) -> str:
    """Return trans_stat of an answer that names the payment, or the call, that was sent."""
    names = [name for name in ("org_req_seq_id", "req_seq_id") if answer.get(name)]
    for name in names:
        if answer[name] != asked[name]:
            raise Malformed(name, f"{answer[name]} is not what was asked")
    if not names:
        raise Malformed("org_req_seq_id", "missing")
    return _first(answer, "trans_stat")


async def refund(client: HuifuClient, data: Mapping[str, str]) -> HuifuTrade:
    """Ask for a refund; the same number again is the same refund. `remark` is cut.

    Raises HuifuLater when it only waits, for money or for the payment: the refund stays wanted.
    """
    asked = _shortened(data, {"remark": REFUND_REMARK_BYTES})
    try:
        answer = await client.call(f"{SCANPAY}/refund", asked)
    except HuifuRefused as error:
        if error.code in REFUND_LATER:
            raise HuifuLater(error.code, error.words) from error
        raise
    own = {name: value for name, value in answer.items() if not name.startswith("org_")}
    return _about(data["req_seq_id"], own)


async def refund_query(client: HuifuClient, req_date: str, req_seq_id: str) -> HuifuTrade:
    """Ask what became of a refund, by the refund's own date and number, never the payment's."""
    asked = {"huifu_id": client.huifu_id, "org_req_date": req_date, "org_req_seq_id": req_seq_id}
    return _about(req_seq_id, await client.call(f"{SCANPAY}/refundquery", asked))


def read_notification(key: rsa.RSAPublicKey, body: bytes) -> Notified:
    """Prove and read a notification; the raw resp_data is what was signed.

    Raises HuifuSignatureInvalid, Malformed.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise Malformed("body", "not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs) or "resp_data" not in form:
        raise Malformed("resp_data", "missing or twice")
    sign.check(key, form["resp_data"], form.get("sign", ""))
    data = sign.fields(form["resp_data"])
    is_refund = "REFUND" in _first(data, "trans_type", "trade_type")
    own = {name: value for name, value in data.items() if not name.startswith("org_")}
    trade = replace(HuifuTrade.parse(own), raw=data)
    original = _original(data) if is_refund else None
    return Notified(trade, _first(data, "notify_type"), is_refund, original)


def cut(text: str, most: int) -> str:
    """Cut a text to at most so many UTF-8 bytes, never inside a character."""
    return text.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def yuan(fen: int) -> str:
    """Write fen as Huifu takes amounts."""
    return f"{fen // 100}.{fen % 100:02}"


def fen(text: str) -> int:
    """Read an amount in yuan exactly; raise Malformed."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,2})?", text):
        raise Malformed("trans_amt", f"{text[:20]!r} is not an amount")
    return int(Decimal(text) * 100)


def _shortened(data: Mapping[str, str], longest: Mapping[str, int]) -> dict[str, str]:
    return {
        name: cut(value, longest[name]) if name in longest and isinstance(value, str) else value
        for name, value in data.items()
    }


def _original(data: Mapping[str, Any]) -> Original:
    return Original(
        req_date=_first(data, "org_req_date"),
        req_seq_id=_first(data, "org_req_seq_id"),
        hf_seq_id=_first(data, "org_hf_seq_id", "org_nkp_seq_id"),
    )


def _finished(data: Mapping[str, Any]) -> datetime | None:
    for name in ("trans_finish_time", "end_time"):
        if text := _first(data, name):
            return _moment(name, text)
    return None


def _about(req_seq_id: str, data: Mapping[str, Any]) -> HuifuTrade:
    trade = HuifuTrade.parse(data)
    if trade.req_seq_id != req_seq_id:
        raise Malformed("req_seq_id", f"{trade.req_seq_id} is not what was asked")
    return trade


def _first(data: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def _need(data: Mapping[str, Any], *names: str) -> str:
    if not (value := _first(data, *names)):
        raise Malformed(names[-1], "missing")
    return value


def _moment(name: str, text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).astimezone(UTC)
    except ValueError:
        raise Malformed(name, "not a time") from None
