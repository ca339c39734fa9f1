"""One call of the API as HTML: what it is for, what goes in, what comes out, what can go wrong."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any

from shop.web.docs.examples import Example, examples
from shop.web.docs.failures import STATUSES
from shop.web.docs.forms import form
from shop.web.docs.markup import FieldRow, Reader, listed, mark, shape_of
from shop.web.docs.words import CALLS, NOTIFICATION, PARAMETERS, Sentence


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return its operationId."""
        return str(self.described["operationId"])

    @property
    def is_notification(self) -> bool:
        """Tell whether a channel calls it."""
        return self.path.startswith("/notify/")

    @property
    def is_json(self) -> bool:
        """Tell whether page.js can send it and read the answer."""
        return self.path.startswith("/api/") or self.path in ("/healthz", "/readyz")

    @property
    def needs(self) -> list[str]:
        """Return which logins it takes: session, cookie, admin."""
        return [need for requirement in self.described["security"] for need in requirement]

    @property
    def words(self) -> tuple[Sentence, Sentence]:
        """Return title and text; a call of the owner's has its docstring as title."""
        sentences = CALLS.get(self.name) or (NOTIFICATION if self.is_notification else None)
        summary = self.described["summary"]
        return sentences or ((summary, summary), ("", ""))

    def answers(self, *, failed: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield status and answer of success, or of failure."""
        for status, answer in self.described["responses"].items():
            if status.isdecimal() and (int(status) >= 400) == failed:
                yield status, answer


@dataclass(frozen=True)
class CallWriter:
    """Writes calls in one language; `has_forms` lets them be tried."""

    reader: Reader
    has_forms: bool

    def html(self, call: Operation) -> str:
        """Return a call, folded."""
        title, about = call.words
        example = examples().get(call.name)
        description = (
            f"<p>{mark(self.reader.say(about))}</p>"
            f'<p class="who">{self.reader.word("who")} {self._who(call)}</p>'
            f"{self._inputs(call)}{self._outputs(call)}"
        )
        shown = self.exchange(call, example) if example else ""
        if self.has_forms and call.is_json:
            empty = Example(call.method, call.path, 0)
            shown += form(self.reader, call.method, call.path, call.described, example or empty)
        return (
            f'<details class="call" id="{call.name}"><summary>'
            f'<b class="{call.method}">{call.method}</b><code>{escape(call.path)}</code>'
            f"<span>{mark(self.reader.say(title))}</span></summary>"
            f'<div class="inside"><div class="told">{description}</div>'
            f'<div class="shown">{shown}</div></div></details>'
        )

    def _who(self, call: Operation) -> str:
        """Say who may call, with a link to how they log in."""
        if call.is_notification or call.name == "oauth_callback":
            return self.reader.word("by_wechat")
        if "admin" in call.needs:
            return f'<a href="#login-admin">{self.reader.word("admin")}</a>'
        if call.needs:
            return f'<a href="#login">{self.reader.word("buyer")}</a>'
        return self.reader.word("anyone")

    def _inputs(self, call: Operation) -> str:
        rows = [self._parameter(call.name, parameter) for parameter in call.described["parameters"]]
        html = f"<h3>{self.reader.word('parameters')}</h3>{listed(rows)}" if rows else ""
        if "requestBody" in call.described:
            body = self.reader.fields(shape_of(call.described["requestBody"]), inside=True)
            html += f"<h3>{self.reader.word('body')}</h3>{listed(body)}"
        return html

    def _parameter(self, call: str, parameter: Mapping[str, Any]) -> FieldRow:
        name = parameter["name"]
        about = PARAMETERS.get(f"{call}.{name}") or PARAMETERS.get(name) or ("", "")
        need = self.reader.word("required" if parameter["required"] else "optional")
        return FieldRow(
            name=f"?{name}" if parameter["in"] == "query" else name,
            kind=self.reader.kind(parameter["schema"]),
            about=mark(self.reader.say(about)),
            note=f" · {need}",
        )

    def _outputs(self, call: Operation) -> str:
        """Return the answers of success, and links to the errors."""
        answers = "".join(
            f"<li><b>{status}</b> {self._shape_link(answer)}</li>"
            for status, answer in call.answers(failed=False)
        )
        links = "".join(
            f'<li><a href="#{code}">{STATUSES[code]} <code>{code}</code></a></li>'
            for _, answer in call.answers(failed=True)
            for code in answer["description"].split(", ")
        )
        html = f'<h3>{self.reader.word("answer")}</h3><ul class="answers">{answers}</ul>'
        if links:
            html += f'<h3>{self.reader.word("can_fail")}</h3><ul class="codes">{links}</ul>'
        return html

    def _shape_link(self, answer: Mapping[str, Any]) -> str:
        if name := shape_of(answer):
            return f'<a href="#{name}">{name}</a>'
        return self.reader.word("text" if "content" in answer else "empty")

    def exchange(self, call: Operation, example: Example) -> str:
        """Return a request and its answer, as they went over the wire."""
        answer = f"{example.status} {HTTPStatus(example.status).phrase}\n"
        answer += "".join(f"{name}: {value}\n" for name, value in example.answer_headers.items())
        return (
            f"<h3>{self.reader.word('request')}</h3>{_block(_request(call, example))}"
            f"<h3>{self.reader.word('example')}</h3>{_block(answer + _body(example.answer))}"
        )


def _request(call: Operation, example: Example) -> str:
    """Return a request without what every client adds by itself; a token stands for any."""
    headers = dict(example.headers)
    if call.needs:
        token = "$ADMIN_TOKEN" if "admin" in call.needs else "$TOKEN"
        headers = {"Authorization": f"Bearer {token}", **headers}
    if example.body is not None:
        headers.setdefault("Content-Type", "application/json")
    lines = [f"{call.method} {example.path}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\n".join(lines) + ("\n\n" + _body(example.body) if example.body is not None else "")


def _body(body: Any) -> str:
    if body is None or isinstance(body, str):
        return body or ""
    return json.dumps(body, ensure_ascii=False, indent=2)


def _block(text: str) -> str:
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
