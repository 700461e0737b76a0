"""LangGraph's API in the description: assistants, threads and runs."""

from __future__ import annotations

from tokenweir.serving.description.parts import (
    ANY,
    EVENTS,
    Operation,
    Paths,
    Schema,
    answer,
    array,
    boolean,
    choice,
    event,
    header,
    integer,
    mapping,
    operation,
    query,
    record,
    reference,
    string,
)

__all__ = ["paths"]

_ASSISTANTS, _THREADS, _RUNS = "Assistants", "Threads", "Runs"

_PLACES = {
    "Location": "The path at which to read the run on.",
    "Content-Location": "The path of the run.",
}
_PAGES = {
    "X-Pagination-Total": "How many there are.",
    "X-Pagination-Next": "The offset of the next page, if there is one.",
}
_LAST_ID = header(
    "Last-Event-ID",
    string(
        "The id of the last event that came: go on after it. -1 for all events. Without it, only "
        "what comes from now on.",
        pattern="^(-1|[0-9]{1,18})$",
    ),
)
_STREAM = answer(
    "Server-sent events: `metadata` first, then one event per mode and part, `error` if the run "
    "fails. Names of subgraphs' events go on with `|` and the namespace.",
    event(),
    EVENTS,
    _PLACES,
)
_VALUES = answer(
    "The last values when the run is over, or `__error__`. White space before them keeps the "
    "connection alive.",
    ANY,
    headers=_PLACES,
)
_LEAVES = query("cancel_on_disconnect", boolean("Whether the run stops if this connection does."))

_UNDO = query(
    "action",
    choice(["interrupt", "rollback"], "Whether to undo it as well: its checkpoints go, and it."),
)


def paths() -> Paths:
    """The operations of LangGraph's API."""
    return {**_assistants(), **_threads(), **_runs()}


def _assistants() -> Paths:
    one = "/assistants/{assistant_id}"
    found = answer("The assistant.", reference("Assistant"))
    schemas = answer("JSON schemas by subgraph.", mapping(additionalProperties=mapping()))
    recurse = query("recurse", boolean("Also what is below the subgraphs."))
    asked = reference("AssistantSearch")
    return {
        "/assistants": {
            "post": operation(
                _ASSISTANTS,
                "Create an assistant: a graph with a config.",
                {200: found},
                errors=(404, 409, 422),
                body=reference("AssistantCreate"),
                needs_body=True,
                example={"graph_id": "chat", "name": "brief", "config": {"tags": ["brief"]}},
            )
        },
        "/assistants/search": {
            "post": operation(
                _ASSISTANTS,
                "List assistants. Each graph has one of its own.",
                {200: answer("Assistants.", array(reference("Assistant")), headers=_PAGES)},
                errors=(422,),
                body=asked,
            )
        },
        "/assistants/count": {
            "post": operation(
                _ASSISTANTS,
                "Count assistants.",
                {200: answer("How many.", integer(minimum=0))},
                errors=(422,),
                body=asked,
            )
        },
        one: {
            "get": operation(_ASSISTANTS, "Read an assistant.", {200: found}, errors=(404,)),
            "patch": operation(
                _ASSISTANTS,
                "Change an assistant. A graph's own cannot be changed.",
                {200: found},
                errors=(404, 422),
                body=reference("AssistantChange"),
            ),
            "delete": operation(
                _ASSISTANTS,
                "Forget an assistant. A graph's own cannot be forgotten.",
                {204: answer("It is gone.")},
                errors=(404, 422),
            ),
        },
        f"{one}/graph": {
            "get": operation(
                _ASSISTANTS,
                "The graph's nodes and edges.",
                {
                    200: answer(
                        "Nodes and edges.",
                        record("", {"nodes": array(mapping()), "edges": array(mapping())}),
                    )
                },
                errors=(404,),
                parameters=[
                    query(
                        "xray",
                        {
                            "description": "How far to look into subgraphs.",
                            "anyOf": [{"type": "boolean"}, integer(minimum=0, maximum=999)],
                        },
                    )
                ],
            )
        },
        f"{one}/schemas": {
            "get": operation(
                _ASSISTANTS,
                "JSON schemas of what the graph takes, holds and gives.",
                {200: answer("The schemas; null where there is none.", reference("Schemas"))},
                errors=(404,),
            )
        },
        f"{one}/subgraphs": {
            "get": operation(
                _ASSISTANTS,
                "JSON schemas of the subgraphs.",
                {200: schemas},
                errors=(404,),
                parameters=[recurse],
            )
        },
        f"{one}/subgraphs/{{namespace}}": {
            "get": operation(
                _ASSISTANTS,
                "JSON schemas of the subgraphs below a namespace.",
                {200: schemas},
                errors=(404,),
                parameters=[recurse],
            )
        },
    }


