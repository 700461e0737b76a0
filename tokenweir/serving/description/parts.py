"""The words that a description is written in: operations, answers, schemas. No I/O.

What the server's operations are is said in this folder's other modules, one for each protocol.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "ANY",
    "EVENTS",
    "JSON",
    "Operation",
    "Paths",
    "Schema",
    "answer",
    "array",
    "boolean",
    "choice",
    "event",
    "header",
    "integer",
    "mapping",
    "named",
    "number",
    "operation",
    "query",
    "record",
    "reference",
    "string",
]

Schema = dict[str, Any]
Operation = dict[str, Any]
Paths = dict[str, dict[str, Operation]]
"""Operations by path and method, as in OpenAPI; parameters in paths are added to them later."""

JSON = "application/json"
EVENTS = "text/event-stream"

ANY: Schema = {}
_PROBLEMS = {
    400: "Invalid",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "TooSlow",
    409: "Conflict",
    413: "TooBig",
    422: "Invalid",
    429: "TooMany",
    500: "Failed",
    503: "TooBusy",
}


# Schemas


def string(description: str = "", *, null: bool = False, **more: Any) -> Schema:
    return _schema("string", description, null, more)


def integer(description: str = "", *, null: bool = False, **more: Any) -> Schema:
    return _schema("integer", description, null, more)


def number(description: str = "", *, null: bool = False, **more: Any) -> Schema:
    return _schema("number", description, null, more)


def boolean(description: str = "", *, null: bool = False, **more: Any) -> Schema:
    return _schema("boolean", description, null, more)


def array(items: Schema, description: str = "", *, null: bool = False, **more: Any) -> Schema:
    return _schema("array", description, null, {"items": items, **more})


def mapping(description: str = "", *, null: bool = False, **more: Any) -> Schema:
    """An object with whatever keys."""
    return _schema("object", description, null, more)


def choice(names: Sequence[str], description: str = "", **more: Any) -> Schema:
    return _schema("string", description, False, {"enum": list(names), **more})


def record(
    description: str, fields: Mapping[str, Schema], *, required: Sequence[str] | None = None
) -> Schema:
    """An object with named fields; all of them are required unless told."""
    names = list(fields) if required is None else list(required)
    more: Schema = {"properties": dict(fields)}
    if names:
        more["required"] = names
    return _schema("object", description, False, more)


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def event(names: Sequence[str] = ()) -> Schema:
    """One server-sent event; a stream of them is described by what each of them is."""
    return record(
        "Each event.",
        {
            "event": choice(names) if names else string("What kind of event."),
            "data": string("A JSON document."),
            "id": string("Where to go on after it."),
        },
        required=("data",),
    )


# Parameters


def query(name: str, schema: Schema, **more: Any) -> Schema:
    return _parameter("query", name, schema, more)


def header(name: str, schema: Schema) -> Schema:
    return _parameter("header", name, schema, {})


# Operations


def answer(
    description: str,
    schema: Schema | None = None,
    kind: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Schema:
    """What comes back; nothing beyond the status without a schema."""
    found: Schema = {"description": description}
    if headers:
        found["headers"] = {
            name: {"description": said, "schema": {"type": "string"}}
            for name, said in headers.items()
        }
    if schema is not None:
        found["content"] = {kind: {"schema": schema}}
    return found


def operation(
    tag: str,
    summary: str,
    answers: Mapping[int, Schema],
    *,
    errors: Sequence[int] = (),
    parameters: Sequence[Schema] = (),
    body: Schema | None = None,
    needs_body: bool = False,
    example: Any = None,
    open: bool = False,
    shape: str = "",
) -> Operation:
    """One operation.

    Args:
        tag: The part of the description it stands in.
        summary: What it does, in one sentence; what follows an empty line is its description.
        answers: What comes back if all is well, by status.
        errors: Statuses of errors, besides those that any operation may answer with.
        parameters: Made by ``query`` and ``header``.
        body: The schema of the body.
        needs_body: Whether the body may not be left out.
        example: A body that works, for people.
        open: Whether it needs no API key.
        shape: What the names of the errors' answers begin with: ``OpenAI``, or nothing.
    """
    first, _, rest = summary.partition("\n\n")
    made: Operation = {"tags": [tag], "summary": " ".join(first.split())}
    if rest:
        made["description"] = " ".join(rest.split())
    if open:
        made["security"] = []
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        content: Schema = {"schema": body}
        if example is not None:
            content["example"] = example
        made["requestBody"] = {"required": needs_body, "content": {JSON: content}}
    common = {403, 413} | (set() if open else {401}) | (set() if body is None else {408})
    found: dict[str, Schema] = {str(status): each for status, each in answers.items()}
    for status in sorted(common | set(errors)):
        shared = {"$ref": f"#/components/responses/{shape}{_PROBLEMS[status]}"}
        found.setdefault(str(status), shared)
    made["responses"] = found
    return made


def named(path: str, method: str) -> str:
    """An operation's id, made from where it is: ``get_threads_thread_id``."""
    words = re.findall(r"\w+", path)
    return "_".join([method, *words]) if words else f"{method}_root"


def _schema(kind: str, description: str, null: bool, more: Mapping[str, Any]) -> Schema:
    made: Schema = {"type": [kind, "null"] if null else kind}
    if description:
        made["description"] = " ".join(description.split())
    return made | dict(more)


def _parameter(place: str, name: str, schema: Schema, more: Mapping[str, Any]) -> Schema:
    schema = dict(schema)
    made: Schema = {"name": name, "in": place, "schema": schema}
    if said := schema.pop("description", ""):
        made["description"] = said
    return made | dict(more)
