"""Token buckets 令牌桶: how often something may happen for each key, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 50_000  # the key that was idle longest is forgotten first: it starts with a full bucket


class Buckets:
    """One bucket for each key: `burst` tokens at once, and `per_minute` new ones.

    Kept for each key is only when its bucket will be full again, and only until then. `now` counts
    seconds.
    """

    def __init__(
        self, *, burst: int, per_minute: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause = 60 / per_minute
        self._depth = burst * self._pause
        self._now = now
        self._full_at: OrderedDict[str, float] = OrderedDict()  # idle longest first

    def wait(self, key: str) -> float:
        """Return after how many seconds there is a token, 0.0 when there is one."""
        now = self._now()
        full_at = max(self._full_at.get(key, now), now)
        seconds = full_at + self._pause - now - self._depth
        return max(round(seconds, 6), 0.0)  # many sums of pauses are off by less

    def take(self, key: str) -> float:
        """Take a token; return 0.0, or after how many seconds there is one and take none."""
        seconds = self.wait(key)
        if seconds:
            return seconds
        now = self._now()
        full_at = max(self._full_at.get(key, now), now)
        self._full_at[key] = full_at + self._pause
        self._full_at.move_to_end(key)
        self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget who was idle for so long that a bucket is full again, and whoever is too many."""
        while self._full_at:
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= MOST_KEYS:
                return
            del self._full_at[key]