def _threads() -> Paths:
    one = "/threads/{thread_id}"
    found = answer("The thread.", reference("Thread"))
    state = answer("The state; empty where nothing ran yet.", reference("State"))
    history = answer("States, newest first.", array(reference("State")))
    subgraphs = query("subgraphs", boolean("Also the states of subgraphs."))
    asked = reference("ThreadSearch")
    return {
        "/threads": {
            "post": operation(
                _THREADS,
                "Create a thread.",
                {200: found},
                errors=(409, 422),
                body=reference("ThreadCreate"),
                example={"metadata": {"user": "ann"}},
            )
        },
        "/threads/search": {
            "post": operation(
                _THREADS,
                "List threads.",
                {200: answer("Threads, newest first.", array(mapping()), headers=_PAGES)},
                errors=(422,),
                body=asked,
            )
        },
        "/threads/count": {
            "post": operation(
                _THREADS,
                "Count threads.",
                {200: answer("How many.", integer(minimum=0))},
                errors=(422,),
                body=asked,
            )
        },
        "/threads/prune": {
            "post": operation(
                _THREADS,
                "Forget several threads, stopping their runs.",
                {200: answer("How many went.", record("", {"pruned_count": integer(minimum=0)}))},
                errors=(422,),
                body=record("", {"thread_ids": array(string())}, required=()),
            )
        },
        f"{one}/copy": {
            "post": operation(
                _THREADS,
                "Create a thread with the state and the history of another.",
                {200: found},
                errors=(404,),
            )
        },
        one: {
            "get": operation(_THREADS, "Read a thread.", {200: found}, errors=(404,)),
            "patch": operation(
                _THREADS,
                "Change a thread's metadata.",
                {200: found, 204: answer("Changed, with `Prefer: return=minimal`.")},
                errors=(404, 422),
                body=record("", {"metadata": mapping("Added to what is there.")}, required=()),
            ),
            "delete": operation(
                _THREADS,
                "Forget a thread, stopping its runs.",
                {204: answer("It is gone.")},
                errors=(404,),
            ),
        },
        f"{one}/state": {
            "get": operation(
                _THREADS,
                "The thread's newest state.",
                {200: state},
                errors=(404, 422),
                parameters=[subgraphs],
            ),
            "post": operation(
                _THREADS,
                "Change the state as a node would.",
                {
                    200: answer(
                        "The checkpoint that was made.",
                        record(
                            "",
                            {
                                "checkpoint": reference("Checkpoint"),
                                "checkpoint_id": string(null=True),
                            },
                        ),
                    )
                },
                errors=(404, 409, 422),
                body=reference("StateChange"),
                example={"values": {"topic": "cats"}, "as_node": "write_joke"},
            ),
        },
        f"{one}/state/checkpoint": {
            "post": operation(
                _THREADS,
                "The thread's state at a checkpoint, which may be a subgraph's.",
                {200: state},
                errors=(404, 422),
                body=record(
                    "",
                    {"checkpoint": reference("CheckpointAsked"), "subgraphs": boolean()},
                    required=(),
                ),
            )
        },
        f"{one}/state/{{checkpoint_id}}": {
            "get": operation(
                _THREADS,
                "The thread's state at a checkpoint.",
                {200: state},
                errors=(404, 422),
                parameters=[subgraphs],
            )
        },
        f"{one}/history": {
            "get": operation(
                _THREADS,
                "The thread's states so far.",
                {200: history},
                errors=(404, 422),
                parameters=[
                    query("limit", integer("At most so many.", minimum=0, default=10)),
                    query("before", string("The id of a checkpoint: only older ones.")),
                ],
            ),
            "post": operation(
                _THREADS,
                "The thread's states so far.",
                {200: history},
                errors=(404, 422),
                body=reference("HistoryAsked"),
            ),
        },
    }


