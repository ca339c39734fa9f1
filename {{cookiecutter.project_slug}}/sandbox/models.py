"""What the sandbox remembers: orders and their money, login codes, tokens, bills, notifications.

Amounts are fen, moments are virtual Unix seconds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

SEVEN_DAYS = 7 * 24 * 3600
#: seconds after which APIv3 repeats a notification: doc/v3/merchant/4012071382
LADDER = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)


@dataclass(frozen=True)
class Transaction:
    """Money that came in from `openid`."""

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
    """Money on its way back: accepted, and from `finished_at` on it has its `outcome`.

    `body` is the request that made it; one made in the merchant platform has its amount alone.
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

    `n` counts the orders of the sandbox. `parties` are the merchant numbers and appids as the
    order object names them. `provider_id` is what merchants see instead of the transaction_id
    when somebody stands between them and WeChat.
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

    def trade_state(self, now: float) -> str:
        """Return the trade_state; unpaid orders close by themselves after seven days."""
        if self.refunds:
            return "REFUND"
        if self.transactions:
            return "SUCCESS"
        if self.purchase.closed or now >= self.purchase.created_at + SEVEN_DAYS:
            return "CLOSED"
        return "NOTPAY"

    def transaction_of(self, refund: Refund) -> Transaction:
        """Return the money that a refund gives back."""
        return next(
            transaction
            for transaction in self.transactions
            if transaction.transaction_id == refund.transaction_id
        )

    def refunds_of(self, transaction: Transaction) -> list[Refund]:
        """List what was given back of one transaction, the oldest first."""
        return [
            refund for refund in self.refunds if refund.transaction_id == transaction.transaction_id
        ]

    def refund_notify_url(self, refund: Refund) -> str:
        """Return where the end of a refund is told.

        Without a notify_url of its own that is the address configured in the merchant platform;
        in the sandbox it is the payment's, with /refund at its end.
        """
        payment_url = str(self.purchase.body["notify_url"])
        configured = re.sub("/(payment|combine)$", "", payment_url) + "/refund"
        return str(refund.body.get("notify_url") or configured)


@dataclass
class Purchase:
    """What is paid at once: one order, or all the sub orders of a combined one 合单.

    `mchid` asked for it through `api`, `appid` shows its cashier, `openid` must pay it ("" is
    anybody). `code_url` is the newest one; `typing` means that the password screen is open.
    """

    api: "Api"
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

    def trade_state(self, now: float) -> str:
        """Return the trade_state before any refund."""
        return "SUCCESS" if self.paid else self.orders[0].trade_state(now)

    def is_expired(self, now: float) -> bool:
        """Tell whether time_expire has passed; the trade_state does not say so."""
        return now >= self.expires_at


class Api(Protocol):
    """The API through which an order was made: what is invoked with, and what is told after."""

    def check_invoke(self, purchase: Purchase, form: Mapping[str, Any]) -> None:
        """Raise DeclinedError unless the invoke object is signed as this API asks."""

    def notify_payment(self, purchase: Purchase) -> "Notification":
        """Send what tells the merchant that a purchase is paid."""

    def notify_refund(self, order: Order, refund: Refund) -> None:
        """Send what tells the merchant how a refund ended."""


@dataclass
class Notification:
    """One notification: its id and body never change, `received` when it was answered well.

    Other APIs than APIv3 `write` the body themselves, given the signature fault, say which
    answer `accepts` means received, and repeat after the seconds of their own `ladder`.
    """

    about: Purchase | Refund
    url: str
    body: bytes = b""
    received: bool = False
    media: str = "application/json"
    write: Callable[[str], bytes] | None = None
    accepts: Callable[[int, bytes], bool] = lambda status, _: status in (200, 204)
    ladder: Sequence[int] = LADDER


@dataclass(frozen=True)
class Bill:
    """A merchant's file that waits for its download; `cut` means half way."""

    mchid: str
    content: bytes
    media: str
    expires_at: float
    cut: bool


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
    """A user's web token, as an access token and as a refresh token."""

    appid: str
    openid: str
    scope: str
    access_until: float
    refresh_until: float
