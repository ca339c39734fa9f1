"""The virtual clock of business time; timestamps of signatures never come from here."""

import time
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))


class Clock:
    """Real time plus an offset in seconds that only grows."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> float:
        """Return the virtual moment in Unix seconds."""
        return time.time() + self.offset

    def advance(self, seconds: int) -> None:
        """Push the virtual moment forward by whole seconds."""
        self.offset += seconds


def rfc3339(moment: float) -> str:
    """Write Unix seconds the way WeChat does: whole seconds, +08:00."""
    return datetime.fromtimestamp(moment, BEIJING).isoformat(timespec="seconds")
