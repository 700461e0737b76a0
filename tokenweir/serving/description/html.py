"""An OpenAPI document as one HTML page: no scripts, no external resources, light and dark."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["STYLE", "page_of"]

STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d5dbe1, #3a424b);
  --soft: light-dark(#f4f6f8, #1c2127); --faint: light-dark(#57606a, #9aa4af);
  --link: light-dark(#0b5cad, #7ab7ff); }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem;
  font: 16px/1.5 system-ui, sans-serif; background: light-dark(#fff, #14181d);
  color: light-dark(#1b2127, #e3e8ed); }
a { color: var(--link); } h1 { margin: 0; } h2 { margin: 2.5rem 0 .3rem; }
h4 { margin: 1rem 0 .2rem; font-size: .85rem; color: var(--faint); }
p { margin: .3rem 0; } nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1rem 0; }
code, pre, .method { font: .875em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .6rem .8rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { padding: .4rem .8rem; cursor: pointer; } details[open] > summary {
  border-bottom: 1px solid var(--line); } summary code { font-weight: 600; }
details > div { padding: .2rem .8rem .8rem; } .method { display: inline-block; width: 4.2em;
  color: var(--link); font-weight: 600; } .faint { color: var(--faint); }
ul { margin: .2rem 0; padding-left: 1.2rem; } li { margin: .1rem 0; }
:target { outline: 2px solid var(--link); }
"""


def page_of(document: Mapping[str, Any]) -> str:
    """The page."""
    info = document["info"]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}: API</title>",
            '<link rel="icon" href="page/icon.svg">',
            f"<style>{STYLE}</style></head><body>",
            f"<header><h1>{escape(info['title'])}</h1>",
            f"<p>{_text(info['description'])}</p>",
            f'<p class="faint">Version {escape(info["version"])} \u00b7 ',
            '<a href="openapi.json">openapi.json</a> \u00b7 <a href="./">Run graphs</a></p>',
            f"<p>{_access(document)}</p></header>",
            "<nav>",
            *(
                f'<a href="#{_anchor(tag["name"])}">{escape(tag["name"])}</a>'
                for tag in document["tags"]
            ),
            '<a href="#schemas">Schemas</a></nav><main>',
            *(part for tag in document["tags"] for part in _part(document, tag)),
            '<h2 id="schemas">Schemas</h2>',
            *(_schema(name, schema) for name, schema in document["components"]["schemas"].items()),
            "</main></body></html>",
        ]
    )


def _access(document: Mapping[str, Any]) -> str:
    if not document["security"]:
        return "This server needs no API key."
    return _text("Send an API key as `x-api-key`, or as `Authorization: Bearer`.")


def _part(document: Mapping[str, Any], tag: Mapping[str, Any]) -> Iterator[str]:
    yield f'<section><h2 id="{_anchor(tag["name"])}">{escape(tag["name"])}</h2>'
    yield f"<p>{_text(tag['description'])}</p>"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if tag["name"] in operation["tags"]:
                yield from _operation(document, path, method, operation)
    yield "</section>"


def _operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield f'<details id="{escape(operation["operationId"])}"><summary>'
    yield f'<span class="method">{method.upper()}</span><code>{escape(path)}</code> '
    yield f'<span class="faint">{_text(operation["summary"])}</span></summary><div>'
    if said := operation.get("description"):
        yield f"<p>{_text(said)}</p>"
    if operation.get("security") == [] and document["security"]:
        yield '<p class="faint">Needs no API key.</p>'
    if parameters := operation.get("parameters"):
        yield "<h4>Parameters</h4><ul>"
        for each in parameters:
            about = _about(each["schema"], each.get("description", ""))
            yield f"<li><code>{escape(each['name'])}</code> in {each['in']}{about}</li>"
        yield "</ul>"
    if body := operation.get("requestBody"):
        [(kind, content)] = body["content"].items()
        yield f"<h4>Body, {escape(kind)}{'' if body['required'] else ', optional'}</h4>"
        yield f"<p>{_shape(content['schema'])}</p>"
        if "example" in content:
            yield f"<pre>{escape(_curl(method, path, content['example']))}</pre>"
    yield "<h4>Answers</h4><ul>"
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        yield f"<li><code>{status}</code> {_text(answer['description'])}"
        for kind, content in answer.get("content", {}).items():
            yield f' <span class="faint">{escape(kind)}</span> {_shape(content["schema"])}'
        if headers := answer.get("headers"):
            yield "<ul>"
            for name, each in headers.items():
                yield f"<li><code>{escape(name)}</code>: {_text(each['description'])}</li>"
            yield "</ul>"
        yield "</li>"
    yield "</ul></div></details>"


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code> '
        f'<span class="faint">{_text(schema.get("description", ""))}</span></summary>'
        f"<div>{_shape({**schema, 'description': ''})}</div></details>"
    )


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema: its type, followed by its fields."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}"><code>{escape(name)}</code></a>'
    required = schema.get("required", ())
    fields = "".join(
        f"<li><code>{escape(name)}</code>{'' if name in required else ' (optional)'}"
        f"{_about(each)}</li>"
        for name, each in schema.get("properties", {}).items()
    )
    if fields:
        return f"{escape(_type(schema))}<ul>{fields}</ul>"
    if "anyOf" in schema:
        return " or ".join(map(_shape, schema["anyOf"]))
    if isinstance(schema.get("items"), Mapping) and schema["items"]:
        return f"list of {_shape(schema['items'])}"
    return escape(_type(schema))


def _about(schema: Mapping[str, Any], said: str = "") -> str:
    said = said or schema.get("description", "")
    default = (
        f". Default: <code>{escape(json.dumps(schema['default']))}</code>"
        if schema.get("default") is not None
        else ""
    )
    return f": {_shape(schema)}{default}{'. ' + _text(said) if said else ''}"


def _type(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(map(json.dumps, schema["enum"]))
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _curl(method: str, path: str, example: Any) -> str:
    # In single quotes of the shell; no example contains one.
    return (
        f"curl -N -X {method.upper()} http://localhost:2024{path} \\\n"
        f"  -H 'content-type: application/json' \\\n  -d '{json.dumps(example)}'"
    )


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name).lower()


def _text(said: str) -> str:
    """Plain text, with code between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(said))
