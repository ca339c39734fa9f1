"""How the logs are written: one JSON object a line, a request id on each, secrets taken out."""

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from checkout.log import request_id

LOGGERS = ("checkout", "accounts")
_hidden: set[str] = set()
_pattern = re.compile(r"(?!)")


def hide(values: Iterable[str]) -> None:
    """Never print these values again, wherever they turn up; of a PEM text no line either."""
    global _pattern
    for value in values:
        lines = re.split(r"[\r\n]+|\\+[rn]", value)
        _hidden.update(part for part in (value, *lines) if len(part) >= 8)
    written = {form for value in _hidden for form in (value, json.dumps(value)[1:-1])}
    _pattern = re.compile(
        "|".join(map(re.escape, sorted(written, key=len, reverse=True))) or "(?!)"
    )


def begin(given: str = "") -> None:
    """Begin a request: take the id that came with it, if it is a plain one, or make one."""
    request_id.set(given if re.fullmatch(r"[A-Za-z0-9_-]{8,64}", given) else secrets.token_hex(8))


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
    return _pattern.sub("***", text)


def configure(level: int = logging.INFO) -> None:
    """Send the logs to standard error; libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level)
