"""What ``streaming/_langgraph`` assumes of LangGraph and LangChain, one by one."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel._messages import StreamMessagesHandler
from langgraph.stream import AsyncGraphRunStream

from tokenweir import astream_events
from tokenweir.models.completion import completion_model
from tokenweir.streaming._langgraph import run_config, run_stream
from tokenweir.streaming._langgraph.probe import probe
from tokenweir.streaming._langgraph.run_stream import pulling_directly
from tokenweir.testing import Provider

INPUT: Any = {"messages": [("user", "hello")]}


def graph_of(node: Any) -> Any:
    return StateGraph(MessagesState).add_node("ask", node).add_edge(START, "ask").compile()


async def quiet(state: MessagesState) -> Any:
    return {"messages": []}


def test_langgraphs_handler() -> None:
    """It keeps the metadata of its calls by run, emits by ``_emit``, and drops what it has seen."""
    assert probe() is None
    parts: list[Any] = []
    handler = StreamMessagesHandler(parts.append, False)
    run_id = uuid4()
    metadata = {"langgraph_checkpoint_ns": "ask:1", "langgraph_node": "ask"}
    handler.on_chat_model_start({}, [], run_id=run_id, tags=["joke"], metadata=metadata)
    namespace, kept = handler.metadata[run_id]
    assert namespace == ()
    assert kept["tags"] == ["joke"]

    message = AIMessageChunk(content="hi", id="a")
    handler.on_llm_new_token("hi", chunk=ChatGenerationChunk(message=message), run_id=run_id)
    assert parts == [((), "messages", (message, kept))]
    handler._emit(handler.metadata[run_id], message, dedupe=True)
    assert len(parts) == 1
    handler._emit(handler.metadata[run_id], AIMessageChunk(content="ho", id="b"), dedupe=True)
    assert len(parts) == 2
    assert handler.seen == {"a", "b"}


@pytest.mark.parametrize("subgraphs", [False, True])
async def test_handlers_of_a_caller_are_stripped(subgraphs: bool) -> None:
    """A run outside of any task drops the handlers that are for their own graph only."""
    parts: list[Any] = []
    handler = StreamMessagesHandler(parts.append, subgraphs)
    model = FakeListChatModel(responses=["hi"])

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke("say", config)]}

    await graph_of(ask).ainvoke(INPUT, {"callbacks": [handler]})
    assert bool(parts) is subgraphs


async def test_langchain_awaits_coroutine_functions() -> None:
    """It calls the others, looks the name up for each token, and lets errors through if told."""

    class Handler(BaseCallbackHandler):
        run_inline = True
        raise_error = True
        heard: tuple[str, ...] = ()

        @property
        def on_llm_new_token(self) -> Any:
            return self._called if self.heard else self._awaited

        async def _awaited(self, token: str, **kwargs: Any) -> None:
            self.heard += ("awaited",)

        def _called(self, token: str, **kwargs: Any) -> None:
            self.heard += ("called",)
            if len(self.heard) > 2:
                raise KeyError("enough")

    handler = Handler()
    manager = AsyncCallbackManager([handler])
    [run] = await manager.on_chat_model_start({}, [[]])
    await run.on_llm_new_token("a")
    await run.on_llm_new_token("b")
    with pytest.raises(KeyError, match="enough"):
        await run.on_llm_new_token("c")
    assert handler.heard == ("awaited", "called", "called")


async def test_completion_models(provider: Provider) -> None:
    """They start by ``on_llm_start`` and hand on ``GenerationChunk``; ``messages`` drops them."""

    class Handler(BaseCallbackHandler):
        run_inline = True

        def __init__(self) -> None:
            self.started: list[UUID] = []
            self.kinds: set[type] = set()

        def on_llm_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
            self.started.append(run_id)

        def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            self.kinds.add(type(chunk))

    handler = Handler()
    model = completion_model("openai:any", base_url=provider.base_url, api_key="test")

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        async for _ in model.astream("say", config):
            pass
        return {"messages": []}

    parts = [
        part
        async for part in graph_of(ask).astream(
            INPUT, {"callbacks": [handler]}, stream_mode="messages"
        )
    ]
    assert len(handler.started) == 1
    assert handler.kinds == {GenerationChunk}
    assert not parts


async def test_a_graph_within_a_node() -> None:
    """There the config of the context names the node; outside of any node it does not."""
    found: list[bool] = []

    async def look(state: MessagesState, config: RunnableConfig) -> Any:
        found.append(run_config.in_namespace(config))
        return {"messages": []}

    await graph_of(look).ainvoke(INPUT)
    assert found == [True]
    assert not run_config.in_namespace(ensure_config())


def test_local_graphs() -> None:
    """A compiled graph is LangGraph's ``Pregel``."""
    assert run_config.is_local(graph_of(quiet))
    assert not run_config.is_local(object())


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol:Warning")
async def test_langgraphs_run_stream_pulls_by_itself() -> None:
    """Whoever reads it calls ``_apump_next``, which is replaced by one without a task."""
    theirs: Any = await graph_of(quiet).astream_events(INPUT, version="v3")
    async with theirs:
        pass
    assert type(theirs) is AsyncGraphRunStream
    ours: Any = pulling_directly(await graph_of(quiet).astream_events(INPUT, version="v3"))
    assert type(ours) is not AsyncGraphRunStream
    async with ours:
        assert [event["method"] async for event in ours] == ["values", "values"]


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol:Warning")
async def test_another_run_stream_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LangGraph's names are others, events cost what they cost there, and come."""
    monkeypatch.setattr(run_stream, "_USED", ("_renamed",))
    run: Any = await astream_events(graph_of(quiet), INPUT)
    async with run:
        assert type(run) is AsyncGraphRunStream
        assert [event["method"] async for event in run] == ["values", "values"]
