"""What buyers read: one table for both frontends, complete in both languages, true and calm."""

import re

import pytest
from shop.web.errors import STATUS

from bakes import PROJECT

PAGES = PROJECT / "pages"
TABLES = {name: (PAGES / name / "words.js").read_text("utf-8") for name in ("h5", "miniprogram")}
WORDS = TABLES["h5"]
CHINESE, ENGLISH = WORDS.split("\n  en: {")
#: codes that no page of a buyer can meet: those of operators, and of requests that no page makes
UNMET = {
    "BODY_TOO_LARGE",
    "IDEMPOTENCY_KEY_REQUIRED",
    "PART_REQUIRED",
    "REFUND_EXCEEDS",
    "REFUND_LIMIT",
    "UNSUPPORTED_MEDIA_TYPE",
    "FORBIDDEN",
}


def keys(text: str) -> list[str]:
    """List the keys of a table in order, with how deep they stand."""
    return re.findall(r"^( +'?[\w ]+'?):", text, re.M)


def test_h5_and_the_mini_program_say_the_same() -> None:
    bodies = [re.search(r"\n  zh: \{.*\n\};", table, re.S) for table in TABLES.values()]
    assert bodies[0]
    assert bodies[1]
    assert bodies[0].group() == bodies[1].group()


def test_both_languages_have_every_word() -> None:
    assert keys(CHINESE)[1:] == keys(ENGLISH)
    assert len(keys(ENGLISH)) > 90


def test_every_error_that_a_buyer_can_meet_has_a_sentence() -> None:
    sentences = set(re.findall(r"^      '?([A-Z_]+)", ENGLISH.split("errors: {")[1], re.M))
    assert set(STATUS) - UNMET <= sentences


def test_each_language_is_alone() -> None:
    brand = r"'[a-zA-Z]+'|EN|amount_yuan|token|\{\w+\}|NETWORK"
    values = re.findall(r": '(.*)',$", CHINESE, re.M)
    assert [text for text in values if re.search(r"[A-Za-z]{2}", re.sub(brand, "", text))] == []
    assert not re.search(r"[\u4e00-\u9fff]", ENGLISH)


@pytest.mark.parametrize("text", ["钱不会丢", "付款没有完成", "没有打开", "长按"])
def test_what_frightens_or_cannot_be_done_is_not_said(text: str) -> None:
    assert text not in WORDS
