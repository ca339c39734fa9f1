"""How fast a merchant's refunds leave: WeChat lets 150 a second succeed, but only 6 fail."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from checkout.clock import Clock

AT_ONCE = 3  # calls of one merchant, of this process
LEAST = timedelta(seconds=60)  # so that those who wait are not read every second
LONGEST = timedelta(hours=1)  # a longer wait was set by a clock that was wrong


class Pace:
    """One back-off per merchant: after a failure all wait, then one call goes first, alone.

    It is this process's own; what waits is held back in the table, for all processes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sending = Counter[str]()
        self._failed_until: dict[str, datetime] = {}

    def wait(self, merchant: str) -> timedelta:
        """Return how long a call must still wait, a minute at least; nothing: it may go."""
        until = self._failed_until.get(merchant)
        if until is None:
            return timedelta(0)
        now = self._clock.now()
        if now < until <= now + LONGEST:
            return max(until - now, LEAST)
        return LEAST if self._sending[merchant] else timedelta(0)

    def is_free(self, merchant: str) -> bool:
        """Tell whether a call that waited for nothing yet may go at once."""
        return not self.wait(merchant) and self._sending[merchant] < AT_ONCE

    @contextmanager
    def sending(self, merchant: str) -> Iterator[None]:
        """Count a call while it is under way."""
        self._sending[merchant] += 1
        try:
            yield
        finally:
            self._sending[merchant] -= 1

    def succeeded(self, merchant: str) -> None:
        """Let the merchant's other calls go."""
        self._failed_until.pop(merchant, None)

    def failed(self, merchant: str, wait: timedelta) -> None:
        """Let all calls of the merchant wait."""
        self._failed_until[merchant] = self._clock.now() + wait
