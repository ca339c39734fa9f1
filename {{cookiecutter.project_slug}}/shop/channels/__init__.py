"""The channel protocol: one way to be paid is one file in this folder.

A channel translates: our Payment into their fields, their answer into a Trade. It decides
nothing and writes no row. It is loaded because its file is there; `SHOP_CHANNELS` narrows.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, Protocol

import httpx

from shop.channels._errors import (
    AlreadyPaid,
    AnswerLost,
    BillBroken,
    Busy,
    ChannelError,
    NoBillYet,
    NoSuchTrade,
    NotNow,
    NotProved,
    NumberClosed,
    Refused,
    Unknown,
    Unreadable,
)
from shop.channels._scenes import SCENES, Scene
from shop.clock import Clock
from shop.models import Order, Payment, Refund
from shop.settings import Env, Settings

__all__ = [
    "SCENES",
    "AlreadyPaid",
    "AnswerLost",
    "BillBroken",
    "Busy",
    "ChannelError",
    "NoBillYet",
    "NoSuchTrade",
    "NotNow",
    "NotProved",
    "NumberClosed",
    "Refused",
    "Scene",
    "Unknown",
    "Unreadable",
]


@dataclass(frozen=True)
class Trade:
    """What WeChat says of a payment, proved by a signature 交易.

    `state` is ours; `said` is their word for it. Amounts in fen, `total_fen` before coupons.
    """

    out_trade_no: str
    state: Literal["PAID", "CLOSED", "OPEN"]
    said: str
    parties: Mapping[str, str]
    transaction_id: str | None = None
    total_fen: int | None = None
    currency: str | None = None
    paid_at: datetime | None = None


@dataclass(frozen=True)
class RefundTrade:
    """What WeChat says of a refund, proved by a signature; a word we do not know is PROCESSING.

    `parties` are those that the truth names: an answer may name none. Amounts in fen.
    """

    out_refund_no: str
    refund_id: str
    out_trade_no: str
    transaction_id: str
    state: Literal["PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL"]
    said: str
    refund_fen: int
    total_fen: int
    parties: Mapping[str, str]
    accepted_at: datetime | None = None
    refunded_at: datetime | None = None


@dataclass(frozen=True)
class BillRow:
    """A line of the bill 账单: a payment, or with `out_refund_no` a refund; amounts in fen."""

    out_trade_no: str
    transaction_id: str
    state: str
    total_fen: int
    out_refund_no: str = ""
    refund_fen: int = 0


@dataclass(frozen=True)
class Prepared:
    """A request before it is sent: where it goes, word for word, and each part's party fields."""

    product: str
    body: str
    parties: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Draft:
    """What a request is built from: the payments of an order, and who pays them.

    `descriptions` stand beside `payments`; `client_ip` is the buyer's own address.
    """

    order: Order
    payments: Sequence[Payment]
    descriptions: Sequence[str]
    client_ip: str


