"""The ready graphs: what they answer, what they stream, and that their pictures are true."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tokenweir.errors import ModelNameError
from tokenweir.graphs.loader import ready_graphs
from tokenweir.graphs.story import headings
from tokenweir.streaming.collect import collect
from tokenweir.streaming.filters import in_namespace, tag
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply, by_call

INPUTS: dict[str, Any] = {
    "joke_poem": {"topic": "cats"},
    "joke_poem_custom": {"topic": "cats"},
    "joke_poem_parallel": {"topic": "cats"},
    "chat": {"messages": [("user", "Hello!")]},
    "agent": {"messages": [("user", "What is 12 * 7?")]},
    "story": {"topic": "a lighthouse"},
}
READY = sorted(ready_graphs())
CONFIG: Any = {"configurable": {"thread_id": "1"}}


def built(name: str, *args: Any, **kwargs: Any) -> Any:
    return importlib.import_module(f"tokenweir.graphs.{name}").build(*args, **kwargs)


def mode_of(name: str) -> Any:
    return "custom" if name == "joke_poem_custom" else "messages"


def text_of(tokens: list[Any], wanted: str) -> str:
    return "".join(str(chunk.content) for chunk, data in tokens if wanted in data.get("tags", ()))


async def test_every_ready_graph_has_an_input_here() -> None:
    """No ready graph escapes the tests below."""
    assert sorted(INPUTS) == READY


@pytest.mark.parametrize("name", READY)
def test_the_picture_in_the_docstring_is_the_graph(scripted: Provider, name: str) -> None:
    """The mermaid picture in a graph's docstring is what LangGraph draws of it."""
    module = importlib.import_module(f"tokenweir.graphs.{name}")
    documented = re.search(r"```mermaid\n(.*?)```", inspect.getdoc(module) or "", re.DOTALL)
    assert documented
    drawn = built(name).get_graph(xray=True).draw_mermaid(with_styles=False)
    assert documented[1].split() == drawn.split()


@pytest.mark.parametrize("name", READY)
async def test_parity(scripted: Provider, name: str) -> None:
    """Promise 1 on the ready graphs: as LangGraph's own stream, call by call."""
    kwargs = {"stream_mode": mode_of(name), "subgraphs": True}
    plain = [part[1] async for part in built(name).astream(INPUTS[name], CONFIG, **kwargs)]
    ours = [part[1] async for part in astream(built(name), INPUTS[name], CONFIG, **kwargs)]
    assert len(ours) > 3
    assert by_call(ours) == by_call(plain)


@pytest.mark.parametrize("name", ["joke_poem", "joke_poem_custom", "joke_poem_parallel"])
async def test_joke_and_poem(scripted: Provider, name: str) -> None:
    """The tags tell the joke's tokens from the poem's, and the filter passes one alone."""
    graph = built(name)
    tokens = [token async for token in astream(graph, INPUTS[name], stream_mode=mode_of(name))]
    assert text_of(tokens, "joke") == "Why did the cat sit down? It was tired."
    assert text_of(tokens, "poem") == "In sunlit patches, sleek and sly."
    jokes = astream(graph, INPUTS[name], only=tag("joke"), stream_mode=mode_of(name))
    [(joke, metadata)] = await collect(jokes)
    assert joke.content == "Why did the cat sit down? It was tired."
    assert metadata["tags"] == ["joke"]
    result = await graph.ainvoke(INPUTS[name])
    assert result == {
        "topic": "cats",
        "joke": "Why did the cat sit down? It was tired.",
        "poem": "In sunlit patches, sleek and sly.",
    }


async def test_the_parallel_nodes_run_at_once(scripted: Provider) -> None:
    """Both nodes have asked before either has its answer."""
    scripted.on("trees", Reply("one two", hold_after=0))
    reading = asyncio.ensure_future(
        collect(astream(built("joke_poem_parallel"), {"topic": "trees"}))
    )
    await asyncio.to_thread(scripted.wait_for_requests, 2)
    scripted.release()
    nodes = {metadata["langgraph_node"] for _, metadata in await reading}
    assert nodes == {"write_joke", "write_poem"}


async def test_chat_remembers_a_thread(scripted: Provider) -> None:
    """The second turn on a thread sends the first turn along; another thread does not."""
    graph = built("chat", system="Be brief.")

    async def turn(text: str, thread: str) -> None:
        config: Any = {"configurable": {"thread_id": thread}}
        async for _ in astream(graph, {"messages": [("user", text)]}, config):
            pass

    await turn("My name is Ann.", "1")
    await turn("What is my name?", "1")
    await turn("Hello?", "2")
    sent = [[m["content"] for m in request.body["messages"]] for request in scripted.requests]
    assert sent == [
        ["Be brief.", "My name is Ann."],
        ["Be brief.", "My name is Ann.", "It is 84.", "What is my name?"],
        ["Be brief.", "Hello?"],
    ]


async def test_the_agent_calls_a_tool_and_answers(scripted: Provider) -> None:
    """The model's call is streamed, the tool's result follows, and then the answer."""
    results = await collect(astream(built("agent"), INPUTS["agent"]))
    asking, result, answer = [message for message, _ in results]
    assert isinstance(asking, AIMessage)
    assert asking.tool_calls[0]["args"] == {"expression": "12 * 7"}
    assert (result.type, result.content) == ("tool", "12 * 7 = 84")
    assert answer.content == "It is 84."


async def test_the_story_is_told_in_order(scripted: Provider) -> None:
    """Three sections from three lines, joined in the outline's order, then edited."""
    graph = built("story")
    result = await graph.ainvoke(INPUTS["story"])
    assert result["outline"] == ["A storm comes.", "The lamp fails.", "A boat returns."]
    assert result["story"] == "\n\n".join(["It was a dark night."] * 3 + ["And all was well."])
    assert result["title"] == "The Lamp"
    stream = astream(graph, INPUTS["story"], only=in_namespace("edit"), subgraphs=True)
    edited = [token[1] async for token in stream]
    assert {tuple(metadata["tags"]) for _, metadata in edited} == {("edit",), ("title",)}


def test_an_outline_of_nothing() -> None:
    """Lines without words are no headings; so small a model may write nothing else."""
    assert headings(" \n1. \n**\n") == []


def test_the_custom_graph_refuses_other_providers() -> None:
    """The openai client reaches two providers; any other name is an error, not a wrong call."""
    with pytest.raises(ModelNameError, match="not 'anthropic:claude'"):
        built("joke_poem_custom", "anthropic:claude")


def test_importing_a_ready_graph_chooses_no_model() -> None:
    """Only ``graph`` itself needs a model; ``build`` is there without a key or a download."""
    code = "\n".join(
        f"from tokenweir.graphs import {name}; assert 'graph' not in vars({name})" for name in READY
    )
    environ = {"TOKENWEIR_MODEL": "openai:gpt-4o-mini", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
