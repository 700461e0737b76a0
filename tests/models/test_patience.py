"""Limits and retries: what is waited for, what is tried again, and what no error ever shows."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tests.bare_server import bare_server
from tests.waiting import pause
from tokenweir.errors import (
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    StreamError,
    TokenGapTimeoutError,
)
from tokenweir.models._calls.limits import Limits
from tokenweir.models._calls.policy import CallPolicy, retry_after
from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.models.completion import completion_model
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply

TOKENS = ["One", " two", " three", " four"]
AT_ONCE = {"retry-after": "0.01"}


def chat(provider: Provider, **kwargs: Any) -> Any:
    return chat_model("openai:gpt", **{"base_url": provider.base_url, "api_key": "test", **kwargs})


def completing(provider: Provider, **kwargs: Any) -> Any:
    made = {"base_url": provider.base_url, "api_key": "test", **kwargs}
    return completion_model("openai:gpt-3.5-turbo-instruct", **made)


FORMS = [chat, completing]


def text(part: Any) -> str:
    return part if isinstance(part, str) else str(part.content)


async def read(model: Any, got: list[str], sync: bool) -> None:
    if sync:

        def reading() -> None:
            for part in model.stream("count"):
                if text(part):
                    got.append(text(part))

        await asyncio.to_thread(reading)
        return
    async for part in model.astream("count"):
        if text(part):
            got.append(text(part))


FAULTS = {
    "429": Reply(status=429, headers=AT_ONCE),
    "500": Reply(status=500, headers=AT_ONCE),
    "503": Reply(status=503, headers={"retry-after-ms": "5"}),
    "reset": Reply(tokens=TOKENS, cut_after=0, cut="reset"),
    "cut in the event": Reply(tokens=TOKENS, cut_after=0),
    "clean end": Reply(tokens=TOKENS, cut_after=0, cut="eof"),
    "error event": Reply(tokens=TOKENS, error_after=0),
}


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_first_token_is_tried_again(
    provider: Provider, make: Any, sync: bool, fault: str
) -> None:
    """429, 5xx, a reset, an early end or the provider's own error: the retry gives the answer."""
    provider.reply(FAULTS[fault], Reply(tokens=TOKENS))
    got: list[str] = []
    await read(make(provider), got, sync)
    assert got == TOKENS
    assert len(provider.requests) == 2


async def test_the_opening_comes_once(provider: Provider) -> None:
    """The empty chunk that opens an answer is not repeated by a retry, and is not held back."""
    provider.reply(FAULTS["reset"], FAULTS["reset"], Reply(tokens=TOKENS))
    chunks = [chunk async for chunk in chat(provider).astream("count")]
    plain = [chunk async for chunk in chat(provider).astream("count")]
    assert [c.content for c in chunks][:2] == ["", "One"]
    assert len(provider.requests) == 4
    whole: AIMessageChunk = chunks[0] + chunks[1:]
    assert whole.content == "".join(TOKENS)
    assert plain[0].content == ""


@pytest.mark.parametrize("sync", [False, True])
async def test_empty_tokens_before_the_first_are_told(provider: Provider, sync: bool) -> None:
    """A provider that begins with several empty deltas: each is a chunk, as LangChain has it."""
    provider.default = Reply(tokens=["", "", "one ", "", "two"], every=0.02)
    model = chat(provider)
    chunks = model.stream("hi") if sync else [chunk async for chunk in model.astream("hi")]
    # The opening with the role, the tokens, the finish reason, the usage, and the mark of the end.
    assert [chunk.content for chunk in chunks] == ["", "", "", "one ", "", "two", "", "", ""]


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("fault", ["reset", "event", "eof", "error"])
async def test_a_fault_after_the_first_token_is_raised_at_once(
    provider: Provider, make: Any, sync: bool, fault: Any
) -> None:
    """Once a token has been handed on, nothing is asked again, and no token comes twice."""
    faulty = {"error_after": 2} if fault == "error" else {"cut_after": 2, "cut": fault}
    provider.default = Reply(tokens=TOKENS, **faulty)
    got: list[str] = []
    with pytest.raises(Exception, match=r".") as caught:
        await read(make(provider), got, sync)
    assert not isinstance(caught.value, (TypeError, AttributeError))
    assert got == TOKENS[: len(got)]
    assert len(provider.requests) == 1
    if fault == "eof":
        assert isinstance(caught.value, StreamError)
        assert "without a finish reason" in str(caught.value)
        assert (caught.value.chunks, caught.value.characters) == (2, 7)


@pytest.mark.parametrize("sync", [False, True])
async def test_retries_end(provider: Provider, sync: bool) -> None:
    """After ``max_retries`` the provider's own error is raised; 0 tries once."""
    provider.default = FAULTS["429"]
    for retries in (0, 2):
        before = len(provider.requests)
        with pytest.raises(openai.RateLimitError):
            await read(chat(provider, max_retries=retries), [], sync)
        assert len(provider.requests) - before == retries + 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_the_asker_did_wrong_is_not_tried_again(provider: Provider, status: int) -> None:
    """Errors that waiting does not mend are raised at once."""
    provider.default = Reply(status=status)
    with pytest.raises(openai.APIStatusError):
        await chat(provider).ainvoke("count")
    assert len(provider.requests) == 1


