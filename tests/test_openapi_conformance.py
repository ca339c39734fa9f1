"""Every request that the shop sends to WeChat Pay fits the published API descriptions.

openapi/ holds Swagger 2.0 fragments that other people transcribed from WeChat's pages (PROVENANCE.txt).
They are read strictly: every object is closed. The requests are those that the sandbox received.
No contradiction between the published pages touches these calls, so there is no exception.
"""

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from conftest import ROOT
from jsonschema import Draft4Validator, FormatChecker, ValidationError
from running import JSON, Buyer, Demo, until

PUBLISHED = ROOT / "tests" / "openapi"
CALLS = {
    ("POST", "/v3/pay/transactions/jsapi"),
    ("GET", "/v3/pay/transactions/out-trade-no/{out_trade_no}"),
    ("POST", "/v3/pay/transactions/out-trade-no/{out_trade_no}/close"),
    ("POST", "/v3/refund/domestic/refunds"),
    ("GET", "/v3/refund/domestic/refunds/{out_refund_no}"),
}
formats = FormatChecker()


def is_rfc3339(text: object) -> bool:
    """Accept whole seconds with an offset, as WeChat writes them."""
    assert isinstance(text, str)
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    return bool(re.fullmatch(pattern, text) and datetime.fromisoformat(text))


formats.checks("rfc3339", raises=ValueError)(is_rfc3339)


@cache
def load(file: Path) -> Any:
    """Parse a file; `format: rfc3339` and the like stay strings."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def resolve(node: Any, file: Path) -> Any:
    """Put in what `$ref` names: `#Name` is read as `#/Name`, a path is relative to the file."""
    if isinstance(node, list):
        return [resolve(item, file) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {name: resolve(value, file) for name, value in node.items()}
    path, _, name = node["$ref"].partition("#")
    where = (file.parent / path).resolve() if path else file
    return resolve(load(where)[name.strip("/")], where)


def closed(schema: Any) -> Any:
    """Merge every allOf into one object, and close every object."""
    schema = dict(schema)
    for part in map(closed, schema.pop("allOf", [])):
        together = {**schema.get("properties", {}), **part.get("properties", {})}
        needed = [*schema.get("required", []), *part.get("required", [])]
        schema |= {**part, "properties": together, "required": needed}
    if not schema.get("required", True):
        del schema["required"]  # draft 4 knows no empty list
    if "properties" in schema:
        inside = {name: closed(value) for name, value in schema["properties"].items()}
        schema |= {"type": "object", "properties": inside, "additionalProperties": False}
    if "items" in schema:
        schema["items"] = closed(schema["items"])
    return schema


def described(method: str, path: str) -> tuple[str, JSON, dict[str, str]]:
    """Find the description of a call: its path with braces, its text, and what the braces hold."""
    for file in sorted(PUBLISHED.glob("v3/**/*.yaml")):
        template = f"/{file.relative_to(PUBLISHED).with_suffix('').as_posix()}"
        match = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template)), path)
        if match and method.lower() in load(file):
            return template, resolve(load(file)[method.lower()], file), match.groupdict()
    raise LookupError(f"{method} {path} is described nowhere: add its file to openapi/")


def check(request: JSON) -> tuple[str, str]:
    """Compare path, query, headers and body with the description; raise ValidationError."""
    url = urlsplit(request["url"])
    template, call, path = described(request["method"], url.path)
    parameters = call.get("parameters", [])
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    headers = {name.title(): value for name, value in request["request_headers"].items()}
    check_names("path", path, parameters)
    check_names("query", query, parameters)
    check_names("header", headers, parameters)
    if unknown := query.keys() - {one["name"] for one in parameters if one["in"] == "query"}:
        raise ValidationError(f"query: {unknown} unknown")
    check_body(request["request_body"], parameters)
    return request["method"], template


def check_names(place: str, given: Mapping[str, str], parameters: list[JSON]) -> None:
    """Look for every required parameter of this place."""
    wanted = {one["name"] for one in parameters if one["in"] == place and one.get("required")}
    if missing := wanted - given.keys():
        raise ValidationError(f"{place}: {missing} missing")


def check_body(text: str, parameters: list[JSON]) -> None:
    """Validate the body, or see that there is none."""
    schema = next((closed(one["schema"]) for one in parameters if one["in"] == "body"), None)
    if schema:
        Draft4Validator(schema, format_checker=formats).validate(json.loads(text))
    elif text:
        raise ValidationError("a body, where none is described")


def is_paid(buyer: Buyer, number: str) -> bool:
    return buyer.state(number) == "PAID"


@pytest.fixture(scope="module")
def requests(demo: Demo) -> list[JSON]:
    """What the sandbox got from the shop, after it did everything that it can do to an order."""
    for buyer, scene in (
        (Buyer.of_jsapi(demo), "jsapi"),
        (Buyer.of_miniprogram(demo), "miniprogram"),
    ):
        number = buyer.order("sample")
        buyer.start(number, scene)
        assert buyer.call("GET", f"{number}?refresh=1").is_success
        assert buyer.call("POST", f"{number}/cancel", {}).json()["state"] == "CLOSED"
        paid = buyer.order("puer")
        started = buyer.start(paid, scene)
        demo.control("pay", **started["invoke"])
        until(partial(is_paid, buyer, paid), "the payment")
        demo.admin(f"orders/{paid}/refunds", {"refund_fen": 100, "reason": "少发一件"})
        demo.admin(f"payments/{started['out_trade_no']}/query", {})
    return [
        entry
        for entry in demo.wire("request")
        if entry["url"].startswith("/v3/")
        and entry["request_headers"]["user-agent"].startswith("wechat-checkout")
    ]


def test_every_request_is_as_published_and_every_kind_of_call_was_made(
    requests: list[JSON],
) -> None:
    assert {check(request) for request in requests} >= CALLS


def test_json_goes_out_as_json_with_the_headers_that_wechat_wants(requests: list[JSON]) -> None:
    for request in requests:
        headers = request["request_headers"]
        assert headers["accept"] == "application/json"
        assert headers["wechatpay-serial"]
        assert headers.get("content-type") == (
            "application/json" if request["request_body"] else None
        )


MISTAKES: dict[str, Callable[[Any], object]] = {
    "an unknown field": lambda body: body.update(total_fee=1),
    "an unknown field inside": lambda body: body["amount"].update(total_fen=1),
    "no payer": lambda body: body.pop("payer"),
    "no openid": lambda body: body["payer"].clear(),
    "no notify_url": lambda body: body.pop("notify_url"),
    "no amount.total": lambda body: body["amount"].pop("total"),
    "yuan": lambda body: body["amount"].update(total=99.5),
    "fen as text": lambda body: body["amount"].update(total="9900"),
    "null": lambda body: body.update(attach=None),
    "fractions of a second": lambda body: body.update(time_expire="2030-01-01T00:00:00.5+08:00"),
    "a time without an offset": lambda body: body.update(time_expire="2030-01-01T00:00:00"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_order_would_be_found(requests: list[JSON], name: str) -> None:
    order = deepcopy(next(one for one in requests if one["url"].endswith("/jsapi")))
    check(order)
    body = json.loads(order["request_body"])
    MISTAKES[name](body)
    order["request_body"] = json.dumps(body)
    with pytest.raises(ValidationError):
        check(order)


def test_a_query_without_mchid_would_be_found(requests: list[JSON]) -> None:
    query = next(one for one in requests if "?" in one["url"])
    with pytest.raises(ValidationError, match="mchid"):
        check({**query, "url": query["url"].partition("?")[0]})
