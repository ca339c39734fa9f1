"""The channel protocol: one way to be paid is one file in this folder.

A channel translates: our Payment and Shares into their fields, their answer into a Trade. It
decides nothing and writes no row. Each file has a config dataclass, `read(env, own)`, which gives
the config or None where the channel is not set up, and `build(config, own, http, clock)`.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol

import httpx

from checkout.channels._errors import (
    AlreadyPaid,
    AnswerLost,
    BillBroken,
    CannotClose,
    ChannelError,
    Declined,
    Failed,
    Later,
    MalformedNotification,
    NoBillYet,
    NoSuchTrade,
    NotProved,
    NumberTaken,
    Unknown,
    Unproved,
    Unreadable,
)
from checkout.clock import Clock
from checkout.config import Config, Env
from checkout.models import Payment, Refund, Share
from checkout.scenes import SCENES, Scene

__all__ = [
    "AlreadyPaid",
    "AnswerLost",
    "BillBroken",
    "CannotClose",
    "ChannelError",
    "Declined",
    "Failed",
    "Later",
    "MalformedNotification",
    "NoBillYet",
    "NoSuchTrade",
    "NotProved",
    "NumberTaken",
    "Unknown",
    "Unproved",
    "Unreadable",
]

TradeState = Literal["PAID", "CLOSED", "OPEN"]
RefundState = Literal["PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL"]


@dataclass(frozen=True)
class TradeShare:
    """What they say of one merchant's piece of a payment; amounts in fen.

    `total_fen` is the price before coupons, `payer_total_fen` what the buyer paid.
    """

    out_trade_no: str
    state: TradeState
    parties: Mapping[str, str]
    transaction_id: str | None = None
    total_fen: int | None = None
    payer_total_fen: int | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Trade:
    """What they say of a payment, proved by a signature 交易; `word` is their name of its state."""

    number: str
    word: str
    parties: Mapping[str, str]
    shares: Sequence[TradeShare]
    paid_at: datetime | None = None


@dataclass(frozen=True)
class RefundTrade:
    """What they say of a refund, proved by a signature; a word we do not know is PROCESSING.

    `parties` are those that the answer names: it may name none. `transaction_id` is "", `total_fen`
    None where the answer does not say. `request` is what a query needs besides the number of a
    refund that was made elsewhere. Amounts in fen.
    """

    out_refund_no: str
    refund_id: str
    out_trade_no: str
    transaction_id: str
    state: RefundState
    word: str
    refund_fen: int
    total_fen: int | None
    parties: Mapping[str, str]
    accepted_at: datetime | None = None
    refunded_at: datetime | None = None
    request: str = ""


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
class Proved:
    """A notification whose signature held; `key` makes it unique."""

    key: str
    trade: Trade | RefundTrade


@dataclass(frozen=True)
class NotOurs:
    """A notification whose signature held, about another product, e.g. profit sharing."""

    key: str


@dataclass(frozen=True)
class ReasonToAsk:
    """An unsigned message: it proves nothing, but whoever it names may be queried."""

    out_trade_no: str = ""
    out_refund_no: str = ""


class Reply(NamedTuple):
    """What a notification is answered with."""

    status: int
    content_type: str
    body: str


@dataclass(frozen=True)
class DraftShare:
    """One merchant's piece of a payment to be prepaid, in fen; the payer reads `description`."""

    out_trade_no: str
    merchant: str
    total_fen: int
    description: str


@dataclass(frozen=True)
class Draft:
    """What a request is built from; `client_ip` is the buyer's own address.

    `expires_at` is the order's: the request carries it, or an earlier end, as time_expire.
    """

    number: str
    scene: str
    payer: str
    client_ip: str
    widget: bool
    created_at: datetime
    expires_at: datetime
    shares: Sequence[DraftShare]


