"""The same graph in plain LangGraph, with ChatOpenAI."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.ways.base import Task
from benchmarks.ways.graphs import chat_openai, graph_of

__all__ = ["say"]

say: Any = graph_of(chat_openai(Task(os.environ["BENCH_UPSTREAM"])), sync=False)
