"""Captured answers: files that keep what WeChat really answered, and how like one an answer is.

Each file says where the answer is quoted, what had been sent, and what came. A file whose
`message_quoted` is false keeps a sentence that nobody has quoted: it is not compared.
"""

import json
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
Answer = dict[str, Any]


def read(folder: str) -> dict[str, Answer]:
    """Read the files of a folder below tests/, by their names without .json."""
    files = sorted((TESTS / folder).glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def unregistered(files: dict[str, Answer], *known: dict[str, Any]) -> list[str]:
    """List files without a scenario or a reason, and scenarios and reasons without a file."""
    names = [name for one in known for name in one]
    twice = {name for name in names if names.count(name) > 1}
    return sorted(files.keys() ^ set(names) | twice)


def same_code(one: str, other: str) -> bool:
    """Compare codes; WeChat writes ORDER_PAID and ORDERPAID for the same."""
    return one.replace("_", "") == other.replace("_", "")


def differences(wanted: Answer, said: Answer, words: str) -> list[str]:
    """Name the keys in which an answer is not like the captured one; it may have more keys.

    `words` is the key of the sentence.
    """
    keys = [key for key in wanted["body"] if key != words or wanted.get("message_quoted", True)]
    return [key for key in keys if not _alike(key, wanted["body"][key], said.get(key))]


def _alike(key: str, wanted: Any, said: Any) -> bool:
    if key == "code":
        return isinstance(said, str) and same_code(wanted, said)
    if isinstance(wanted, dict):
        return isinstance(said, dict) and all(_alike(k, v, said.get(k)) for k, v in wanted.items())
    return bool(wanted == said)
