"""A graph whose node tells what the server says of the run: its config, and whose it is."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime


class Told(TypedDict, total=False):
    """What a node found."""

    topic: str
    given: dict[str, Any]
    server: dict[str, Any]


def tell(state: Told, runtime: Runtime[None]) -> Told:
    sent = get_config()["configurable"]
    info = runtime.server_info
    assert info is not None
    return {
        "given": {
            key: value
            for key, value in sent.items()
            if key.startswith("langgraph_auth") or key == "colour"
        },
        "server": {
            "assistant": info.assistant_id,
            "graph": info.graph_id,
            "user": info.user.identity if info.user is not None else None,
        },
    }


told = StateGraph(Told).add_node("tell", tell).add_edge(START, "tell").compile(name="told")
