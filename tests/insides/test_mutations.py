"""Where a private name of a dependency is gone, streams are slower, and the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.pregel._messages import StreamMessagesHandler

from tests.insides.names import private_names
from tokenweir.testing import Provider

pytestmark = [
    pytest.mark.one_python,
    pytest.mark.skipif(
        sys.version_info < (3, 11),
        reason="before Python 3.11 an async node does not know its config by itself",
    ),
]

MUTANTS = Path(__file__).with_name("mutants.py")

MESSAGES = r"langgraph\.pregel\._messages"

STREAMING = {
    "StreamMessagesHandler": ("langgraph", r"\bStreamMessagesHandler\b"),
    "StreamToolCallHandler": ("langgraph", r"\bStreamToolCallHandler\b"),
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
    "_loop": ("langgraph", r"(?<![.\w])_loop\b|(?<=pregel\.)_loop\b"),
    "_graph_aiter": ("langgraph", r"\b_graph_aiter\b"),
    "_mux": ("langgraph", r"(?<=[.\"])(?<!langgraph\.stream\.)_mux\b"),
    "_observe_event": ("langgraph", r"\b_observe_event\b"),
    "_pump_cond": ("langgraph", r"\b_pump_cond\b"),
    "convert_to_protocol_event": ("langgraph", r"\bconvert_to_protocol_event\b"),
}
"""Per private name in use: in which modules it is renamed, and what is renamed there."""

LANGCHAIN = "langchain_core|langchain_openai"

MODELS = {
    "_agenerate_with_cache": (LANGCHAIN, r"\b_agenerate_with_cache\b"),
    "_convert_chunk_to_generation_chunk": (LANGCHAIN, r"\b_convert_chunk_to_generation_chunk\b"),
    "_create_chat_result": (LANGCHAIN, r"\b_create_chat_result\b"),
    "_cursor": ("aiohttp", r"\b_cursor\b"),
    "_dict_for_compat": (LANGCHAIN, r"\b_dict_for_compat\b"),
    "_generate_with_cache": (LANGCHAIN, r"\b_generate_with_cache\b"),
    "_get_generation_chunk_from_completion": (
        LANGCHAIN,
        r"\b_get_generation_chunk_from_completion\b",
    ),
    "_get_ls_params": (LANGCHAIN, r"\b_get_ls_params\b"),
    "_get_request_payload": (LANGCHAIN, r"\b_get_request_payload\b"),
    "_handle_openai_api_error": (LANGCHAIN, r"\b_handle_openai_api_error\b"),
    "_handle_openai_bad_request": (LANGCHAIN, r"\b_handle_openai_bad_request\b"),
    "_read_nowait": ("aiohttp", r"\b_read_nowait\b"),
    "_should_stream": (LANGCHAIN, r"\b_should_stream\b"),
    "_should_stream_usage": (LANGCHAIN, r"\b_should_stream_usage\b"),
    "_should_use_protocol_streaming": (LANGCHAIN, r"\b_should_use_protocol_streaming\b"),
    "_use_responses_api": (LANGCHAIN, r"\b_use_responses_api\b"),
    "_uses_gateway": (LANGCHAIN, r"\b_uses_gateway\b"),
    "_waiter": ("aiohttp", r"\b_waiter\b"),
}

ELSEWHERE = {
    "one more keyword in the client's request": (
        "openai",
        r"(?<=self\.request\(cast_to, opts, )|(?<=options: FinalRequestOptions,\n        \*,\n)",
        "",
    ),
    "_mounts": ("httpx2|httpx", r"\b_mounts\b"),
}
"""What broke streams before, and is used no more."""


def attributes_of_the_handler() -> frozenset[str]:
    """What LangGraph's handler has besides what every callback handler has."""
    handler = StreamMessagesHandler(print, False)
    return frozenset({*vars(handler), *vars(StreamMessagesHandler)} - {*dir(BaseCallbackHandler)})


def mutated(provider: Provider, mutations: dict[str, Any]) -> dict[str, Any]:
    """What came of each mutation, by its name."""
    listed = [[name, *where, "\\g<0>_gone"][:4] for name, where in mutations.items()]
    ran = subprocess.run(
        [sys.executable, MUTANTS],
        input=json.dumps(listed),
        stdout=subprocess.PIPE,
        text=True,
        timeout=380,
        check=True,
    )
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    return {result["label"]: result for result in results}


def assert_same(results: dict[str, Any], mutations: dict[str, Any]) -> None:
    assert results.keys() == mutations.keys()
    assert [name for name, result in results.items() if not result["applied"]] == []
    different = {name: result["differences"] for name, result in results.items()}
    assert {name: told for name, told in different.items() if told} == {}
    assert [name for name, result in results.items() if len(result["told"]) > 1] == []


def test_every_private_name_of_langgraph_has_a_mutation() -> None:
    """A private name that comes into use in ``streaming/_langgraph`` needs one, too."""
    used = private_names("streaming/_langgraph", attributes_of_the_handler())
    assert used == STREAMING.keys()


@pytest.mark.timeout(400)
def test_streams_without_a_private_name_of_langgraph(scripted: Provider) -> None:
    """The same parts as by ``graph.astream``, and at most one warning, which names the reason."""
    assert_same(mutated(scripted, STREAMING), STREAMING)


def test_every_private_name_of_the_clients_has_a_mutation() -> None:
    """A private name that comes into use in ``models/_openai`` needs one, too."""
    assert private_names("models/_openai") == MODELS.keys()


@pytest.mark.timeout(400)
def test_streams_without_a_private_name_of_the_clients(scripted: Provider) -> None:
    """The same parts as by ``graph.astream``, and at most one warning, which names the reason."""
    mutations = {**MODELS, **ELSEWHERE}
    assert_same(mutated(scripted, mutations), mutations)
