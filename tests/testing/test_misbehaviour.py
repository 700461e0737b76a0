"""Every way in which a reply can misbehave, seen through the real ``openai`` client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenweir.testing import Provider, Reply, ToolCall

Say = Callable[..., Any]
Text = Callable[[Any], str]

LETTERS = ["Zürich", " 日本", " 🐈‍⬛", " \r\n", "\u2028", " data: x", '"\\', "\x00", "é"]


def read_until(
    stream: Any, error: type[BaseException], match: str | None = None
) -> tuple[str, Any]:
    """The text that came before the error, and the error."""
    text = ""
    with pytest.raises(error, match=match) as caught:
        for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    return text, caught.value


# Pace


def test_tokens_come_at_their_pace(provider: Provider, say: Say, text_of: Text) -> None:
    """``every`` is the time between tokens, ``first_after`` the time before the first."""
    provider.reply(Reply(tokens=6, every=0.04, first_after=0.1))
    begun = time.monotonic()
    at = [time.monotonic() - begun for chunk in say() if chunk.choices[0].delta.content]
    assert at[0] >= 0.1
    assert at[-1] >= 0.1 + 5 * 0.04


def test_a_token_is_sent_when_it_is_made(provider: Provider, say: Say) -> None:
    """No token waits for the next one."""
    provider.reply(Reply("one two three", hold_after=2))
    chunks = iter(say())
    assert [next(chunks).choices[0].delta.content for _ in range(3)] == ["", "one", " two"]
    assert provider.requests[0].state == "running"
    provider.release()
    assert next(chunks).choices[0].delta.content == " three"
    assert next(chunks).choices[0].finish_reason == "stop"


def test_release_may_come_first(provider: Provider, say: Say, text_of: Text) -> None:
    """A reply that has not come to its hold yet is let through; a later request is held again."""
    provider.default = Reply("one two", first_after=0.05, hold_after=1)
    stream = say()
    provider.release()
    assert text_of(stream) == "one two"
    again = say()
    letting = threading.Timer(0.1, provider.release)
    letting.start()
    assert text_of(again) == "one two"
    letting.join()
    assert provider.requests[1].state == "finished"


def test_a_whole_answer_is_held_too(provider: Provider, say: Say) -> None:
    """``hold_after`` and ``first_after`` also hold an answer that does not stream."""
    provider.reply(Reply("one two", hold_after=1))
    got: list[str] = []
    asking = threading.Thread(
        target=lambda: got.append(say(stream=False).choices[0].message.content)
    )
    asking.start()
    provider.wait_for_requests(1)
    assert got == []
    provider.release()
    asking.join()
    assert got == ["one two"]


def test_a_burst_is_one_write(provider: Provider, wire: Any) -> None:
    """With ``burst`` the whole body comes in a single part; without, each event is its own."""
    provider.reply(Reply("one two three", burst=True), Reply("one two three"))
    connection = wire()
    connection.ask()
    burst = connection.answer()
    connection.ask()
    steady = connection.answer()
    assert len(burst.parts) == 1
    assert len(steady.parts) == 5
    assert burst.body.count(b"data: ") == steady.body.count(b"data: ") == 6


def test_a_stall_lasts_until_the_client_leaves(provider: Provider, say: Say) -> None:
    """After ``stall_after`` tokens nothing comes any more; the client's own timeout ends it."""
    provider.reply(Reply("one two three", stall_after=2))
    text, _ = read_until(say(timeout=0.3), openai.APITimeoutError)
    assert text == "one two"
    (request,) = provider.requests
    request.wait_closed(60)
    assert (request.state, request.tokens_written) == ("client_left", 2)


# Cuts and errors on the way


@pytest.mark.parametrize("cut", ["event", "reset"])
def test_a_cut_connection_is_an_error(provider: Provider, say: Say, cut: Any) -> None:
    """In the middle of an event, or by a reset, the client sees the connection fail."""
    provider.reply(Reply("one two three", cut_after=2, cut=cut))
    text, _ = read_until(say(), openai.APIConnectionError)
    assert text == "one two"
    assert (provider.requests[0].state, provider.requests[0].tokens_written) == ("cut", 2)


def test_a_clean_cut_is_no_error_to_the_client(provider: Provider, say: Say, text_of: Text) -> None:
    """``eof`` ends the answer as if it were whole, but no finish reason ever came."""
    provider.reply(Reply("one two three", cut_after=2, cut="eof"))
    chunks = list(say())
    assert text_of(chunks) == "one two"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    assert provider.requests[0].state == "cut"
    assert text_of(say()) == "You said: hello"
    assert [request.connection for request in provider.requests] == [0, 0]


