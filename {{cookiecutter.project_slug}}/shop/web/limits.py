"""How often one address, one buyer and one order may ask for what costs rows or calls to WeChat.

The buckets are of this process; nginx.conf has the same numbers for what an address may do before
it logs in. Behind one address may be a whole school, so a burst there is generous; who is logged
in is counted by buyer, wherever the request comes from. Nobody is exempt, the sandbox's own
machine neither.
"""

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from checkout.buckets import Buckets
from checkout.models import Order
from shop.web.errors import TooOften

Now = Callable[[], float]


@dataclass(frozen=True)
class Limit:
    """So many at once, and so many a minute after that."""

    burst: int
    per_minute: int


#: by address, before anybody is logged in: method and path
BY_ADDRESS = {
    ("POST", "/api/sessions/guest"): Limit(burst=3000, per_minute=600),  # one row each
    ("POST", "/api/sessions/miniprogram"): Limit(burst=2000, per_minute=300),  # one code2session
    ("GET", "/oauth/start"): Limit(burst=2000, per_minute=300),  # one row, then one code
    ("GET", "/qr.svg"): Limit(burst=300, per_minute=300),  # 10 ms of the processor each
}
ORDERS = Limit(burst=200, per_minute=60)  # by buyer
#: by order; the live payment again costs WeChat nothing
STARTS = Limit(burst=120, per_minute=120)
#: by order; each asks WeChat, and closes the payment before
NEW_PAYMENTS = Limit(burst=60, per_minute=20)
#: orders of one buyer that wait to be paid
MOST_OPEN_ORDERS = 200
#: that many in an order's lifetime are taken without counting the open ones
UNCOUNTED = 10


class Limits:
    """All buckets of this process; `order_ttl` in seconds."""

    def __init__(self, order_ttl: int, now: Now = time.monotonic) -> None:
        self._by_address = {route: _buckets(limit, now) for route, limit in BY_ADDRESS.items()}
        self._orders = _buckets(ORDERS, now)
        self._starts = _buckets(STARTS, now)
        self._new_payments = _buckets(NEW_PAYMENTS, now)
        self._uncounted = Buckets(burst=UNCOUNTED, per_minute=UNCOUNTED * 60 / order_ttl, now=now)

    def check_address(self, method: str, path: str, address: str) -> None:
        """Raise TooOften when this address asks too often before it is logged in."""
        buckets = self._by_address.get((method, path))
        if buckets is not None:
            _refuse(buckets.take(network(address)))

    def check_order(self, buyer: str) -> None:
        """Raise TooOften when this buyer sends orders too often."""
        _refuse(self._orders.take(buyer))

    async def check_open_orders(self, buyer: str) -> None:
        """Raise TooOften when too many orders of this buyer wait to be paid.

        The first ones cost no statement: the open ones are counted for who orders a lot.
        """
        if not self._uncounted.take(buyer):
            return
        waiting = Order.filter(buyer=buyer, state__in=("OPEN", "CLOSING"))
        if await waiting.count() >= MOST_OPEN_ORDERS:
            raise TooOften("pay or cancel orders first: too many wait", retry_after=60)

    def check_start(self, buyer: str, order_no: str) -> None:
        """Raise TooOften when payments of this order are started or switched too often."""
        key = f"{buyer} {order_no}"  # a stranger's calls do not count for the buyer
        _refuse(self._starts.take(key) or self._new_payments.wait(key))

    def count_new_payment(self, buyer: str, order_no: str) -> None:
        """Count a start that was more than the live payment again."""
        self._new_payments.take(f"{buyer} {order_no}")


def network(address: str) -> str:
    """Return what counts as one address: an IPv4 address, the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))


def _buckets(limit: Limit, now: Now) -> Buckets:
    return Buckets(burst=limit.burst, per_minute=limit.per_minute, now=now)


def _refuse(seconds: float) -> None:
    if seconds:
        raise TooOften("too often, try again later", retry_after=math.ceil(seconds))
