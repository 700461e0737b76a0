"""LangGraph's key-value store, restricted to one owner's items.

One of LangGraph's own stores keeps the items. The namespaces of each owner start with a label of
their own, which is hidden. Without owners, namespaces are used as they are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from tokenweir.serving.problems import StoreError
from tokenweir.serving.running.item_rules import check, fits

__all__ = ["Items", "items_in_memory"]


class Items(BaseStore):
    """The items of one owner.

    Args:
        kept: The store of all owners' items; used in the event loop that is running now.
        store_errors: Raises its failures as StoreError.
    """

    def __init__(
        self,
        kept: BaseStore,
        store_errors: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._kept: BaseStore | None = kept
        self._all = self
        self._owner = ""
        self._store_errors = store_errors
        self._loop = asyncio.get_running_loop()

    def of(self, owner: str) -> Items:
        """The items of one owner; "" for all."""
        made = copy(self)
        made._owner = owner
        return made

    async def close(self) -> None:
        """Drop the store: LangGraph's stores end their tasks once nothing refers to them."""
        self._kept = None
        await asyncio.sleep(0)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        kept = self._all._kept
        if kept is None:
            raise StoreError
        ops = list(ops)
        for op in ops:
            check(op)
        with self._store_errors():
            results = await kept.abatch([self._inside(op) for op in ops])
        return [self._outside(result) for result in results]

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """For sync nodes, which run in threads."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()
        raise asyncio.InvalidStateError(
            "in async code use the async methods of the store: await store.aget(...)"
        )

    # The owner's namespaces

    def _inside(self, op: Op) -> Op:
        """An operation with the owner's label added to its namespaces."""
        if not self._owner:
            return op
        before = (self._owner,)
        if isinstance(op, (GetOp, PutOp)):
            return op._replace(namespace=before + op.namespace)
        if isinstance(op, SearchOp):
            return op._replace(namespace_prefix=before + op.namespace_prefix)
        given = op.match_conditions or ()
        # A suffix must not match the owner's label, so it needs one more label before it.
        paths: dict[str, tuple[str, ...]] = {"prefix": before, "suffix": ("*",)}
        conditions = [
            MatchCondition(each.match_type, paths[each.match_type] + each.path) for each in given
        ]
        return op._replace(
            match_conditions=(MatchCondition("prefix", before), *conditions),
            max_depth=None if op.max_depth is None else op.max_depth + 1,
        )

    def _outside(self, result: Any) -> Any:
        if not self._owner:
            return result
        if isinstance(result, Item):
            mine = copy(result)  # a store in memory returns its own objects
            mine.namespace = result.namespace[1:]
            return mine
        if isinstance(result, list):
            return [each[1:] if isinstance(each, tuple) else self._outside(each) for each in result]
        return result


class _MemoryStore(InMemoryStore):
    """LangGraph's store fails on a filter with an operator if an item has no number to compare."""

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        asked = list(ops)
        results = await super().abatch([_unfiltered(op) for op in asked])
        return [_page(result, op) for result, op in zip(results, asked, strict=True)]


def _unfiltered(op: Op) -> Op:
    if isinstance(op, SearchOp) and op.filter:
        return op._replace(filter=None, limit=sys.maxsize, offset=0)
    return op


def _page(result: Any, op: Op) -> Any:
    if isinstance(op, SearchOp) and op.filter:
        found = [each for each in result if fits(each.value, op.filter)]
        return found[op.offset : op.offset + op.limit]
    return result


def items_in_memory() -> Items:
    """Items in memory; lost when the process ends."""
    return Items(_MemoryStore())
