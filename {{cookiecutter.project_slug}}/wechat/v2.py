"""APIv2: unifiedorder, orderquery, closeorder, in XML, signed with a shared key.

For merchants whose contracts or partners still need it. New shops use APIv3: its signatures cannot
be forged by whoever reads a configuration file. Follows pay.weixin.qq.com/wiki/doc/api.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from . import hosts, v2_sign, v2_xml
from .errors import (
    AnswerNotProved,
    ApiError,
    MalformedAnswer,
    OutcomeUnknown,
    RateLimited,
    Refused,
    SignatureInvalid,
    TryAgain,
)
from .fields import BEIJING, cut
from .hosts import HOST as HOST
from .transport import send

RECEIVED = v2_xml.build({"return_code": "SUCCESS", "return_msg": "OK"}).decode()
#: time_expire is at least so many seconds from now, or the order is refused
MIN_EXPIRE_SECONDS = 300
#: the most UTF-8 bytes of body and attach; longer texts are cut
BODY_BYTES = 127
ATTACH_BYTES = 127
_LONGEST = {"body": BODY_BYTES, "attach": ATTACH_BYTES}
#: err_code values that mean "later, with the same number" 稍后用原单号重试, and what is raised
LATER: Mapping[str, type[ApiError] | type[OutcomeUnknown]] = {
    "SYSTEMERROR": OutcomeUnknown,  # WeChat does not know itself whether it was done
    "BIZERR_NEED_RETRY": OutcomeUnknown,
    "FREQUENCY_LIMITED": RateLimited,
    "INVALID_REQ_TOO_MUCH": RateLimited,
    "ORDER_NOT_READY": TryAgain,
}


def failed(message: str) -> str:
    """Write the answer that makes WeChat send a notification again."""
    return v2_xml.build({"return_code": "FAIL", "return_msg": message}).decode()


@dataclass(frozen=True)
class ClientV2:
    """One merchant's connection to APIv2; `secure_http` shows the merchant's certificate."""

    http: httpx.AsyncClient
    secure_http: httpx.AsyncClient
    mch_id: str
    key: str = field(repr=False)
    sign_type: str = "MD5"
    host: str = HOST

    async def call(
        self, path: str, fields: Mapping[str, str], *, secure: bool = False
    ) -> dict[str, str]:
        """Sign, send, and return the proved fields of an answer whose result_code is SUCCESS.

        Raises Refused (its code is err_code), what LATER names, NotSent, and OutcomeUnknown for
        everything that may have been done: no answer, a sign that does not fit (AnswerNotProved).
        """
        body = v2_xml.build(self.signed(fields))
        headers = {"Content-Type": "text/xml; charset=utf-8", "Accept": "*/*"}
        http = self.secure_http if secure else self.http
        answer = await send(http, "POST", httpx.URL(self.host + path), headers, body)
        if answer.status != 200:
            raise OutcomeUnknown("not answered by APIv2", status=answer.status)
        return self._proved(answer.body)

    def signed(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Add a nonce and the sign; the fields themselves stay word for word."""
        unsigned = {**fields, "nonce_str": secrets.token_hex(16), "sign_type": self.sign_type}
        return {**unsigned, "sign": v2_sign.sign(unsigned, self.key, self.sign_type)}

    def _proved(self, body: bytes) -> dict[str, str]:
        answer = self._parsed(body)
        if answer.get("return_code") != "SUCCESS":  # unsigned: it decides nothing about money
            raise _refusal(answer, proved=False)
        try:
            v2_sign.check(answer, self.key, self.sign_type)
        except SignatureInvalid as error:
            raise _not_proved(error, error.reason) from error
        if answer.get("result_code") != "SUCCESS":
            raise _refusal(answer, proved=True)
        return answer

    def _parsed(self, body: bytes) -> dict[str, str]:
        try:
            return v2_xml.parse(body)
        except MalformedAnswer as error:
            raise _not_proved(error, "undecodable") from error


def _not_proved(error: Exception, reason: str) -> AnswerNotProved:
    words = f"the answer is not proved: {error}"
    return AnswerNotProved(words, signature_reason=reason, status=200)


def _refusal(answer: Mapping[str, str], proved: bool) -> ApiError | OutcomeUnknown:
    """Name what a FAIL means; without err_code the return_code stands for it."""
    code = answer.get("err_code") or answer.get("return_code", "")
    message = answer.get("err_code_des") or answer.get("return_msg", "")
    kind = LATER.get(code, Refused)
    if issubclass(kind, OutcomeUnknown):
        words = f"{code} {message}"
        return OutcomeUnknown(words, status=200, code=code, message=message, proved=proved)
    return kind(200, code, message, proved=proved)


