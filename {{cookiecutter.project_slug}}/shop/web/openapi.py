"""The OpenAPI document, made from the routes, their shapes, and what /docs says about them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from checkout import ledger
from shop.web.api import Api, Route
from shop.web.docs import words
from shop.web.docs.examples import Example, examples
from shop.web.docs.failures import OWN, STATUSES, codes_of
from shop.web.shapes import Failure, Nothing

SCHEMES: dict[str, list[dict[str, list[str]]]] = {
    "buyer": [{"session": []}, {"cookie": []}],
    "admin": [{"admin": []}],
    "anyone": [],
}
TEXT = {"type": "string"}
WORD = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,32}$"}
KEY = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}


@dataclass(frozen=True)
class Plain:
    """A GET that is no call of the JSON API: the status of success, and the type of its answer."""

    path: str
    name: str
    status: int
    media: str = ""
    who: str = "anyone"


PAGES = (
    Plain("/oauth/start", "oauth_start", 302),
    Plain("/oauth/callback", "oauth_callback", 302),
    Plain("/healthz", "healthz", 200, "application/json"),
    Plain("/readyz", "readyz", 200, "application/json"),
    Plain("/metrics", "metrics", 200, "text/plain", "admin"),
    Plain("/MP_verify_{token}.txt", "verify_domain", 200, "text/plain"),
)


def _one_of(values: Iterable[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


OUTCOMES = (*ledger.FINAL, "UNMATCHED", "UNDECRYPTABLE")
#: operationId -> its query parameters
QUERY: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "oauth_start": {"return_to": TEXT},
    "oauth_callback": {"code": TEXT, "state": TEXT},
    "list_orders": {"after": WORD},
    "get_order": {"refresh": _one_of("1")},
    "all_orders": {"state": _one_of(ledger.ORDER), "after": WORD},
    "all_payments": {"state": _one_of(ledger.PAYMENT), "after": WORD},
    "all_refunds": {"state": _one_of(ledger.REFUND), "after": WORD},
    "all_differences": {"date": {"type": "string", "format": "date"}, "after": WORD},
    "all_notifications": {"outcome": _one_of(OUTCOMES), "after": WORD},
}


def document(apis: Sequence[Api], notified: Iterable[str]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; `notified` are the paths where WeChat calls us."""
    schema, components = _schemas(route for api in apis for route in api.routes)
    paths: dict[str, Any] = {}
    for api in apis:
        for route in api.routes:
            operation = _operation(route, schema, api.blueprint.name)
            paths.setdefault(route.path, {})[route.method.lower()] = operation
    for page in PAGES:
        paths[page.path] = {"get": _page(page)}
    for path in notified:
        paths[path] = {"post": _notification(path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Checkout", "version": "1", "description": "Amounts are integer fen 分."},
        "tags": [{"name": chapter.tag} for chapter in words.CHAPTERS],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _security()},
    }


