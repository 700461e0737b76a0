"""What LangGraph's API takes and gives, as JSON Schema."""

from __future__ import annotations

from tokenweir.serving.description.parts import (
    ANY,
    Schema,
    array,
    boolean,
    choice,
    integer,
    mapping,
    number,
    record,
    reference,
    string,
)

__all__ = ["schemas"]

_MODES = (
    "values",
    "updates",
    "messages",
    "messages-tuple",
    "custom",
    "debug",
    "tasks",
    "checkpoints",
)
_TIME = string("ISO 8601.")
_METADATA = mapping("Kept with it; to be searched for.", null=True)
_PAGE = {
    "limit": integer(minimum=0, default=10, null=True),
    "offset": integer(minimum=0, default=0, null=True),
}
_ORDER = choice(["asc", "desc"])
_NODES: Schema = {
    "description": "Nodes; `*` for all.",
    "anyOf": [{"const": "*"}, array(string()), {"type": "null"}],
}
_CONFIG = record(
    "The run's config. Other keys are left out.",
    {
        "configurable": mapping(),
        "tags": array(string()),
        "metadata": mapping(),
        "recursion_limit": integer(minimum=1, maximum=10_000),
    },
    required=(),
)
_ANY_CONFIG: Schema = {"anyOf": [reference("Config"), {"type": "null"}]}


def schemas() -> dict[str, Schema]:
    """The schemas by name."""
    return {**_about_assistants(), **_about_threads(), **_about_runs(), "Config": _CONFIG}


def _about_assistants() -> dict[str, Schema]:
    said: dict[str, Schema] = {
        "name": string(null=True),
        "description": string(null=True),
        "config": _ANY_CONFIG,
        "context": {"description": "For graphs with a context schema."},
        "metadata": _METADATA,
    }
    created: dict[str, Schema] = {
        "graph_id": string("The graph's name."),
        "assistant_id": string("Its id; made if not told.", null=True, minLength=1),
        "if_exists": choice(["raise", "do_nothing"]),
    }
    known = ("input", "output", "state", "config", "context")
    return {
        "Assistant": record(
            "A graph with a config.",
            {
                "assistant_id": string(),
                "graph_id": string(),
                "name": string(),
                "description": string(null=True),
                "config": mapping(),
                "context": ANY,
                "metadata": mapping(),
                "version": integer(minimum=1),
                "created_at": _TIME,
                "updated_at": _TIME,
            },
        ),
        "AssistantCreate": record(
            "What an assistant is made of.", {**created, **said}, required=("graph_id",)
        ),
        "AssistantChange": record("What to change.", said, required=()),
        "AssistantSearch": record(
            "Which assistants.",
            {
                "graph_id": string(null=True),
                "name": string("Part of the name.", null=True),
                "metadata": _METADATA,
                **_PAGE,
                "sort_by": choice(["created_at", "updated_at", "name"]),
                "sort_order": _ORDER,
            },
            required=(),
        ),
        "Schemas": record(
            "JSON schemas of a graph.",
            {
                "graph_id": string(),
                **{f"{name}_schema": mapping(null=True) for name in known},
            },
        ),
    }


