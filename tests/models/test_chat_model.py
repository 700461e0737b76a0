"""``chat_model``: names, keys and defaults; and what it shares with ``ChatOpenAI``.

That one model works in every loop and thread is in ``test_any_loop.py``.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import httpx2
import pytest
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI, StreamChunkTimeoutError
from langgraph.graph import MessagesState
from pydantic import BaseModel, SecretStr

from tokenweir.errors import ModelNameError, StreamError, TokenweirError
from tokenweir.models.chat import ChatModel, LocalChatModel, chat_model, default_model_name
from tokenweir.models.completion import completion_model
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply, ToolCall

VARIABLES = (
    "TOKENWEIR_MODEL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_PROXY",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def ask(provider: Provider, **kwargs: Any) -> ChatModel:
    made = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", **kwargs)
    assert isinstance(made, ChatModel)
    return made


# Names and keys


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("openai:gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("openai:ft:gpt-4o-mini:acme::7", "ft:gpt-4o-mini:acme::7"),
        ("openai:Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ],
)
def test_a_name_says_provider_and_model(provider: Provider, name: str, model: str) -> None:
    """What stands after the first colon is the model, as the provider is asked for it."""
    chat_model(name, base_url=provider.base_url).invoke("hello")
    assert provider.requests[0].body["model"] == model


@pytest.mark.parametrize("name", ["nobody:claude", "openai:", ":gpt-4o", "local:", ":"])
def test_an_unknown_name_is_refused(name: str) -> None:
    """A provider that is not known, or a name without a model, is an error that says what is."""
    with pytest.raises(ModelNameError) as caught:
        chat_model(name, api_key="test")
    assert repr(name) in str(caught.value) or repr(name.partition(":")[0]) in str(caught.value)
    assert ":MODEL" in str(caught.value) or "openai" in str(caught.value)
    assert isinstance(caught.value, TokenweirError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("base_url", [None, "https://models.example.com/v1"])
def test_a_missing_key_is_said_when_the_model_is_made(base_url: str | None) -> None:
    """Without a key a remote endpoint is refused at once, with the three ways out."""
    with pytest.raises(ModelNameError) as caught:
        chat_model("openai:gpt-4o-mini", base_url=base_url)
    for part in ("OPENAI_API_KEY", "api_key=", "local:smollm2", "openai:gpt-4o-mini"):
        assert part in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "llm.localhost"])
def test_a_server_on_this_machine_needs_no_key(host: str) -> None:
    """llama.cpp, vLLM or Ollama on loopback ask for none."""
    made = chat_model("openai:any", base_url=f"http://{host}:8000/v1")
    assert isinstance(made, ChatModel)
    assert made.openai_api_key is not None


def test_a_key_comes_from_argument_or_environment(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument goes before the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    chat_model("openai:x", base_url=provider.base_url).invoke("hello")
    chat_model("openai:x", base_url=provider.base_url, api_key="given").invoke("hello")
    chat_model("openai:x", base_url=provider.base_url, api_key=SecretStr("secret")).invoke("hello")
    keys = [request.headers["authorization"] for request in provider.requests]
    assert keys == ["Bearer from-environment", "Bearer given", "Bearer secret"]


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_a_base_url_comes_from_the_environment(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """An endpoint that the environment names is used, and needs no key on this machine."""
    monkeypatch.setenv(variable, provider.base_url)
    assert chat_model("openai:x").invoke("hello").content == "You said: hello"


def test_the_providers_own_variables_are_enough(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Provider.environ`` makes every model talk to it."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    assert chat_model("openai:x").invoke("hello").content == "You said: hello"
    assert chat_model().invoke("hello").content == "You said: hello"


def test_a_local_model_is_not_started_by_naming_it() -> None:
    """Naming the embedded model costs nothing: neither process nor file is looked for."""
    model = chat_model("local:/nowhere/at/all.gguf", tags=["joke"], max_tokens=7)
    assert isinstance(model, LocalChatModel)
    assert (model.model_name, model.tags, model.max_tokens) == ("all.gguf", ["joke"], 7)
    default = chat_model("local:smollm2")
    assert isinstance(default, LocalChatModel)
    assert default.model_name == "smollm2"


# Which model, where none is named


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "local:smollm2"),
        ({"OPENAI_API_KEY": "k"}, "openai:gpt-4o-mini"),
        ({"OPENAI_API_KEY": ""}, "local:smollm2"),
        ({"TOKENWEIR_MODEL": "openai:gpt-5"}, "openai:gpt-5"),
        ({"TOKENWEIR_MODEL": "local:/m.gguf", "OPENAI_API_KEY": "k"}, "local:/m.gguf"),
        ({"TOKENWEIR_MODEL": "", "OPENAI_API_KEY": "k"}, "openai:gpt-4o-mini"),
    ],
)
def test_the_default_model(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str
) -> None:
    """``TOKENWEIR_MODEL``, else OpenAI's if there is a key, else the embedded one."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert default_model_name() == name


