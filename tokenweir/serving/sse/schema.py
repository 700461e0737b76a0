"""Requests and responses of the routes for plain server-sent events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from tokenweir.serving.fields import Only, said
from tokenweir.serving.graph_inputs import Key
from tokenweir.serving.running.records import Command, Config

__all__ = [
    "Cancelled",
    "EventsAsked",
    "EventsQuery",
    "FollowQuery",
    "Graph",
    "Graphs",
    "LastEventId",
]

_Thread: TypeAlias = Annotated[
    str | None, said("The thread to run on; it is created if it does not exist.")
]
_Leaving: TypeAlias = Annotated[
    Literal["continue", "cancel"] | None, said("What happens to the run if the connection ends.")
]


class Graph(Struct, kw_only=True):
    """A graph. `input` is null if its input is not known."""

    name: str
    input: list[Key] | None
    picture: Annotated[str, said("A path.")]
    events: Annotated[str, said("A path.")]


class Graphs(Struct, kw_only=True):
    """The graphs of this server."""

    graphs: list[Graph]


class FollowQuery(Struct, kw_only=True):
    only: Only = None
    replay: Annotated[
        Literal["compact", "full"] | None,
        said(
            "How to replay earlier events: `compact` sends each message so far as one event, "
            "`full` sends every event. With `Last-Event-ID`, every event is sent."
        ),
    ] = None


class EventsQuery(FollowQuery, kw_only=True):
    thread_id: _Thread = None
    on_disconnect: _Leaving = None
    input: Annotated[str | None, said("The whole input, as JSON.")] = None
    input_keys: Annotated[
        dict[str, str],
        said("The graph's input, key by key: `?topic=cats`. Values that are not text are JSON."),
    ] = field(default_factory=dict)


class LastEventId(Struct, kw_only=True):
    last_event_id: Annotated[
        Annotated[str, Meta(pattern=r"^(.*:)?[0-9]{1,18}(\.[0-9]{1,9})?$")] | None,
        said("The id of the last event received, such as RUN:7: continue after it."),
    ] = field(default=None, name="Last-Event-ID")


class EventsAsked(Struct, kw_only=True, forbid_unknown_fields=True):
    """A run to start. The graph's own keys go into "input"."""

    input: Annotated[Any, said("The graph's input.")] = None
    command: Annotated[Command | None, said("A command instead of an input.")] = None
    config: Config | None = None
    context: Annotated[Any, said("For graphs with a context schema.")] = None
    only: Annotated[str | None, said("Which model calls are recorded.")] = None
    thread_id: _Thread = None
    on_disconnect: _Leaving = "continue"


class Cancelled(Struct, kw_only=True):
    """The stopped run."""

    run: str
    status: str