def _schemas(routes: Iterable[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return a reference for each shape, and the shapes themselves."""
    shapes: set[Any] = {Failure}
    for route in routes:
        shapes |= {shape for shape in (route.takes, *route.gives.values()) if shape} - {Nothing}
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    refs, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    for shape, described in components.items():
        for field, value in described.get("properties", {}).items():
            about = words.FIELDS.get(f"{shape}.{field}") or words.FIELDS.get(field) or ("", "")
            value["description"] = _english(about)
    return dict(zip(ordered, refs, strict=True)), components


def _operation(route: Route, schema: dict[Any, Any], tag: str) -> dict[str, Any]:
    name = route.handler.__name__
    example = examples().get(name)
    operation = {
        **_head(name, tag, fallback=(route.handler.__doc__ or "").strip()),
        "parameters": _parameters(name, route.path, example, keyed=route.keyed),
        "security": SCHEMES[route.who],
        "responses": {
            **_answers(route, schema, example),
            **_failures(_codes(name, route), schema[Failure]),
            "default": _content("Any other error", schema[Failure]),
        },
    }
    if route.takes is not Nothing:
        body = _content("", schema[route.takes], example.body if example else None)["content"]
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _head(name: str, tag: str, fallback: str = "") -> dict[str, Any]:
    """Return name, tag and words of a call."""
    chapters = (chapter.tag for chapter in words.CHAPTERS if name in chapter.calls)
    title, about = words.CALLS.get(name, ((fallback, ""), ("", "")))
    return {
        "operationId": name,
        "tags": [next(chapters, tag)],
        "summary": _english(title),
        "description": _english(about),
    }


def _answers(route: Route, schema: dict[Any, Any], example: Example | None) -> dict[str, Any]:
    """Return the answers of success; the example stands at the status it was recorded with."""
    recorded = {example.status: example.answer} if example else {}
    return {
        str(status): _content(HTTPStatus(status).phrase, schema.get(shape), recorded.get(status))
        for status, shape in route.gives.items()
    }


def _codes(name: str, route: Route) -> list[str]:
    return codes_of(
        name,
        who=route.who,
        keyed=route.keyed,
        has_body=route.takes is not Nothing,
        has_query=name in QUERY,
        has_path="{" in route.path,
    )


def _failures(codes: Iterable[str], failure: Any) -> dict[str, Any]:
    """Return an answer for each status; its description names the codes."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUSES[code], []).append(code)
    return {str(n): _content(", ".join(names), failure) for n, names in by_status.items()}


def _page(page: Plain) -> dict[str, Any]:
    """Describe a page: people read its errors, so they have no shape."""
    example = examples().get(page.name)
    answer = _content(HTTPStatus(page.status).phrase, None)
    if page.media:
        schema = TEXT if page.media == "text/plain" else {"type": "object"}
        content = {"schema": schema, **_shown(example.answer if example else None)}
        answer["content"] = {page.media: content}
    return {
        **_head(page.name, "operations"),
        "parameters": _parameters(page.name, page.path, example),
        "security": SCHEMES[page.who],
        "responses": {
            str(page.status): answer,
            **_failures(OWN.get(page.name, ()), None),
            "default": _content("An error", None),
        },
    }


def _notification(path: str) -> dict[str, Any]:
    name = "_".join(re.findall(r"\w+", path))
    head = _head(name, "notifications")
    if name not in words.CALLS:
        title, about = words.NOTIFICATION
        head |= {"summary": _english(title), "description": _english(about)}
    return {
        **head,
        "parameters": [],
        "security": [],
        "responses": {"204": _content("No Content", None), "default": _content("Refused", None)},
    }


def _parameters(
    name: str, path: str, example: Example | None, *, keyed: bool = False
) -> list[dict[str, Any]]:
    recorded = example or Example("", "", 0)
    parameters = [
        _parameter(name, part, "path", WORD, recorded.parts)
        for part in re.findall(r"{(\w+)}", path)
    ]
    parameters += [
        _parameter(name, argument, "query", schema, recorded.query)
        for argument, schema in QUERY.get(name, {}).items()
    ]
    if keyed:
        parameters.append(_parameter(name, "Idempotency-Key", "header", KEY, recorded.headers))
    return parameters


def _parameter(
    call: str, name: str, place: str, schema: dict[str, Any], recorded: Mapping[str, str]
) -> dict[str, Any]:
    about = words.PARAMETERS.get(f"{call}.{name}") or words.PARAMETERS.get(name) or ("", "")
    return {
        "name": name,
        "in": place,
        "required": place != "query",
        "description": _english(about),
        "schema": schema,
        **_shown(recorded.get(name)),
    }


def _content(description: str, schema: Any, example: Any = None) -> dict[str, Any]:
    if not schema:
        return {"description": description}
    media = {"schema": schema, **_shown(example)}
    return {"description": description, "content": {"application/json": media}}


def _english(sentence: words.Sentence) -> str:
    """Return a sentence without its links, which lead to places on the page."""
    return re.sub(r"\[([^\]]+)\]\(#[\w-]+\)", r"\1", words.say(sentence, "en"))


def _shown(example: Any) -> dict[str, Any]:
    return {} if example is None else {"example": example}


def _security() -> dict[str, Any]:
    bearer = {"type": "http", "scheme": "bearer"}
    cookie = {"type": "apiKey", "in": "cookie", "name": "shop_session"}
    return {"session": bearer, "admin": bearer, "cookie": cookie}
