"""``write_tokens``: nodes that call the ``openai`` client by themselves, in the one shape."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import MessagesState
from langgraph.types import StreamWriter
from pydantic import SecretStr

from tests.waiting import await_steady
from tokenweir.errors import StreamError, TokenweirError
from tokenweir.nodes.node import node
from tokenweir.nodes.write_tokens import write_tokens
from tokenweir.streaming._langgraph.config_propagation import CONFIG_TRAVELS
from tokenweir.streaming.filters import tag
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import Provider, Reply, ToolCall

INPUT: Any = {"messages": [("user", "hello")]}
CALL: Any = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=provider.base_url, api_key="test", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def sync_client(provider: Provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.base_url, api_key="test", max_retries=0) as client:
        yield client


def asking(client: openai.AsyncOpenAI, *, awaited: bool = True, **options: Any) -> Any:
    """A node that asks with the async client."""

    async def ask(state: MessagesState, writer: StreamWriter, config: RunnableConfig) -> Any:
        response = client.chat.completions.create(**CALL)
        message = await write_tokens(
            await response if awaited else response, writer, config, **options
        )
        return {"messages": [message]}

    return ask


def asking_sync(client: openai.OpenAI, **options: Any) -> Any:
    """A node that asks with the sync client."""

    def ask(state: MessagesState, writer: StreamWriter, config: RunnableConfig) -> Any:
        response = client.chat.completions.create(**CALL)
        return {"messages": [write_tokens(response, writer, config, **options)]}

    return ask


async def written(graph: Any, **kwargs: Any) -> tuple[list[Any], AIMessage]:
    """What the node wrote, and the message that it returned."""
    both = astream(graph, INPUT, stream_mode=["custom", "values"], **kwargs)
    parts = [part async for part in both]
    (message,) = [part["messages"][-1] for mode, part in parts if mode == "values"][-1:]
    return [part for mode, part in parts if mode == "custom"], message


def added(tokens: list[Any]) -> AIMessage:
    whole = message_chunk_to_message(reduce(add, (chunk for chunk, _ in tokens)))
    assert isinstance(whole, AIMessage)
    return whole


REPLIES = {
    "text": Reply("Why did the cat sit down?"),
    "no text": Reply(""),
    "usage": Reply("Two words", usage="always"),
    "length": Reply("cut short", finish_reason="length"),
    "role everywhere": Reply("a b c", role_everywhere=True),
    "letters": Reply(tokens=["日", "本", "🐈", "\n\n", "é"], split=1),
    "tool calls": Reply(
        "Let me see.",
        tool_calls=[
            ToolCall("add", '{"a": 2, "b": 3}', id="call_1"),
            ToolCall("look", "{}", pieces=1, id="call_2"),
        ],
    ),
    "damaged tool call": Reply(tool_calls=[ToolCall("add", '{"a": 2, "b', pieces=2)]),
    "log probabilities": Reply("a b", logprobs=True),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
async def test_it_is_what_langchain_makes_of_the_same_answer(
    provider: Provider, client: Any, one_node: Any, reply: Reply
) -> None:
    """Chunk for chunk what ``ChatOpenAI`` streams, but for ids."""
    provider.default = reply
    model = ChatOpenAI(
        model="gpt-4o-mini",
        base_url=provider.base_url,
        api_key=SecretStr("test"),
        stream_usage=True,
    )

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke("hello", config)]}

    expected = [chunk async for chunk, _ in astream(one_node(ask), INPUT)]
    tokens, message = await written(one_node(asking(client)))

    def told(message: Any) -> dict[str, Any]:
        # LangChain marks the last chunk, to know that tool calls are complete.
        return {**message.model_dump(exclude={"id", "chunk_position"}), "empty": None}

    blank = AIMessageChunk(content="")
    assert [told(chunk) for chunk, _ in tokens] == [
        told(chunk) for chunk in expected if told(chunk) != told(blank)
    ]
    theirs = message_chunk_to_message(reduce(add, expected))
    assert told(message) == told(theirs)


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
@pytest.mark.parametrize("form", ["awaited", "not awaited", "sync"])
async def test_the_chunks_added_up_are_the_message(
    provider: Provider, client: Any, sync_client: Any, one_node: Any, reply: Reply, form: str
) -> None:
    """Promise 3, whichever client: nothing lost, nothing twice, and one id for all."""
    provider.default = reply
    ask = asking_sync(sync_client) if form == "sync" else asking(client, awaited=form == "awaited")
    tokens, message = await written(one_node(ask))
    assert added(tokens) == message
    assert message.content == "".join(reply.text_tokens())
    assert {chunk.id for chunk, _ in tokens} == {message.id}
    assert all(type(chunk) is AIMessageChunk for chunk, _ in tokens)


async def test_text_usage_and_finish_reason(provider: Provider, client: Any, one_node: Any) -> None:
    """The message has what the provider said, by LangChain's names."""
    provider.default = Reply(
        "one two three", tool_calls=[ToolCall("add", '{"a": 2}', id="call_7")], usage="always"
    )
    _, message = await written(one_node(asking(client)))
    assert type(message) is AIMessage
    assert message.content == "one two three"
    assert message.tool_calls == [
        {"name": "add", "args": {"a": 2}, "id": "call_7", "type": "tool_call"}
    ]
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] == 1
    assert message.usage_metadata["output_tokens"] == 3
    assert message.usage_metadata["total_tokens"] == 4
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert message.response_metadata["model_name"] == "gpt-4o-mini"


