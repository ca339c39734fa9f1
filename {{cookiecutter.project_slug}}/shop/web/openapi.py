"""The OpenAPI document, made from the routes and their shapes."""

import json
import re
from collections.abc import Sequence
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
QUERY = {
    "/api/orders": ("after",),
    "/api/orders/{order_no}": ("refresh",),
    "/api/admin/orders": ("state", "after"),
    "/api/admin/payments": ("state", "after"),
    "/api/admin/notifications": ("outcome", "after"),
}


def document(apis: Sequence[Api]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    routes = [route for api in apis for route in api.routes]
    shapes: set[Any] = {Failure}
    for route in routes:
        shapes |= {shape for shape in (route.takes, *route.gives.values()) if shape}
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    refs, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    schema = dict(zip(ordered, refs, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Checkout", "version": "1", "description": "Amounts are integer fen 分."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _security()},
    }


def _operation(route: Route, schema: dict[Any, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", route.path)
    text = {"type": "string"}
    params = [{"name": n, "in": "path", "required": True, "schema": text} for n in names]
    if route.method == "GET":
        params += [{"name": n, "in": "query", "schema": text} for n in QUERY.get(route.path, ())]
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


def _content(description: str, schema: Any) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}} if schema else {}
    return {"description": description, **content}


def _security() -> dict[str, Any]:
    bearer = {"type": "http", "scheme": "bearer"}
    cookie = {"type": "apiKey", "in": "cookie", "name": "shop_session"}
    return {"session": bearer, "admin": bearer, "cookie": cookie}


def attach(app: Sanic[Any, Any], apis: Sequence[Api]) -> None:
    """Add /openapi.json and /docs."""
    said = document(apis)
    raw, shown = json.dumps(said, ensure_ascii=False).encode(), page(said).encode()

    async def openapi(_: Request) -> HTTPResponse:
        return HTTPResponse(raw, content_type="application/json; charset=utf-8")

    async def docs(_: Request) -> HTTPResponse:
        return HTTPResponse(shown, content_type="text/html; charset=utf-8")

    app.add_route(openapi, "/openapi.json", name="openapi")
    app.add_route(docs, "/docs", name="docs")
