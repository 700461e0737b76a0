"""Graphs to stream: made from small descriptions, so that many can be generated."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send, StreamWriter, interrupt

from tokenweir.nodes.node import node


class SteadyModel(BaseChatModel):
    """A LangChain model that streams fixed words, and can break once on the way."""

    words: list[str]
    breaks_once_after: int | None = None
    calls_tool: bool = False
    thinks: bool = False
    broken: list[bool] = []  # noqa: RUF012 - pydantic copies it per model

    @property
    def _llm_type(self) -> str:
        return "steady"

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        for thought in ("hm", " so") if self.thinks else ():
            beside = {"reasoning_content": thought}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", additional_kwargs=beside))
        for number, word in enumerate(self.words):
            if number == self.breaks_once_after and not self.broken:
                self.broken.append(True)
                raise ConnectionError("cut")
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        if self.calls_tool:
            for part in ('{"a": 2, ', '"b": 3}'):
                call = tool_call_chunk(
                    name="add" if part[0] == "{" else None,
                    args=part,
                    id="call-1" if part[0] == "{" else None,
                    index=0,
                )
                yield ChatGenerationChunk(
                    message=AIMessageChunk(content="", tool_call_chunks=[call])
                )
        usage = UsageMetadata(input_tokens=1, output_tokens=len(self.words), total_tokens=0)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            if run_manager:
                await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(
            generations=[ChatGeneration(message=AIMessage(content="".join(self.words)))]
        )


class State(MessagesState):
    note: Annotated[list[str], operator.add]


class Section(TypedDict):
    number: int


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


Layers = list[list[str]]


class GraphMaker:
    """Makes a compiled graph from layers of node kinds; the nodes of a layer run at once."""

    KINDS = (
        "ainvoke",
        "invoke",
        "astream",
        "message",
        "history",
        "nostream",
        "retry",
        "structured",
        "send",
        "tools",
        "subgraph",
        "inner",
        "command",
        "interrupt",
        "silent",
        "thinks",
        "writes",
        "within",
    )
    DETERMINISTIC = tuple(kind for kind in KINDS if kind != "invoke")

    def __init__(self) -> None:
        self.made = 0

    def model(self, tags: list[str] | None = None, **kwargs: Any) -> SteadyModel:
        """A model whose words name it, so that no two calls look alike."""
        self.made += 1
        words = [f"m{self.made}", " says", " hello"]
        return SteadyModel(words=words, tags=tags or [f"m{self.made}"], **kwargs)

    def graph(self, layers: Layers, *, depth: int = 0) -> Any:
        """A compiled graph with these layers, one after the other."""
        builder = StateGraph(State)
        before = [START]
        for level, kinds in enumerate(layers):
            names = []
            for column, kind in enumerate(kinds):
                name = f"{kind}_{depth}_{level}_{column}"
                self._add(builder, name, kind, depth)
                names.append(name)
                for previous in before:
                    builder.add_edge(previous, name)
            before = names
        saver = InMemorySaver() if depth == 0 else None
        return builder.compile(checkpointer=saver)

    def _add(self, builder: StateGraph[Any, Any, Any], name: str, kind: str, depth: int) -> None:
        retry = None
        if kind == "retry":
            retry = RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)
        make: Callable[[StateGraph[Any, Any, Any], str, int], Any] = getattr(self, f"_{kind}")
        builder.add_node(name, make(builder, name, depth), retry_policy=retry)

    def _ainvoke(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()

        async def ainvoke(state: State, config: RunnableConfig) -> Any:
            answer = await model.ainvoke("say", config)
            return {"note": [str(answer.text)]}

        return ainvoke

    def _invoke(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()

        def invoke(state: State, config: RunnableConfig) -> Any:
            return {"messages": [model.invoke("say", config)]}

        return invoke

    def _astream(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()

        async def astream(state: State, config: RunnableConfig) -> Any:
            text = [str(chunk.text) async for chunk in model.astream("say", config)]
            return {"note": ["".join(text)]}

        return astream

    def _message(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model(tags=["kept"])

        async def message(state: State, config: RunnableConfig) -> Any:
            return {"messages": [await model.ainvoke("say", config), HumanMessage(f"hi {name}")]}

        return message

    def _history(self, builder: Any, name: str, depth: int) -> Any:
        async def history(state: State) -> Any:
            return {"messages": [*state["messages"], AIMessage(f"own {name}")]}

        return history

    def _nostream(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model(tags=["nostream"])

        async def nostream(state: State, config: RunnableConfig) -> Any:
            return {"messages": [await model.ainvoke("say", config)]}

        return nostream

    def _retry(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model(breaks_once_after=2)

        async def retry(state: State, config: RunnableConfig) -> Any:
            model.broken[:] = model.broken[:1]
            return {"messages": [await model.ainvoke("say", config)]}

        return retry

    def _structured(self, builder: Any, name: str, depth: int) -> Any:
        self.made += 1
        model = SteadyModel(words=['{"n":', " 1}"], tags=["structured"])

        async def structured(state: State, config: RunnableConfig) -> Any:
            answer = await (model | (lambda message: str(message.text))).ainvoke("say", config)
            return {"note": [answer]}

        return structured

    def _send(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()
        worker = f"worker_{name}"

        async def work(state: Section, config: RunnableConfig) -> Any:
            answer = await model.ainvoke("say", config)
            return {"note": [f"{state['number']} {answer.text}"]}

        def fan_out(state: State) -> Any:
            return [Send(worker, {"number": number}) for number in range(3)]

        async def send(state: State) -> Any:
            return {"note": ["sent"]}

        builder.add_node(worker, work)
        builder.add_conditional_edges(name, fan_out, [worker])
        return send

    def _tools(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model(calls_tool=True)
        tools = ToolNode([add])

        async def call_tools(state: State, config: RunnableConfig) -> Any:
            asked = await model.ainvoke("say", config)
            result = await tools.ainvoke({"messages": [asked]}, config)
            return {"messages": [asked, *result["messages"]]}

        return call_tools

    def _subgraph(self, builder: Any, name: str, depth: int) -> Any:
        if depth > 1:
            return self._ainvoke(builder, name, depth)
        return self.graph([["message"], ["ainvoke", "subgraph"]], depth=depth + 1)

    def _inner(self, builder: Any, name: str, depth: int) -> Any:
        inner = self.graph([["ainvoke"], ["message"]], depth=depth + 1)

        async def run_inner(state: State, config: RunnableConfig) -> Any:
            found = [
                part
                async for part in inner.astream(
                    {"messages": [], "note": []}, config, stream_mode="messages"
                )
            ]
            return {"note": [str(len(found))]}

        return run_inner

    def _command(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()

        async def command(state: State, config: RunnableConfig) -> Any:
            answer = await model.ainvoke("say", config)
            return Command(update={"messages": [answer, AIMessage(f"more {name}")]})

        return command

    def _interrupt(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()

        async def ask(state: State, config: RunnableConfig) -> Any:
            answer = await model.ainvoke("say", config)
            # On 3.10 the interrupt needs the config in its context, which a sync helper has.
            reply = interrupt(str(answer.text)) if depth == 0 else "none"
            return {"note": [str(reply)]}

        return ask

    def _silent(self, builder: Any, name: str, depth: int) -> Any:
        async def silent(state: State) -> Any:
            return {"note": [name]}

        return silent

    def _thinks(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model(thinks=True, calls_tool=True)

        async def think(state: State, config: RunnableConfig) -> Any:
            return {"messages": [await model.ainvoke("say", config)]}

        return think

    def _writes(self, builder: Any, name: str, depth: int) -> Any:
        model = self.model()

        @node  # before Python 3.11 LangGraph's writer works nowhere else
        async def write(state: State, config: RunnableConfig, writer: StreamWriter) -> Any:
            writer({"begins": name})
            answer = await model.ainvoke("say", config)
            writer(str(answer.text))
            return {"note": [name]}

        return write

    def _within(self, builder: Any, name: str, depth: int) -> Any:
        inner = self.graph([["ainvoke"], ["message", "writes"]], depth=depth + 1)

        async def run_within(state: State, config: RunnableConfig) -> Any:
            given: Any = {"messages": [], "note": []}
            return {"note": (await inner.ainvoke(given, config))["note"]}

        return run_within


@pytest.fixture
def graphs() -> GraphMaker:
    """Makes compiled graphs from layers of node kinds."""
    return GraphMaker()


@pytest.fixture
def maker() -> type[GraphMaker]:
    """The class itself, for tests that need a fresh one per generated example."""
    return GraphMaker
