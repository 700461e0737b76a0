"""Code written for LangGraph alone runs here as it stands: its own imports, in a fresh process.

The programs are those of LangGraph's guide to streaming tokens. They talk to whatever
``OPENAI_BASE_URL`` names: the scripted provider, and the embedded model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tokenweir.models.embedded.model import start_model
from tokenweir.testing import Provider

JOKE = "Why did the cat sit down? It was tired."
POEM = "In sunlit patches, sleek and sly."

# Runs cells as a notebook does: one namespace, one event loop, ``await`` at the top of each.
NOTEBOOK = """
import ast, asyncio, inspect, json, sys

async def main():
    names = {"__name__": "__main__"}
    for cell in json.load(sys.stdin):
        code = compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
        print("\\f", end="")

asyncio.run(main())
"""

WITH_LANGCHAIN = """
from typing import TypedDict
from langgraph.graph import START, StateGraph, MessagesState
from langchain_openai import ChatOpenAI

# Note: we're adding the tags here to be able to filter the model outputs down the line
joke_model = ChatOpenAI(model="gpt-4o-mini", tags=["joke"])
poem_model = ChatOpenAI(model="gpt-4o-mini", tags=["poem"])

class State(TypedDict):
    topic: str
    joke: str
    poem: str

async def call_model(state, config):
    topic = state["topic"]
    print("Writing joke...")
    joke_response = await joke_model.ainvoke(
        [{"role": "user", "content": f"Write a joke about {topic}"}],
        config,
    )
    print("\\n\\nWriting poem...")
    poem_response = await poem_model.ainvoke(
        [{"role": "user", "content": f"Write a short poem about {topic}"}],
        config,
    )
    return {"joke": joke_response.content, "poem": poem_response.content}

graph = StateGraph(State).add_node(call_model).add_edge(START, "call_model").compile()
"""

WITHOUT_LANGCHAIN = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI

openai_client = AsyncOpenAI()
model_name = "gpt-4o-mini"

class State(TypedDict):
    topic: str
    joke: str
    poem: str

async def stream_tokens(model_name: str, messages: list[dict]):
    response = await openai_client.chat.completions.create(
        messages=messages, model=model_name, stream=True
    )
    role = None
    async for chunk in response:
        delta = chunk.choices[0].delta
        if delta.role is not None:
            role = delta.role
        if delta.content:
            yield {"role": role, "content": delta.content}

async def call_model(state, config, writer):
    topic = state["topic"]
    joke = ""
    poem = ""
    print("Writing joke...")
    async for msg_chunk in stream_tokens(
        model_name, [{"role": "user", "content": f"Write a joke about {topic}"}]
    ):
        joke += msg_chunk["content"]
        metadata = {**config["metadata"], "tags": ["joke"]}
        chunk_to_stream = (msg_chunk, metadata)
        writer(chunk_to_stream)
    print("\\n\\nWriting poem...")
    async for msg_chunk in stream_tokens(
        model_name, [{"role": "user", "content": f"Write a short poem about {topic}"}]
    ):
        poem += msg_chunk["content"]
        metadata = {**config["metadata"], "tags": ["poem"]}
        chunk_to_stream = (msg_chunk, metadata)
        writer(chunk_to_stream)
    return {"joke": joke, "poem": poem}

graph = StateGraph(State).add_node(call_model).add_edge(START, "call_model").compile()
"""

ALL_TOKENS = """
async for msg, metadata in graph.astream(
    {"topic": "cats"},
    stream_mode="messages",
):
    if msg.content:
        print(msg.content, end="|", flush=True)
"""

ONLY_THE_JOKE = """
async for msg, metadata in graph.astream(
    {"topic": "cats"},
    stream_mode="messages",
):
    if msg.content and "joke" in metadata.get("tags", []):
        print(msg.content, end="|", flush=True)
"""

ALL_DICTS = """
async for msg, metadata in graph.astream(
    {"topic": "cats"},
    stream_mode="custom",
):
    print(msg["content"], end="|", flush=True)
"""

ONLY_THE_POEM = """
async for msg, metadata in graph.astream(
    {"topic": "cats"},
    stream_mode="custom",
):
    if "poem" in metadata.get("tags", []):
        print(msg["content"], end="|", flush=True)
"""

