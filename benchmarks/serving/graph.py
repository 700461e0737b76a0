"""The graph that ``tokenweir serve`` serves here; the environment names its upstream."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.ways.base import Task
from benchmarks.ways.graphs import graph_of, our_model

__all__ = ["say"]

say: Any = graph_of(our_model(Task(os.environ["BENCH_UPSTREAM"])), sync=False)
