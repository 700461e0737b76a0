"""With a graph: LangGraph's stream and ours, each on ChatOpenAI and on our model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from benchmarks.ways.base import MODEL, SyncWay, Task, Way, write_tool

__all__ = ["GraphSyncWay", "GraphWay", "agent_of", "chat_openai", "graph_of", "make", "our_model"]


def chat_openai(task: Task) -> Any:
    """LangChain's model with its defaults."""
    return _prepared(ChatOpenAI(model=MODEL, **_settings(task)), task)


def our_model(task: Task) -> Any:
    """Tokenweir's model with its defaults."""
    from tokenweir import chat_model

    return _prepared(chat_model(f"openai:{MODEL}", **_settings(task)), task)


def _settings(task: Task) -> dict[str, Any]:
    return {
        "base_url": task.base_url,
        "api_key": "none",
        "tags": ["joke"],
        "stream_usage": True,  # what ChatOpenAI does by itself with OpenAI's own address
        **({"logprobs": True} if task.logprobs else {}),
    }


def _prepared(model: Any, task: Task) -> Any:
    return model.bind_tools([write_tool()]) if task.tools else model


def graph_of(model: Any, *, sync: bool) -> Any:
    """A graph of one node that asks a model."""

    async def asay(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    def say(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("say", say if sync else asay)
    builder.add_edge(START, "say")
    return builder.compile()


def agent_of(model: Any) -> Any:
    """LangChain's agent with the tool that the server's tool calls name."""
    from langchain.agents import create_agent

    async def write(text: str) -> str:
        """Write a text."""
        return "written"

    return create_agent(model, [write])


class GraphWay(Way):
    """A graph of one node, or an agent, streamed.

    Args:
        ours: By our ``astream``; else by the graph's own.
        own_model: With our chat model; else with ChatOpenAI.
        after: Filter after our stream, not at its source.
        through: What our stream goes through: ``collect``, ``guard``, ``lanes`` or ``objects``. Or
            ``events``: what is read is LangGraph's v3 run stream, or ours, event by event.
    """

    def __init__(
        self,
        task: Task,
        *,
        ours: bool,
        own_model: bool,
        after: bool = False,
        through: str = "",
    ) -> None:
        super().__init__(task)
        model = our_model(task) if own_model else chat_openai(task)
        self._graph = agent_of(model) if task.agent else graph_of(model, sync=False)
        self._ours = ours
        self._at_source = ours and task.filtered and not after
        self._after = task.filtered and not self._at_source
        self._through = through
        self.exact = through != "objects"

    def _stream(self, prompt: str) -> AsyncIterator[Any]:
        inputs = {"messages": [("user", prompt)]}
        if not self._ours:
            plain: AsyncIterator[Any] = self._graph.astream(inputs, stream_mode="messages")
            return plain
        from tokenweir import astream

        return astream(self._graph, inputs, only="tag:poem" if self._at_source else None)

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        if self._through == "events":
            return await self._reply_by_events(prompt, first)
        if self._through:
            return await self._reply_through(prompt, first)
        count = 0
        if self._after:
            async for chunk, metadata in self._stream(prompt):
                if "poem" in metadata["tags"] and chunk.content:
                    count += 1
            return count
        async for chunk, _ in self._stream(prompt):
            # A tool's answer is a message without chunks.
            if chunk.content or getattr(chunk, "tool_call_chunks", None):
                count += 1
                if count == 1:
                    first()
        return count

    async def _reply_by_events(self, prompt: str, first: Callable[[], object]) -> int:
        from tokenweir import astream_events

        inputs: Any = {"messages": [("user", prompt)]}
        if self._ours:
            started = astream_events(self._graph, inputs)
        else:
            started = self._graph.astream_events(inputs, version="v3")
        count = 0
        async with await started as run:
            async for event in run:
                if event["method"] == "messages":
                    told, _ = event["params"]["data"]
                    if told["event"] == "content-block-delta":
                        count += 1
                        if count == 1:
                            first()
        return count

    async def _reply_through(self, prompt: str, first: Callable[[], object]) -> int:
        from tokenweir import collect, guard, lanes, objects

        if self._through == "objects":
            count = 0
            async for _ in objects(self._stream(prompt), dict[str, str], tool="write"):
                count += 1
            return count
        if self._through == "collect":
            message: Any
            [(message, _)] = await collect(self._stream(prompt))
            first()
            usage = getattr(message, "usage_metadata", None)
            called = message.tool_calls or message.invalid_tool_calls
            return int(usage["output_tokens"]) + bool(called) if usage else 0
        others: list[Any] = []
        if self._through == "guard":
            passed = guard(None, r"sk-\w{20,}|(?:\d{4}[ -]?){4}")(self._stream(prompt))
        else:
            passed, *others = lanes(self._stream(prompt), "tag:joke", "tag:poem")
        count = 0
        async for chunk, _ in passed:
            if chunk.content or getattr(chunk, "tool_call_chunks", None):
                count += 1
                if count == 1:
                    first()
        for other in others:
            await other.aclose()
        return count


class GraphSyncWay(SyncWay):
    """A graph of one sync node, streamed by ``stream``; arguments as for ``GraphWay``."""

    def __init__(self, task: Task, *, ours: bool, own_model: bool) -> None:
        super().__init__(task)
        self._graph = graph_of(our_model(task) if own_model else chat_openai(task), sync=True)
        self._ours = ours

    def _stream(self, prompt: str) -> Iterator[Any]:
        inputs = {"messages": [("user", prompt)]}
        if not self._ours:
            plain: Iterator[Any] = self._graph.stream(inputs, stream_mode="messages")
            return plain
        from tokenweir import stream

        return stream(self._graph, inputs)

    def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        for chunk, _ in self._stream(prompt):
            if chunk.content or chunk.tool_call_chunks:
                count += 1
                if count == 1:
                    first()
        return count


_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"ours": False, "own_model": False},
    "plain+model": {"ours": False, "own_model": True},
    "ours": {"ours": True, "own_model": True},
    "ours+chatopenai": {"ours": True, "own_model": False},
    "ours-after": {"ours": True, "own_model": True, "after": True},
    "ours-collect": {"ours": True, "own_model": True, "through": "collect"},
    "ours-objects": {"ours": True, "own_model": True, "through": "objects"},
    "plain-events": {"ours": False, "own_model": False, "through": "events"},
    "ours-events": {"ours": True, "own_model": True, "through": "events"},
    "ours-guard": {"ours": True, "own_model": True, "through": "guard"},
    "ours-lanes": {"ours": True, "own_model": True, "through": "lanes"},
}
_SYNC = ("plain", "plain+model", "ours")


def make(name: str, task: Task) -> Way | SyncWay:
    """The way of that name, one of those above; ``-sync`` behind the first three."""
    base = name.removesuffix("-sync")
    if base != name and base in _SYNC:
        return GraphSyncWay(task, **_OPTIONS[base])
    return GraphWay(task, **_OPTIONS[name])