def _runs() -> Paths:
    on_thread, one = "/threads/{thread_id}/runs", "/threads/{thread_id}/runs/{run_id}"
    run = answer("The run.", reference("Run"))
    made = answer("The run, which goes on by itself.", reference("Run"), headers=_PLACES)
    where = {
        "/runs": ("on a thread of its own, which goes when the run ends", (409, 422, 429, 503)),
        on_thread: ("on a thread", (404, 409, 422, 429, 503)),
    }
    found: Paths = {}
    for place, (said, errors) in where.items():
        found[f"{place}/stream"] = {
            "post": _starts(f"Start a run {said}, and stream it.", _STREAM, errors)
        }
        found[f"{place}/wait"] = {
            "post": _starts(f"Start a run {said}, and wait for its end.", _VALUES, errors)
        }
        found[place] = {"post": _starts(f"Start a run {said}, and do not wait.", made, errors)}
    found[on_thread]["get"] = operation(
        _RUNS,
        "List a thread's runs, newest first.",
        {200: answer("Runs.", array(reference("Run")))},
        errors=(404, 422),
        parameters=[
            query("limit", integer(minimum=0, default=10)),
            query("offset", integer(minimum=0, default=0)),
            query("status", string("Only those with this status.")),
        ],
    )
    return {
        **found,
        "/runs/batch": {
            "post": operation(
                _RUNS,
                "Start several runs, each on a thread of its own, and do not wait.",
                {200: answer("The runs.", array(reference("Run")))},
                errors=(422, 429, 503),
                body=array(reference("RunCreate")),
                needs_body=True,
            )
        },
        "/runs/cancel": {
            "post": operation(
                _RUNS,
                "Stop several runs.",
                {204: answer("They are being stopped.")},
                errors=(422,),
                body=reference("RunsAsked"),
                parameters=[_UNDO],
            )
        },
        one: {
            "get": operation(_RUNS, "Read a run.", {200: run}, errors=(404,)),
            "delete": operation(
                _RUNS,
                "Forget a run that is over, with its events.",
                {204: answer("It is gone.")},
                errors=(404, 409),
            ),
        },
        f"{one}/join": {
            "get": operation(
                _RUNS,
                "Wait for a run's end.",
                {200: _VALUES},
                errors=(404, 422),
                parameters=[_LEAVES],
            )
        },
        f"{one}/stream": {
            "get": operation(
                _RUNS,
                "Stream a run that has begun, from its beginning, from an id, or from now.\n\n"
                "A run that is not there is told as the event `error`, with status 200.",
                {200: _STREAM},
                errors=(422,),
                parameters=[
                    _LAST_ID,
                    _LEAVES,
                    query(
                        "stream_mode",
                        array(reference("StreamMode"), "Which events; all if not told."),
                    ),
                ],
            )
        },
        f"{one}/cancel": {
            "post": operation(
                _RUNS,
                "Stop a run.",
                {200: answer("It is over.", mapping()), 202: answer("It is being stopped.")},
                errors=(404, 422),
                parameters=[
                    query("wait", boolean("Answer when it is over.")),
                    _UNDO,
                ],
            )
        },
    }


def _starts(summary: str, answered: Schema, errors: tuple[int, ...]) -> Operation:
    return operation(
        _RUNS,
        summary,
        {200: answered},
        errors=errors,
        body=reference("RunCreate"),
        needs_body=True,
        example={
            "assistant_id": "joke_poem",
            "input": {"topic": "cats"},
            "stream_mode": "messages-tuple",
        },
    )
