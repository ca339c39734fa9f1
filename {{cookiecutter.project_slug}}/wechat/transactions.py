"""Orders of every product: prepay 下单, query 查单, close 关单.

`parties` says whose order it is, and with it which paths and names are used: {appid, mchid} for a
merchant's own number 直连 (pay.weixin.qq.com/doc/v3/merchant/4012525167), {sp_appid, sp_mchid,
sub_mchid} and perhaps sub_appid for a service provider 服务商 (doc/v3/partner/4012523579).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import fields
from .client import Client
from .errors import MalformedAnswer, OutcomeUnknown
from .payment import DIRECT, PARTNER, Transaction

#: product 支付产品 -> the field of the answer that opens its cashier; mini programs pay by jsapi
PRODUCTS = {
    "jsapi": "prepay_id",
    "app": "prepay_id",
    "h5": "h5_url",
    "native": "code_url",
    "scannedpos": "prepay_id",  # 金额控件, for service providers only
}
#: the most UTF-8 bytes of description and attach; longer texts are cut
DESCRIPTION_BYTES = 127
ATTACH_BYTES = 128


def order(
    product: str,
    parties: Mapping[str, str],
    *,
    description: str,
    out_trade_no: str,
    total_fen: int,
    notify_url: str,
    time_expire: datetime,
    payer: Mapping[str, str] | None = None,
    scene_info: Mapping[str, Any] | None = None,
    attach: str | None = None,
) -> dict[str, Any]:
    """Build the body of a prepay; raise ValueError naming the field that WeChat would refuse.

    `payer` is {openid}, of a service provider {sp_openid} or {sub_openid}: jsapi and scannedpos
    need it. `scene_info` is made by fields.scene(). `time_expire` is sent in whole seconds.
    `description` and `attach` are cut to what WeChat takes.
    """
    body: dict[str, Any] = {
        **_checked(parties),
        "description": fields.short("description", description, DESCRIPTION_BYTES),
        "out_trade_no": fields.number("out_trade_no", out_trade_no, 6, 32),
        "time_expire": fields.moment("time_expire", time_expire),
        "notify_url": fields.url("notify_url", notify_url),
        "amount": {"total": fields.amount("total_fen", total_fen), "currency": "CNY"},
    }
    if product in ("jsapi", "scannedpos"):
        body["payer"] = _payer(payer or {}, parties)
    if product in ("h5", "scannedpos") and not scene_info:
        raise ValueError(f"scene_info: {product} needs the buyer's address")
    if scene_info:
        body["scene_info"] = dict(scene_info)
    if attach is not None:
        body["attach"] = fields.short("attach", attach, ATTACH_BYTES)
    return body


async def prepay(
    client: Client, product: str, parties: Mapping[str, str], body: bytes | Mapping[str, Any]
) -> str:
    """Place the order; returns its prepay_id or code_url (good for 2 hours) or h5_url (5 minutes).

    After OutcomeUnknown send the same bytes again: the same number with other parameters is refused
    (meanings.is_same_number_other_parameters). Raises what Client.post raises, and MalformedAnswer.
    """
    answer = await client.post(f"{_base(parties)}/{product}", body)
    return client.reachable(fields.string(answer, PRODUCTS[product]))


async def query(client: Client, parties: Mapping[str, str], out_trade_no: str) -> Transaction:
    """Ask what became of our number 商户订单号; Refused ORDER_NOT_EXIST when unknown."""
    path = f"{_base(parties)}/out-trade-no/{fields.in_path(out_trade_no)}"
    transaction = Transaction.parse(await client.get(path, _mchids(parties)))
    if transaction.out_trade_no != out_trade_no:
        raise MalformedAnswer("out_trade_no", f"{transaction.out_trade_no} is not what was asked")
    return transaction


async def query_by_id(
    client: Client, parties: Mapping[str, str], transaction_id: str
) -> Transaction:
    """Ask what became of WeChat's number 微信支付订单号; otherwise like query()."""
    if not re.fullmatch("[0-9A-Za-z]{1,32}", transaction_id):
        raise ValueError("transaction_id: 1 to 32 letters and digits")
    path = f"{_base(parties)}/id/{transaction_id}"
    transaction = Transaction.parse(await client.get(path, _mchids(parties)))
    if transaction.transaction_id != transaction_id:
        raise MalformedAnswer(
            "transaction_id", f"{transaction.transaction_id} is not what was asked"
        )
    return transaction


async def close(client: Client, parties: Mapping[str, str], out_trade_no: str) -> None:
    """Close an unpaid order (doc/v3/merchant/4012556398); returns only on a verified 204.

    WeChat answers 204 for a number that was never ordered, too, and then takes no order under it.
    Raises Refused (ORDER_PAID: query it), TryAgain or RateLimited (the buyer is typing the
    password: nothing is closed), OutcomeUnknown (query it).
    """
    path = f"{_base(parties)}/out-trade-no/{fields.in_path(out_trade_no)}/close"
    if await client.post(path, _mchids(parties)):
        raise OutcomeUnknown("close was answered with a body instead of 204")


def _base(parties: Mapping[str, str]) -> str:
    return f"/v3/pay/{'partner/' if 'sp_mchid' in parties else ''}transactions"


def _mchids(parties: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in parties.items() if name.endswith("mchid")}


def _checked(parties: Mapping[str, str]) -> dict[str, str]:
    needed = PARTNER if "sp_mchid" in parties else DIRECT
    if missing := [name for name in needed if name not in parties]:
        raise ValueError(f"{missing[0]}: missing")
    return {name: fields.text(name, value, 32) for name, value in parties.items()}


def _payer(payer: Mapping[str, str], parties: Mapping[str, str]) -> dict[str, str]:
    names = ("sp_openid", "sub_openid") if "sp_mchid" in parties else ("openid",)
    if len(payer) != 1 or not set(payer) <= set(names):
        raise ValueError(f"payer: exactly one of {', '.join(names)}")
    if "sub_openid" in payer and "sub_appid" not in parties:
        raise ValueError("sub_appid: missing, sub_openid belongs to it")
    return {name: fields.text(name, openid, 128) for name, openid in payer.items()}
