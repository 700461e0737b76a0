"""The table of docs/models.md: each row is tried, and each cell must say what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.models.completion import completion_model
from tokenweir.streaming.collect import collect
from tokenweir.streaming.filters import tag
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply, ToolCall

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
COLUMNS = "stream", "astream", "in a graph", "tags", "usage", "tools", "reasoning", "cumulative"


def rows() -> dict[str, dict[str, bool]]:
    """The table: what each form can do."""
    text = PAGE.read_text(encoding="utf-8").partition("## What each form can do")[2]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, _, *rest = [line for line in lines if len(line) == len(COLUMNS) + 1]
    assert tuple(head[1:]) == COLUMNS
    return {
        cells[0]: {
            name: {"yes": True, "no": False}[cell]
            for name, cell in zip(COLUMNS, cells[1:], strict=True)
        }
        for cells in rest
    }


TABLE = rows()


def made(form: str, provider: Provider, **kwargs: Any) -> Any:
    """The model of a row, talking to the scripted provider; the embedded one to llama.cpp."""
    match = re.match(r'`(\w+)\("([^"]+)"\)`', form)
    assert match
    make: Any = {"chat_model": chat_model, "completion_model": completion_model}[match[1]]
    name = match[2].replace("MODEL", "any")
    if name.startswith("local:"):
        return make(name, max_tokens=40, temperature=0, **kwargs)
    url = provider.dashscope_url if name.startswith("dashscope:") else provider.base_url
    if name.startswith(("openai:", "deepseek:")):
        kwargs["stream_usage"] = True
    return make(name, base_url=url, api_key="test", **kwargs)


def look(place: str) -> str:
    """Look at a place."""
    return place


class Asked:
    """What a row's model does."""

    def __init__(self, form: str, provider: Provider) -> None:
        self.form = form
        self.provider = provider
        self.local = "local:" in form
        self.clients: list[Any] = []
        if "deepseek:" in form:
            pytest.importorskip("langchain_deepseek")
        if "dashscope:" in form:
            pytest.importorskip("dashscope")

    def model(self, reply: Reply | None = None, **kwargs: Any) -> Any:
        self.provider.default = reply or Reply(tokens=["One", " two", " three"])
        if "deepseek:" in self.form:
            # Its own client would outlive the loop, which it does not survive.
            kwargs["http_async_client"] = openai.DefaultAsyncHttpxClient()
            self.clients.append(kwargs["http_async_client"])
        return made(self.form, self.provider, **kwargs)

    async def tokens(self, model: Any) -> list[Any]:
        async def answer(state: MessagesState, config: RunnableConfig) -> Any:
            said = await model.ainvoke("Count to five.", config)
            return {"messages": [("ai", said) if isinstance(said, str) else said]}

        builder = StateGraph(MessagesState)
        builder.add_node("answer", answer)
        builder.add_edge(START, "answer")
        graph = builder.compile()
        ask: Any = {"messages": [("user", "Count to five.")]}
        return [token async for token in astream(graph, ask, only=tag("counted"))]

    async def can(self, column: str) -> bool:
        check: Any = getattr(self, "_" + column.replace(" ", "_"))
        try:
            return bool(await check())
        finally:
            while self.clients:
                await self.clients.pop().aclose()

    def streamed(self, texts: list[str]) -> bool:
        said = [text for text in texts if text]
        return len(said) > 2 if self.local else said == ["One", " two", " three"]

    async def _stream(self) -> bool:
        parts = list(self.model().stream("Count to five."))
        return self.streamed([part if isinstance(part, str) else part.content for part in parts])

    async def _astream(self) -> bool:
        parts = [part async for part in self.model().astream("Count to five.")]
        return self.streamed([part if isinstance(part, str) else part.content for part in parts])

    async def _in_a_graph(self) -> bool:
        tokens = await self.tokens(self.model(tags=["counted"]))
        one_shape = all(isinstance(chunk, AIMessageChunk) for chunk, _ in tokens[:3])
        return one_shape and self.streamed([chunk.content for chunk, _ in tokens])

    async def _tags(self) -> bool:
        tokens = await self.tokens(self.model(tags=["counted", "more"]))
        with pytest.warns(UnmatchedFilterWarning):
            untagged = await self.tokens(self.model())
        return tokens[0][1]["tags"] == ["counted", "more"] and not untagged

    async def _usage(self) -> bool:
        async def again() -> Any:
            for token in await self.tokens(self.model(tags=["counted"])):
                yield token

        [(message, _)] = await collect(again())
        return bool(message.usage_metadata["output_tokens"])

    async def _tools(self) -> bool:
        reply = Reply(tool_calls=[ToolCall("look", '{"place": "here"}')])
        model = self.model(reply)
        if not hasattr(model, "bind_tools"):
            return False
        chunks = [chunk async for chunk in model.bind_tools([look]).astream("Look here.")]
        whole = chunks[0] + chunks[1:]
        if self.local:  # what so small a model calls is its own affair; that it was offered is ours
            return bool(whole.content or whole.tool_calls)
        return bool(whole.tool_calls[0]["args"] == {"place": "here"})

    async def _reasoning(self) -> bool:
        model = self.model(Reply(tokens=["Four"], reasoning=["Two", " and two"]))
        parts = [part async for part in model.astream("2 + 2?")]
        if isinstance(parts[0], str):
            return False
        whole = parts[0] + parts[1:]
        return bool(
            whole.content_blocks[0] == {"type": "reasoning", "reasoning": "Two and two"}
            and (self.local or whole.content == "Four")
        )

    async def _cumulative(self) -> bool:
        if "incremental_output" not in type(self.model()).model_fields:
            return False
        model = self.model(incremental_output=False)
        parts = [part.content async for part in model.astream("Count to three.")]
        return self.streamed(parts)


def marked() -> list[Any]:
    return [
        pytest.param(form, marks=pytest.mark.local) if "local:" in form else form for form in TABLE
    ]


@pytest.mark.parametrize("form", marked())
async def test_a_row(provider: Provider, form: str) -> None:
    """Every cell of the row says what the model does."""
    asked = Asked(form, provider)
    found = {column: await asked.can(column) for column in COLUMNS}
    assert found == TABLE[form]
    assert [request.state for request in provider.requests if request.state == "cut"] == []


def test_the_page_shows_what_there_is() -> None:
    """The names, limits and errors that the page speaks of exist."""
    from tokenweir import errors

    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+_timeout|longest_retry_wait)`", text):
        assert name in ChatModel.model_fields
    for name in re.findall(r"`(\w+Error)`", text):
        assert name in errors.__all__
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        compile(code, "models.md", "exec")
