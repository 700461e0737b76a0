"""LangGraph's key-value store: what graphs have as ``store``, and clients as ``client.store``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import UnprocessableEntityError

from tests.serving.conftest import Server


def test_the_clients_store(serve: Callable[..., Server]) -> None:
    """Put, get, search by prefix, filter and page, list namespaces, delete: as LangGraph has it."""
    with get_sync_client(url=serve("sample:remembers").url) as client:
        store = client.store
        for number in range(3):
            store.put_item(["docs", "user1"], key=f"n{number}", value={"n": number, "odd": False})
        store.put_item(["docs", "user2"], key="n0", value={"n": 0})
        store.put_item(["docs", "user1"], key="n1", value={"n": 1, "odd": True})
        item = store.get_item(["docs", "user1"], key="n1")
        assert (item["namespace"], item["key"]) == (["docs", "user1"], "n1")
        assert item["value"] == {"n": 1, "odd": True}
        assert item["updated_at"] >= item["created_at"]
        assert store.get_item(["docs", "user1"], key="none") is None

        def keys(prefix: list[str], **asked: Any) -> list[str]:
            return sorted(each["key"] for each in store.search_items(prefix, **asked)["items"])

        assert keys(["docs", "user1"]) == ["n0", "n1", "n2"]
        assert keys(["docs"]) == ["n0", "n0", "n1", "n2"]
        assert keys(["docs"], filter={"odd": True}) == ["n1"]
        assert len(keys(["docs"], limit=2, offset=3)) == 1
        assert keys(["nothing"]) == []
        names = [["docs", "user1"], ["docs", "user2"]]
        assert sorted(store.list_namespaces(prefix=["docs"])["namespaces"]) == names
        assert store.list_namespaces(suffix=["user2"])["namespaces"] == [["docs", "user2"]]
        assert store.list_namespaces(max_depth=1)["namespaces"] == [["docs"]]
        store.delete_item(["docs", "user1"], key="n1")
        assert store.get_item(["docs", "user1"], key="n1") is None
        with pytest.raises(UnprocessableEntityError, match="Namespace"):
            store.put_item([], key="a", value={})


def test_a_graph_keeps_things_for_its_user(serve: Callable[..., Server]) -> None:
    """A graph has the store in async nodes and in others, also after a restart; each user sees what
    he and his runs keep, and nobody else does."""
    asked = ["sample:remembers", "--data", "data"]
    server = serve(*asked, TOKENWEIR_API_KEYS="ann,bob")

    def run(server: Server, key: str, topic: str) -> tuple[str, str]:
        with get_sync_client(url=server.url, api_key=key) as client:
            state: Any = client.runs.wait(None, "remembers", input={"topic": topic})
            return state["first"], state["second"]

    assert run(server, "ann", "cats") == ("1", "cats")
    assert run(server, "ann", "tea") == ("1", "cats,tea")
    assert run(server, "bob", "cats") == ("1", "cats")
    assert server.terminate() == 0
    again = serve(*asked, TOKENWEIR_API_KEYS="ann,bob")
    assert run(again, "ann", "cats") == ("2", "cats,tea")
    for key, kept in (("ann", 2), ("bob", 1)):
        with get_sync_client(url=again.url, api_key=key) as client:
            assert client.store.get_item(["seen"], key="cats")["value"] == {"count": kept}
            assert client.store.list_namespaces()["namespaces"] == [["seen"]]
            assert client.store.list_namespaces(suffix=["seen"])["namespaces"] == [["seen"]]
            found = client.store.search_items([])["items"]
            assert {tuple(each["namespace"]) for each in found} == {("seen",)}
            assert len(found) == kept
            client.store.put_item(["of", "mine"], key="a", value={})
            deep = client.store.list_namespaces(max_depth=1, suffix=["mine"])["namespaces"]
            assert deep == [["of"]]
