"""/docs answers: every call, field and error is told in both languages, and every link leads there."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from kit.answers import fits
from kit.buyers import guest
from kit.running import RunningShop
from shop.web.docs import words
from shop.web.docs.examples import examples
from shop.web.docs.failures import GENERAL, OWN, STATUSES, remedies
from shop.web.docs.markup import mark
from shop.web.docs.page import HERE, About, Page
from shop.web.docs.serve import language_of
from shop.web.errors import LOGINS
from shop.web.openapi import document
from shop.web.server import APIS

NOTIFIED = ("/notify/wechat/payment", "/notify/wechat/refund", "/notify/wechat/combine")
AT_THE_SANDBOX = About("My Shop", "https://shop.example.com", "http://127.0.0.1:9000", "wx1")
IN_PRODUCTION = About("My Shop", "https://shop.example.com", "", "wx1")
DOCUMENT = document(APIS, NOTIFIED)
CALLS = {c["operationId"]: c for methods in DOCUMENT["paths"].values() for c in methods.values()}
SHAPES: dict[str, Any] = DOCUMENT["components"]["schemas"]
CHINESE = re.compile("[\u4e00-\u9fff]")
LANGUAGES = pytest.mark.parametrize("language", words.LANGUAGES)


@cache
def page(language: str, about: About = AT_THE_SANDBOX) -> str:
    return Page(DOCUMENT, language, about).html()


def prose(language: str) -> str:
    """Return what a reader reads, without examples and what is marked as the other language."""
    html = re.sub(r"<(pre|textarea|head)\b.*?</\1>", "", page(language), flags=re.S)
    html = re.sub(r'<(\w+) [^>]*lang="\w\w"[^>]*>[^<]*</\1>', "", html)
    return re.sub(r"<[^>]+>", " ", html)


class Tags(HTMLParser):
    """Collects ids and the targets of links, and sees that every tag is closed."""

    EMPTY = ("meta", "link", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids = list[str]()
        self.targets = set[str]()
        self.open = list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.ids += [values["id"]] if "id" in values else []
        if values.get("href", "").startswith("#"):
            self.targets.add(values["href"][1:])
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@LANGUAGES
def test_every_link_leads_to_something_on_the_page(language: str) -> None:
    tags = Tags(page(language))
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert tags.targets - set(tags.ids) == set()
    assert set(CALLS) | set(SHAPES) | set(STATUSES) <= set(tags.ids)


def test_the_english_page_has_no_chinese_word_and_the_chinese_page_no_english_sentence() -> None:
    assert CHINESE.findall(prose("en")) == []
    chinese = prose("zh")
    sentences = [pair for pair in all_sentences() if " " in pair[0]]
    assert len(sentences) > 150
    assert [english for english, _ in sentences if english.replace("`", "") in chinese] == []


def all_sentences() -> Iterator[words.Sentence]:
    for pair in words.CALLS.values():
        yield from pair
    for table in (words.SHAPES, words.FIELDS, words.PARAMETERS, words.UI):
        yield from table.values()
    for remedy in remedies():
        yield from (remedy.cause, remedy.advice)


def test_every_sentence_has_two_sides_and_the_same_code() -> None:
    for english, chinese in all_sentences():
        assert english
        assert chinese
        assert not CHINESE.search(english) or english == "中文", english
        links = re.compile(r"\]\((#[\w-]+)\)")
        assert links.findall(english) == links.findall(chinese), english


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_told_with_its_parameters_and_an_example(name: str) -> None:
    title, about = words.CALLS[name]
    assert title
    assert about
    assert name in examples()
    for parameter in CALLS[name]["parameters"]:
        assert (
            f"{name}.{parameter['name']}" in words.PARAMETERS
            or parameter["name"] in words.PARAMETERS
        )
    for language in words.LANGUAGES:
        assert mark(words.say(about, language)) in page(language)


def test_no_word_is_about_a_call_or_a_shape_that_is_gone() -> None:
    assert set(words.CALLS) == set(CALLS)
    assert {call for chapter in words.CHAPTERS for call in chapter.calls} == set(CALLS)
    assert set(words.SHAPES) == set(SHAPES)
    assert set(OWN) <= set(CALLS)
    fields = {f"{shape}.{name}" for shape in SHAPES for name in SHAPES[shape]["properties"]}
    plain = {name.partition(".")[2] for name in fields}
    assert [name for name in words.FIELDS if name not in fields | plain] == []


@pytest.mark.parametrize("name", CALLS)
def test_openapi_has_the_example_where_it_belongs_and_it_fits(name: str) -> None:
    call = CALLS[name]
    example = examples()[name]
    answer = call["responses"][str(example.status)].get("content", {}).get("application/json")
    if answer:
        assert answer["example"] == example.answer
        assert fits(example.answer, answer["schema"], SHAPES)
    if "requestBody" in call:
        body = call["requestBody"]["content"]["application/json"]
        assert body["example"] == example.body
        assert fits(example.body, body["schema"], SHAPES)
    wanted = {p["name"]: p.get("example") for p in call["parameters"] if p["required"]}
    assert None not in wanted.values()


def test_every_time_is_said_to_be_one() -> None:
    times = [
        (shape, name, field)
        for shape, schema in SHAPES.items()
        for name, field in schema["properties"].items()
        if name.endswith("_at")
    ]
    assert len(times) > 10
    assert [time for time in times if "date-time" not in str(time)] == []


@pytest.mark.parametrize("shape", SHAPES)
def test_every_field_of_every_shape_is_told(shape: str) -> None:
    assert shape in words.SHAPES
    for field in SHAPES[shape]["properties"]:
        assert f"{shape}.{field}" in words.FIELDS or field in words.FIELDS, field


@LANGUAGES
def test_every_error_is_told_with_what_to_do(language: str) -> None:
    by_code = {remedy.code: remedy for remedy in remedies()}
    assert {code: remedy.status for code, remedy in by_code.items()} == STATUSES
    for remedy in by_code.values():
        assert mark(words.say(remedy.cause, language)) in page(language)
        assert mark(words.say(remedy.advice, language)) in page(language)


def test_every_error_is_one_of_a_call_or_of_any_call() -> None:
    named = {
        code
        for call in CALLS.values()
        for status, answer in call["responses"].items()
        if status.isdecimal() and int(status) >= 400
        for code in answer["description"].split(", ")
    }
    assert named | set(GENERAL) == set(STATUSES)
    assert set(LOGINS.values()) <= DOCUMENT["paths"].keys()


@LANGUAGES
def test_limits_are_shown(language: str) -> None:
    for limit in ("1–999", "1–50", "1–64", "1–100,000,000", "[A-Za-z0-9_-]{1,64}"):
        assert limit in page(language)


def test_both_guides_have_the_same_parts_and_the_same_code() -> None:
    def bones(language: str) -> tuple[list[str], list[str], list[str]]:
        text = (HERE / f"guide.{language}.html").read_text("utf-8")
        code = re.findall(r"<pre>.*?</pre>", text, re.S)
        return re.findall(r'id="([\w-]+)"', text), code, re.findall(r"</(\w+)>", text)

    assert bones("en")[:2] == bones("zh")[:2]


def test_only_a_shop_at_the_sandbox_has_forms() -> None:
    assert page("en").count("<form") == len([c for c in CALLS if c in examples()]) - 7
    for language in words.LANGUAGES:
        production = page(language, IN_PRODUCTION)
        assert "<form" not in production
        assert "sandbox" not in production.partition("<main")[0]


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        ("zh", "en-GB,en;q=0.9", "zh"),
        ("en", "zh-CN,zh;q=0.9", "en"),
        ("", "en-GB,en;q=0.9", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "fr,en;q=0.5,zh;q=0.4", "en"),
        ("", "fr-FR", "zh"),
        ("", "en;q=0", "zh"),
        ("", "*", "zh"),
        ("", "", "zh"),
        ("de", ";;q=,", "zh"),
    ],
)
def test_the_language_is_what_was_asked_for_or_what_the_browser_likes(
    wanted: str, accepted: str, language: str
) -> None:
    assert language_of(wanted, accepted) == language


async def test_the_page_is_served_in_the_browser_s_language_with_its_files(
    running: RunningShop,
) -> None:
    for accepted, language in (("en", "en"), ("zh-CN", "zh")):
        answer = await running.http.get("/docs", headers={"Accept-Language": accepted})
        assert f'<html lang="{language}">' in answer.text
        assert (answer.headers["content-language"], answer.headers["vary"]) == (
            language,
            "Accept-Language",
        )
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        answer = await running.http.get(f"/docs/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            f"{kind}; charset=utf-8",
        )
    assert (await running.http.get("/docs/words.py")).status_code == 404


async def test_a_guest_pays_in_the_mini_program_as_the_guide_says(running: RunningShop) -> None:
    visitor = await guest(running)
    number = (await visitor.order())["order_no"]
    refused = (await visitor.start(number)).json()
    assert (refused["code"], refused["login"]) == ("OPENID_REQUIRED", LOGINS["miniprogram"])
    handed = (await visitor.post(f"/api/orders/{number}/handover")).json()
    buyer = await running.buyer()
    assert (await buyer.start(number)).status_code == 404
    await buyer.post("/api/handover", {"token": handed["token"]})
    assert (await buyer.start(number)).status_code == 201
