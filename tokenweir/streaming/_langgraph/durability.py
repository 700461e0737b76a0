"""Runs that wait for each checkpoint (``durability="sync"``), with subgraphs that make none.

LangGraph 1.2 waits after each step for ``loop._put_checkpoint_fut``, which a loop has once it has
made a checkpoint. The loop of a subgraph compiled with ``checkpointer=False`` makes none, so the
run fails with an AttributeError. This module gives the classes of the loops an attribute of that
name, which is a finished future.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

try:
    from langgraph.pregel import _loop

    _LOOPS: tuple[Any, ...] = (_loop.AsyncPregelLoop, _loop.SyncPregelLoop)
except (ImportError, AttributeError):  # another LangGraph: leave it unchanged
    _LOOPS = ()

__all__ = ["allow_subgraphs_without_checkpoints"]

_NAME = "_put_checkpoint_fut"


class _Done:
    """A finished future."""

    def __await__(self) -> Iterator[Any]:
        return iter(())

    def result(self) -> None:
        """Return at once."""


def allow_subgraphs_without_checkpoints() -> None:
    """Let graphs with such subgraphs run with ``durability="sync"`` in this process."""
    for loop in _LOOPS:
        if not hasattr(loop, _NAME):
            setattr(loop, _NAME, _Done())
