"""Real calls and answers, recorded from a shop at the sandbox; a test records and compares them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).with_name("examples.json")


class Example(msgspec.Struct, omit_defaults=True):
    """One call as it went over the wire; `parts` is what stands for the braces of its path.

    `answer` is JSON, a text, or None where the answer has no body.
    """

    method: str
    path: str
    status: int
    parts: dict[str, str] = {}
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Any = None
    answer: Any = None
    answer_headers: dict[str, str] = {}


@cache
def examples() -> Mapping[str, Example]:
    """Return the examples by operationId; none while the file is missing."""
    if not FILE.is_file():
        return {}
    return msgspec.json.decode(FILE.read_bytes(), type=dict[str, Example])
