"""Requests and responses of the routes for assistants."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tokenweir.serving.fields import said
from tokenweir.serving.langgraph.schema.common import Context, Metadata, Order, Page, Selected, Time
from tokenweir.serving.running.records import Config

__all__ = [
    "Assistant",
    "AssistantChange",
    "AssistantCreate",
    "AssistantSearch",
    "Drawn",
    "GraphQuery",
    "GraphSchemas",
    "Schemas",
    "SubgraphsQuery",
]


class Assistant(Struct, kw_only=True):
    """A graph with a config."""

    assistant_id: str
    graph_id: str
    config: Config
    context: Any
    metadata: dict[str, Any]
    name: str
    description: str | None
    version: Annotated[int, Meta(ge=1)]
    created_at: Time
    updated_at: Time


class AssistantChange(Struct, kw_only=True):
    """What to change in an assistant."""

    name: str | None = None
    description: str | None = None
    config: Config | None = None
    context: Context = None
    metadata: Metadata = None


class AssistantCreate(AssistantChange, kw_only=True):
    """An assistant to create."""

    graph_id: Annotated[str, said("The graph's name.")]
    assistant_id: Annotated[str | None, said("Its id; generated if omitted.")] = None
    if_exists: Literal["raise", "do_nothing"] | None = "raise"


class AssistantSearch(Page, kw_only=True):
    """Which assistants to list."""

    graph_id: str | None = None
    name: Annotated[str | None, said("Part of the name.")] = None
    metadata: Metadata = None
    sort_by: Literal["created_at", "updated_at", "name"] | None = None
    sort_order: Order | None = "asc"
    select: Selected = None


class GraphQuery(Struct, kw_only=True):
    xray: Annotated[
        bool | Annotated[int, Meta(ge=0, le=999)], said("How many levels of subgraphs to show.")
    ] = False


class Drawn(Struct, kw_only=True):
    """A graph's nodes and edges."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]


class SubgraphsQuery(Struct, kw_only=True):
    recurse: Annotated[bool, said("Also the subgraphs of subgraphs.")] = False


class Schemas(Struct, kw_only=True):
    """JSON schemas of a graph's input, state and output; null where unknown."""

    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    state_schema: dict[str, Any] | None
    config_schema: dict[str, Any] | None
    context_schema: dict[str, Any] | None


class GraphSchemas(Schemas, kw_only=True):
    """JSON schemas of a graph's input, state and output; null where unknown."""

    graph_id: str
