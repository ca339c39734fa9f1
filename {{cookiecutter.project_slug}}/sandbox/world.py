"""The state of the sandbox, all of it in memory: people, codes, orders, and what else remembers."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .app_tokens import Tokens
from .clock import Clock
from .faults import Faults
from .keys import App, Keys, open_keys, stable_openid
from .log import Log
from .notifications import Notification, Outbox

if TYPE_CHECKING:
    from .bills import Bill

SEVEN_DAYS = 7 * 24 * 3600


@dataclass(frozen=True)
class Transaction:
    """Money that came in from `openid`: amounts in fen, `paid_at` in virtual Unix seconds."""

    transaction_id: str
    paid_at: float
    payer_total: int
    coupon_fen: int
    openid: str

    @property
    def coupon_id(self) -> str:
        """The coupon that paid `coupon_fen` of it."""
        return "9" + self.transaction_id[-9:]


@dataclass
class Refund:
    """Money on its way back: accepted and finished at virtual Unix seconds, then `outcome`.

    `body` is the request that made it, {} when it was made in the merchant platform.
    """

    out_refund_no: str
    refund_id: str
    transaction_id: str
    refund: int
    accepted_at: float
    finished_at: float
    outcome: str
    body: dict[str, Any]
    notified: bool = False

    def status(self, now: float) -> str:
        """Return PROCESSING, and from `finished_at` on SUCCESS, CLOSED or ABNORMAL."""
        return "PROCESSING" if now < self.finished_at else self.outcome


@dataclass
class Order:
    """One out_trade_no; `body` is the prepay request, or its part of a combined one.

    `parties` are the numbers and appids as the order object names them; `provider_id` is what
    merchants see instead of WeChat's transaction_id when somebody stands between.
    """

    n: int
    purchase: "Purchase"
    body: dict[str, Any]
    parties: dict[str, str]
    transactions: list[Transaction] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    provider_id: str = ""

    @property
    def mchid(self) -> str:
        """The merchant number whose keys its calls are signed with."""
        return self.parties.get("sp_mchid") or self.parties["mchid"]

    @property
    def out_trade_no(self) -> str:
        """The merchant's number."""
        return str(self.body["out_trade_no"])

    @property
    def total(self) -> int:
        """The amount in fen."""
        amount = self.body["amount"]
        return int(amount.get("total") or amount["total_amount"])

    def state(self, now: float) -> str:
        """Return the trade_state; unpaid orders close by themselves after seven days."""
        if self.refunds:
            return "REFUND"
        if self.transactions:
            return "SUCCESS"
        over = self.purchase.closed or now >= self.purchase.created_at + SEVEN_DAYS
        return "CLOSED" if over else "NOTPAY"


@dataclass
class Purchase:
    """What is paid at once: one order, or all the sub orders of a combined one 合单.

    `mchid` asked for it, `appid` shows its cashier, `openid` must pay it ("" anybody). Another
    protocol than APIv3 says what is wrong with an invoke object (`check`) and how to `tell`
    of its payment and its refunds.
    """

    mchid: str
    number: str
    product: str
    body: dict[str, Any]
    appid: str
    openid: str
    created_at: float
    expires_at: float
    orders: list[Order] = field(default_factory=list)
    closed: bool = False
    typing: bool = False
    notified: bool = False
    code_url: str = ""
    check: "Callable[[Mapping[str, Any]], str] | None" = None
    tell: "Callable[[World, Purchase], Notification] | None" = None
    tell_refund: "Callable[[World, Order, Refund], None] | None" = None

    @property
    def total(self) -> int:
        """The amount of all orders in fen."""
        return sum(order.total for order in self.orders)

    @property
    def paid(self) -> bool:
        """Tell whether money came: for all orders, or for none."""
        return bool(self.orders[0].transactions)

    @property
    def combined(self) -> bool:
        """Tell whether it is a combined order."""
        return "combine_out_trade_no" in self.body

    def state(self, now: float) -> str:
        """Return the trade_state before any refund."""
        return "SUCCESS" if self.paid else self.orders[0].state(now)

    def is_expired(self, now: float) -> bool:
        """Tell whether time_expire has passed; the state does not say so."""
        return now >= self.expires_at


@dataclass(frozen=True)
class Code:
    """A login code: bound to an app and a kind (login or oauth), five minutes, one use."""

    kind: str
    appid: str
    openid: str
    expires_at: float
    scope: str = ""
    snapshot: bool = False


@dataclass(frozen=True)
class Token:
    """A user's web token; `access_until` and `refresh_until` in virtual Unix seconds."""

    appid: str
    openid: str
    scope: str
    access_until: float
    refresh_until: float


class World:
    """One sandbox; tests make one each around the same keys."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.clock = Clock()
        self.faults = Faults()
        self.log = Log(self.clock)
        self.outbox = Outbox(keys, self.clock, self.faults, self.log)
        self.orders: dict[tuple[str, str], Order] = {}
        self.combined: dict[tuple[str, str], Purchase] = {}
        self.burnt: set[tuple[str, str]] = set()
        self.openers: dict[str, str] = {}
        self.prepays: dict[str, tuple[Purchase, float]] = {}
        self.packages: dict[str, str] = {}
        self.credentials: dict[str, Any] = {}
        self.refunds: dict[tuple[str, str], tuple[Order, Refund]] = {}
        self.bills: dict[str, Bill] = {}
        self.notifications: dict[str, Notification] = {}
        self.people: dict[tuple[str, str], str | None] = {}
        self.codes: dict[str, Code] = {}
        self.used_codes: set[str] = set()
        self.session_keys: dict[tuple[str, str], str] = {}
        self.tokens = Tokens()
        self.access_tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, Token] = {}
        for app in keys.apps:
            self.people[app.appid, self.default_openid(app.appid)] = None

    @classmethod
    def open(cls) -> "World":
        """Open the one whose keys are in $SANDBOX_VAR, or in var/sandbox."""
        return cls(open_keys(Path(os.environ.get("SANDBOX_VAR") or "var/sandbox")))

    def app(self, appid: str) -> App | None:
        """Find an app."""
        return next((app for app in self.keys.apps if app.appid == appid), None)

    def default_openid(self, appid: str) -> str:
        """Name the person who is there when nobody else is named."""
        return stable_openid(appid, "default")

    def meet(self, appid: str, openid: str, unionid: str | None) -> None:
        """Remember that this openid is a person of this app."""
        self.people[appid, openid] = unionid or self.people.get((appid, openid))

    def knows(self, appid: str, openid: str) -> bool:
        """Tell whether this openid belongs to this app.

        A plausible openid that nobody has seen is a new person of the first app that names it.
        """
        if (appid, openid) in self.people:
            return True
        stranger = all(openid != known for _, known in self.people)
        if stranger and re.fullmatch(r"o[0-9A-Za-z_-]{3,127}", openid):
            self.meet(appid, openid, None)
            return True
        return False

    def new_code(self, kind: str, appid: str, openid: str, **more: Any) -> str:
        """Issue a login code for a person of this app."""
        code = secrets.token_hex(16)
        self.codes[code] = Code(kind, appid, openid, self.clock.now() + 300, **more)
        return code

    def find_order(self, out_trade_no: str) -> Order | None:
        """Find an order by its number, whoever's it is."""
        return next((o for (_, number), o in self.orders.items() if number == out_trade_no), None)