async def test_reasoning_is_kept_apart(provider: Provider, client: Any, one_node: Any) -> None:
    """``reasoning_content``, which LangChain drops, is in ``additional_kwargs``."""
    provider.default = Reply("42", reasoning=["let", " me", " think"])
    tokens, message = await written(one_node(asking(client)))
    assert message.content == "42"
    assert message.additional_kwargs == {"reasoning_content": "let me think"}
    assert added(tokens) == message


async def test_metadata_names_node_model_and_tags(client: Any, one_node: Any) -> None:
    """The metadata of each chunk is that of the node, with the call's own tags and model."""
    tokens, _ = await written(one_node(asking(client, tags=["joke", "short"]), "write_joke"))
    for _, metadata in tokens:
        assert metadata["langgraph_node"] == "write_joke"
        assert metadata["langgraph_step"] == 1
        assert metadata["ls_provider"] == "openai"
        assert metadata["ls_model_name"] == "gpt-4o-mini"
        assert metadata["tags"] == ["joke", "short"]
    assert len({id(metadata) for _, metadata in tokens}) == 1


async def test_a_filter_takes_its_tokens(client: Any, one_node: Any) -> None:
    """``only=`` treats them as it treats a model's; what else a node writes passes."""

    @node
    async def ask(state: MessagesState, writer: StreamWriter, config: RunnableConfig) -> Any:
        writer({"progress": 1})
        for name in ("joke", "poem"):
            response = await client.chat.completions.create(**CALL)
            await write_tokens(response, writer, config, tags=[name])
        return {}

    parts = [
        part async for part in astream(one_node(ask), INPUT, stream_mode="custom", only=tag("joke"))
    ]
    assert parts[0] == {"progress": 1}
    assert "".join(chunk.content for chunk, _ in parts[1:]) == "You said: hello"


async def test_writer_and_config_are_found(client: Any, sync_client: Any, one_node: Any) -> None:
    """Left out, they are the running node's; a bare async node on 3.10 does not know them."""

    def ask_sync(state: MessagesState) -> Any:
        return {"messages": [write_tokens(sync_client.chat.completions.create(**CALL))]}

    async def ask(state: MessagesState) -> Any:
        return {"messages": [await write_tokens(client.chat.completions.create(**CALL))]}

    if not CONFIG_TRAVELS:
        with pytest.raises(TokenweirError, match=r"write_tokens\(response, writer, config\)"):
            await written(one_node(ask))
    for action in (node(ask), node(ask_sync)):
        tokens, message = await written(one_node(action))
        assert message.content == "You said: hello"
        assert {metadata["langgraph_node"] for _, metadata in tokens} == {"ask"}
    tokens = list(stream(one_node(ask_sync), INPUT, stream_mode="custom"))
    assert {metadata["langgraph_node"] for _, metadata in tokens} == {"ask"}


async def test_in_a_thread_of_the_nodes_own(sync_client: Any, one_node: Any) -> None:
    """Passed on by hand, writer and config work where the node's context does not reach."""

    async def ask(state: MessagesState, writer: StreamWriter, config: RunnableConfig) -> Any:
        def work() -> Any:
            return write_tokens(sync_client.chat.completions.create(**CALL), writer, config)

        with ThreadPoolExecutor(1) as pool:
            return {"messages": [await asyncio.wrap_future(pool.submit(work))]}

    tokens, message = await written(one_node(ask))
    assert added(tokens) == message


async def test_outside_of_a_node_it_says_what_it_needs(
    provider: Provider, client: Any, sync_client: Any
) -> None:
    """Without a node there is nothing to write to; the response is closed all the same."""
    provider.default = Reply(tokens=100_000, every=0.02)
    with pytest.raises(TokenweirError, match="cannot find the node"):
        await write_tokens(await client.chat.completions.create(**CALL))
    with pytest.raises(TokenweirError, match="cannot find the node"):
        write_tokens(sync_client.chat.completions.create(**CALL))
    for request in provider.requests:
        await request.aclosed(60)
        assert request.state == "client_left"


