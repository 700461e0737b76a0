"""A graph behind HTTP as one writes it today: FastAPI, sse-starlette, LangGraph, ChatOpenAI.

``python -m benchmarks.serving.fastapi_server PORT``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from benchmarks.ways.base import Task, optional
from benchmarks.ways.graphs import chat_openai, graph_of

__all__: list[str] = []


def _app() -> Any:
    fastapi = optional("fastapi")
    events_of = optional("sse_starlette").EventSourceResponse
    graph = graph_of(chat_openai(Task(os.environ["BENCH_UPSTREAM"])), sync=False)
    app = fastapi.FastAPI()

    async def say(body: dict[str, Any]) -> Any:
        async def events() -> AsyncIterator[dict[str, str]]:
            async for chunk, metadata in graph.astream(body, stream_mode="messages"):
                if chunk.content:
                    token = {"text": chunk.content, "node": metadata["langgraph_node"]}
                    yield {"event": "token", "data": json.dumps(token)}

        return events_of(events())

    app.post("/say")(say)
    return app


if __name__ == "__main__":
    uvicorn.run(_app(), port=int(sys.argv[1]), log_level="warning", access_log=False)
