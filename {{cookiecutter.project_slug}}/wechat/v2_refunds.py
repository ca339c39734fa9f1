"""Refunds and bills of APIv2: refund 申请退款 (with the certificate), refundquery, downloadbill."""

import base64
import binascii
import gzip
import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import httpx
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from . import v2_xml
from .errors import (
    BillNotReady,
    DecryptFailed,
    MalformedAnswer,
    OutcomeUnknown,
    Refused,
    TooBig,
    Truncated,
)
from .transport import send
from .v2 import LATER as CALL_LATER
from .v2 import ClientV2, fen, moment, need, shortened

MAX_BYTES = 256 * 1024**2  # unpacked
DESC_BYTES = 80  # characters, perhaps: bytes are safe either way
#: err_code values of a refund that mean "later, with the same number" 稍后用原单号重试
LATER = (*CALL_LATER, "NOTENOUGH")


@dataclass(frozen=True)
class RefundV2:
    """What WeChat says of one refund; `status` None right after it was accepted."""

    out_refund_no: str
    refund_id: str
    out_trade_no: str
    transaction_id: str
    refund_fen: int
    total_fen: int
    status: str | None
    success_time: datetime | None
    raw: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, fields: Mapping[str, str], n: str = "") -> "RefundV2":
        """Read proved fields; `n` is the suffix that a query gives them."""
        refunded = fen(fields, f"refund_fee{n}")
        total = fen(fields, "total_fee")
        if not refunded or not total:
            raise MalformedAnswer("refund_fee", "missing")
        when = fields.get(f"refund_success_time{n}") or fields.get("success_time") or ""
        return cls(
            out_refund_no=need(fields, f"out_refund_no{n}"),
            refund_id=need(fields, f"refund_id{n}"),
            out_trade_no=need(fields, "out_trade_no"),
            transaction_id=need(fields, "transaction_id"),
            refund_fen=refunded,
            total_fen=total,
            status=fields.get(f"refund_status{n}") or None,
            success_time=moment(when, "%Y-%m-%d %H:%M:%S"),
            raw=fields,
        )


async def refund(client: ClientV2, fields: Mapping[str, str]) -> RefundV2:
    """Ask for a refund; the same fields again are the same refund. Accepted is not refunded.

    `refund_desc` is cut to what WeChat takes. Raises what ClientV2.call raises; a code of LATER is
    no refusal: keep the number and wait.
    """
    asked = shortened(fields, {"refund_desc": DESC_BYTES})
    return RefundV2.parse(await client.call("/secapi/pay/refund", asked, secure=True))


async def query(client: ClientV2, appid: str, out_refund_no: str) -> RefundV2:
    """Ask what became of our number 商户退款单号; Refused REFUNDNOTEXIST when unknown."""
    asked = {"appid": appid, "mch_id": client.mch_id, "out_refund_no": out_refund_no}
    answer = await client.call("/pay/refundquery", asked)
    for n in range(fen(answer, "refund_count") or 0):
        if answer.get(f"out_refund_no_{n}") == out_refund_no:
            return RefundV2.parse(answer, f"_{n}")
    raise MalformedAnswer("out_refund_no", "the answer is about other refunds")


def open_refund(key: str, body: bytes) -> RefundV2:
    """Decrypt a refund's notification; raise DecryptFailed, MalformedAnswer.

    Nothing in it is signed, so it is only a reason to query.
    """
    sealed = need(v2_xml.parse(body), "req_info")
    return RefundV2.parse(v2_xml.parse(_unseal(key, sealed), "root"))


async def download_bill(client: ClientV2, appid: str, day: date) -> bytes | None:
    """Fetch the bill of a day in Beijing, unpacked; None when nothing happened that day.

    Nobody signs it and no hash is sent: its own summary is all there is. Raises BillNotReady,
    Refused, Truncated, NotSent, OutcomeUnknown.
    """
    asked = {"appid": appid, "mch_id": client.mch_id, "bill_date": f"{day:%Y%m%d}"}
    asked |= {"bill_type": "ALL", "tar_type": "GZIP"}
    body = v2_xml.build(client.signed(asked))
    url = httpx.URL(f"{client.host}/pay/downloadbill")
    answer = await send(client.http, "POST", url, {"Content-Type": "text/xml"}, body)
    if answer.status != 200:
        raise OutcomeUnknown("not answered by APIv2", status=answer.status)
    if answer.body.lstrip().startswith(b"<xml"):
        _check_empty(v2_xml.parse(answer.body))
        return None
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(answer.body)) as packed:
            content = packed.read(MAX_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise Truncated("the bill's gzip data is damaged") from error
    if len(content) > MAX_BYTES:
        raise TooBig(f"the bill has more than {MAX_BYTES} bytes")
    return content


def _check_empty(answer: Mapping[str, str]) -> None:
    """Return when the day was empty; raise what else is said instead of a bill."""
    code = answer.get("error_code", "")
    message = answer.get("return_msg", "")
    if message.lower() == "no bill exist":  # WeChat's page writes NO
        return
    if message == "Bill Creating":
        raise BillNotReady("WeChat is still writing the bill")
    raise Refused(200, code, message)


def _unseal(key: str, sealed: str) -> bytes:
    """Open req_info: AES-256-ECB under the MD5 of the APIv2 key, in lower-case hex."""
    secret = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest().encode()
    try:
        opened = Cipher(algorithms.AES(secret), modes.ECB()).decryptor()  # noqa: S305  WeChat's
        padded = opened.update(base64.b64decode(sealed, validate=True)) + opened.finalize()
        plain = PKCS7(128).unpadder()
        return plain.update(padded) + plain.finalize()
    except (ValueError, binascii.Error) as error:
        raise DecryptFailed("req_info cannot be opened: another APIv2 key?") from error
