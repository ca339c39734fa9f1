"""What every call to WeChat, or to another upstream, has in common: its deadline and its report.

Every line of the log about an answer that is no success is made here, so each names the number,
their code, their Request-ID and, where they explain it, what to do.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from checkout import log
from checkout.channels import ChannelError, Unknown, Unproved

SECONDS = 25  # for one call; the clients of our channels give up before
#: for one of the two calls that a notification may need: it is answered within four seconds
HURRY_SECONDS = 1.5
UNPROVED = "an answer's signature does not hold: wrong public key?"


@asynccontextmanager
async def deadline(seconds: float | None = None) -> AsyncIterator[None]:
    """Let a call take so long; then nobody knows what became of it. Raises Unknown."""
    seconds = SECONDS if seconds is None else seconds
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unknown(f"no answer within {seconds} s") from error


def report(
    event: str, number: str, error: ChannelError, *, alarm: bool = False, **more: Any
) -> None:
    """Log an answer as a warning, or as an alarm: then calling again does not help."""
    say = log.alarm if alarm or error.alarm else log.warning
    say(
        UNPROVED if isinstance(error, Unproved) else event,
        number=number,
        code=error.code,
        wechat_request_id=error.request_id,
        why=str(error),
        advice=error.advice,
        **more,
    )