async def test_calls_that_do_not_stream_are_tried_again_too(provider: Provider) -> None:
    """``ainvoke`` and ``invoke`` get through as well."""
    provider.reply(FAULTS["429"], "well", FAULTS["500"], "well")
    model = chat(provider)
    assert (await model.ainvoke("hi")).content == "well"
    assert (await asyncio.to_thread(model.invoke, "hi")).content == "well"


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("comments", [None, 0.02])
async def test_the_limit_for_the_first_token(
    provider: Provider, make: Any, sync: bool, comments: float | None
) -> None:
    """A server that says nothing ends in its own error, even if it keeps the connection alive."""
    provider.default = Reply(tokens=TOKENS, stall_after=0, stall_comments=comments)
    with pytest.raises(FirstTokenTimeoutError, match=r"no token came within 0.5 s") as caught:
        await read(make(provider, first_token_timeout=0.5), [], sync)
    assert (caught.value.chunks, caught.value.provider) == (0, "openai")
    assert len(provider.requests) == 1
    await provider.requests[0].aclosed(60)


@pytest.mark.parametrize("sync", [False, True])
async def test_the_limit_for_the_first_token_before_any_response(
    provider: Provider, sync: bool
) -> None:
    """The limit runs from asking: a server that accepts and does not answer is left as well."""
    provider.on("count", Reply(text="late", first_after=30))
    model = chat(provider, first_token_timeout=0.2, disable_streaming=True)
    with pytest.raises(FirstTokenTimeoutError):
        await (asyncio.to_thread(model.invoke, "count") if sync else model.ainvoke("count"))


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("comments", [None, 0.02])
async def test_the_limit_for_the_gap(
    provider: Provider, make: Any, sync: bool, comments: float | None
) -> None:
    """A stream that falls silent ends in its own error, with how much had arrived."""
    provider.default = Reply(tokens=TOKENS, stall_after=2, stall_comments=comments)
    got: list[str] = []
    with pytest.raises(TokenGapTimeoutError, match=r"no further token came within 0.2 s") as caught:
        await read(make(provider, token_gap_timeout=0.2), got, sync)
    assert got == TOKENS[:2]
    assert (caught.value.chunks, caught.value.characters) == (2, 7)
    await provider.requests[0].aclosed(60)


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a port that takes no connection: its queue is full."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@pytest.mark.parametrize("make", [chat_model, completion_model])
@pytest.mark.parametrize("sync", [False, True])
async def test_the_limit_for_connecting(deaf: str, make: Any, sync: bool) -> None:
    """A server that cannot be reached ends in its own error, which is no matter of tokens."""
    model = make("openai:gpt", base_url=deaf, connect_timeout=0.1, max_retries=0)
    with pytest.raises(ConnectTimeoutError, match=r"no connection within 0.1 s"):
        await read(model, [], sync)


@pytest.mark.parametrize("make", [chat_model, completion_model])
@pytest.mark.parametrize("sync", [False, True])
async def test_a_refused_connection_is_no_time_out(make: Any, sync: bool) -> None:
    """Where nobody listens, the error says that the connection failed, and no limit is blamed."""
    model = make("openai:gpt", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(model, [], sync)
    assert not isinstance(caught.value, openai.APITimeoutError)


async def test_a_slow_reader_breaks_no_limit(provider: Provider) -> None:
    """Only the provider's silence counts: the reader may take as long as it likes."""
    provider.default = Reply(tokens=TOKENS)
    got = []
    async for chunk in chat(provider, token_gap_timeout=0.1).astream("count"):
        got.append(chunk.content)
        await pause(0.12)
    assert "".join(got) == "".join(TOKENS)


async def test_in_a_graph_the_error_names_the_node(provider: Provider) -> None:
    """At the reader of a graph a limit's error tells node and tags too."""
    provider.default = Reply(tokens=TOKENS, stall_after=2)
    model = chat(provider, token_gap_timeout=0.2, tags=["sum"])

    async def answer(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    with pytest.raises(TokenGapTimeoutError) as caught:
        async for _ in astream(builder.compile(), {"messages": [HumanMessage("hi")]}):
            pass
    assert str(caught.value) == (
        "openai gpt in node 'answer' (tags: sum) failed after 2 chunks, 7 characters: "
        "no further token came within 0.2 s (token_gap_timeout)"
    )


async def test_cancelling_is_not_a_limit(provider: Provider) -> None:
    """A reader that is cancelled while it waits gets its cancellation, and no time-out."""
    provider.default = Reply(tokens=TOKENS, stall_after=0)
    task = asyncio.create_task(read(chat(provider, first_token_timeout=5), [], False))
    await asyncio.to_thread(provider.wait_for_requests, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (5, 600, 120)),
        ({"timeout": 7}, (7, 7, 7)),
        ({"timeout": 7, "first_token_timeout": 60}, (7, 60, 7)),
        ({"stream_chunk_timeout": 30}, (5, 600, 30)),
        ({"connect_timeout": 0, "token_gap_timeout": 0}, (float("inf"), 600, float("inf"))),
    ],
)
def test_how_limits_are_given(arguments: dict[str, Any], expected: tuple[float, ...]) -> None:
    """``timeout=`` sets all that are not given by themselves, and 0 is no limit."""
    limits = Limits(**{k: v for k, v in arguments.items() if k.endswith("_timeout")})
    made = limits.call_policy(
        timeout=arguments.get("timeout"), gap=arguments.get("stream_chunk_timeout", 120)
    )
    assert (made.connect, made.first_token, made.gap) == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """All forms of the header are read, and nonsense is passed over."""
    assert retry_after(headers, now=10) == seconds


