"""Captured answers: files that keep what WeChat really answered, and how like one an answer is.

Each file says where the answer is quoted, what had been sent, and what came. A file whose
`message_quoted` is false keeps a sentence that nobody has quoted: it is not compared.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wechat import meanings
from wechat.errors import WeChatError

TESTS = Path(__file__).parents[1]
Answer = dict[str, Any]
#: what an answer may mean -> the question that finds it
SAYS: dict[str, Callable[[WeChatError], bool]] = {
    "later": meanings.is_later,
    "paid": meanings.is_paid,
    "closed": meanings.is_closed,
    "unknown number": meanings.is_unknown_number,
    "same number other parameters": meanings.is_same_number_other_parameters,
    "openid mismatch": meanings.is_openid_mismatch,
}


def read(path: Path) -> Answer:
    """Read one file."""
    answer: Answer = json.loads(path.read_text("utf-8"))
    return answer


def read_folder(folder: str) -> dict[str, Answer]:
    """Read the files of a folder below tests/, by their names without .json."""
    files = sorted((TESTS / folder).glob("*.json"))
    return {file.stem: read(file) for file in files}


def unregistered(files: dict[str, Answer], *tables: dict[str, Any]) -> list[str]:
    """List files without a scenario or a reason, and scenarios and reasons without a file."""
    names = [name for table in tables for name in table]
    twice = {name for name in names if names.count(name) > 1}
    return sorted(files.keys() ^ set(names) | twice)


def same_code(code: str, other: str) -> bool:
    """Compare codes; WeChat writes ORDER_PAID and ORDERPAID for the same."""
    return code.replace("_", "") == other.replace("_", "")


def differences(wanted: Answer, answer: Answer, words: str) -> list[str]:
    """Name the keys in which an answer is not like the captured one; it may have more keys.

    `words` is the key of the sentence.
    """
    keys = [key for key in wanted["body"] if key != words or wanted.get("message_quoted", True)]
    return [key for key in keys if not _alike(key, wanted["body"][key], answer.get(key))]


def _alike(key: str, wanted: Any, answer: Any) -> bool:
    if key == "code":
        return isinstance(answer, str) and same_code(wanted, answer)
    if isinstance(wanted, dict):
        return isinstance(answer, dict) and all(
            _alike(k, v, answer.get(k)) for k, v in wanted.items()
        )
    return bool(wanted == answer)
