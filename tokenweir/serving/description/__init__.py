"""The server's description in OpenAPI 3.1: all routes, what they take, give, and refuse.

Written by hand, as the routes' handlers take plain JSON; a test holds it to the routes and, by
trying what it says, to the answers. The same for every server: it names no graph.
"""

from __future__ import annotations

import re
from typing import Any

from tokenweir._version import __version__
from tokenweir.serving.description import (
    langgraph_paths,
    langgraph_schemas,
    openai_paths,
    server_paths,
    sse_paths,
)
from tokenweir.serving.description.parts import Paths, Schema, answer, named, reference

__all__ = ["describe"]

_TAGS = {
    "Runs": "LangGraph's API, for `langgraph_sdk`, `RemoteGraph` and the npm client.",
    "Threads": "LangGraph's API: conversations, their states and histories.",
    "Assistants": "LangGraph's API: graphs with a config.",
    "OpenAI": "OpenAI's chat protocol, for the `openai` SDK and what is built on it: each graph "
    "is a model.",
    "Plain server-sent events": "For `curl -N`, the browser's `EventSource`, and `client.js`.",
    "Server": "Health, and this description.",
    "Page": "For people.",
}

_IN_PATHS = {
    "assistant_id": "An assistant's id, or a graph's name.",
    "thread_id": "A thread's id.",
    "run_id": "A run's id.",
    "checkpoint_id": "A checkpoint's id.",
    "namespace": "A subgraph's namespace.",
    "name": "A name.",
    "id": "An id.",
}

_PROBLEMS = {
    "Invalid": "The request is not understood.",
    "Unauthorized": "An API key is needed.",
    "Forbidden": "Pages of this origin may not call, or the host is not this machine.",
    "NotFound": "It is not there, or is another key's.",
    "Conflict": "It is there already, or is busy.",
    "TooSlow": "The body did not come to its end.",
    "TooBig": "The body is too large.",
    "Failed": "The run failed.",
    "TooMany": "Too many runs of this key wait for their time.",
    "TooBusy": "Too many runs wait, or the server is stopping. Come back later.",
}

_KEYS = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def describe(*, keys: bool) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        keys: Whether requests must carry an API key.
    """
    paths: Paths = {
        **langgraph_paths.paths(),
        **openai_paths.paths(),
        **sse_paths.paths(),
        **server_paths.paths(),
    }
    for path, operations in paths.items():
        parameters = [_in_path(name) for name in re.findall(r"{(\w+)}", path)]
        for method, operation in operations.items():
            operation["operationId"] = named(path, method)
            if parameters:
                operation["parameters"] = [*parameters, *operation.get("parameters", ())]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenweir",
            "version": __version__,
            "description": "Graphs behind HTTP: the tokens their models write, as they come.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in _TAGS.items()],
        "security": [{name: []} for name in _KEYS] if keys else [],
        "paths": paths,
        "components": {
            "securitySchemes": _KEYS,
            "responses": _responses(),
            "schemas": {
                **langgraph_schemas.schemas(),
                **openai_paths.schemas(),
                **sse_paths.schemas(),
                **server_paths.schemas(),
            },
        },
    }


def _in_path(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _IN_PATHS[name],
        "schema": {"type": "string"},
    }


def _responses() -> dict[str, Schema]:
    """What errors look like, for the OpenAI protocol's clients and for all others."""
    return {
        f"{shape}{name}": answer(said, reference(f"{shape}Problem"))
        for shape in ("", "OpenAI")
        for name, said in _PROBLEMS.items()
    }
