"""Structured logs: one JSON object a line, a request id on each, secrets taken out."""

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")
_logger = logging.getLogger("shop")
_hidden: set[str] = set()


def hide(values: Iterable[str]) -> None:
    """Never print these values again, wherever they turn up; of a PEM text no line either."""
    for value in values:
        lines = re.split(r"[\r\n]+|\\+[rn]", value)
        _hidden.update(part for part in (value, *lines) if len(part) >= 8)


def begin(given: str = "") -> None:
    """Begin a request: take the id that came with it, if it is a plain one, or make one."""
    request_id.set(given if re.fullmatch(r"[A-Za-z0-9_-]{8,64}", given) else secrets.token_hex(8))


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


class JsonLines(logging.Formatter):
    """Write a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, redacted."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "request_id": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, ensure_ascii=False, default=str))


def redact(text: str) -> str:
    """Replace every hidden value by stars, the longest first."""
    for value in sorted(_hidden, key=len, reverse=True):
        text = text.replace(value, "***").replace(json.dumps(value)[1:-1], "***")
    return text


def configure(level: int = logging.INFO) -> None:
    """Send the logs to standard error; libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    _logger.setLevel(level)
