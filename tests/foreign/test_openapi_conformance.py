"""Every request that the shop sends to WeChat Pay fits the published API descriptions.

openapi/ holds Swagger 2.0 fragments that other people transcribed from WeChat's pages (PROVENANCE.txt).
They are read strictly: every object is closed. The requests are those that the sandbox received, from a
merchant of its own and from a service provider. Two exceptions, where the pages themselves disagree:
a service provider's payer is sp_openid or sub_openid, and only its sub orders have a sub_mchid.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from jsonschema import Draft4Validator, FormatChecker, ValidationError

from bakes import ROOT, Bake
from running import JSON, Buyer, Demo, started, until

PUBLISHED = ROOT / "tests" / "foreign" / "openapi"
ORDERS = "/v3/pay/transactions"
PARTNER = "/v3/pay/partner/transactions"
COMBINED = "/v3/combine-transactions"
PRODUCTS = ("jsapi", "h5", "native", "app")
CALLS = {
    *(("POST", f"{base}/{name}") for base in (ORDERS, PARTNER, COMBINED) for name in PRODUCTS),
    ("POST", f"{PARTNER}/scannedpos"),
    *(("GET", f"{base}/out-trade-no/{{out_trade_no}}") for base in (ORDERS, PARTNER)),
    *(("POST", f"{base}/out-trade-no/{{out_trade_no}}/close") for base in (ORDERS, PARTNER)),
    ("GET", f"{COMBINED}/out-trade-no/{{combine_out_trade_no}}"),
    ("POST", f"{COMBINED}/out-trade-no/{{combine_out_trade_no}}/close"),
    ("POST", "/v3/refund/domestic/refunds"),
    ("GET", "/v3/refund/domestic/refunds/{out_refund_no}"),
    ("GET", "/v3/bill/tradebill"),
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
        schema = merged(schema, part)
    if not schema.get("required", True):
        del schema["required"]  # draft 4 knows no empty list
    if "properties" in schema:
        inside = {name: closed(value) for name, value in schema["properties"].items()}
        schema |= {"type": "object", "properties": inside, "additionalProperties": False}
    if "items" in schema:
        schema["items"] = closed(schema["items"])
    return schema


def merged(first: JSON, second: JSON) -> JSON:
    """Let an object be both: every field of either, and what both have merged likewise."""
    fields, others = first.get("properties", {}), second.get("properties", {})
    both = {name: merged(fields[name], others[name]) for name in fields.keys() & others.keys()}
    needed = [*first.get("required", []), *second.get("required", [])]
    schema = {**first, **second, "required": needed}
    return schema | ({"properties": {**fields, **others, **both}} if fields or others else {})


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
    if unknown := query.keys() - {p["name"] for p in parameters if p["in"] == "query"}:
        raise ValidationError(f"query: {unknown} unknown")
    check_body(request["request_body"], parameters, template)
    return request["method"], template


def check_names(place: str, names: Mapping[str, str], parameters: list[JSON]) -> None:
    """Look for every required parameter of this place."""
    wanted = {p["name"] for p in parameters if p["in"] == place and p.get("required")}
    if missing := wanted - names.keys():
        raise ValidationError(f"{place}: {missing} missing")


def check_body(text: str, parameters: list[JSON], template: str) -> None:
    """Validate the body, or see that there is none."""
    schema = next((closed(p["schema"]) for p in parameters if p["in"] == "body"), None)
    if schema:
        except_for(schema, json.loads(text), template)
        Draft4Validator(schema, format_checker=formats).validate(json.loads(text))
    elif text:
        raise ValidationError("a body, where none is described")


def except_for(schema: Any, body: Any, template: str) -> None:
    """Take the two exceptions out of a schema, and check what is true instead."""
    inside = schema["properties"]
    if template.startswith(PARTNER) and "payer" in body:
        inside["payer"].pop("required", None)
        if len(body["payer"]) != 1 or ("sub_openid" in body["payer"] and "sub_appid" not in body):
            raise ValidationError("payer: sp_openid, or sub_openid with sub_appid")
    if template.startswith(COMBINED) and "sub_orders" in body:
        needed = inside["sub_orders"]["items"]["required"]
        subs = ["sub_mchid" in sub_order for sub_order in body["sub_orders"]]
        if "sub_mchid" in needed and not any(subs):
            needed.remove("sub_mchid")


def is_paid(buyer: Buyer, number: str) -> bool:
    return buyer.state(number) == "PAID"


def merchants(folder: Path) -> JSON:
    """Make the sandbox's keys in a folder, and name its merchants."""
    code = (
        "import json, pathlib; from sandbox.keys import open_keys;"
        "k = open_keys(pathlib.Path('var/sandbox')); own, other, sp = k.merchants;"
        "mini = [a.appid for a in k.apps_of(sp.subs[0]) if a.kind == 'miniprogram'];"
        "secret = [a.secret for a in k.apps if a.appid == mini[0]];"
        "print(json.dumps([other.mchid, *sp.subs, *mini, *secret]))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=True)
    names = ("other", "sub", "other_sub", "appid", "secret")
    return dict(zip(names, json.loads(out.stdout), strict=True))


def sells_for(folder: Path, merchant: str) -> None:
    """Let the cup belong to another merchant."""
    file = folder / "shop" / "catalogue.py"
    text = file.read_text(encoding="utf-8")
    assert 'cup", 3600)' in text
    file.write_text(text.replace('cup", 3600)', f'cup", 3600, "{merchant}")'), encoding="utf-8")


def everything(demo: Demo, *, provider: bool) -> list[JSON]:
    """Do everything that a shop can do to orders; return what it asked of WeChat Pay."""
    people = {"jsapi": Buyer.of_jsapi(demo), "miniprogram": Buyer.of_miniprogram(demo)}
    for scene in ("jsapi", "miniprogram", "h5", "native", "app"):
        buyer = people.get(scene, people["miniprogram"])
        for skus in (("puer",), ("puer", "cup")):
            if provider and scene == "miniprogram" and len(skus) > 1:
                continue  # combined orders need the service provider's own app
            try_scene(demo, buyer, scene, skus)
    if provider:
        form = {"amount_yuan": "12.34", "scene": "miniprogram"}
        key = {"Idempotency-Key": "collect"} | people["miniprogram"].headers
        demo.post(f"{demo.shop}/api/collect", form, key)
    code = (
        "import os, sys; from shop.demo import environment;"
        "command = [sys.executable, '-m', 'shop', 'bill', '--date', '2020-01-01'];"
        "os.execve(sys.executable, command, environment(*sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, demo.shop, demo.sandbox]
    environment = {**os.environ, **demo.settings}
    subprocess.run(command, cwd=demo.folder, env=environment, capture_output=True, timeout=60)
    return [
        entry
        for entry in demo.wire("request")
        if entry["url"].startswith("/v3/")
        and entry["request_headers"]["user-agent"].startswith("wechat-checkout")
    ]


def try_scene(demo: Demo, buyer: Buyer, scene: str, skus: tuple[str, ...]) -> None:
    """Order, ask and cancel; order again, pay, ask, and refund a part."""
    number = buyer.order(*skus)
    buyer.start(number, scene)
    assert buyer.call("GET", f"{number}?refresh=1").is_success
    assert buyer.call("POST", f"{number}/cancel", {}).json()["state"] == "CLOSED"
    paid = buyer.order(*skus)
    started = buyer.start(paid, scene)
    control = {"h5_url": "h5", "code_url": "scan", "invoke": "pay"}
    [opens] = control.keys() & started.keys()
    form = started["invoke"] if opens == "invoke" else {opens: started[opens]}
    assert demo.control(control[opens], **form)["err_msg"].endswith(("ok", ":0"))
    until(partial(is_paid, buyer, paid), "the payment")
    part = started["out_trade_no"]
    refund = {"refund_fen": 100, "reason": "少发一件", "out_trade_no": part}
    made = demo.admin(f"orders/{paid}/refunds", refund)
    demo.admin(f"payments/{part}/query", {})
    assert made["state"] in ("PROCESSING", "SUCCESS"), made


@pytest.fixture(scope="module")
def requests(bake: Bake) -> Iterator[list[JSON]]:
    """What the sandbox got from a shop of its own merchant, and from a service provider's."""
    folder = bake()
    sells_for(folder, merchants(folder)["other"])
    with started(folder) as demo:
        sent = everything(demo, provider=False)
    folder = bake()
    credentials = merchants(folder)
    sells_for(folder, credentials["other_sub"])
    mini = {"APPID": credentials["appid"], "SECRET": credentials["secret"]}
    apps = {f"SHOP_MINIPROGRAM_{name}": value for name, value in mini.items()}
    more = {"SHOP_SUB_MCHID": credentials["sub"], "SHOP_SUB_APPID": credentials["appid"], **apps}
    with started(folder, **more) as demo:
        yield sent + everything(demo, provider=True)


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
    order = deepcopy(
        next(request for request in requests if request["url"].endswith(f"{ORDERS}/jsapi"))
    )
    check(order)
    body = json.loads(order["request_body"])
    MISTAKES[name](body)
    order["request_body"] = json.dumps(body)
    with pytest.raises(ValidationError):
        check(order)


def test_a_query_without_mchid_would_be_found(requests: list[JSON]) -> None:
    query = next(request for request in requests if "?mchid=" in request["url"])
    with pytest.raises(ValidationError, match="mchid"):
        check({**query, "url": query["url"].partition("?")[0]})


@pytest.mark.parametrize(
    ("path", "mistake"),
    [
        (f"{PARTNER}/jsapi", lambda body: body["payer"].update(sp_openid="a", sub_openid="b")),
        (f"{PARTNER}/jsapi", lambda body: body.pop("sub_mchid")),
        (f"{PARTNER}/jsapi", lambda body: body.update(mchid="1900000109")),
        (f"{COMBINED}/jsapi", lambda body: body["sub_orders"][0].pop("attach")),
        (f"{COMBINED}/jsapi", lambda body: body["sub_orders"][0]["amount"].update(total=1)),
        (f"{COMBINED}/h5", lambda body: body["scene_info"].pop("device_id")),
        (f"{ORDERS}/h5", lambda body: body["scene_info"].update(client_ip="1.2.3.4")),
    ],
)
def test_a_mistake_in_the_other_orders_would_be_found(
    requests: list[JSON], path: str, mistake: Callable[[Any], object]
) -> None:
    order = deepcopy(next(request for request in requests if request["url"].endswith(path)))
    check(order)
    body = json.loads(order["request_body"])
    mistake(body)
    order["request_body"] = json.dumps(body)
    with pytest.raises(ValidationError):
        check(order)
