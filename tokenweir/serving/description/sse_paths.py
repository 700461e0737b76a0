"""Plain server-sent events in the description."""

from __future__ import annotations

from tokenweir.serving.description.parts import (
    EVENTS,
    Paths,
    Schema,
    answer,
    array,
    boolean,
    choice,
    event,
    header,
    mapping,
    operation,
    query,
    record,
    reference,
    string,
)

__all__ = ["paths", "schemas"]

_TAG = "Plain server-sent events"
_EVENTS = ("run", "token", "node", "custom", "remove", "end", "error")


def paths() -> Paths:
    """The operations of plain SSE."""
    place = {"Content-Location": "The path of the run."}
    stream = answer(
        "Server-sent events: `run`, then `token`, `node`, `custom`, `remove`, and last `end` or "
        "`error`. Ids name the run and the place in it.",
        event(_EVENTS),
        EVENTS,
        place,
    )
    over = answer("The run is over and all of it was read: an `EventSource` stays away.")
    last_id = header("Last-Event-ID", string("The id of the last event that came: go on after it."))
    only = query(
        "only", string("Which model calls pass: `tag:joke`, `node:write`, joined by `|`, `&`, `~`.")
    )
    thread = query("thread_id", string("A thread to run on, which is made if it is not there."))
    leaving = query(
        "on_disconnect",
        choice(["continue", "cancel"], "What becomes of the run if the connection ends."),
    )
    keys = query(
        "input_keys",
        mapping(
            "The graph's input, key by key: `?topic=cats`. Values that are not text are JSON.",
            additionalProperties={"type": "string"},
        ),
        style="form",
        explode=True,
    )
    return {
        "/graphs": {
            "get": operation(
                _TAG,
                "List the graphs, and what they take.",
                {200: answer("Graphs.", record("", {"graphs": array(reference("Graph"))}))},
            )
        },
        "/graphs/{name}": {
            "get": operation(
                _TAG,
                "Read what a graph takes.",
                {200: answer("The graph.", reference("Graph"))},
                errors=(404,),
            )
        },
        "/graphs/{name}/picture.svg": {
            "get": operation(
                _TAG,
                "A picture of a graph.",
                {200: answer("The picture.", {"type": "string"}, "image/svg+xml")},
                errors=(404,),
            )
        },
        "/graphs/{name}/picture.mermaid": {
            "get": operation(
                _TAG,
                "A graph as Mermaid's text.",
                {200: answer("The text.", {"type": "string"}, "text/plain")},
                errors=(404,),
            )
        },
        "/graphs/{name}/events": {
            "get": operation(
                _TAG,
                "Start a run and stream it; or go on with the one that `Last-Event-ID` names.",
                {200: stream, 204: over},
                errors=(404, 422, 503),
                parameters=[
                    last_id,
                    only,
                    thread,
                    leaving,
                    query("input", string("The whole input, as JSON.")),
                    keys,
                ],
            ),
            "post": operation(
                _TAG,
                "Start a run and stream it; or go on with the one that `Last-Event-ID` names.",
                {200: stream, 204: over},
                errors=(404, 422, 503),
                parameters=[last_id, only, thread, leaving],
                body=reference("EventsAsked"),
                example={"input": {"topic": "cats"}, "only": "tag:joke"},
            ),
        },
        "/runs/{id}/events": {
            "get": operation(
                _TAG,
                "Follow a run from its beginning, or from after `Last-Event-ID`.",
                {200: stream, 204: over},
                errors=(404, 422),
                parameters=[last_id, only],
            )
        },
        "/runs/{id}/cancel": {
            "post": operation(
                _TAG,
                "Stop a run, if it is not over.",
                {
                    200: answer(
                        "The run.",
                        record("", {"run": string(), "status": string()}),
                    )
                },
                errors=(404,),
            )
        },
    }


def schemas() -> dict[str, Schema]:
    """The schemas by name."""
    key = record(
        "One key of a graph's input. `type` is a JSON Schema type, `messages`, or `any`.",
        {"name": string(), "type": string(), "required": boolean()},
    )
    return {
        "Graph": record(
            "A graph.",
            {
                "name": string(),
                "input": array(key, "Null if the graph does not say.", null=True),
                "picture": string("A path."),
                "events": string("A path."),
            },
        ),
        "EventsAsked": record(
            "A run to be.",
            {
                "input": {"description": "The graph's input."},
                "command": {"anyOf": [reference("Command"), {"type": "null"}]},
                "config": {"anyOf": [reference("Config"), {"type": "null"}]},
                "context": {"description": "For graphs with a context schema."},
                "only": string("Which model calls are recorded.", null=True),
                "thread_id": string(null=True),
                "on_disconnect": choice(["continue", "cancel"]),
            },
            required=(),
        )
        | {"additionalProperties": False},
    }
