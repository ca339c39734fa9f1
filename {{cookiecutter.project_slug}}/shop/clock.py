"""Business time: the wall clock, moved along with the sandbox's virtual clock."""

import time
from datetime import UTC, datetime, timedelta

import httpx

from shop import log


class Clock:
    """Tell the business time; signatures and session tokens use the real time instead."""

    def __init__(self, offset_seconds: float = 0) -> None:
        self.offset_seconds = offset_seconds
        self.skew_seconds = 0.0  # WeChat's clock minus ours, by its last signed answer

    def now(self) -> datetime:
        """Return the aware UTC time that lifetimes, expiry and schedules are measured by."""
        return datetime.now(UTC) + timedelta(seconds=self.offset_seconds)

    @staticmethod
    def real() -> float:
        """Return Unix seconds of the real clock."""
        return time.time()

    async def compare(self, answer: httpx.Response) -> None:
        """Note how far WeChat's clock is ahead (an httpx hook); it refuses 300 seconds."""
        timestamp = answer.headers.get("Wechatpay-Timestamp", "")
        if timestamp.isdecimal() and len(timestamp) < 12:
            self.skew_seconds = int(timestamp) - self.real()

    async def follow(self, answer: httpx.Response) -> None:
        """Take over the offset that every answer of the sandbox carries (an httpx hook)."""
        offset = answer.headers.get("X-Sandbox-Offset", "")
        if offset.lstrip("-").isdigit():
            self.offset_seconds = int(offset)

    async def ask(self, http: httpx.AsyncClient, sandbox_url: str) -> None:
        """Ask the sandbox for its offset, through `http` and so through `follow`."""
        try:
            await http.get(f"{sandbox_url}/_sandbox/clock")
        except httpx.HTTPError as error:
            log.warning("the sandbox does not answer", why=str(error))
