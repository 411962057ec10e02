"""The API's description as one page of HTML, made from the OpenAPI document: no script, nothing fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Node = Mapping[str, Any]


def render_page(document: Node, style: str) -> bytes:
    groups: dict[str, list[tuple[str, str, Node]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append((method.upper(), path, operation))
    info = document["info"]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])} {escape(info['version'])}</title>",
            f'<link rel="stylesheet" href="{escape(style)}"></head><body>',
            _contents(groups),
            f"<main><header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
            _prose(info["description"]),
            '<p><a href="/openapi.json">openapi.json</a> says the same to programs.</p></header>',
            *(_group(document, name, rows) for name, rows in groups.items() if rows),
            _failures(document),
            _words(document),
            "</main></body></html>",
            "",
        ]
    ).encode()


def _contents(groups: Mapping[str, list[tuple[str, str, Node]]]) -> str:
    parts: list[str] = []
    for name, rows in groups.items():
        links = "".join(
            f'<li><a href="#{_anchor(operation)}">{_method(method)}{_path(path)}</a></li>'
            for method, path, operation in rows
        )
        parts.append(f"<h2>{escape(name)}</h2><ul>{links}</ul>" if rows else "")
    more = '<h2>more</h2><ul><li><a href="#failures">Failures</a></li><li><a href="#words">Words</a></li></ul>'
    return f"<nav>{''.join(parts)}{more}</nav>"


def _group(document: Node, name: str, rows: Iterable[tuple[str, str, Node]]) -> str:
    operations = "".join(_operation(document, *row) for row in rows)
    return f"<section><h2>{escape(name)}</h2>{operations}</section>"


def _operation(document: Node, method: str, path: str, operation: Node) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    parts = [
        f'<article id="{_anchor(operation)}"><h3>{_method(method)}<code>{_path(path)}</code>'
        f'<span class="scope">{escape(operation["x-scope"])}</span></h3>',
        _prose(operation.get("description") or operation["summary"]),
        _parameters(document, operation["parameters"]),
    ]
    if body is not None:
        parts += [_fields("Body", body["schema"]), _example(f"{method} {path}", body.get("example"))]
    parts.append(_answers(document, operation["responses"]))
    return "".join(parts) + "</article>"


def _parameters(document: Node, found: Iterable[Node]) -> str:
    rows = [
        (each["name"], each["in"], each["schema"], each.get("description", ""), each.get("required", False))
        for each in (_resolved(document, one) for one in found)
    ]
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code>{'*' if required else ''}</td><td>{escape(place)}</td>"
        f"<td>{_kind(schema)}</td><td>{_inline(about)}</td></tr>"
        for name, place, schema, about, required in rows
    )
    return _details("Parameters", f"<table>{lines}</table>")


def _fields(title: str, schema: Node) -> str:
    required = schema.get("required", ())
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code>{'*' if name in required else ''}</td><td>{_kind(about)}</td>"
        f"<td>{_inline(about.get('description', ''))}{_default(about)}</td></tr>"
        for name, about in schema.get("properties", {}).items()
    )
    return _details(title, f"<table>{lines}</table>") if lines else ""


def _example(title: str, example: object) -> str:
    if not example:
        return ""
    text = escape(json.dumps(example, indent=2, ensure_ascii=False))
    return _details("Example", f"<pre>{escape(title)}\n\n{text}</pre>")


def _answers(document: Node, responses: Node) -> str:
    lines: list[str] = []
    for code, response in responses.items():
        found = _resolved(document, response)
        forms = ", ".join(f"<code>{escape(kind.partition(';')[0])}</code>" for kind in found.get("content", {}))
        kinds = [
            _kind(each["schema"]) for kind, each in found.get("content", {}).items() if kind.endswith("/json")
        ]
        if int(code) < 400:
            about = f"{_inline(found['description'])} {' '.join(kinds)}<br>{forms}"
            lines.append(f"<tr><td>{code}</td><td>{about}</td></tr>")
    refused = " ".join(f'<a href="#status-{code}">{code}</a>' for code in responses if int(code) >= 400)
    return f"<table>{''.join(lines)}<tr><td>else</td><td>{refused}</td></tr></table>"


def _failures(document: Node) -> str:
    rows: list[str] = []
    for name, response in document["components"]["responses"].items():
        (content,) = response["content"].values()
        phrase, _, kinds = response["description"].partition(": ")
        number = name.removeprefix("Status")
        rows.append(
            f'<tr id="status-{number}"><td>{number}</td><td>{escape(kinds)}</td><td>{escape(phrase)}'
            f"<br><small>{escape(content['example']['Message'])}</small></td></tr>"
        )
    return f'<section id="failures"><h2>Failures</h2><table>{"".join(rows)}</table></section>'


def _words(document: Node) -> str:
    parts: list[str] = []
    for name, schema in document["components"]["schemas"].items():
        about = _prose(schema.get("description", ""))
        keys = _fields("Keys", schema)
        parts.append(f'<article id="word-{escape(name)}"><h3>{escape(name)}</h3>{about}{keys}</article>')
    return f'<section id="words"><h2>Words</h2>{"".join(parts)}</section>'


def _kind(schema: Node) -> str:
    """A type in short, words leading to where they are told."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#word-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "anything"))) + (" (base64)" if "contentEncoding" in schema else "")


def _default(schema: Node) -> str:
    value = schema.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    return f" <small>else <code>{escape(json.dumps(value))}</code></small>"


def _details(title: str, inside: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def _prose(text: str) -> str:
    parts: list[str] = []
    for block in filter(None, re.split(r"\n\n", text.strip())):
        if block.startswith("- "):
            points = re.split(r"(?:^|\n)- ", block)[1:]
            parts.append(f"<ul>{''.join(f'<li>{_inline(point)}</li>' for point in points)}</ul>")
        else:
            parts.append(f"<p>{_inline(block)}</p>")
    return "".join(parts)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _method(method: str) -> str:
    return f'<b class="{method.lower()}">{method}</b> '


def _path(path: str) -> str:
    return re.sub(r"(\{\w+\})", r"<i>\1</i>", escape(path))


def _anchor(operation: Node) -> str:
    return escape(operation["operationId"])


def _resolved(document: Node, found: Node) -> Node:
    while "$ref" in found:
        place: Any = document
        for part in found["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        found = place
    return found