SYNC = """
from langgraph.graph import MessagesState, StateGraph, START
from langchain_openai import ChatOpenAI

model = ChatOpenAI()

def call_model(state: MessagesState):
    return {"messages": [model.invoke("Write a joke about cats")]}

graph = StateGraph(MessagesState).add_node(call_model).add_edge(START, "call_model").compile()
for msg, metadata in graph.stream({"messages": []}, stream_mode="messages"):
    print(msg.content, end="|")
"""

OURS = """
from tokenweir import astream, chat_model, stream

def ChatOpenAI(model="gpt-4o-mini", **kwargs):
    return chat_model(f"openai:{model}", **kwargs)
"""


def with_ours(program: str) -> str:
    """The program with our model and our ``astream`` in the place of its own."""
    if "ChatOpenAI" in program or "StateGraph" in program:
        program = program.replace("from langchain_openai import ChatOpenAI", "")
        program = OURS + program
    return program.replace("graph.astream(", "astream(graph, ").replace(
        "graph.stream(", "stream(graph, "
    )


def with_node(program: str) -> str:
    """The program with ``@node`` on its node, and otherwise as it stands."""
    marked = program.replace("async def call_model", "@node\nasync def call_model")
    return marked if marked == program else "from tokenweir import node\n" + marked


def run(cells: list[str], environ: Mapping[str, str]) -> list[str]:
    """What each cell prints."""
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        input=json.dumps(cells),
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\f")[:-1]


def known_cells(changed: Callable[[str], str]) -> list[tuple[str, Any]]:
    """The cells that can run: plain LangGraph's writer finds no config in Python 3.10's nodes."""
    return CELLS[:3] if changed is str and sys.version_info < (3, 11) else CELLS


def tokens(text: str) -> str:
    return "".join(f"{' ' if n else ''}{word}|" for n, word in enumerate(text.split()))


# Cells, each with whether the joke's and the poem's tokens are to be seen.
CELLS: list[tuple[str, Any]] = [
    (WITH_LANGCHAIN, None),
    (ALL_TOKENS, (True, True)),
    (ONLY_THE_JOKE, (True, False)),
    (WITHOUT_LANGCHAIN, None),
    (ALL_DICTS, (True, True)),
    (ONLY_THE_POEM, (False, True)),
]
PROSE = ("Writing joke...\n", "\n\nWriting poem...\n")


@pytest.mark.parametrize("changed", [str, with_ours, with_node], ids=["plain", "ours", "@node"])
def test_on_the_scripted_provider(provider: Provider, changed: Callable[[str], str]) -> None:
    """The wanted tokens arrive, each by itself, and no others."""
    provider.on("joke", JOKE)
    provider.on("poem", POEM)
    wanted = known_cells(changed)
    cells = [changed(cell) for cell, _ in wanted]
    for printed, (_, seen) in zip(run(cells, provider.environ), wanted, strict=True):
        if seen is None:
            continue
        # In custom mode the reader may be behind the node, whose prints then come first.
        for line in PROSE:
            assert line in printed
            printed = printed.replace(line, "")
        joke, poem = seen
        assert printed == tokens(JOKE) * joke + tokens(POEM) * poem


@pytest.mark.parametrize("changed", [str, with_ours], ids=["plain", "ours"])
def test_sync(provider: Provider, changed: Callable[[str], str]) -> None:
    """The sync form, with a model that has no name and a node that takes no config."""
    provider.reply(JOKE)
    [printed] = run([changed(SYNC)], provider.environ)
    assert printed.strip("|") == tokens(JOKE).strip("|")


@pytest.mark.one_python
@pytest.mark.local
@pytest.mark.parametrize("changed", [str, with_ours], ids=["plain", "ours"])
def test_on_the_embedded_model(changed: Callable[[str], str]) -> None:
    """The same programs against the embedded model's endpoint: real tokens, each in its place."""
    environ = {"OPENAI_BASE_URL": start_model().base_url, "OPENAI_API_KEY": "none"}
    some = [cell for cell in known_cells(changed) if cell not in (CELLS[2], CELLS[4])]
    for printed, (_, seen) in zip(
        run([changed(cell) for cell, _ in some], environ), some, strict=True
    ):
        if seen is not None:
            joke, poem = printed.split("Writing poem...\n")
            assert ("|" in joke, "|" in poem) == seen