class Channel(Protocol):
    """The verbs, named after WeChat's own list: 下单 查单 关单 退款 查退款 通知 账单.

    prepay, query and close take the payments that are paid together: one, or all of a combined
    order.
    """

    name: str
    rank: int
    """The lowest that serves a scene is taken when the buyer names no channel."""
    books: str
    """Channels of the same books share their numbers, refund notifications and bill."""
    scenes: Mapping[str, str]
    """scene -> the appid it is paid with."""
    widget_scenes: Collection[str]
    """Scenes in which the amount widget 金额控件 can be used."""
    close_after: int
    """Seconds that must pass before a number may be closed."""
    notifications: Mapping[str, str]
    """path -> kind of notification that arrives there."""

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether an order for these merchants can be paid in this scene."""
        ...

    def prepare(self, draft: Draft) -> Prepared:
        """Build the request that `prepay` sends, now and in every repeat."""
        ...

    def lasts(self, payment: Payment) -> int:
        """Return the seconds for which an answer of `prepay` can be used."""
        ...

    async def prepay(self, payments: Sequence[Payment]) -> dict[str, str]:
        """Send the stored request 下单; return what `invoke` needs later.

        Raises Unknown, Refused, Busy.
        """
        ...

    def invoke(self, payment: Payment, order: Order) -> dict[str, Any]:
        """Return what opens the cashier 调起, signed anew: invoke, h5_url or code_url."""
        ...

    async def query(self, payments: Sequence[Payment]) -> Sequence[Trade]:
        """Ask for the truth 查单. Raises Unknown, NoSuchTrade, Refused, Busy."""
        ...

    async def close(self, payments: Sequence[Payment]) -> None:
        """Make the number unpayable 关单; return only when that is proved.

        Raises Unknown, Busy, AlreadyPaid, NoSuchTrade, Refused.
        """
        ...

    def prepare_refund(self, refund: Refund, payment: Payment) -> str:
        """Build the request that `refund` sends, now and in every repeat."""
        ...

    async def refund(self, payment: Payment, refund: Refund) -> RefundTrade:
        """Send the stored request 退款. Raises Unknown, Busy, NotNow, Refused."""
        ...

    async def query_refund(
        self, payment: Payment, out_refund_no: str, request: str = ""
    ) -> RefundTrade:
        """Ask what became of a refund 查退款; `request` is what `refund` sent, if we did.

        Raises Unknown, Busy, NoSuchTrade, Refused.
        """
        ...

    def bill(self, date: date) -> AsyncIterator[BillRow]:
        """Fetch and prove the bill of a day in Beijing 账单, then yield its rows.

        Raises NoBillYet, BillBroken, Unknown, Refused.
        """
        ...

    def hint(self, kind: str, body: bytes) -> tuple[int, str, str] | None:
        """Recognise an unsigned message that is only a reason to ask; return its answer."""
        ...

    async def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Prove who sent a notification 验签; return its unique key. Raises NotProved."""
        ...

    def read(self, kind: str, body: bytes) -> Sequence[Trade] | RefundTrade | None:
        """Read a proved notification 通知; None when it is about another product.

        Raises Unreadable.
        """
        ...

    def received(self, body: bytes) -> tuple[int, str, str]:
        """Return status, content type and body that say "got it" to this notification."""
        ...

    def failed(self, message: str) -> tuple[str, str]:
        """Return content type and body that say "send it again"."""
        ...

    async def examine(self) -> list["Finding"]:
        """Look for what is wrong with the settings, for `python -m shop doctor`."""
        ...


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: ok or not, what was looked at, what to do."""

    ok: bool
    what: str
    advice: str = field(default="")


@dataclass(frozen=True)
class Parts:
    """What a channel is built from.

    `shared` is what several channels build once, `clients` what the shop closes in the end.
    """

    env: Env
    settings: Settings
    http: httpx.AsyncClient
    clock: Clock = field(default_factory=Clock)
    shared: dict[str, Any] = field(default_factory=dict)
    clients: list[httpx.AsyncClient] = field(default_factory=list)


def load(parts: Parts) -> dict[str, Channel]:
    """Build every channel whose file is in this folder, or those that SHOP_CHANNELS names."""
    modules = pkgutil.iter_modules(__path__)
    present = [module.name for module in modules if not module.name.startswith("_")]
    wanted = parts.settings.channels or present
    for scene in parts.settings.scenes:
        if scene not in SCENES:
            parts.env.problem("SHOP_SCENES", f"there is no scene {scene}", ",".join(SCENES))
    for name in wanted:
        if name not in present:
            parts.env.problem("SHOP_CHANNELS", f"there is no channel {name}", ",".join(present))
    built = [
        importlib.import_module(f"shop.channels.{name}").build(parts)
        for name in present
        if name in wanted
    ]
    ways = [way for way in built if way is not None]  # what has no settings is not there
    return {way.name: way for way in sorted(ways, key=lambda way: getattr(way, "rank", 0))}


def demo_settings(known: Mapping[str, Any]) -> dict[str, str]:
    """Collect what channels want from the sandbox's credentials in the demo."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            channel = importlib.import_module(f"shop.channels.{module.name}")
            found |= getattr(channel, "demo_settings", lambda _: {})(known)
    return found


def books(channels: Mapping[str, Channel]) -> dict[str, list[Channel]]:
    """Group channels by their books."""
    found: dict[str, list[Channel]] = {}
    for channel in channels.values():
        found.setdefault(channel.books, []).append(channel)
    return found


def of_same_books(channels: Mapping[str, Channel], name: str) -> list[str]:
    """Name the channels that share their books with this one, itself included."""
    return [channel.name for channel in books(channels)[channels[name].books]]
