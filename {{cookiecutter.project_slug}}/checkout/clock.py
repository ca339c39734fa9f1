"""Business time: the wall clock, moved along with a sandbox's virtual clock."""

import time
from datetime import UTC, datetime, timedelta

#: before all that was written: `due_at > EVER` uses an index, for IS NOT NULL SQLite uses none
EVER = datetime(1970, 1, 1, tzinfo=UTC)
SKEW = timedelta(minutes=5)  # by so much the clocks of two instances may differ


class Clock:
    """Tell the business time; signatures and tokens use the real time instead."""

    def __init__(self, offset_seconds: float = 0) -> None:
        self.offset_seconds = offset_seconds
        self.skew_seconds = 0.0
        """WeChat's clock minus ours, by its last signed answer."""

    def now(self) -> datetime:
        """Return the aware UTC time that lifetimes, expiry and schedules are measured by."""
        now = datetime.now(UTC)
        return now + timedelta(seconds=self.offset_seconds) if self.offset_seconds else now

    def seconds(self) -> float:
        """Return the same moment in Unix seconds."""
        return self.now().timestamp()

    def has_passed(self, wait: timedelta, since: datetime) -> bool:
        """Tell whether so much time has passed since a moment that was written down.

        One in the future was written while a clock was wrong: nothing waits until it comes.
        """
        now = self.now()
        return since + wait <= now or since > now + SKEW

    @staticmethod
    def real() -> float:
        """Return Unix seconds of the real clock."""
        return time.time()
