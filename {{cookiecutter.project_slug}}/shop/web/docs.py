"""Show the OpenAPI document as a page that needs nothing from other servers."""

from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """body{font:15px/1.6 system-ui,"PingFang SC","Noto Sans CJK SC",sans-serif;color:#1f2a24;
max-width:56rem;margin:2rem auto;padding:0 1rem}section{border:1px solid #dfe5e1;border-radius:10px;
padding:.4rem 1rem 1rem;margin:1rem 0}h3{font:600 1rem ui-monospace,monospace;margin:.6rem 0 .2rem}
h3 b{color:#fff;background:#07a34a;border-radius:5px;padding:.1rem .5rem;margin-right:.5rem}
h3 b.GET{background:#3b6ea5}p{margin:.2rem 0 .6rem}table{border-collapse:collapse;width:100%}
td{border-top:1px solid #edf1ee;padding:.25rem .8rem .25rem 0;vertical-align:top}
td:first-child{font-family:ui-monospace,monospace;width:13rem}small{color:#6b7770}a{color:#07803b}"""
WHO = {"session": "a session", "cookie": "", "admin": "the admin token"}


def page(said: dict[str, Any]) -> str:
    """Return the page: every call, then every shape."""
    calls = (
        _call(method, path, operation)
        for path, methods in said["paths"].items()
        for method, operation in methods.items()
    )
    shapes = (_shape(name, shape) for name, shape in said["components"]["schemas"].items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>API</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style><h1>{escape(said['info']['title'])} API</h1>"
        f'<p>{escape(said["info"]["description"])} <a href="/openapi.json">openapi.json</a></p>'
        f"{''.join(calls)}<h2>Shapes</h2>{''.join(shapes)}"
    )


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    verb = method.upper()
    needs = [WHO[name] for need in operation["security"] for name in need if WHO[name]]
    who = f"<small>needs {needs[0]}</small>" if needs else ""
    return (
        f'<section><h3><b class="{verb}">{verb}</b>{escape(path)}</h3>'
        f"<p>{escape(operation['summary'])} {who}</p>{_table(_inputs(operation))}</section>"
    )


def _inputs(operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in operation["parameters"]:
        yield parameter["name"], f"{parameter['in']} {_type(parameter['schema'])}"
    if "requestBody" in operation:
        yield "body", _type(_json(operation["requestBody"]))
    for status, answer in operation["responses"].items():
        shape = _json(answer)
        yield status, _type(shape) if shape else escape(answer["description"])


def _json(part: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _shape(name: str, shape: dict[str, Any]) -> str:
    fields = shape.get("properties", {})
    required = shape.get("required", [])
    rows = (
        (field, _type(schema) + ("" if field in required else " <small>optional</small>"))
        for field, schema in fields.items()
    )
    about = f"<h3>{escape(name)}</h3><p>{escape(shape.get('description', ''))}</p>"
    return f'<section id="{escape(name)}">{about}{_table(rows)}</section>'


def _type(schema: dict[str, Any]) -> str:
    """Say a schema in a few words; shapes are links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}{_limits(schema)}"
    kind = schema.get("format") or schema.get("type", "anything")
    return f"{escape(str(kind))}{_limits(schema)}"


def _limits(schema: dict[str, Any]) -> str:
    names = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")
    said = ", ".join(f"{name} {schema[name]}" for name in names if name in schema)
    return f" <small>{escape(said)}</small>" if said else ""


def _table(rows: Iterator[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{text}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>" if cells else ""