async def test_by_hand_a_writer_and_a_config_are_enough(client: Any, sync_client: Any) -> None:
    """In a test of one's own a list will do."""
    parts: list[Any] = []
    message = await write_tokens(client.chat.completions.create(**CALL), parts.append, {})
    assert added(parts) == message
    parts.clear()
    assert write_tokens(sync_client.chat.completions.create(**CALL), parts.append, {}) == added(
        parts
    )


# Any iterable of chunks


def delta(content: str | None = None, **choice: Any) -> dict[str, Any]:
    said = {"content": content} if content is not None else {}
    return {
        "id": "c1",
        "model": "mine",
        "choices": [{"index": 0, "delta": {**said, **choice.pop("delta", {})}, **choice}],
    }


async def test_dicts_are_taken_and_left_as_they_are() -> None:
    """Chunks may be a user's own dicts, of any iterable; they are not changed."""
    items = [
        delta("Hi", delta={"role": "assistant"}),
        delta(
            delta={
                "tool_calls": [
                    {"index": 0, "id": "t1", "function": {"name": "add", "arguments": "{}"}}
                ]
            }
        ),
        delta(finish_reason="tool_calls"),
        {
            "id": "c1",
            "model": "mine",
            "choices": [],
            "usage": {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        },
    ]
    kept = copy.deepcopy(items)

    async def later() -> AsyncIterator[dict[str, Any]]:
        for item in items:
            yield item

    parts: list[Any] = []
    first = write_tokens(items, parts.append, {"metadata": {"langgraph_node": "n"}})
    second = await write_tokens(later(), parts.append, {"metadata": {"langgraph_node": "n"}})
    assert items == kept
    assert first == second
    assert first.content == "Hi"
    assert [call["name"] for call in first.tool_calls] == ["add"]
    assert first.usage_metadata == {
        "input_tokens": 5,
        "output_tokens": 2,
        "total_tokens": 7,
        "input_token_details": {"cache_read": 4},
        "output_token_details": {"reasoning": 1},
    }
    assert parts[0][1]["ls_model_name"] == "mine"


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"id": "", "choices": []}],
        [{"choices": [], "prompt_filter_results": [{"index": 0}]}],
        [{"choices": None}],
    ],
    ids=str,
)
def test_chunks_that_say_nothing_are_not_written(items: list[Any]) -> None:
    """Keep-alives and content-filter reports are no tokens; an answer of none is empty."""
    parts: list[Any] = []
    assert write_tokens(items, parts.append, {}) == AIMessage(content="")
    assert parts == []


async def test_a_response_that_does_not_stream_is_refused(
    client: Any, sync_client: Any, one_node: Any
) -> None:
    """Forgetting ``stream=True`` is said in so many words."""
    whole = {**CALL, "stream": False}
    whole.pop("stream_options")
    with pytest.raises(TypeError, match=r"stream=True.*not ChatCompletion"):
        write_tokens(sync_client.chat.completions.create(**whole), print, {})
    with pytest.raises(TypeError, match=r"stream=True.*not ChatCompletion"):
        await write_tokens(client.chat.completions.create(**whole), print, {})
    with pytest.raises(TypeError, match=r"stream=True.*not ChatCompletion"):
        write_tokens(await client.chat.completions.create(**whole), print, {})
    with pytest.raises(TypeError, match=r"stream=True.*not str"):
        write_tokens("text", print, {})
    with pytest.raises(TypeError, match=r"stream=True.*not NoneType"):
        write_tokens(None, print, {})  # type: ignore[call-overload]


def test_several_answers_at_once_are_refused() -> None:
    """``n=2`` would mix two messages into one."""
    two = delta("a")
    two["choices"].append({**two["choices"][0], "index": 1})
    for item in (two, {**delta("b"), "choices": [{"index": 1, "delta": {"content": "b"}}]}):
        with pytest.raises(ValueError, match="n=1"):
            write_tokens([item], [].append, {})


def test_one_tag_that_is_no_list_is_refused() -> None:
    """``tags="joke"`` would be four tags of one letter each."""
    with pytest.raises(TypeError, match=r"tags=\['joke'\]"):
        write_tokens([], [].append, {}, tags="joke")


# Errors


