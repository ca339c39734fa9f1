"""Small pieces of HTML: marked text, what a schema allows, lists of fields."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from shop.web.docs.words import FIELDS, UI, Sentence, say

NULL = {"type": "null"}


@dataclass(frozen=True)
class FieldRow:
    """One field or parameter; `kind` and `about` are HTML."""

    name: str
    kind: str
    about: str
    note: str = ""


def mark(text: str) -> str:
    """Escape a text; `code` and [links](#anchor) become HTML."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>', marked)


def listed(rows: Iterable[FieldRow]) -> str:
    """Return a list of fields: a table's columns on a desktop, below one another on a phone."""
    lines = "".join(
        f"<div><dt><code>{escape(row.name)}</code> <small>{row.kind}{row.note}</small></dt>"
        f"<dd>{row.about}</dd></div>"
        for row in rows
    )
    return f'<dl class="fields">{lines}</dl>' if lines else ""


class Reader:
    """Reads the shapes of an OpenAPI document in one language."""

    def __init__(self, shapes: Mapping[str, Any], language: str) -> None:
        self._shapes = shapes
        self._language = language

    def say(self, sentence: Sentence) -> str:
        """Return the side of a pair that is in this language."""
        return say(sentence, self._language)

    def word(self, name: str) -> str:
        """Return one of the page's own words."""
        return self.say(UI[name])

    def fields(self, shape: str, *, inside: bool = False, prefix: str = "") -> Iterator[FieldRow]:
        """Yield the fields of a shape; `inside` goes on with the shapes in it."""
        schema = self._shapes[shape]
        for name, field in schema.get("properties", {}).items():
            is_needed = name in schema.get("required", ())
            yield FieldRow(
                name=prefix + name,
                kind=self.kind(field),
                about=mark(self.about(shape, name)),
                note=" · " + self.word("required" if is_needed else "optional") if inside else "",
            )
            if inside and (inner := _shape_in(field.get("items", field))):
                dots = "[]." if "items" in field else "."
                yield from self.fields(inner, inside=True, prefix=prefix + name + dots)

    def about(self, shape: str, field: str) -> str:
        """Return what a field means: in this shape, or wherever it has the same meaning."""
        sentence = FIELDS.get(f"{shape}.{field}") or FIELDS.get(field)
        return self.say(sentence) if sentence else ""

    def kind(self, schema: Mapping[str, Any]) -> str:
        """Return the type of a value with its limits, as HTML; shapes are links."""
        if inner := _shape_in(schema):
            return f'<a href="#{inner}">{inner}</a>'
        if "anyOf" in schema:
            kinds = [self.kind(part) for part in schema["anyOf"] if part != NULL]
            return " · ".join([*kinds, *[self.word("null")] * (NULL in schema["anyOf"])])
        if "enum" in schema:
            return " ".join(f"<code>{escape(value)}</code>" for value in schema["enum"])
        if schema.get("type") == "array":
            of = self.word("list").format(self.kind(schema["items"]))
            return of + self._size(schema, "elements", "minItems", "maxItems")
        return self._plain(schema)

    def _plain(self, schema: Mapping[str, Any]) -> str:
        word = self.word(schema.get("format") or schema.get("type", "object"))
        if "maximum" in schema:
            word += f" {schema.get('minimum', 0):,}–{schema['maximum']:,}"
        word += self._size(schema, "characters", "minLength", "maxLength")
        if schema.get("pattern") == r"\S":
            word += " · " + self.word("not_blank")
        elif "pattern" in schema:
            word += f" <code>{escape(schema['pattern'].strip('^$'))}</code>"
        return word

    def _size(self, schema: Mapping[str, Any], unit: str, least: str, most: str) -> str:
        if most not in schema:
            return ""
        return " · " + self.word(unit).format(f"{schema.get(least, 0)}–{schema[most]}")


def shape_of(part: Mapping[str, Any]) -> str:
    """Return the name of the shape in a body or an answer, "" where it has none."""
    schema = part.get("content", {}).get("application/json", {}).get("schema", {})
    return _shape_in(schema)


def _shape_in(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]
