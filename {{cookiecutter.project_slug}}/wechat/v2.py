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

from . import v2_sign, v2_xml
from .errors import MalformedAnswer, OutcomeUnknown, Refused, SignatureInvalid
from .fields import BEIJING
from .transport import send

HOST = "https://api.mch.weixin.qq.com"
RECEIVED = v2_xml.build({"return_code": "SUCCESS", "return_msg": "OK"}).decode()
#: WeChat does not know itself whether it was done
_UNKNOWN = ("SYSTEMERROR", "BIZERR_NEED_RETRY")


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

        Raises Refused (its code is err_code), NotSent, and OutcomeUnknown for everything that may
        have been done: no answer, a sign that does not fit, SYSTEMERROR.
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
        whole = {**fields, "nonce_str": secrets.token_hex(16), "sign_type": self.sign_type}
        return {**whole, "sign": v2_sign.sign(whole, self.key, self.sign_type)}

    def _proved(self, body: bytes) -> dict[str, str]:
        try:
            said = v2_xml.parse(body)
            if said.get("return_code") != "SUCCESS":  # unsigned: it decides nothing about money
                raise Refused(200, said.get("return_code", ""), said.get("return_msg", ""))
            v2_sign.check(said, self.key, self.sign_type)
        except (MalformedAnswer, SignatureInvalid) as error:
            raise OutcomeUnknown(f"the answer is not proved: {error}", status=200) from error
        code = said.get("err_code", "")
        if said.get("result_code") != "SUCCESS":
            if code in _UNKNOWN:
                raise OutcomeUnknown(f"{code} {said.get('err_code_des', '')}", status=200)
            raise Refused(200, code, said.get("err_code_des", ""))
        return said


async def unified_order(client: ClientV2, fields: Mapping[str, str]) -> dict[str, str]:
    """Order 统一下单; returns prepay_id, or code_url (NATIVE), or mweb_url (MWEB), proved.

    After OutcomeUnknown send the same fields again: only nonce and sign are fresh.
    """
    return await client.call("/pay/unifiedorder", fields)


async def query(client: ClientV2, appid: str, out_trade_no: str) -> "TransactionV2":
    """Ask what became of our number 查询订单; Refused ORDERNOTEXIST when unknown."""
    asked = {"appid": appid, "mch_id": client.mch_id, "out_trade_no": out_trade_no}
    found = TransactionV2.parse(await client.call("/pay/orderquery", asked))
    if found.out_trade_no != out_trade_no:
        raise MalformedAnswer("out_trade_no", f"{found.out_trade_no} is not what was asked")
    return found


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
    def parse(cls, said: dict[str, str]) -> "TransactionV2":
        """Read proved fields of a query or notification; raise MalformedAnswer naming one."""
        state = said.get("trade_state") or said.get("result_code", "")
        found = cls(
            appid=need(said, "appid"),
            mch_id=need(said, "mch_id"),
            out_trade_no=need(said, "out_trade_no"),
            trade_state=state,
            transaction_id=said.get("transaction_id") or None,
            trade_type=said.get("trade_type") or None,
            total_fen=fen(said, "total_fee"),
            currency=said.get("fee_type") or "CNY",
            success_time=moment(said.get("time_end", ""), "%Y%m%d%H%M%S"),
            openid=said.get("openid") or None,
            raw=dict(said),
        )
        if state in ("SUCCESS", "REFUND") and not (found.transaction_id and found.total_fen):
            raise MalformedAnswer("trade_state", "paid without transaction_id or total_fee")
        return found


def read_payment(client: ClientV2, body: bytes) -> TransactionV2:
    """Prove and read a payment's notification; SUCCESS means paid, FAIL changes nothing.

    Raises SignatureInvalid, MalformedAnswer. Answer RECEIVED once the outcome is stored.
    """
    said = v2_xml.parse(body)
    if said.get("return_code") != "SUCCESS":
        raise MalformedAnswer("return_code", "not SUCCESS")
    v2_sign.check(said, client.key, client.sign_type)
    return TransactionV2.parse(said)


def need(said: Mapping[str, str], name: str) -> str:
    """Return a field that must be there."""
    if not (value := said.get(name, "")):
        raise MalformedAnswer(name, "missing")
    return value


def fen(said: Mapping[str, str], name: str) -> int | None:
    """Read an amount in fen that may be absent."""
    text = said.get(name, "")
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
