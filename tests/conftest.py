"""What tests of several rooms share: a model, graphs of one node, and what they stream."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from langchain_core.messages import BaseMessage
from langchain_openai.chat_models import _client_utils
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore

from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.testing import Provider, Reply, ToolCall

# Tests start some hundred Pythons. Where an image forbids to keep what was compiled, as most do,
# each would compile all that it imports: three seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each HTTP client that is made reads the certificates that it trusts: 20 ms and more, some thousand
# times. Only tests that may fetch something speak TLS; the others read a single certificate.
_CERTIFICATES = os.environ.get("SSL_CERT_FILE")
_FETCHING = ("browser", "docs", "foreign", "local")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not any(item.get_closest_marker(name) for name in _FETCHING):
        os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("certificate.pem"))
    elif _CERTIFICATES is not None:
        os.environ["SSL_CERT_FILE"] = _CERTIFICATES
    else:
        os.environ.pop("SSL_CERT_FILE", None)


# LangChain keeps 128 clients of plain models. One that it drops is closed in the loop that runs
# then, while its connections belong to a loop that has ended, so that Python warns of an unclosed
# socket, and the test that happens to run fails. Here none is dropped.
_clients = getattr(_client_utils, "_cached_async_httpx_client", None)
if _clients is not None:
    _client_utils._cached_async_httpx_client = lru_cache(maxsize=None)(_clients.__wrapped__)


# A shell has what it starts in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_LONGEST = (
    "insides/test_mutations.py",
    "test_benchmarks.py",
    "serving/postgres/test_chaos.py",
    "serving/postgres/test_workers.py",
    "serving/http/test_malformed_requests.py",
    "serving/description/test_conformance.py",
)
"""Files with tests of ten seconds and more."""


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: tests wait for other processes a quarter of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: a worker that has no more tests takes short ones from another."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(_LONGEST))


def pytest_collection_finish() -> None:
    """Let the collector leave alone what is there by now: most of it is what was imported."""
    gc.collect()
    gc.freeze()


# How long an example takes to make or to run says how busy the machine is, and nothing of our code;
# fixtures such as a provider are the same for all examples.
settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def model() -> Iterator[ChatModel]:
    """A chat model that says the prompt back: one for all tests, as it takes 50 ms to make."""
    with Provider() as provider:
        made = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
        assert isinstance(made, ChatModel)
        yield made
        made.root_client.close()


@pytest.fixture
def scripted(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider with an answer for each prompt of the ready graphs, named by the environment."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENWEIR_MODEL", "openai:gpt-4o-mini")
    provider.on("joke", Reply("Why did the cat sit down? It was tired."))
    provider.on("poem", Reply("In sunlit patches, sleek and sly."))
    provider.on(
        "List 3 things", Reply("1. A storm comes.\n2. **The lamp fails.**\n- A boat returns.")
    )
    provider.on("This is part", Reply("It was a dark night."))
    provider.on("one last sentence", Reply("And all was well."))
    provider.on("a title", Reply('"The Lamp"'))
    call = ToolCall("calculate", json.dumps({"expression": "12 * 7"}))
    provider.on("What is 12 * 7?", Reply(tool_calls=[call]))
    provider.default = Reply("It is 84.")
    return provider


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
