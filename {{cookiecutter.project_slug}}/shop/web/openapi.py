"""The OpenAPI document, made from the routes and their shapes."""

import json
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from sanic import HTTPResponse, Request, Sanic

from shop.web.api import Api, Route
from shop.web.docs import page
from shop.web.shapes import Failure, Nothing

SCHEMES: dict[str, list[dict[str, list[str]]]] = {
    "buyer": [{"session": []}, {"cookie": []}],
    "admin": [{"admin": []}],
    "anyone": [],
}
PAGES = {  # what is no JSON call: the status of success, and what it is for
    "/oauth/start": (302, "Begin the login of the official account; `return_to` is a path here."),
    "/oauth/callback": (302, "End it with the session cookie, and go on to `return_to`."),
    "/healthz": (200, "The process is alive."),
    "/readyz": (200, "Database, migrations and keys are ready for money; otherwise 503."),
    "/metrics": (200, "Prometheus metrics, for the admin token."),
    "/MP_verify_{token}.txt": (200, "The file that WeChat's console asks for, from pages/."),
}
QUERY = {
    "/oauth/start": ("return_to",),
    "/oauth/callback": ("code", "state"),
    "/api/orders": ("after",),
    "/api/orders/{order_no}": ("refresh",),
    "/api/admin/orders": ("state", "after"),
    "/api/admin/payments": ("state", "after"),
    "/api/admin/refunds": ("state", "after"),
    "/api/admin/differences": ("date", "after"),
    "/api/admin/notifications": ("outcome", "after"),
}


def document(apis: Sequence[Api], notified: Iterable[str]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; `notified` are the paths where WeChat calls us."""
    routes = [route for api in apis for route in api.routes]
    shapes: set[Any] = {Failure}
    for route in routes:
        shapes |= {shape for shape in (route.takes, *route.gives.values()) if shape} - {Nothing}
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    refs, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    schema = dict(zip(ordered, refs, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema)
    for path, (status, summary) in PAGES.items():
        paths[path] = {"get": _page("GET", path, status, summary)}
    for path in notified:
        paths[path] = {"post": _page("POST", path, 204, "A notification 通知, signed by WeChat.")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Checkout", "version": "1", "description": "Amounts are integer fen 分."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _security()},
    }


def _operation(route: Route, schema: dict[Any, Any]) -> dict[str, Any]:
    params = _parameters(route.method, route.path)
    if route.keyed:
        key = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
        params += [{"name": "Idempotency-Key", "in": "header", "required": True, "schema": key}]
    answers = {
        str(status): _content(HTTPStatus(status).phrase, schema.get(shape))
        for status, shape in route.gives.items()
    }
    operation = {
        "operationId": route.handler.__name__,
        "summary": (route.handler.__doc__ or "").strip(),
        "parameters": params,
        "security": SCHEMES[route.who],
        "responses": {**answers, "default": _content("An error", schema[Failure])},
    }
    if route.takes is not Nothing:
        body = _content("", schema[route.takes])["content"]
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _page(method: str, path: str, status: int, summary: str) -> dict[str, Any]:
    answers = {str(status): _content(HTTPStatus(status).phrase, None)}
    return {
        "operationId": "_".join(re.findall(r"\w+", path)),
        "summary": summary,
        "parameters": _parameters(method, path),
        "security": [],
        "responses": {**answers, "default": _content("An error", None)},
    }


def _parameters(method: str, path: str) -> list[dict[str, Any]]:
    text = {"type": "string"}
    names = re.findall(r"{(\w+)}", path)
    inside = [{"name": n, "in": "path", "required": True, "schema": text} for n in names]
    query = QUERY.get(path, ()) if method == "GET" else ()
    return inside + [{"name": n, "in": "query", "schema": text} for n in query]


def _content(description: str, schema: Any) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}} if schema else {}
    return {"description": description, **content}


def _security() -> dict[str, Any]:
    bearer = {"type": "http", "scheme": "bearer"}
    cookie = {"type": "apiKey", "in": "cookie", "name": "shop_session"}
    return {"session": bearer, "admin": bearer, "cookie": cookie}


def attach(app: Sanic[Any, Any], apis: Sequence[Api], notified: Iterable[str]) -> None:
    """Add /openapi.json and /docs."""
    said = document(apis, notified)
    raw, shown = json.dumps(said, ensure_ascii=False).encode(), page(said).encode()

    async def openapi(_: Request) -> HTTPResponse:
        return HTTPResponse(raw, content_type="application/json; charset=utf-8")

    async def docs(_: Request) -> HTTPResponse:
        return HTTPResponse(shown, content_type="text/html; charset=utf-8")

    app.add_route(openapi, "/openapi.json", name="openapi")
    app.add_route(docs, "/docs", name="docs")