@dataclass(frozen=True)
class Prepared:
    """A request before it is sent: where it goes, word for word, and whose order it is.

    `parties` are the fields of the whole that every later answer must repeat, `share_parties`
    those of each share. They take no money after `expires_at`.
    """

    product: str
    body: str
    parties: Mapping[str, str]
    share_parties: Sequence[Mapping[str, str]]
    expires_at: datetime


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: ok or not (None: it cannot be seen), what it is, what to do."""

    ok: bool | None
    what: str
    advice: str = field(default="")


class Channel(Protocol):
    """The verbs, named after WeChat's own list: 下单 查单 关单 退款 查退款 通知 账单."""

    @property
    def name(self) -> str:
        """Return what payments and settings call it."""
        ...

    @property
    def rank(self) -> int:
        """Return its place: the lowest that serves a scene is taken when nobody names a channel."""
        ...

    @property
    def books(self) -> str:
        """Name the books: channels that share them share numbers, notifications and the bill."""
        ...

    @property
    def scenes(self) -> Mapping[str, str]:
        """Return scene -> the appid it is paid with."""
        ...

    @property
    def widget_scenes(self) -> Sequence[str]:
        """Return the scenes in which the amount widget 金额控件 can be used."""
        ...

    @property
    def close_after(self) -> int:
        """Return the seconds that must pass before a number may be closed."""
        ...

    @property
    def least_seconds(self) -> int:
        """Return the shortest time for which a payment can be opened before its order ends."""
        ...

    @property
    def notifications(self) -> Mapping[str, str]:
        """Return path -> kind of notification that arrives there."""
        ...

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether an order for these merchants can be paid in this scene."""
        ...

    def prepare(self, draft: Draft) -> Prepared:
        """Build the request that `prepay` sends, now and in every repeat."""
        ...

    def lasts(self, payment: Payment) -> int:
        """Return the seconds for which an answer of `prepay` can be used."""
        ...

    async def prepay(self, payment: Payment) -> dict[str, str]:
        """Send the stored request 下单; return what `invoke` needs later.

        Raises Unknown, Unproved, Later, Declined, AlreadyPaid, NumberTaken, AnswerLost.
        """
        ...

    def invoke(self, payment: Payment, order_no: str) -> dict[str, Any]:
        """Return what opens the cashier 调起, signed anew: invoke, h5_url or code_url."""
        ...

    async def query(self, payment: Payment, shares: Sequence[Share]) -> Trade:
        """Ask what became of a payment 查单.

        Raises Unknown, Unproved, Later, NoSuchTrade, Declined.
        """
        ...

    async def close(self, payment: Payment, shares: Sequence[Share]) -> None:
        """Make the number unpayable 关单; return only when that is proved.

        Raises Unknown, Unproved, Later, CannotClose, AlreadyPaid, NoSuchTrade, Declined.
        """
        ...

    def prepare_refund(self, refund: Refund, share: Share, payment: Payment) -> str:
        """Build the request that `refund` sends, now and in every repeat."""
        ...

    async def refund(self, refund: Refund, share: Share) -> RefundTrade:
        """Send the stored request 退款. Raises Unknown, Unproved, Later, Declined."""
        ...

    async def query_refund(
        self, share: Share, out_refund_no: str, request: str = ""
    ) -> RefundTrade:
        """Ask what became of a refund 查退款; `request` is what `refund` sent, or a RefundTrade's.

        Raises Unknown, Unproved, Later, NoSuchTrade, Declined.
        """
        ...

    def bill(self, day: date) -> AsyncIterator[BillRow]:
        """Fetch and prove the bill of a day in Beijing 账单, then yield its rows.

        Raises NoBillYet, BillBroken, Unknown, Declined.
        """
        ...

    async def prove(
        self, kind: str, headers: Mapping[str, str], body: bytes
    ) -> Proved | NotOurs | ReasonToAsk:
        """Prove a notification 验签 and read it; header names are in lower case.

        Raises NotProved, Unreadable.
        """
        ...

    def read(self, body: bytes) -> Trade | RefundTrade | None:
        """Read a stored, proved body again; None: another product. Raises Unreadable."""
        ...

    def received(self, body: bytes) -> Reply:
        """Return the answer that says "got it" to this notification."""
        ...

    def failed(self, status: int, message: str) -> Reply:
        """Return the answer that says "send it again"."""
        ...

    async def examine(self, *, prove: bool = False) -> list[Finding]:
        """Look for what is wrong with the settings, for `python -m shop doctor`.

        `prove` asks for calls that a shop does not need every day.
        """
        ...

    async def aclose(self) -> None:
        """Close what `build` opened."""
        ...


def modules() -> dict[str, ModuleType]:
    """Import every channel file of this folder; files that begin with _ are no channels."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    }


def known_scenes() -> dict[str, Scene]:
    """Return WeChat's scenes, and those that the channels of this folder add."""
    scenes = dict(SCENES)
    for module in modules().values():
        scenes.update(getattr(module, "SCENES", {}))
    return scenes


def load(env: Env, own: Config, http: httpx.AsyncClient, clock: Clock) -> list[Channel]:
    """Build every channel that is set up; what is wrong is noted in `env`.

    `own.channels` narrows only what new payments are offered, see Channels.
    """
    present = modules()
    scenes = known_scenes()
    if not scenes.keys() >= set(own.scenes):
        env.problem("SHOP_SCENES", "names a scene that is not there", ",".join(scenes))
    if not present.keys() >= set(own.channels):
        env.problem("SHOP_CHANNELS", "names a channel that is not there", ",".join(present))
    configs = [(module, _config(name, module, env, own)) for name, module in present.items()]
    return [module.build(config, own, http, clock) for module, config in configs if config]


def _config(name: str, module: ModuleType, env: Env, own: Config) -> Any:
    """Read the settings of a channel; None: it is not set up.

    One that SHOP_CHANNELS leaves out finishes what it began, as long as its settings are right.
    """
    if not own.channels or name in own.channels:
        return module.read(env, own)
    noted = len(env.problems)
    config = module.read(env, own)
    wrong = env.problems[noted:]
    del env.problems[noted:]
    return None if wrong else config


def demo_settings(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Collect what channels want from the sandbox's credentials in the demo."""
    settings: dict[str, str] = {}
    for module in modules().values():
        settings |= getattr(module, "demo_settings", lambda _: {})(credentials)
    return settings


class Channels(dict[str, Channel]):
    """The channels that are built, by name and in the order of their rank.

    New payments are offered those that `wanted` names, empty: all. The others finish what they
    began.
    """

    def __init__(self, channels: Iterable[Channel], wanted: Sequence[str] = ()) -> None:
        super().__init__((c.name, c) for c in sorted(channels, key=lambda c: c.rank))
        self.wanted = wanted or list(self)

    def offered(self) -> list[Channel]:
        """Return the channels for new payments."""
        return [channel for channel in self.values() if channel.name in self.wanted]

    def books(self) -> dict[str, list[Channel]]:
        """Group them by their books; an offered one comes first: it fetches the bill."""
        groups: dict[str, list[Channel]] = {}
        for channel in sorted(self.values(), key=lambda c: c.name not in self.wanted):
            groups.setdefault(channel.books, []).append(channel)
        return groups

    def of_same_books(self, name: str) -> list[str]:
        """Name the channels that share their books with this one, itself included."""
        books = self[name].books
        return [channel.name for channel in self.values() if channel.books == books]

    def at(self, path: str) -> tuple[Channel, str] | None:
        """Return the channel and the kind of notification that arrive at a path."""
        for channel in self.values():
            if path in channel.notifications:
                return channel, channel.notifications[path]
        return None
