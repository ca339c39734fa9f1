"""Show the OpenAPI document as a page in one language that needs nothing from other servers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from shop.web import limits
from shop.web.docs.calls import CallWriter, Operation
from shop.web.docs.examples import examples
from shop.web.docs.failures import remedies
from shop.web.docs.markup import Reader, listed, mark
from shop.web.docs.words import CHAPTERS, LANGUAGES, SHAPES

HERE = Path(__file__).parent


@dataclass(frozen=True)
class About:
    """What the page tells of this shop; `sandbox_url` "" shows no forms.

    `appid` is the mini program's, "" where there is none.
    """

    name: str
    public_url: str
    sandbox_url: str
    appid: str


@dataclass(frozen=True)
class Page:
    """The page of an OpenAPI document in one language."""

    document: Mapping[str, Any]
    language: str
    about: About

    @cached_property
    def reader(self) -> Reader:
        """Return what reads the document's shapes in this language."""
        return Reader(self.document["components"]["schemas"], self.language)

    def html(self) -> str:
        """Return the whole page."""
        title = f"{escape(self.about.name)} {self._word('title')}"
        main = "".join([self._guide(), *self._chapters(), self._errors(), self._shapes()])
        contents = self._contents()
        name = self._word("contents")
        return (
            f'<!doctype html><html lang="{self.language}">{_head(title)}'
            f"<body{self._attributes()}>{self._header(title)}"
            f'<details class="contents"><summary>{name}</summary><nav>{contents}</nav></details>'
            f'<div class="columns"><nav class="side" aria-label="{name}">{contents}</nav>'
            f"<main>{main}</main></div></body></html>"
        )

    def _word(self, name: str) -> str:
        return self.reader.word(name)

    def _attributes(self) -> str:
        """Return what page.js needs to know: the sandbox, and its own words."""
        if not self.about.sandbox_url:
            return ""
        attributes = {
            "sandbox": self.about.sandbox_url,
            "appid": self.about.appid,
            "waiting": self._word("waiting"),
            "lost": self._word("lost"),
        }
        return "".join(f' data-{name}="{escape(value)}"' for name, value in attributes.items())

    def _header(self, title: str) -> str:
        other = next(language for language in LANGUAGES if language != self.language)
        note = f'<p class="note">{self._word("sandbox")}</p>' if self.about.sandbox_url else ""
        return (
            f'<header><h1>{title}</h1><p class="links">'
            f'<a href="?lang={other}" lang="{other}" data-other>{self._word("other")}</a>'
            f'<a href="/openapi.json">openapi.json</a>'
            f'<button type="button" data-all>{self._word("all")}</button></p>{note}</header>'
        )

    # -- contents

    def _contents(self) -> str:
        guide = self._file("guide")
        headings = [
            (part.partition('"')[0], part.partition("<h2>")[2].partition("</h2>")[0])
            for part in guide.split('<section id="')[1:]
        ]
        groups = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in headings)
        for tag, title, operations in self._groups():
            links = "".join(
                f'<li><a href="#{call.name}">{mark(self.reader.say(call.words[0]))}</a></li>'
                for call in operations
            )
            groups += f'<li><a href="#chapter-{tag}">{title}</a><ul>{links}</ul></li>'
        for name in ("errors", "shapes"):
            groups += f'<li><a href="#{name}">{self._word(name)}</a></li>'
        return f"<ul>{groups}</ul>"

    def _file(self, name: str) -> str:
        return (HERE / f"{name}.{self.language}.html").read_text(encoding="utf-8")

    def _guide(self) -> str:
        return Template(self._file("guide")).substitute(
            shop=escape(self.about.public_url),
            orders=limits.ORDERS.per_minute,
            waiting=limits.MOST_OPEN_ORDERS,
            starts=limits.STARTS.per_minute,
            switches=limits.NEW_PAYMENTS.per_minute,
        )

    # -- calls

    @cached_property
    def _calls(self) -> CallWriter:
        return CallWriter(self.reader, has_forms=bool(self.about.sandbox_url))

    @cached_property
    def _operations(self) -> list[Operation]:
        return [
            Operation(method.upper(), path, described)
            for path, methods in self.document["paths"].items()
            for method, described in methods.items()
        ]

    def _groups(self) -> Iterator[tuple[str, str, list[Operation]]]:
        """Yield tag, title and calls of each chapter; a chapter of the owner's comes last."""
        titles = {chapter.tag: self.reader.say(chapter.title) for chapter in CHAPTERS}
        order = [name for chapter in CHAPTERS for name in chapter.calls]
        tags = [*titles, *(call.described["tags"][0] for call in self._operations)]
        for tag in dict.fromkeys(tags):
            calls = {c.name: c for c in self._operations if c.described["tags"] == [tag]}
            ordered = [calls.pop(name) for name in order if name in calls]
            yield tag, titles.get(tag, tag), [*ordered, *calls.values()]

    def _chapters(self) -> Iterator[str]:
        for tag, title, operations in self._groups():
            calls = "".join(self._calls.html(call) for call in operations)
            yield f'<section id="chapter-{tag}"><h2>{title}</h2>{calls}</section>'

    # -- errors and shapes

    def _errors(self) -> str:
        failed = examples().get("errors")
        shown = self._calls.exchange(self._named("start_payment"), failed) if failed else ""
        rows = "".join(
            f'<div id="{remedy.code}"><dt><b>{remedy.status}</b> <code>{remedy.code}</code></dt>'
            f"<dd>{mark(self.reader.say(remedy.cause))}</dd>"
            f"<dd><small>{self._word('remedy')}</small>"
            f" {mark(self.reader.say(remedy.advice))}</dd></div>"
            for remedy in remedies()
        )
        return (
            f'<section id="errors"><h2>{self._word("errors")}</h2>'
            f"<p>{mark(self._word('general'))}</p>{shown}"
            f'<dl class="errors">{rows}</dl></section>'
        )

    def _named(self, name: str) -> Operation:
        return next(call for call in self._operations if call.name == name)

    def _shapes(self) -> str:
        shapes = "".join(
            f'<details class="shape" id="{name}"><summary><code>{name}</code>'
            f"<span>{mark(self._about_shape(name))}</span></summary>"
            f"{listed(self.reader.fields(name))}</details>"
            for name in self.document["components"]["schemas"]
        )
        return (
            f'<section id="shapes"><h2>{self._word("shapes")}</h2><details class="shapes">'
            f"<summary><span>{self._word('every_shape')}</span></summary>{shapes}</details></section>"
        )

    def _about_shape(self, name: str) -> str:
        return self.reader.say(SHAPES[name]) if name in SHAPES else ""


def _head(title: str) -> str:
    return (
        f'<head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/page.css">'
        f'<script src="/docs/page.js" defer></script></head>'
    )