@pytest.mark.parametrize("form", ["awaited", "not awaited", "sync"])
@pytest.mark.parametrize(
    ("reply", "chunks", "cause"),
    [
        (Reply("one two three", cut_after=2, cut="event"), 3, "APIConnectionError"),
        (Reply("one two three", cut_after=2, cut="reset"), 3, "APIConnectionError"),
        (Reply("one two three", error_after=2, message="too hot"), 3, "APIError"),
        (Reply("one two three", garbage_after=2), 3, "JSONDecodeError"),
    ],
    ids=["cut", "reset", "error event", "garbage"],
)
async def test_an_error_midway_comes_after_the_tokens_before_it(
    provider: Provider,
    client: Any,
    sync_client: Any,
    one_node: Any,
    form: str,
    reply: Reply,
    chunks: int,
    cause: str,
) -> None:
    """Promise 7: the tokens, then one StreamError with the call's story and the client's error."""
    provider.default = reply
    ask = (
        asking_sync(sync_client, tags=["joke"])
        if form == "sync"
        else asking(client, awaited=form == "awaited", tags=["joke"])
    )
    text = []
    with pytest.raises(StreamError) as caught:
        async for chunk, _ in astream(one_node(ask), INPUT, stream_mode="custom"):
            text.append(chunk.content)
    assert "".join(text) == "one two"
    error = caught.value
    assert (error.provider, error.model, error.node) == ("openai", "gpt-4o-mini", "ask")
    assert (error.tags, error.chunks, error.characters) == (("joke",), chunks, 7)
    assert type(error.__cause__).__name__ == cause
    assert str(error).startswith(
        f"openai gpt-4o-mini in node 'ask' (tags: joke) failed after {chunks} chunks, 7 characters"
    )


async def test_an_error_before_the_first_token(
    provider: Provider, client: Any, one_node: Any
) -> None:
    """Not awaited, the request itself is write_tokens' to explain."""
    provider.default = Reply(status=500, message="down for lunch")
    with pytest.raises(StreamError, match=r"before the first token.*down for lunch") as caught:
        await written(one_node(asking(client, awaited=False)))
    assert isinstance(caught.value.__cause__, openai.InternalServerError)
    assert caught.value.node == "ask"


async def test_an_error_of_ones_own_iterable_is_explained_too() -> None:
    """Whatever breaks while it is read is the response's failure."""

    def broken() -> Iterator[dict[str, Any]]:
        yield delta("a")
        raise ConnectionError("gone")

    with pytest.raises(StreamError, match="after 1 chunks, 1 characters: ConnectionError: gone"):
        write_tokens(broken(), [].append, {})


async def test_a_broken_chunk_names_itself() -> None:
    """An item that is no chunk at all is a mistake of the caller, and said as one."""
    with pytest.raises(TypeError, match="not int"):
        write_tokens([3], [].append, {})


# Leaving


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_leaving_closes_the_connection(
    provider: Provider, client: Any, sync_client: Any, one_node: Any, form: str
) -> None:
    """Promise 5: when the reader goes, the provider sees it within a few tokens."""
    provider.default = Reply(tokens=100_000, every=0.02)
    ask = asking_sync(sync_client) if form == "sync" else asking(client)
    async with astream(one_node(ask), INPUT, stream_mode="custom") as parts:
        async for chunk, _ in parts:
            if chunk.content:
                break
    (request,) = provider.requests
    await request.aclosed(60)
    assert request.state == "client_left"
    assert request.tokens_written < 50


async def test_cancelling_while_the_provider_is_silent(
    provider: Provider, client: Any, one_node: Any
) -> None:
    """No token need come first, also while the request is not answered yet."""
    provider.reply(Reply(tokens=9, stall_after=1), Reply(first_after=60))
    for awaited in (True, False):
        begun = len(provider.requests)
        reading = asyncio.ensure_future(written(one_node(asking(client, awaited=awaited))))
        await asyncio.to_thread(provider.wait_for_requests, begun + 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await provider.requests[begun].aclosed(60)
        assert provider.requests[begun].state == "client_left"


async def test_a_node_that_breaks_closes_the_connection(provider: Provider, client: Any) -> None:
    """A writer that raises ends the call, and the response is closed."""
    provider.default = Reply(tokens=100_000, every=0.02)

    def full(part: Any) -> None:
        raise BufferError("full")

    with pytest.raises(BufferError, match="full"):
        await write_tokens(client.chat.completions.create(**CALL), full, {})
    await provider.requests[0].aclosed(60)
    assert provider.requests[0].state == "client_left"


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_a_slow_reader_holds_it_back(
    provider: Provider, client: Any, sync_client: Any, one_node: Any, form: str
) -> None:
    """Promise 6: what the reader does not take, the provider cannot write; and none is lost."""
    count = 20_000
    provider.default = Reply(tokens=count)
    ask = asking_sync(sync_client) if form == "sync" else asking(client)
    async with astream(one_node(ask), INPUT, stream_mode="custom", buffer=16) as parts:
        await anext(parts)
        written = await await_steady(lambda: provider.requests[0].tokens_written)
        assert written < count / 2
        assert parts.statistics().waiting <= 16 + 2
        taken = [await anext(parts) for _ in range(1_000)]
    assert [chunk.content for chunk, _ in taken] == [f" t{number}" for number in range(1_000)]
