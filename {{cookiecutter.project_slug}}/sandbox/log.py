"""What crossed the wire, the newest 2,000 exchanges, secrets starred."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from .clock import Clock, rfc3339

BODY_LIMIT = 20_000
SECRETS_IN_URL = re.compile(r"\b(secret|access_token|refresh_token)=[^&]*")
SECRETS_IN_BODY = re.compile(r'"(secret|session_key|access_token|refresh_token|ticket)":\s*"[^"]*"')


class Log:
    """A ring of entries, each numbered `n` from 1."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._entries: deque[dict[str, Any]] = deque(maxlen=2_000)

    def add(
        self,
        kind: str,
        method: str,
        url: str,
        *,
        request: tuple[Mapping[str, str], bytes],
        answer: tuple[int | None, Mapping[str, str], bytes],
        signed_message: str,
        verdict: str,
    ) -> None:
        """Append one exchange; `kind` is request or notification, status None is no answer."""
        self._count += 1
        self._entries.append(
            {
                "n": self._count,
                "at": rfc3339(self._clock.now()),
                "kind": kind,
                "method": method,
                "url": SECRETS_IN_URL.sub(r"\1=***", url),
                "request_headers": dict(request[0]),
                "request_body": _text(request[1]),
                "status": answer[0],
                "response_headers": dict(answer[1]),
                "response_body": _text(answer[2]),
                "signed_message": signed_message,
                "verdict": verdict,
            }
        )

    def after(self, n: int) -> list[dict[str, Any]]:
        """List the entries numbered above n that are still there."""
        return [entry for entry in self._entries if entry["n"] > n]


def _text(body: bytes) -> str:
    return SECRETS_IN_BODY.sub(r'"\1": "***"', body[:BODY_LIMIT].decode(errors="replace"))
