"""What tests of several rooms share: a model, graphs of one node, and what they stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore

from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.testing import Provider


@pytest.fixture(scope="session")
def model() -> Iterator[ChatModel]:
    """A chat model that says the prompt back: one for all tests, as it takes 50 ms to make."""
    with Provider() as provider:
        made = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
        assert isinstance(made, ChatModel)
        yield made
        made.root_client.close()


@pytest.fixture
def one_node() -> Callable[..., Any]:
    """Makes a compiled graph, with a store, of one node."""

    def make(node: Any, name: str = "ask", **kwargs: Any) -> Any:
        builder = StateGraph(MessagesState).add_node(name, node, **kwargs).add_edge(START, name)
        return builder.compile(store=InMemoryStore())

    return make


@pytest.fixture
def streamed() -> Callable[[list[Any]], str]:
    """The text that model calls streamed, without messages that nodes returned whole."""

    def text(tokens: list[tuple[BaseMessage, dict[str, Any]]]) -> str:
        chunks = [chunk for chunk, _ in tokens if type(chunk).__name__ == "AIMessageChunk"]
        return "".join(str(chunk.content) for chunk in chunks)

    return text