def test_the_default_model_is_said_once_on_stderr() -> None:
    """Which model was chosen, and why, is one line per process, however many are made."""
    script = "from tokenweir import chat_model; chat_model(); chat_model('local:x'); chat_model()"
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr.splitlines() == [
        "model: local:smollm2 (embedded; set OPENAI_API_KEY or TOKENWEIR_MODEL for another)"
    ]
    assert done.stdout == ""


def test_a_named_model_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a choice that the user did not make is said."""
    chat_model("openai:x", api_key="test")
    assert capsys.readouterr() == ("", "")


# Tags


async def test_tags_are_on_every_chunk(provider: Provider, one_node: Any) -> None:
    """``tags=`` is what filters look for: it is in the metadata of each chunk."""
    model = ask(provider, tags=("joke", "short"))

    async def node(state: MessagesState, config: RunnableConfig) -> Any:
        await model.ainvoke("hello", config)
        return {}

    tokens = [token async for token in astream(one_node(node), {"messages": []})]
    assert len(tokens) > 3
    assert all(metadata["tags"] == ["joke", "short"] for _, metadata in tokens)
    assert {metadata["ls_model_name"] for _, metadata in tokens} == {"gpt-4o-mini"}


def test_one_tag_that_is_no_list_is_refused() -> None:
    """``tags="joke"`` would be four tags of one letter each."""
    with pytest.raises(TypeError, match=r"tags=\['joke'\]"):
        chat_model("openai:x", tags="joke", api_key="test")


# What it shares with ChatOpenAI


def plain(provider: Provider, **kwargs: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="gpt-4o-mini", base_url=provider.base_url, api_key=SecretStr("test"), **kwargs
    )


async def test_requests_are_those_of_chat_openai(provider: Provider) -> None:
    """Every header and field that is sent is what ChatOpenAI sends, sync and async.

    Told, as to OpenAI itself, that usage is wanted; ours asks any endpoint.
    """
    options: Any = {"temperature": 0.5, "timeout": 20, "max_retries": 1}
    assert ask(provider).stream_usage
    assert not ask(provider, stream_usage=False).stream_usage
    options["stream_usage"] = True
    for model in (plain(provider, **options), ask(provider, **options)):
        model.invoke("hello")
        list(model.stream("hello"))
        await model.ainvoke("hello")
        assert [chunk async for chunk in model.astream("hello")]
        model.root_client.close()
        await model.root_async_client.close()
    theirs, ours = provider.requests[:4], provider.requests[4:]
    assert [(request.headers, request.body) for request in ours] == [
        (request.headers, request.body) for request in theirs
    ]


def test_callbacks_are_told_what_chat_openai_tells(provider: Provider) -> None:
    """The parameters of a call are LangChain's, and those that a subclass adds by ``dict``."""

    class Named(ChatModel):
        def dict(self, **kwargs: Any) -> Any:
            return {**super().asdict(), "name": "mine"}

    given: Any = {"temperature": 0.5, "model_kwargs": {"user": "me"}, "stop": ["."]}
    ours = ask(provider, **given)._get_invocation_params(stop=["!"], user="you")
    assert ours == plain(provider, **given)._get_invocation_params(stop=["!"], user="you")
    url, key = provider.base_url, SecretStr("none")
    named = Named(model="m", base_url=url, api_key=key)
    assert named._get_invocation_params()["name"] == "mine"


async def test_tools_and_structured_output(provider: Provider) -> None:
    """What is bound to it works as on ChatOpenAI: tools, structured output, retries, copies."""

    class Cat(BaseModel):
        """A cat."""

        name: str

    provider.on("structured", '{"name": "Tom"}')
    provider.on("tool", Reply(tool_calls=[ToolCall("Cat", '{"name": "Tom"}')]))
    provider.on("retry", Reply(status=500), "again")
    model = ask(provider, max_retries=0)
    assert await model.with_structured_output(Cat).ainvoke("structured") == Cat(name="Tom")
    answer = await model.bind_tools([Cat]).ainvoke("tool")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("Cat", {"name": "Tom"})
    ]
    assert (await model.with_retry(wait_exponential_jitter=False).ainvoke("retry")).content
    copy = model.model_copy(update={"temperature": 0.1})
    assert (await copy.ainvoke("hello")).content == "You said: hello"
    assert provider.requests[-1].body["temperature"] == 0.1


