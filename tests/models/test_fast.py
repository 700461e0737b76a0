"""Promise 10: the fast path gives what LangChain's own path gives, or steps aside."""

from __future__ import annotations

import json
import logging
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from tests.models.alike import REPLIES, ByLangChain, as_openais
from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.models._openai.probe import probe
from tokenweir.models._openai.streamed_calls import StreamedCalls
from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.streaming.filters import tag
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import Provider, Reply, ToolCall, without_run_ids

INPUT: Any = {"messages": [("user", "hello")]}


class Listener(BaseCallbackHandler):
    """A handler that wants every token: with it LangChain makes the call itself."""

    run_inline = True

    def __init__(self) -> None:
        self.heard = 0

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        self.heard += 1


def model_of(provider: Provider, **kwargs: Any) -> BaseChatModel:
    return chat_model(
        "openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", tags=["joke"], **kwargs
    )


def langchains(provider: Provider, **kwargs: Any) -> BaseChatModel:
    """The same model, whose calls LangChain makes and reads."""
    key = SecretStr("test")
    arguments: dict[str, Any] = {"base_url": provider.base_url, "api_key": key, "tags": ["joke"]}
    return ByLangChain(model="gpt-4o-mini", **arguments, **kwargs)


def graph_of(model: BaseChatModel, sync: bool = False) -> Any:
    async def aask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke(state["messages"], config)]}

    node = ask if sync else aask
    return StateGraph(MessagesState).add_node("ask", node).add_edge(START, "ask").compile()


async def parts(way: str, model: BaseChatModel, config: Any = None, **kwargs: Any) -> list[Any]:
    """Everything that a graph streams, its result last."""
    kwargs = {"stream_mode": ["messages", "values"], **kwargs}
    if way == "ours":
        return [part async for part in astream(graph_of(model), INPUT, config, **kwargs)]
    if way == "ours, sync":
        return list(stream(graph_of(model, True), INPUT, config, **kwargs))
    if way == "plain, sync":
        return list(graph_of(model, True).stream(INPUT, config, **kwargs))
    return [part async for part in graph_of(model).astream(INPUT, config, **kwargs)]


