"""Business time: the wall clock, moved along with a sandbox's virtual clock."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Tell the business time; signatures and tokens use the real time instead."""

    def __init__(self, offset_seconds: float = 0) -> None:
        self.offset_seconds = offset_seconds
        self.skew_seconds = 0.0
        """WeChat's clock minus ours, by its last signed answer."""

    def now(self) -> datetime:
        """Return the aware UTC time that lifetimes, expiry and schedules are measured by."""
        return datetime.now(UTC) + timedelta(seconds=self.offset_seconds)

    @staticmethod
    def real() -> float:
        """Return Unix seconds of the real clock."""
        return time.time()
