"""The forms of "try it": a call with its example filled in; page.js sends it and shows the answer.

They are shown only while the shop works at the sandbox.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from shop.web.docs.examples import Example
from shop.web.docs.markup import Reader

NEW_BUYER = "miniprogram_session"  # its form is the whole login


def form(
    reader: Reader, method: str, path: str, operation: Mapping[str, Any], example: Example
) -> str:
    """Return the form of a call."""
    fields = [_token(reader, operation)]
    fields += [_parameter(reader, parameter, example) for parameter in operation["parameters"]]
    if "requestBody" in operation:
        fields.append(_body(reader, example))
    buttons = f'<button class="primary">{reader.word("send")}</button>'
    if operation["operationId"] in ("start_payment", "collect"):
        buttons += f'<button type="button" data-do="pay" hidden>{reader.word("pay")}</button>'
    name = escape(operation["operationId"])
    return (
        f'<form class="try" data-call="{name}" data-method="{method}" data-path="{escape(path)}">'
        f"<h3>{reader.word('try')}</h3>{''.join(fields)}"
        f'<p class="buttons">{buttons}</p><div aria-live="polite"><p class="status"></p></div>'
        f'<pre class="came" tabindex="0" hidden></pre></form>'
    )


def _token(reader: Reader, operation: Mapping[str, Any]) -> str:
    """Return the token's field, shared by all forms of its kind; buyers can log in here."""
    needs = [need for requirement in operation["security"] for need in requirement]
    login = f'<button type="button" data-do="login">{reader.word("new_buyer")}</button>'
    if "admin" in needs:
        return _labelled(reader.word("admin_token"), _input("token", kind="admin"))
    if needs:
        return _labelled(reader.word("buyer_token"), _input("token", kind="buyer"), login)
    return f'<p class="buttons">{login}</p>' if operation["operationId"] == NEW_BUYER else ""


def _parameter(reader: Reader, parameter: Mapping[str, Any], example: Example) -> str:
    name = parameter["name"]
    place = parameter["in"]
    recorded = {"path": example.parts, "query": example.query, "header": example.headers}[place]
    button = f'<button type="button" data-do="key">{reader.word("key")}</button>'
    field = _input(name, value=recorded.get(name, ""), place=place)
    return _labelled(name, field, button if place == "header" else "")


def _body(reader: Reader, example: Example) -> str:
    text = json.dumps(example.body, ensure_ascii=False, indent=2)
    rows = text.count("\n") + 1
    area = f'<textarea name="body" rows="{rows}" spellcheck="false">{escape(text)}</textarea>'
    return _labelled(reader.word("body"), area)


def _input(name: str, *, value: str = "", place: str = "", kind: str = "") -> str:
    more = f' data-place="{place}"' if place else f' data-token="{kind}"'
    return (
        f'<input name="{escape(name)}" value="{escape(value)}"{more} autocomplete="off"'
        f' spellcheck="false" autocapitalize="off">'
    )


def _labelled(text: str, field: str, button: str = "") -> str:
    return f'<p class="field"><label><span>{escape(text)}</span>{field}</label>{button}</p>'
