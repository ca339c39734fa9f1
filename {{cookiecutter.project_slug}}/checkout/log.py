"""The engine's logger: an event's name, its fields, and the id of the request it belongs to.

Records go to the logger `checkout`; how they are written and redacted is the application's.
"""

import logging
import time
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")
_logger = logging.getLogger("checkout")
_last: dict[str, float] = {}


def info(event: str, **fields: Any) -> None:
    """Log something that happened."""
    _logger.info(event, extra={"fields": fields})


def warning(event: str, **fields: Any) -> None:
    """Log something an operator may look at later."""
    _logger.warning(event, extra={"fields": fields})


def alarm(event: str, **fields: Any) -> None:
    """Log something a person must look at now: money and books may differ."""
    _logger.error(event, extra={"fields": {"alarm": True, **fields}})


def failure(event: str, error: BaseException, **fields: Any) -> None:
    """Log an exception with its traceback."""
    _logger.error(event, exc_info=error, extra={"fields": fields})


def at_most_once_a_second(event: str, **fields: Any) -> None:
    """Log an error that everything meets at once, without its traceback."""
    now = time.monotonic()
    if now - _last.get(event, -1.0) >= 1.0:
        _last[event] = now
        _logger.error(event, extra={"fields": fields})