WAYS = ["ours", "plain", "ours, sync", "plain, sync"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
async def test_both_paths_are_equal(
    provider: Provider, reply: Reply, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Chunks, metadata and final message, to the field, whatever the answer holds."""
    assert probe() is None  # tried by whichever test comes first, and logs
    caplog.set_level(logging.DEBUG, "tokenweir")
    provider.default = reply
    model = model_of(provider, logprobs=reply.logprobs or None)
    fast = await parts(way, model)
    assert not caplog.records
    listener = Listener()
    slow = await parts(way, model, {"callbacks": [listener]})
    assert listener.heard > 0
    assert "a callback handler wants every token" in caplog.text
    theirs = await parts(way, langchains(provider, logprobs=reply.logprobs or None))
    assert without_run_ids(fast) == without_run_ids(slow) == without_run_ids(theirs)


@pytest.mark.parametrize("way", ["ours", "ours, sync"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
async def test_the_direct_way(provider: Provider, reply: Reply, way: str) -> None:
    """The same through ``messages`` mode alone, where chunks go straight into the sink."""
    provider.default = reply
    model = model_of(provider, logprobs=reply.logprobs or None)
    fast = await parts(way, model, stream_mode="messages")
    slow = await parts(way, model, {"callbacks": [Listener()]}, stream_mode="messages")
    theirs = langchains(provider, logprobs=reply.logprobs or None)
    plain = await parts(way, theirs, stream_mode="messages")
    assert without_run_ids(fast) == without_run_ids(slow) == without_run_ids(plain)


@settings(max_examples=40)
@given(
    tokens=st.lists(st.text(max_size=5), max_size=12),
    split=st.integers(1, 60),
    seed=st.integers(0, 9) | st.none(),
)
def test_byte_boundaries_change_nothing(
    provider: Provider, tokens: list[str], split: int, seed: int | None
) -> None:
    """However the bytes are cut, the same tokens come, and their sum is the message."""
    provider.default = Reply(
        tokens=tokens, split=split if seed is None else ("random", seed), usage="always"
    )
    found = list(
        stream(graph_of(model_of(provider), True), INPUT, stream_mode=["messages", "values"])
    )
    chunks = [part[0] for mode, part in found if mode == "messages"]
    assert [chunk.content for chunk in chunks if chunk.content] == [t for t in tokens if t]
    assert found[-1][1]["messages"][-1].content == "".join(tokens)


@pytest.mark.filterwarnings("ignore:nothing passed the filter")
async def test_a_rejected_call_is_read_to_its_end(provider: Provider) -> None:
    """Nothing of it is streamed, and the node gets its answer all the same."""
    provider.default = Reply("Why did the cat sit down?", usage="always")
    model = model_of(provider)
    with pytest.warns(UnmatchedFilterWarning):
        found = await parts("ours", model, only=tag("poem"))
    assert [mode for mode, _ in found] == ["values", "values"]
    whole = await parts("ours", model, only=tag("joke"))
    assert without_run_ids(found[-1]) == without_run_ids(whole[-1])


async def test_connections_are_used_again(provider: Provider) -> None:
    """An answer that was read to its end leaves its connection for the next call."""
    model = model_of(provider)
    for _ in range(3):
        await parts("ours", model)
    assert {request.connection for request in provider.requests} == {0}


# Stepping aside


def settings_that_leave() -> list[Any]:
    return [
        pytest.param({"cache": InMemoryCache()}, "cached", id="cache"),
        pytest.param(
            {"rate_limiter": InMemoryRateLimiter(requests_per_second=1000)}, "limited", id="rate"
        ),
        pytest.param({"output_version": "v1"}, "output version", id="v1"),
        pytest.param({"include_response_headers": True}, "headers", id="headers"),
        pytest.param({"n": 2}, "more than one", id="n"),
        pytest.param({"disable_streaming": True}, "not streamed", id="not streamed"),
        pytest.param(
            {"model_kwargs": {"response_format": {"type": "json_object"}}}, "structured", id="json"
        ),
    ]


@pytest.mark.parametrize("way", ["ours", "ours, sync"])
@pytest.mark.parametrize(("arguments", "said"), settings_that_leave())
async def test_stepping_aside(
    provider: Provider,
    arguments: dict[str, Any],
    said: str,
    way: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What only LangChain does right is left to it: parts come, and the reason is logged."""
    caplog.set_level(logging.DEBUG, "tokenweir")
    provider.default = Reply('{"a": 1}')
    found = await parts(way, model_of(provider, **arguments))
    assert said in caplog.text
    assert found[-1][1]["messages"][-1].content
    assert len([part for mode, part in found if mode == "messages"]) > 0


@pytest.mark.parametrize(("arguments", "said"), settings_that_leave())
async def test_stepping_aside_gives_langchains_stream(
    provider: Provider, arguments: dict[str, Any], said: str
) -> None:
    """The chunks, metadata and answers of two calls are those that ChatOpenAI itself streams."""
    provider.default = Reply('{"a": 1}', usage="always")

    async def both(make: Any, way: str) -> Any:
        # A cache of its own, or the second model would be answered from the first one's.
        own = {**arguments, "cache": InMemoryCache()} if "cache" in arguments else arguments
        model = make(own)
        return [without_run_ids(await parts(way, model)) for _ in range(2)]

    def theirs(own: dict[str, Any]) -> BaseChatModel:
        return ChatOpenAI(
            model="gpt-4o-mini",
            base_url=provider.base_url,
            api_key=SecretStr("test"),
            tags=["joke"],
            http_async_client=http,
            **own,
        )

    async with openai.DefaultAsyncHttpxClient() as http:
        plain = await both(theirs, "plain")
    ours = await both(lambda own: model_of(provider, **own), "ours")
    assert as_openais(ours) == plain


def test_a_langchain_that_makes_other_chunks(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """If its chunks cannot be copied the fast path is off, with one line, and tokens still come."""

    class Other(ChatModel):
        def _convert_chunk_to_generation_chunk(self, *args: Any) -> Any:
            made = super()._convert_chunk_to_generation_chunk(*args)
            if made is not None:
                made.message.response_metadata["something"] = ["new"]
            return made

    model = Other(model="gpt-4o-mini", base_url=provider.base_url, api_key="test")  # type: ignore[arg-type]
    for _ in range(2):
        found = list(stream(graph_of(model, True), INPUT))
        assert "".join(str(chunk.content) for chunk, _ in found) == "You said: hello"
        assert found[0][0].response_metadata["something"] == ["new"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "slow path" in caplog.text


def test_arguments_reach_the_provider(provider: Provider) -> None:
    """Extra body, headers, query and stop words are sent as LangChain sends them."""
    model = model_of(
        provider,
        temperature=0.3,
        extra_body={"top_k": 5},
        default_headers={"x-a": "1"},
        model_kwargs={"extra_headers": {"x-b": "2"}},
        stop=["END"],
        stream_usage=True,
    )
    list(stream(graph_of(model, True), INPUT))
    list(stream(graph_of(model, True), INPUT, {"callbacks": [Listener()]}))
    fast, slow = provider.requests
    assert fast.body == slow.body
    assert fast.body["top_k"] == 5
    ignored = {"content-length", "x-stainless-read-timeout"}
    assert {k: v for k, v in fast.headers.items() if k not in ignored} == {
        k: v for k, v in slow.headers.items() if k not in ignored
    }


def test_an_argument_that_openai_does_not_know(provider: Provider) -> None:
    """It is refused as ChatOpenAI refuses it, and not sent."""
    model = model_of(provider, model_kwargs={"tempratur": 1})
    with pytest.raises(Exception, match="tempratur"):
        list(stream(graph_of(model, True), INPUT))
    assert not provider.requests


@pytest.mark.parametrize("way", ["ours", "ours, sync"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply("a b c d", cut_after=2),
        Reply("a b c d", cut_after=2, cut="reset"),
        Reply("a b c d", cut_after=2, cut="eof"),
        Reply("a b c d", error_after=2),
        Reply("a b c d", garbage_after=2),
        Reply(status=400, message="no such thing"),
        Reply(status=401),
    ],
    ids=["cut", "reset", "eof", "error", "garbage", "400", "401"],
)
async def test_faults_are_told_alike(provider: Provider, reply: Reply, way: str) -> None:
    """The tokens before a fault, and the error after them, are those of LangChain's path."""
    provider.default = reply
    model = model_of(provider, max_retries=0)

    async def told(config: Any) -> Any:
        got: list[str] = []
        with pytest.raises(Exception) as caught:
            if way == "ours":
                async for chunk, _ in astream(graph_of(model), INPUT, config):
                    got.append(str(chunk.content))
            else:
                for chunk, _ in stream(graph_of(model, True), INPUT, config):
                    got.append(str(chunk.content))
        error = caught.value
        return got, type(error), type(error.__cause__), getattr(error, "characters", None)

    assert await told(None) == await told({"callbacks": [Listener()]})


def test_tool_pieces_that_look_like_another_call(provider: Provider) -> None:
    """Two calls with one index, told apart by their ids, stay two calls."""
    calls = [ToolCall("add", json.dumps({"a": n}), id=f"call_{n}") for n in range(2)]
    provider.default = Reply(tool_calls=calls)
    found = list(stream(graph_of(model_of(provider), True), INPUT, stream_mode="values"))
    made = found[-1]["messages"][-1].tool_calls
    assert [(call["id"], call["args"]) for call in made] == [
        ("call_0", {"a": 0}),
        ("call_1", {"a": 1}),
    ]


def test_the_fast_path_is_used() -> None:
    """Our chat models have it: what is tested here is what users get."""
    assert issubclass(ChatModel, StreamedCalls)
