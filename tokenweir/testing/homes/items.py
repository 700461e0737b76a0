"""The contract of a home's key-value store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.home import Home

__all__ = ["ItemChecks"]

_VALUES: list[Any] = ["a\0b", {"a\0": 1}, [["\0"]], 2**64, [-(2**63) - 1], {"a": {"b": 10**400}}]
_FILTERS: list[dict[str, Any]] = [
    *({"n": value} for value in ["a\0b", 2**64, [2**64], {"a": 1}, {}, {"$eq": 1, "b": 2}]),
    *({"n": {"$gt": value}} for value in [None, True, [1], {"a": 1}, 10**400, "\0"]),
    *({"n": {name: 1}} for name in ["$foo", "gt", ""]),
    *({key: 1} for key in ["", ".", "a..b", "a b", "$eq", "[0]", "n\0", "n') OR 1=1 --"]),
    {f"k{number}": 1 for number in range(101)},
    {"n": {"$ne": [1, {"a": "\0"}]}},
]


class ItemChecks:
    """Items, by owner."""

    async def test_items_are_their_owners(self, home: Home, other: Home) -> None:
        """An owner's items are there on every server, and no other owner can see them."""
        ann, bob = home.items.of("ann"), home.items.of("bob")
        await ann.aput(("a", "b"), "key", {"n": 1})
        await bob.aput(("a",), "key", {"n": 2})
        elsewhere = other.items if other is not home else home.items
        for items, namespace, n in ((elsewhere.of("ann"), ("a", "b"), 1), (bob, ("a",), 2)):
            item = await items.aget(namespace, "key")
            assert item is not None
            assert (item.namespace, item.value) == (namespace, {"n": n})
            [found] = await items.asearch(())
            assert (found.namespace, found.value) == (namespace, {"n": n})
            assert await items.alist_namespaces() == [namespace]
        assert await ann.alist_namespaces(prefix=("a",), max_depth=1) == [("a",)]
        assert await ann.alist_namespaces(suffix=("b",)) == [("a", "b")]
        assert await ann.alist_namespaces(suffix=("ann", "a", "b")) == []
        assert await ann.asearch((), filter={"n": 2}) == []
        await bob.adelete(("a",), "key")
        assert await bob.aget(("a",), "key") is None
        assert await ann.aget(("a", "b"), "key") is not None

    async def test_items_in_a_thread(self, home: Home) -> None:
        """Code in a thread, such as a node that is a plain function, can put and get."""
        items = home.items.of("ann")
        await asyncio.to_thread(items.put, ("a",), "key", {"n": 1})
        item = await asyncio.to_thread(items.get, ("a",), "key")
        assert item is not None
        assert item.value == {"n": 1}

    async def test_items_that_no_home_keeps(self, home: Home) -> None:
        """Items and keys that some home cannot store or search for are refused by every home."""
        items = home.items.of("ann")
        await items.aput(("a",), "kept", {"n": 2**64 - 1, "m": -(2**63)})
        for value in _VALUES:
            with pytest.raises(InvalidError, match="the value has"):
                await items.aput(("a",), "key", {"n": value})
        for asked in _FILTERS:
            with pytest.raises(InvalidError, match="filter"):
                await items.asearch((), filter=asked)
        for namespace, key in (((), "a\0"), (("a",), "k" * 2001), (("a" * 1000,) * 2, "")):
            with pytest.raises(InvalidError, match="namespace"):
                await items.aget(namespace, key)
        with pytest.raises(InvalidError, match="namespace"):
            await items.alist_namespaces(suffix=("a" * 100_000,))
        assert [each.key for each in await items.asearch(())] == ["kept"]
        assert await items.asearch((), offset=2**63 - 1) == []

    async def test_items_are_compared(self, home: Home) -> None:
        """A filter with an operator skips items without its key."""
        for key, value in (("a", {"n": 1}), ("b", {"n": 3}), ("c", {"s": "x"}), ("d", {})):
            await home.items.aput(("ns",), key, value)

        async def found(**filter: Any) -> str:
            return "".join(sorted(each.key for each in await home.items.asearch((), filter=filter)))

        assert await found(n={"$gt": 1}) == "b"
        assert await found(n={"$gte": 1, "$lt": 3}) == "a"
        assert await found(n={"$lte": 3, "$ne": 1}) == "b"
        assert await found(s={"$gt": "w"}) == await found(s={"$eq": "x"}) == "c"
        assert await found(n=3, s="x") == ""
        [first] = await home.items.asearch((), filter={"n": {"$gte": 1}}, limit=1)
        [second] = await home.items.asearch((), filter={"n": {"$gte": 1}}, limit=1, offset=1)
        assert first.key != second.key