async def unified_order(client: ClientV2, fields: Mapping[str, str]) -> dict[str, str]:
    """Order 统一下单; returns prepay_id, or code_url (NATIVE), or mweb_url (MWEB), proved.

    `body` and `attach` are cut to what WeChat takes. After OutcomeUnknown send the same fields
    again: only nonce and sign are fresh.
    """
    answer = await client.call("/pay/unifiedorder", shortened(fields, _LONGEST))
    if "mweb_url" in answer:
        answer["mweb_url"] = hosts.moved(answer["mweb_url"], client.host)
    return answer


def shortened(fields: Mapping[str, str], longest: Mapping[str, int]) -> dict[str, str]:
    """Cut the fields that `longest` names to so many UTF-8 bytes."""
    return {
        name: cut(value, longest[name]) if name in longest else value
        for name, value in fields.items()
    }


async def query(client: ClientV2, appid: str, out_trade_no: str) -> "TransactionV2":
    """Ask what became of our number 查询订单; Refused ORDERNOTEXIST when unknown."""
    asked = {"appid": appid, "mch_id": client.mch_id, "out_trade_no": out_trade_no}
    answer = await client.call("/pay/orderquery", asked)
    need(answer, "trade_state")  # result_code tells only that the query itself worked
    transaction = TransactionV2.parse(answer)
    if transaction.out_trade_no != out_trade_no:
        raise MalformedAnswer("out_trade_no", f"{transaction.out_trade_no} is not what was asked")
    return transaction


async def close(client: ClientV2, appid: str, out_trade_no: str) -> None:
    """Close an unpaid order 关闭订单, not before 5 minutes; returns only on a proved SUCCESS."""
    asked = {"appid": appid, "mch_id": client.mch_id, "out_trade_no": out_trade_no}
    await client.call("/pay/closeorder", asked)


def invoke(client: ClientV2, appid: str, prepay_id: str, *, timestamp: int) -> dict[str, str]:
    """Return the six fields of WeixinJSBridge and wx.requestPayment; here signType is signed."""
    fields = {
        "appId": appid,
        "timeStamp": str(timestamp),
        "nonceStr": secrets.token_hex(16),
        "package": f"prepay_id={prepay_id}",
        "signType": client.sign_type,
    }
    return {**fields, "paySign": v2_sign.sign(fields, client.key, client.sign_type)}


@dataclass(frozen=True)
class TransactionV2:
    """What WeChat says of one payment; what it has not sent yet is None."""

    appid: str
    mch_id: str
    out_trade_no: str
    trade_state: str
    transaction_id: str | None
    trade_type: str | None
    total_fen: int | None
    currency: str
    success_time: datetime | None
    openid: str | None = field(repr=False)
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, fields: dict[str, str]) -> "TransactionV2":
        """Read proved fields of a query or notification; raise MalformedAnswer naming one.

        Without result_code SUCCESS nothing is paid, whatever trade_state says.
        """
        result = fields.get("result_code") or "FAIL"
        state = (fields.get("trade_state") or result) if result == "SUCCESS" else result
        transaction = cls(
            appid=need(fields, "appid"),
            mch_id=need(fields, "mch_id"),
            out_trade_no=need(fields, "out_trade_no"),
            trade_state=state,
            transaction_id=fields.get("transaction_id") or None,
            trade_type=fields.get("trade_type") or None,
            total_fen=fen(fields, "total_fee"),
            currency=fields.get("fee_type") or "CNY",
            success_time=moment(fields.get("time_end", ""), "%Y%m%d%H%M%S"),
            openid=fields.get("openid") or None,
            raw=dict(fields),
        )
        if state in ("SUCCESS", "REFUND") and not (
            transaction.transaction_id and transaction.total_fen
        ):
            raise MalformedAnswer("trade_state", "paid without transaction_id or total_fee")
        return transaction


def read_payment(client: ClientV2, body: bytes) -> TransactionV2:
    """Prove and read a payment's notification; SUCCESS means paid, FAIL changes nothing.

    Raises SignatureInvalid, MalformedAnswer. Answer RECEIVED once the outcome is stored.
    """
    fields = v2_xml.parse(body)
    if fields.get("return_code") != "SUCCESS":
        raise MalformedAnswer("return_code", "not SUCCESS")
    v2_sign.check(fields, client.key, client.sign_type)
    return TransactionV2.parse(fields)


def need(fields: Mapping[str, str], name: str) -> str:
    """Return a field that must be there."""
    if not (value := fields.get(name, "")):
        raise MalformedAnswer(name, "missing")
    return value


def fen(fields: Mapping[str, str], name: str) -> int | None:
    """Read an amount in fen that may be absent."""
    text = fields.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 16):
        raise MalformedAnswer(name, "not a whole number of fen")
    return int(text) if text else None


def moment(text: str, form: str) -> datetime | None:
    """Read a time of Beijing as UTC; None when absent."""
    if not text:
        return None
    try:
        return datetime.strptime(text, form).replace(tzinfo=BEIJING).astimezone(UTC)
    except ValueError:
        raise MalformedAnswer("time", f"{text[:40]!r} is not a time") from None
