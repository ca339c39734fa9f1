"""Check answers of the shop's API: errors that leak nothing, bodies that fit the document."""

import json
import re
from functools import cache
from typing import Any

import httpx
from sanic import HTTPResponse, Request

from kit.running import RunningShop
from shop.web.docs.failures import GENERAL
from shop.web.openapi import document as described
from shop.web.server import APIS


def check_failure(answer: httpx.Response, status: int | None = None) -> dict[str, Any]:
    """Check that an error is one of ours and leaks nothing."""
    assert 400 <= answer.status_code < 500 if status is None else answer.status_code == status
    failure: dict[str, Any] = answer.json()
    assert {"code", "message", "request_id"} <= set(failure)
    assert answer.headers["X-Request-ID"] == failure["request_id"]
    assert not re.search(r"Traceback|File \"|site-packages|sqlite|/shop/", answer.text)
    return failure


async def document(running: RunningShop) -> dict[str, Any]:
    openapi: dict[str, Any] = (await running.http.get("/openapi.json")).json()
    return openapi


def fits(value: Any, schema: dict[str, Any], shapes: dict[str, Any]) -> bool:
    """Check a value against the part of JSON Schema that the document uses."""
    if "$ref" in schema:
        return fits(value, shapes[schema["$ref"].rpartition("/")[2]], shapes)
    if "anyOf" in schema:
        return any(fits(value, part, shapes) for part in schema["anyOf"])
    if schema.get("type") == "object" and "properties" in schema:
        properties = schema["properties"]
        return (
            isinstance(value, dict)
            and set(schema.get("required", [])) <= set(value) <= set(properties)
            and all(fits(part, properties[name], shapes) for name, part in value.items())
        )
    if schema.get("type") == "array":
        return isinstance(value, list) and all(fits(v, schema["items"], shapes) for v in value)
    types = {"string": str, "integer": int, "boolean": bool, "null": type(None), "object": dict}
    return isinstance(value, types[schema["type"]])


@cache
def documented() -> dict[str, set[str]]:
    """Return the errors that /docs names, by call."""
    calls = [call for methods in described(APIS, ())["paths"].values() for call in methods.values()]
    return {
        call["operationId"]: set(
            ", ".join(a["description"] for a in call["responses"].values()).split(", ")
        )
        for call in calls
    }


async def note_surprise(surprises: list[str], request: Request, response: HTTPResponse) -> None:
    """Note an error of a call that /docs does not name there."""
    call = request.route.name.rpartition(".")[2] if request.route else ""
    if response.status < 400 or call not in documented() or not response.body:
        return
    if "json" not in (response.content_type or ""):
        return
    code = json.loads(response.body).get("code", "")
    if code and code not in documented()[call] | set(GENERAL):
        surprises.append(f"{call}: {code}")