def test_half_an_event_is_on_the_wire(provider: Provider, wire: Any) -> None:
    """A cut ``event`` leaves bytes without their end on the wire."""
    provider.reply(Reply("one two", cut_after=1, cut="event"))
    connection = wire()
    connection.ask()
    body = connection.file.read()
    assert b'"content":"one"' in body
    last = body.rstrip().rpartition(b"data: ")[2]
    assert last.startswith(b'{"id":"chatcmpl-')
    assert not last.endswith(b"}")
    assert not body.endswith(b"\r\n0\r\n\r\n")


def test_cut_before_the_first_token(provider: Provider, say: Say) -> None:
    """``cut_after=0`` cuts after the role."""
    provider.reply(Reply("one", cut_after=0, cut="reset"))
    assert read_until(say(), openai.APIConnectionError)[0] == ""


def test_an_error_event(provider: Provider, say: Say) -> None:
    """``error_after`` sends an error in the stream, with its message, and ends it."""
    provider.reply(Reply("one two three", error_after=2, message="too hot"))
    text, error = read_until(say(), openai.APIError, "too hot")
    assert text == "one two"
    assert error.type == "server_error"
    assert provider.requests[0].state == "finished"


def test_garbage_in_the_stream(provider: Provider, say: Say) -> None:
    """``garbage_after`` sends an event that is not JSON."""
    provider.reply(Reply("one two three", garbage_after=2))
    assert read_until(say(), json.JSONDecodeError)[0] == "one two"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_is_an_error_before_the_stream(
    provider: Provider, say: Say, status: int, error: type[openai.APIStatusError]
) -> None:
    """The client raises its own exception for each, with message and headers."""
    provider.reply(Reply(status=status, message="no", headers={"retry-after": "7"}))
    with pytest.raises(error, match="no") as caught:
        say()
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [429, 500])
def test_a_client_tries_again_when_it_is_told_to(
    provider: Provider, text_of: Text, status: int
) -> None:
    """``retry-after`` is obeyed: the next reply is what the client gets."""
    provider.reply(Reply(status=status, headers={"retry-after": "0.1"}), "second time")
    with openai.OpenAI(base_url=provider.base_url, api_key="test", max_retries=1) as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        assert text_of(stream) == "second time"
    first, second = provider.requests
    assert first.ended_at is not None
    assert second.asked_at - first.ended_at >= 0.1
    assert second.headers["x-stainless-retry-count"] == "1"


# Bytes


@pytest.fixture
def sent(provider: Provider, wire: Any) -> Callable[[Reply], Any]:
    """What is sent for a reply, as it comes over the wire."""

    def get(reply: Reply) -> Any:
        provider.reply(reply)
        connection = wire()
        connection.ask()
        return connection.answer()

    return get


@settings(max_examples=25)
@given(
    tokens=st.lists(st.text(min_size=1), max_size=5),
    split=st.none() | st.integers(1, 60) | st.tuples(st.just("random"), st.integers(0, 99)),
    newline=st.sampled_from(["\n", "\r\n"]),
    comments=st.booleans(),
    burst=st.booleans(),
)
def test_bytes_may_be_cut_anywhere(
    provider: Provider,
    say: Say,
    text_of: Text,
    tokens: list[str],
    split: Any,
    newline: str,
    comments: bool,
    burst: bool,
) -> None:
    """However the bytes are parted, the client reads the same tokens."""
    provider.reply(
        Reply(tokens=tokens, split=split, newline=newline, comments=comments, burst=burst)
    )
    chunks = list(say())
    assert [chunk.choices[0].delta.content for chunk in chunks][1:-1] == tokens


def test_every_byte_by_itself(provider: Provider, say: Say, text_of: Text, sent: Any) -> None:
    """``split=1`` cuts inside of letters and between CR and LF, and it is still the same text."""
    reply = Reply(tokens=LETTERS, split=1, newline="\r\n")
    raw = sent(reply)
    assert all(len(part) == 1 for part in raw.parts)
    assert "日".encode() in raw.body
    assert b"\r\n\r\n" in raw.body
    provider.reply(reply)
    assert text_of(say()) == "".join(LETTERS)


