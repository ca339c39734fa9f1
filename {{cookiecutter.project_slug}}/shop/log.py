"""How the logs are written: one JSON object a line, a request id on each, secrets taken out."""

import json
import logging
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from checkout.log import request_id

LOGGERS = ("checkout", "accounts")
MOST_KINDS = 1000
#: tells every connection that failed, with a traceback; an outage is told once a second by us
SILENT = ("asyncpg.pool",)
ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
_hidden: set[str] = set()
_address: ContextVar[Callable[[], str]] = ContextVar("address", default=str)
_pattern = re.compile(r"(?!)")


def hide(values: Iterable[str]) -> None:
    """Never print these values again, wherever they turn up; of a PEM text no line either."""
    global _pattern
    lines = [part for value in values for part in (value, *re.split(r"[\r\n]+|\\+[rn]", value))]
    new = {part for part in lines if len(part) >= 8} - _hidden
    if not new:
        return
    _hidden.update(new)
    written = {form for value in _hidden for form in (value, json.dumps(value)[1:-1])}
    _pattern = re.compile(
        "|".join(map(re.escape, sorted(written, key=len, reverse=True))) or "(?!)"
    )


def begin(proposed: str, address: Callable[[], str]) -> None:
    """Begin a request: take the id that came with it, if it is a plain one, or make one.

    `address` is asked for the sender's address when something is wrong.
    """
    plain = re.fullmatch(r"[A-Za-z0-9_-]{8,64}", proposed)
    request_id.set(proposed if plain else secrets.token_hex(8))
    _address.set(address)


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
        if record.levelno >= logging.WARNING and (address := _address.get()()):
            line["address"] = address
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(ENCODER.encode(line))


class OncePerSecond(logging.Filter):
    """Let the same trouble into the log once a second, with how often it was left out.

    A thousand forged notifications a second, or a database that is away, would fill the disk.
    Alarms and what is no trouble always pass. `now` counts seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._last: dict[tuple[str, ...], float] = {}
        self._left_out: Counter[tuple[str, ...]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record passes."""
        fields = getattr(record, "fields", {})
        if record.levelno < logging.WARNING or fields.get("alarm"):
            return True
        what = self._kind(record, fields)
        now = self._now()
        if now - self._last.get(what, float("-inf")) < 1:
            self._left_out[what] += 1
            return False
        if len(self._last) > MOST_KINDS:
            self._last.clear()
        self._last[what] = now
        if left_out := self._left_out.pop(what, 0):
            record.fields = {**fields, "left_out": left_out}
        return True

    @staticmethod
    def _kind(record: logging.LogRecord, fields: dict[str, Any]) -> tuple[str, ...]:
        error = record.exc_info[1] if record.exc_info else None
        return (record.name, record.getMessage(), str(fields.get("reason")), type(error).__name__)


def redact(text: str) -> str:
    """Replace every hidden value by stars, the longest first."""
    return _pattern.sub("***", text)


def configure(level: int = logging.INFO) -> None:
    """Send the logs to standard error; libraries speak only when something is wrong."""
    logging._srcfile = None  # our lines name no file, thread or process: do not look them up
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(OncePerSecond())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
