"""Combined orders 合单: one payment for the orders of several merchants, all of them or none.

Follows pay.weixin.qq.com/doc/v3/merchant/4012556926 and doc/v3/partner/4012757938. The prepay is
signed and invoked with combine_appid; refunds and bills belong to the single sub orders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import fields
from .cipher import open_resource
from .client import Client
from .errors import MalformedAnswer, OutcomeUnknown
from .notify import Envelope
from .payment import Transaction
from .transactions import ATTACH_BYTES, DESCRIPTION_BYTES, PRODUCTS

MOST_DIRECT = 50  # sub orders: at least 2
MOST = 50  # of a service provider: at least 1
_PATH = "/v3/combine-transactions"


@dataclass(frozen=True)
class SubOrder:
    """One merchant's part 子单; of a service provider `mchid` is its own, `sub_mchid` the part's.

    `attach` comes back in query, notification and bill; older pages require it.
    """

    mchid: str
    out_trade_no: str
    total_fen: int
    description: str
    attach: str
    sub_mchid: str | None = None

    def body(self) -> dict[str, Any]:
        """Build its place in sub_orders; raise ValueError naming the field that is refused."""
        return {
            **self.numbers(),
            "description": fields.short("description", self.description, DESCRIPTION_BYTES),
            "attach": fields.short("attach", self.attach, ATTACH_BYTES),
            "amount": {
                "total_amount": fields.amount("total_fen", self.total_fen),
                "currency": "CNY",
            },
        }

    def numbers(self) -> dict[str, str]:
        """Build what close names it by."""
        sub = {"sub_mchid": fields.text("sub_mchid", self.sub_mchid, 32)} if self.sub_mchid else {}
        number = fields.number("out_trade_no", self.out_trade_no, 6, 32)
        return {"mchid": fields.text("mchid", self.mchid, 32), **sub, "out_trade_no": number}


@dataclass(frozen=True)
class Combined:
    """What WeChat says of a combined order: every part is a Transaction.

    The parts' `parties` are {combine_appid, combine_mchid, combine_out_trade_no, mchid} and, if
    they were sent, sub_mchid and sub_appid.
    """

    combine_out_trade_no: str
    parts: tuple[Transaction, ...]
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> "Combined":
        """Read a query answer or a decrypted notification; raise MalformedAnswer naming a field."""
        names = ("combine_appid", "combine_mchid", "combine_out_trade_no")
        common = {name: fields.string(data, name) for name in names}
        openid = fields.optional(fields.group(data, "combine_payer_info"), "openid")
        sub_orders = data.get("sub_orders")
        if not isinstance(sub_orders, list) or not sub_orders:
            raise MalformedAnswer("sub_orders", "not a list of sub orders")
        parts = tuple(_part(order, common, openid) for order in sub_orders)
        if len({(part.parties["mchid"], part.out_trade_no) for part in parts}) != len(parts):
            raise MalformedAnswer("sub_orders", "one sub order twice")
        return cls(common["combine_out_trade_no"], parts, data)


def combine_order(
    product: str,
    *,
    combine_appid: str,
    combine_mchid: str,
    combine_out_trade_no: str,
    sub_orders: Sequence[SubOrder],
    notify_url: str,
    time_expire: datetime,
    scene_info: Mapping[str, Any],
    openid: str | None = None,
) -> dict[str, Any]:
    """Build the body of a combined prepay; raise ValueError naming the field that is refused.

    `openid` is the buyer's under `combine_appid`; jsapi needs it. `scene_info` has
    payer_client_ip and device_id, and h5_info for h5.
    """
    partner = all(order.sub_mchid for order in sub_orders)
    least, most = (1, MOST) if partner else (2, MOST_DIRECT)
    if not least <= len(sub_orders) <= most:
        raise ValueError(f"sub_orders: {least} to {most}, not {len(sub_orders)}")
    if len({(order.mchid, order.out_trade_no) for order in sub_orders}) != len(sub_orders):
        raise ValueError("sub_orders: an out_trade_no twice")
    body: dict[str, Any] = {
        "combine_appid": fields.text("combine_appid", combine_appid, 32),
        "combine_mchid": fields.text("combine_mchid", combine_mchid, 32),
        "combine_out_trade_no": fields.number("combine_out_trade_no", combine_out_trade_no, 6, 32),
        "scene_info": dict(scene_info),
        "sub_orders": [order.body() for order in sub_orders],
        "time_expire": fields.moment("time_expire", time_expire),
        "notify_url": fields.url("notify_url", notify_url),
    }
    if product == "jsapi":
        body["combine_payer_info"] = {"openid": fields.text("openid", openid or "", 128)}
    return body


async def prepay(client: Client, product: str, body: bytes | Mapping[str, Any]) -> str:
    """Place the order; otherwise like transactions.prepay()."""
    answer = await client.post(f"{_PATH}/{product}", body)
    return client.reachable(fields.string(answer, PRODUCTS[product]))


async def query(client: Client, combine_out_trade_no: str) -> Combined:
    """Ask what became of the whole order; a sub order alone cannot be queried."""
    combined = Combined.parse(await client.get(_path(combine_out_trade_no)))
    if combined.combine_out_trade_no != combine_out_trade_no:
        problem = f"{combined.combine_out_trade_no} is not what was asked"
        raise MalformedAnswer("combine_out_trade_no", problem)
    return combined


async def close(
    client: Client,
    *,
    combine_appid: str,
    combine_out_trade_no: str,
    sub_orders: Sequence[Mapping[str, str]],
) -> None:
    """Close the whole order; `sub_orders` names exactly all of them, each as numbers() does.

    Returns only on a verified 204; otherwise like transactions.close().
    """
    body = {"combine_appid": combine_appid, "sub_orders": [dict(order) for order in sub_orders]}
    if await client.post(f"{_path(combine_out_trade_no)}/close", body):
        raise OutcomeUnknown("close was answered with a body instead of 204")


def open_combined(apiv3_key: bytes, envelope: Envelope) -> Combined:
    """Decrypt a combined payment; raise DecryptFailed, or MalformedAnswer when it is none."""
    if envelope.original_type != "transaction":
        raise MalformedAnswer("resource.original_type", f"{envelope.original_type} is no payment")
    opened = open_resource(apiv3_key, envelope.resource)
    return Combined.parse(fields.json_object("resource", opened))


def _path(combine_out_trade_no: str) -> str:
    return f"{_PATH}/out-trade-no/{fields.in_path(combine_out_trade_no)}"


def _part(data: Any, common: Mapping[str, str], openid: str | None) -> Transaction:
    if not isinstance(data, dict):
        raise MalformedAnswer("sub_orders", "a sub order is not an object")
    parties = {**common, "mchid": fields.string(data, "mchid")}
    for name in ("sub_mchid", "sub_appid"):
        if value := fields.optional(data, name):
            parties[name] = value
    return Transaction.read(data, parties, openid, total="total_amount", payer_total="payer_amount")
