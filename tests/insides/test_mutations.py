"""Where a private name of a dependency is gone, streams are slower, and the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.pregel._messages import StreamMessagesHandler

from tests.insides.names import private_names
from tokenweir.testing import Provider

MUTANTS = Path(__file__).with_name("mutants.py")

MESSAGES = r"langgraph\.pregel\._messages"

STREAMING = {
    "StreamMessagesHandler": ("langgraph", r"\bStreamMessagesHandler\b"),
    "_emit": (MESSAGES, r"\b_emit\b"),
    "metadata": (MESSAGES, r"(?<=self\.)metadata\b"),
    "seen": (MESSAGES, r"(?<=self\.)seen\b"),
    "stream": (MESSAGES, r"(?<=self\.)stream\b"),
    "subgraphs": (
        r"langgraph\.pregel\.(_messages|_tools|main)",
        r"(?<=self\.)subgraphs\b|(?<=handler\.)subgraphs\b",
    ),
    "__pregel_runtime": ("langgraph", r"(?<=__pregel_)runtime\b"),
    "__pregel_stream": ("langgraph", r"(?<=__pregel_)stream\b"),
    "_serde": ("langgraph", r"\b_serde\b"),
}
"""Per private name in use: in which modules it is renamed, and what is renamed there."""


def attributes_of_the_handler() -> frozenset[str]:
    """What LangGraph's handler has besides what every callback handler has."""
    handler = StreamMessagesHandler(print, False)
    return frozenset({*vars(handler), *vars(StreamMessagesHandler)} - {*dir(BaseCallbackHandler)})


def mutated(provider: Provider, mutations: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """What came of each mutation, by its name."""
    listed = [[name, *where, "\\g<0>_gone"] for name, where in mutations.items()]
    ran = subprocess.run(
        [sys.executable, MUTANTS],
        input=json.dumps(listed),
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    return {result["label"]: result for result in results}


def assert_same(results: dict[str, Any], mutations: dict[str, tuple[str, str]]) -> None:
    assert results.keys() == mutations.keys()
    assert [name for name, result in results.items() if not result["applied"]] == []
    different = {name: result["differences"] for name, result in results.items()}
    assert {name: told for name, told in different.items() if told} == {}
    assert [name for name, result in results.items() if len(result["told"]) > 1] == []


def test_every_private_name_of_langgraph_has_a_mutation() -> None:
    """A private name that comes into use in ``streaming/_langgraph`` needs one, too."""
    used = private_names("streaming/_langgraph", attributes_of_the_handler())
    assert used == STREAMING.keys()


def test_streams_without_a_private_name_of_langgraph(scripted: Provider) -> None:
    """The same parts as by ``graph.astream``, and at most one warning, which names the reason."""
    assert_same(mutated(scripted, STREAMING), STREAMING)