def _about_threads() -> dict[str, Schema]:
    place: dict[str, Schema] = {
        "thread_id": string(),
        "checkpoint_ns": string(),
        "checkpoint_id": string(null=True),
    }
    asked = {name: string(null=True) for name in ("checkpoint_ns", "checkpoint_id")}
    checkpoint: Schema = {"anyOf": [reference("Checkpoint"), {"type": "null"}]}
    interrupts = array(record("", {"id": string(), "value": ANY}))
    return {
        "Thread": record(
            "A conversation, or whatever the graph's state is: runs on it go on from each other.",
            {
                "thread_id": string(),
                "created_at": _TIME,
                "updated_at": _TIME,
                "state_updated_at": _TIME,
                "metadata": mapping(),
                "status": choice(["idle", "busy", "interrupted", "error"]),
                "config": mapping(),
                "values": {"description": "The state; null before the first run."},
                "interrupts": mapping("By task."),
                "error": ANY,
            },
        ),
        "ThreadCreate": record(
            "A thread to be.",
            {
                "thread_id": string("Its id; made if not told.", null=True, maxLength=200),
                "metadata": _METADATA,
                "graph_id": string("The graph that it is for.", null=True),
                "if_exists": choice(["raise", "do_nothing"]),
                "supersteps": array(
                    mapping(),
                    "Changes that bring it to a state: `updates`, a list of `values`, `as_node`.",
                    null=True,
                ),
            },
            required=(),
        ),
        "ThreadSearch": record(
            "Which threads.",
            {
                "ids": array(string(), null=True),
                "status": string(null=True),
                "metadata": _METADATA,
                "values": mapping("Of the state.", null=True),
                **_PAGE,
                "sort_by": choice(
                    ["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
                ),
                "sort_order": _ORDER,
                "select": array(string(), "Only these keys.", null=True),
            },
            required=(),
        ),
        "Checkpoint": record("A place in a thread.", place),
        "CheckpointAsked": mapping("A place in a thread.", null=True, properties=asked),
        "State": record(
            "What a thread held at a checkpoint.",
            {
                "values": ANY,
                "next": array(string(), "The nodes that run next."),
                "tasks": array(mapping()),
                "metadata": mapping(null=True),
                "created_at": string(null=True),
                "checkpoint": checkpoint,
                "parent_checkpoint": checkpoint,
                "interrupts": interrupts,
                "checkpoint_id": string(null=True),
                "parent_checkpoint_id": string(null=True),
            },
        ),
        "StateChange": record(
            "A change of the state.",
            {
                "values": {"description": "What the node would give."},
                "as_node": string("The node.", null=True),
                "checkpoint": reference("CheckpointAsked"),
                "checkpoint_id": string(null=True),
            },
            required=(),
        ),
        "HistoryAsked": record(
            "Which states.",
            {
                "limit": integer(minimum=0, default=10, null=True),
                "before": {
                    "description": "A checkpoint, or its id: only older ones.",
                    "anyOf": [string(), mapping(), {"type": "null"}],
                },
                "metadata": _METADATA,
                "checkpoint": reference("CheckpointAsked"),
            },
            required=(),
        ),
    }


def _about_runs() -> dict[str, Schema]:
    goto: Schema = {"anyOf": [string(), mapping()]}
    return {
        "StreamMode": choice(_MODES),
        "Command": record(
            "Instead of an input.",
            {
                "resume": {"description": "The answer to an interrupt."},
                "update": {"description": "A change of the state."},
                "goto": {"anyOf": [*goto["anyOf"], array(goto)]},
            },
            required=(),
        ),
        "RunCreate": record(
            "A run to be. Keys that are not listed are left out.",
            {
                "assistant_id": string("A graph's name, or an assistant's id."),
                "input": {"description": "The graph's input; null to go on from the state."},
                "command": {"anyOf": [reference("Command"), {"type": "null"}]},
                "stream_mode": {
                    "default": "values",
                    "anyOf": [
                        reference("StreamMode"),
                        array(reference("StreamMode")),
                        {"type": "null"},
                    ],
                },
                "stream_subgraphs": boolean("Also the events of subgraphs.", default=False),
                "only": string(
                    "Which model calls pass in `messages` modes: `tag:joke`, `node:write`, joined "
                    "by `|`, `&`, `~`.",
                    null=True,
                ),
                "config": _ANY_CONFIG,
                "context": {"description": "For graphs with a context schema."},
                "metadata": _METADATA,
                "interrupt_before": _NODES,
                "interrupt_after": _NODES,
                "checkpoint": reference("CheckpointAsked"),
                "checkpoint_id": string("Where to start from.", null=True),
                "multitask_strategy": choice(
                    ["enqueue", "reject", "interrupt", "rollback"],
                    "What to do while the thread is busy.",
                    default="enqueue",
                ),
                "if_not_exists": choice(["reject", "create"], "If there is no such thread."),
                "on_disconnect": choice(["continue", "cancel"], "If the connection ends."),
                "on_completion": choice(["delete", "keep"], "A thread of its own, at the end."),
                "durability": choice(["sync", "async", "exit"], "When checkpoints are written."),
                "after_seconds": number("Wait so long first.", null=True, minimum=0, maximum=86400),
            },
            required=("assistant_id",),
        ),
        "RunsAsked": record(
            "Which runs that are not over: by id, or by status.",
            {
                "thread_id": string(null=True),
                "run_ids": array(string(), null=True),
                "status": choice(["pending", "running", "all"]),
            },
            required=(),
        ),
        "Run": record(
            "A run.",
            {
                "run_id": string(),
                "thread_id": string(),
                "assistant_id": string(),
                "created_at": _TIME,
                "updated_at": _TIME,
                "status": choice(
                    ["pending", "running", "success", "error", "timeout", "interrupted"]
                ),
                "metadata": mapping(),
                "multitask_strategy": string(),
                "kwargs": mapping("What it was asked to do."),
            },
        ),
    }