@given(
    attempt=st.integers(0, 50),
    asked=st.none() | st.floats(0, 1e6),
    chance=st.floats(0, 1),
    cap=st.floats(0, 100),
)
def test_waits_are_capped_and_spread(
    attempt: int, asked: float | None, chance: float, cap: float
) -> None:
    """No wait is longer than the cap; what the provider asks for is kept up to there."""
    wait = CallPolicy(longest_wait=cap).delay(attempt, asked, lambda: chance)
    assert 0 <= wait <= cap
    if asked is not None:
        assert wait >= min(asked, cap)
    assert CallPolicy().delay(1, None, lambda: 0.0) != CallPolicy().delay(1, None, lambda: 1.0)


KEY = "sk-very-secret-0123456789"


class Everything(logging.Handler):
    """Keeps every record of every logger, with what it was made of."""

    def __init__(self) -> None:
        super().__init__(0)
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.shown.append(f"{record.getMessage()} {record.__dict__!r}")
        if record.exc_info:
            self.shown.append("".join(traceback.format_exception(*record.exc_info)))


@pytest.mark.parametrize("make", [chat_model, completion_model])
@pytest.mark.parametrize("where", ["api_key", "header"])
@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=401, message=f"Incorrect API key provided: {KEY}"),
        Reply(status=429, message=f"too many for {KEY}", headers=AT_ONCE),
        Reply(tokens=TOKENS, error_after=1, message=f"{KEY} is over its limit"),
        Reply(tokens=TOKENS, cut_after=1, cut="reset"),
        Reply(tokens=TOKENS, stall_after=1),
    ],
    ids=["401", "429", "error event", "reset", "stall"],
)
async def test_the_key_is_shown_nowhere(
    provider: Provider, make: Any, where: str, fault: Reply
) -> None:
    """No log, error, repr, callback or trace of a failing run holds the key, whoever echoes it."""
    provider.default = fault
    given: dict[str, Any] = {"api_key": KEY}
    if where == "header":
        given = {"api_key": "another", "default_headers": {"X-Key": KEY}}
    model = make("openai:gpt", base_url=provider.base_url, token_gap_timeout=0.2, **given)
    everything, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(everything)
    root.setLevel(0)
    traced: list[Any] = []
    try:
        with pytest.raises(Exception, match=r".") as caught:
            async for event in model.astream_events("count", version="v2"):
                traced.append(event)
    finally:
        root.removeHandler(everything)
        root.setLevel(level)
    error: BaseException | None = caught.value
    shown = [repr(model), str(model), repr(model.client), repr(traced), *everything.shown]
    shown += traceback.format_exception(caught.value)
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    asked = provider.requests[0].headers
    assert KEY in f"{asked.get('authorization')} {asked.get('x-key')}"
    assert len(everything.shown) > 3
    assert [text for text in shown if KEY in text] == []


def test_a_dead_stream_is_let_go(provider: Provider) -> None:
    """The watchdog of sync streams keeps nothing of a stream that has ended."""
    provider.default = Reply(tokens=TOKENS)
    stream = chat(provider).client.create(
        model="gpt", stream=True, messages=[{"role": "user", "content": "count"}]
    )
    with stream:
        assert len(list(stream)) > len(TOKENS)
    kept = weakref.ref(stream)
    del stream
    gc.collect()
    assert kept() is None


def test_the_class_is_still_chat_openai() -> None:
    """Fields and arguments of ChatOpenAI stay what they are."""
    model = chat_model("openai:gpt-4o-mini", api_key="test", temperature=0.3, max_retries=5)
    assert isinstance(model, ChatModel)
    assert (model.temperature, model.max_retries) == (0.3, 5)


async def test_a_connection_that_breaks_before_the_answer_is_no_timeout() -> None:
    """A server that hangs up on the request is told as that, by async and sync calls alike."""

    async def hang_up(
        head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        return

    async with bare_server(hang_up) as base_url:
        model = chat_model("openai:gpt", base_url=base_url, api_key="test", max_retries=0)
        with pytest.raises(openai.APIConnectionError) as broken:
            await model.ainvoke("hello")
        with pytest.raises(openai.APIConnectionError) as broken_sync:
            await asyncio.to_thread(model.invoke, "hello")
    for caught in (broken, broken_sync):
        assert not isinstance(caught.value, openai.APITimeoutError)