async def test_chunks_are_those_of_chat_openai(provider: Provider) -> None:
    """Chunk by chunk the same message, with usage at its end."""
    provider.default = Reply("Why did the cat sit?", usage="always", logprobs=True)
    chunks = []
    for model in (plain(provider), ask(provider)):
        chunks.append([chunk async for chunk in model.astream("hello")])
        chunks.append(list(model.stream("hello")))
        model.root_client.close()
        await model.root_async_client.close()

    def told(chunk: AIMessageChunk) -> Any:
        # It may reason, which an answer of OpenAI's own chat never does.
        metadata = {**chunk.response_metadata, "model_provider": "any"}
        return chunk.model_copy(update={"id": None, "response_metadata": metadata})

    first, *others = [[told(chunk) for chunk in answer] for answer in chunks]
    assert first[-1].usage_metadata or first[-2].usage_metadata
    for other in others:
        assert other == first


async def test_http_clients_of_ones_own_are_used(provider: Provider) -> None:
    """A client that is passed in stays: its headers are sent, and it is not closed."""
    with httpx2.Client(headers={"x-mine": "sync"}) as sync_client:
        async with httpx2.AsyncClient(headers={"x-mine": "async"}) as client:
            model = ask(provider, http_client=sync_client, http_async_client=client)
            await model.ainvoke("hello")
            model.invoke("hello")
            assert not client.is_closed
    assert [request.headers["x-mine"] for request in provider.requests] == ["async", "sync"]


async def test_a_proxy_is_used(provider: Provider) -> None:
    """``openai_proxy`` is asked for the endpoint, as with ChatOpenAI."""
    proxy = provider.base_url.removesuffix("/v1")
    model = chat_model(
        "openai:x", base_url="http://models.example.com/v1", api_key="test", openai_proxy=proxy
    )
    assert isinstance(model, ChatModel)
    assert (await model.ainvoke("hello")).content == "You said: hello"
    assert model.invoke("hello").content == "You said: hello"
    model.root_client.close()
    assert [request.path for request in provider.requests] == [
        "http://models.example.com/v1/chat/completions"
    ] * 2


# Dumped and loaded


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
@pytest.mark.parametrize("name", ["openai:gpt-4o-mini", "qwen:qwen-plus", "local:smollm2"])
@pytest.mark.parametrize("make", [chat_model, completion_model])
def test_a_dumped_model_is_loaded_as_it_was(name: str, make: Any) -> None:
    """``langchain_core.load`` gives the same model back; keys are written as names."""
    kwargs = {} if name.startswith("local") else {"api_key": "sk-secret-key"}
    headers = {"x-key": "sk-other-key"}
    model = make(
        name, temperature=0.5, first_token_timeout=7, default_headers=headers, tags=["a"], **kwargs
    )
    written = dumps(model)
    assert "sk-" not in written
    key = "DASHSCOPE_API_KEY" if name.startswith("qwen") else "OPENAI_API_KEY"
    secrets: Any = {"default_headers": headers, key: "sk-secret-key"}
    read: Any = loads(
        written,
        secrets_map=secrets,
        valid_namespaces=["tokenweir"],
        allowed_objects=[type(model)],
    )
    assert type(read) is type(model)
    assert read.model_dump() == model.model_dump()


async def test_a_chunk_timeout_is_langchains(provider: Provider, one_node: Any) -> None:
    """``stream_chunk_timeout`` holds on both paths where it is set; 0 takes the gap's limit off."""
    provider.default = Reply("a b c", hold_after=1)
    model = ask(provider, stream_chunk_timeout=0.2)

    async def node(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    with pytest.raises(StreamChunkTimeoutError):
        async for _ in model.astream("hello"):
            pass
    with pytest.raises(StreamError) as caught:
        async for _ in astream(one_node(node), {"messages": [("user", "hello")]}):
            pass
    assert isinstance(caught.value.__cause__, StreamChunkTimeoutError)
    assert ask(provider).stream_chunk_timeout == 120
    assert ask(provider, stream_chunk_timeout=0).new_call_state().policy.gap == math.inf
