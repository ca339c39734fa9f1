"""Explain what WeChat answered 解释报错: a code, a number, a whole Request-ID, or a message.

The facts stand in docs/errors.md and in wechat/numbers.py; no setting, database or network is used.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shop.settings import ROOT
from wechat import numbers

FOLDER = ROOT / "docs"
SHORTEST = 4  # letters of a message that are worth a search
NOBODY_KNOWS = (
    "docs/errors.md 里没有：请看 message，或把完整的 Request-ID 发给微信支付客服。 / "
    "not in docs/errors.md: read the message, or give the whole Request-ID to WeChat Pay's support."
)
OTHER_MESSAGE = "错误码相同，文字不同 / the same code with another message:"
_CODE = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z][A-Z0-9_]{2,}|[0-9]{3,9}|-1)(?![A-Za-z0-9])")
_LEADING_CODE = re.compile(r"^(?:[0-9]{3} (?=[A-Z]))?(?:(?:[A-Z][A-Z0-9_]{2,}|[0-9]{5,9}) (?=\S))?")
_TWO_LANGUAGES = re.compile(r"(?<=[A-Za-z0-9.)]) (?=[\u4e00-\u9fff])")
_SIGNS = re.compile(r"[\s_`'\"“”‘’「」<>()（）,，.。:：;；!！?？、-]")


@dataclass(frozen=True)
class Row:
    """One row of a table of docs/: the names it is found by, and what its columns say."""

    names: str
    columns: Sequence[tuple[str, str]]

    @property
    def codes(self) -> set[str]:
        """Return its codes and numbers, without underscores."""
        return {code.replace("_", "") for code in _CODE.findall(self.names)}

    @property
    def phrases(self) -> Iterator[re.Pattern[str]]:
        """Yield its messages; what stands for … may be anything."""
        for name in self.names.split(" · "):
            message = _LEADING_CODE.sub("", name.replace("`", "").strip())
            for phrase in [message, *_TWO_LANGUAGES.split(message)]:
                plain = _plain(phrase)
                if len(plain) >= SHORTEST and not _CODE.fullmatch(phrase):
                    yield re.compile(".*".join(map(re.escape, plain.split("…"))))

    def __str__(self) -> str:
        return "\n".join(
            [self.names, *(f"  {name}: {text}" for name, text in self.columns if text)]
        )


def explain(words: str) -> tuple[str, bool]:
    """Return what is known about these words, and whether anything is."""
    words = words.strip()
    if re.fullmatch(r"[0-9A-Fa-f]{4,}-[0-9]{1,12}", words):
        return _explain_number(numbers.number_in(words))
    if words.isascii() and words.isdigit() and numbers.explain(int(words)):
        return numbers.describe(int(words)), True
    if rows := _search(words):
        return rows, True
    if re.fullmatch("[0-9]{9,12}", words):
        return _explain_number(int(words))
    return NOBODY_KNOWS, False


def _explain_number(number: int | None) -> tuple[str, bool]:
    if number is None:
        return "0: 没有错误。 / no error.", True
    return numbers.describe(number), numbers.explain(number) is not None


def _search(words: str) -> str:
    """Return the rows that have this message; else those that have a code of it."""
    rows = list(table_rows())
    plain = _plain(words)
    if by_message := [row for row in rows if _has(row, plain)]:
        return "\n\n".join(map(str, by_message))
    codes = {code.replace("_", "") for code in _CODE.findall(words)}
    by_code = [str(row) for row in rows if row.codes & codes]
    if by_code and not _CODE.fullmatch(words):
        by_code.insert(0, OTHER_MESSAGE)
    return "\n\n".join(by_code)


def _has(row: Row, plain: str) -> bool:
    """Tell whether one of the row's messages is in these words, or these words in it."""
    inside = re.compile(re.escape(plain)) if len(plain) >= SHORTEST else None
    return any(
        phrase.search(plain) or (inside and inside.search(phrase.pattern.replace("\\", "")))
        for phrase in row.phrases
    )


def _plain(text: str) -> str:
    """Leave out what people retype differently: case, spaces, signs."""
    return _SIGNS.sub("", text.casefold())


def table_rows() -> Iterator[Row]:
    """Read the tables of docs/ that tell causes."""
    for file in sorted(FOLDER.glob("*.md")):
        header: list[str] = []
        for line in file.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not line.startswith("|"):
                header = []
            elif not header:
                header = cells
            elif "cause 原因" in header and not line.startswith("|--"):
                names, *texts = cells
                yield Row(names, list(zip(header[1:], texts, strict=False)))
