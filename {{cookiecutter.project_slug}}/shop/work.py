"""What runs in the background of the server."""

import asyncio
from collections.abc import Awaitable, Callable

from checkout import log


async def forever(step: Callable[[], Awaitable[object]], *, pause: float) -> None:
    """Repeat a step until cancelled; a failing step is logged and tried again."""
    while True:
        try:
            await step()
        except Exception as error:
            log.failure("background step failed", error)
        await asyncio.sleep(pause)
