"""Code written for LangGraph alone runs here as it stands: its own imports, in a fresh process.

The programs are those of LangGraph's guide to streaming tokens. They talk to whatever
``OPENAI_BASE_URL`` names: the scripted provider, and the embedded model.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tokenweir.testing import Provider

JOKE = "Why did the cat sit down? It was tired."
POEM = "In sunlit patches, sleek and sly."

# Runs a program as a notebook does: with ``await`` and ``async for`` at the top.
NOTEBOOK = """
import ast, asyncio, inspect, sys
code = compile(sys.stdin.read(), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
cell = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(cell):
    asyncio.run(cell)
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
    program = program.replace("from langchain_openai import ChatOpenAI", OURS)
    if OURS not in program:
        program = OURS + program
    return program.replace("graph.astream(", "astream(graph, ").replace(
        "graph.stream(", "stream(graph, "
    )


def run(program: str, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        input=program,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tokens(text: str) -> str:
    return "".join(f"{' ' if n else ''}{word}|" for n, word in enumerate(text.split()))


PROGRAMS = [
    (WITH_LANGCHAIN + ALL_TOKENS, tokens(JOKE), tokens(POEM)),
    (WITH_LANGCHAIN + ONLY_THE_JOKE, tokens(JOKE), ""),
    (WITHOUT_LANGCHAIN + ALL_DICTS, tokens(JOKE), tokens(POEM)),
    (WITHOUT_LANGCHAIN + ONLY_THE_POEM, "", tokens(POEM)),
]


@pytest.mark.parametrize("changed", [lambda program: program, with_ours], ids=["plain", "ours"])
@pytest.mark.parametrize(("program", "joke", "poem"), PROGRAMS)
def test_on_the_scripted_provider(
    provider: Provider, changed: object, program: str, joke: str, poem: str
) -> None:
    """The wanted tokens arrive, each by itself, and no others."""
    assert callable(changed)
    provider.on("joke", JOKE)
    provider.on("poem", POEM)
    printed = run(changed(program), provider.environ)
    # In custom mode the reader may be behind the node, whose prints then come first.
    for line in ("Writing joke...\n", "\n\nWriting poem...\n"):
        assert line in printed
        printed = printed.replace(line, "")
    assert printed == joke + poem


@pytest.mark.parametrize("changed", [lambda program: program, with_ours], ids=["plain", "ours"])
def test_sync(provider: Provider, changed: object) -> None:
    """The sync form, with a model that has no name and a node that takes no config."""
    assert callable(changed)
    provider.reply(JOKE)
    assert run(changed(SYNC), provider.environ).strip("|") == tokens(JOKE).strip("|")


@pytest.mark.local
@pytest.mark.parametrize("changed", [lambda program: program, with_ours], ids=["plain", "ours"])
def test_on_the_embedded_model(changed: object) -> None:
    """The same programs against the embedded model's endpoint: real tokens, each in its place."""
    from tokenweir.nodes.embedded import start

    assert callable(changed)
    environ = {"OPENAI_BASE_URL": start().base_url, "OPENAI_API_KEY": "none"}
    for program, has_joke, has_poem in (PROGRAMS[0], PROGRAMS[3]):
        joke, poem = run(changed(program), environ).split("Writing poem...\n")
        joke = joke.removeprefix("Writing joke...\n")
        assert bool(joke.count("|") > 3) == bool(has_joke)
        assert bool(poem.count("|") > 3) == bool(has_poem)