def test_random_parts_are_the_same_each_time(sent: Any) -> None:
    """``("random", seed)`` parts by a seed: what failed once can be repeated."""

    def sizes(seed: int) -> list[int]:
        raw = sent(Reply("one two three", split=("random", seed)))
        return [len(part) for part in raw.parts]

    assert sizes(7) == sizes(7) != sizes(8)
    assert max(sizes(7)) <= 40


def test_comments_and_line_ends(sent: Any) -> None:
    """Comments are on the wire, and lines end as they were told to."""
    raw = sent(Reply("a", comments=True, newline="\r\n"))
    assert raw.body.count(b": keep-alive\r\n\r\n") == raw.body.count(b"data: ") == 4
    assert b"\n" not in raw.body.replace(b"\r\n", b"")
    assert raw.headers["content-type"] == "text/event-stream"


def test_headers_of_ones_own(sent: Any) -> None:
    """``headers`` are added to the response's."""
    assert sent(Reply("a", headers={"x-request-id": "req-1"})).headers["x-request-id"] == ("req-1")


# What a reply can hold


def test_usage_is_reported_as_asked_for(provider: Provider, say: Say) -> None:
    """When the client asked, always, or never."""

    def usage(reply: Reply, **options: Any) -> Any:
        provider.reply(reply)
        return [chunk.usage for chunk in say("three words here", **options) if chunk.usage]

    asked = {"stream_options": {"include_usage": True}}
    assert usage(Reply("a b")) == []
    assert usage(Reply("a b", usage="never"), **asked) == []
    for (got,) in (usage(Reply("a b"), **asked), usage(Reply("a b", usage="always"))):
        assert (got.prompt_tokens, got.completion_tokens, got.total_tokens) == (3, 2, 5)


def test_tool_calls_come_in_pieces(provider: Provider, say: Say) -> None:
    """Each call opens with its name and id, and its arguments follow in so many pieces."""
    calls = [
        ToolCall("add", '{"a": 2, "b": 3}', pieces=4, id="call_a"),
        ToolCall("look", '{"damaged": ', pieces=1, id="call_b"),
    ]
    provider.reply(Reply("Let me see.", tool_calls=calls), Reply(tool_calls=calls))
    chunks = list(say())
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id) for call in deltas if call.id] == [(0, "call_a"), (1, "call_b")]
    assert [call.function.name for call in deltas if call.function.name] == ["add", "look"]
    pieces = [call.function.arguments for call in deltas if call.index == 0]
    assert pieces[0] == ""
    assert len(pieces) == 5
    assert "".join(pieces) == '{"a": 2, "b": 3}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    whole = say(stream=False).choices[0]
    assert whole.message.content is None
    assert [call.function.arguments for call in whole.message.tool_calls] == [
        '{"a": 2, "b": 3}',
        '{"damaged": ',
    ]
    assert whole.finish_reason == "tool_calls"


def test_a_finish_reason_of_ones_own(provider: Provider, say: Say) -> None:
    """``length`` or ``content_filter`` can be played."""
    provider.default = Reply("a", finish_reason="length")
    assert list(say())[-1].choices[0].finish_reason == "length"
    assert say(stream=False).choices[0].finish_reason == "length"


def test_reasoning_comes_before_the_text(provider: Provider, say: Say) -> None:
    """Its tokens are ``reasoning_content``, as DeepSeek and Qwen send them."""
    provider.default = Reply("42", reasoning=["let", " me"])
    deltas = [chunk.choices[0].delta for chunk in say()]
    assert [getattr(delta, "reasoning_content", None) for delta in deltas] == [
        None,
        "let",
        " me",
        None,
        None,
    ]
    assert say(stream=False).choices[0].message.reasoning_content == "let me"


def test_the_role_may_be_everywhere(provider: Provider, say: Say) -> None:
    """Some providers repeat it with each token."""
    provider.reply(Reply("a b", role_everywhere=True), Reply("a b"))
    roles = [[chunk.choices[0].delta.role for chunk in say()] for _ in range(2)]
    assert roles == [["assistant"] * 3 + [None], ["assistant", None, None, None]]


def test_log_probabilities(provider: Provider, say: Say) -> None:
    """They are those of each token's own text and bytes."""
    provider.reply(Reply(tokens=["日", "本"], logprobs=True))
    told = [chunk.choices[0].logprobs.content[0] for chunk in say() if chunk.choices[0].logprobs]
    assert [(item.token, bytes(item.bytes).decode()) for item in told] == [
        ("日", "日"),
        ("本", "本"),
    ]
