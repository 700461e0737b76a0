"""The scripted provider as a server: which reply is given, what is recorded, how it lives."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tokenweir.testing import Provider, RecordedRequest, Reply

Say = Callable[..., Any]
Text = Callable[[Any], str]


# Which reply


def test_replies_come_in_turn_then_the_default(provider: Provider, say: Say, text_of: Text) -> None:
    """The queue first, then ``default``, which says the prompt back."""
    provider.reply("one", Reply("two"))
    provider.reply("three")
    assert [text_of(say(f"p{number}")) for number in range(4)] == [
        "one",
        "two",
        "three",
        "You said: p3",
    ]
    provider.default = Reply("always")
    assert [text_of(say()), text_of(say())] == ["always", "always"]


def test_a_rule_goes_before_the_queue(provider: Provider, say: Say, text_of: Text) -> None:
    """Rules look at the last message, or at the whole request; the first that matches counts."""
    provider.reply("queued")
    provider.on("joke", "funny")
    provider.on("a joke", "never reached")
    provider.on(lambda request: request.body["temperature"] == 0, "cold")
    assert text_of(say("tell a joke", temperature=0)) == "funny"
    assert text_of(say("tell a poem", temperature=0)) == "cold"
    assert text_of(say("tell a poem", temperature=1)) == "queued"


def test_a_rule_with_several_replies(provider: Provider, say: Say, text_of: Text) -> None:
    """They are given in turn, the last one for ever."""
    provider.on("joke", "one", "two")
    assert [text_of(say("joke")) for _ in range(4)] == ["one", "two", "two", "two"]


def test_a_path_with_a_query(provider: Provider) -> None:
    """A client that adds a query to every URL, as Azure's does, is answered; it is recorded."""
    provider.reply("hello")
    with openai.AzureOpenAI(
        azure_endpoint=provider.base_url.removesuffix("/v1"), api_key="test", api_version="1"
    ) as client:
        found = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}]
        )
    assert found.choices[0].message.content == "hello"
    [request] = provider.requests
    assert request.path == "/openai/deployments/gpt-4o-mini/chat/completions?api-version=1"


def test_a_prompt_of_parts(provider: Provider, say: Say, text_of: Text) -> None:
    """A message whose content is a list is known by its texts."""
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": "a "}, image, {"type": "text", "text": "joke"}]
    provider.on("a joke", "funny")
    assert text_of(say(parts)) == "funny"
    assert provider.requests[0].prompt == "a joke"


# What it serves


async def test_sync_and_async_whole_and_streamed(
    provider: Provider, client: openai.OpenAI, async_client: openai.AsyncOpenAI
) -> None:
    """The same answer in every way that there is to ask for it."""
    call: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    provider.default = Reply("Why did the cat sit?")
    wholes = [
        client.chat.completions.create(**call),
        await async_client.chat.completions.create(**call),
    ]
    for whole in wholes:
        assert whole.choices[0].message.content == "Why did the cat sit?"
        assert whole.choices[0].finish_reason == "stop"
        assert whole.model == "gpt-4o-mini"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 5
    chunks = list(client.chat.completions.create(stream=True, **call))
    later = [
        chunk async for chunk in await async_client.chat.completions.create(stream=True, **call)
    ]
    for streamed in (chunks, later):
        assert [chunk.choices[0].delta.content for chunk in streamed] == [
            "",
            "Why",
            " did",
            " the",
            " cat",
            " sit?",
            "",
        ]
        assert streamed[0].choices[0].delta.role == "assistant"
        assert streamed[-1].choices[0].finish_reason == "stop"
        assert len({chunk.id for chunk in streamed}) == 1


def test_models_are_listed(client: openai.OpenAI) -> None:
    """``GET /models`` names the models it was made with."""
    assert [model.id for model in client.models.list()] == ["gpt-4o-mini"]
    with Provider(models=("a", "b")) as other:
        mine = openai.OpenAI(base_url=other.base_url, api_key="test")
        with mine:
            assert [model.id for model in mine.models.list()] == ["a", "b"]


def test_what_it_does_not_know_is_an_error(client: openai.OpenAI, wire: Any) -> None:
    """Another path is 404, a request without messages is 400; both are worded as OpenAI does."""
    with pytest.raises(openai.NotFoundError, match="Unknown path /v1/embeddings"):
        client.embeddings.create(model="e", input="text", encoding_format="float")
    with pytest.raises(openai.BadRequestError, match="'messages' is missing") as caught:
        client.chat.completions.create(model="m", messages=[])
    assert caught.value.type == "invalid_request_error"
    connection = wire()
    for body in (b"", b"{", b"[]", b'"text"', b'{"messages": null}'):
        connection.send("POST", "/v1/chat/completions", body)
        assert connection.answer().status == 400


def test_its_environment_is_all_a_client_needs(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``environ`` makes a client that is made without arguments talk to it."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    with openai.OpenAI() as client:
        assert [model.id for model in client.models.list()] == ["gpt-4o-mini"]


def test_content_can_be_added_up_unseen(client: openai.OpenAI, provider: Provider) -> None:
    """The loop of Qwen's documentation, which adds up ``delta.content`` of each chunk, runs."""
    provider.reply("Hello you there")
    messages: Any = [{"role": "user", "content": "hi"}]
    completion = client.chat.completions.create(model="m", messages=messages, stream=True)
    full_content = ""
    for chunk in completion:
        if chunk.choices:
            full_content += chunk.choices[0].delta.content  # type: ignore[operator]
    assert full_content == "Hello you there"


def test_requests_that_follow_without_waiting(provider: Provider, wire: Any) -> None:
    """A client that sends its next request before the answer has come gets both."""
    connection = wire()
    connection.ask("one")
    connection.ask("two")
    connection.send("GET", "/v1/models")
    connection.ask("three", stream=False)
    answers = [connection.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert [request.prompt for request in provider.requests] == ["one", "two", "", "three"]
    assert {request.connection for request in provider.requests} == {0}


async def test_many_at_once(provider: Provider, async_client: openai.AsyncOpenAI) -> None:
    """A hundred streams at the same time, held until all have come."""
    provider.default = Reply(tokens=20, hold_after=10)
    call: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}

    async def read() -> int:
        count = 0
        async for chunk in await async_client.chat.completions.create(**call):
            count += bool(chunk.choices[0].delta.content)
        return count

    reading = [asyncio.create_task(read()) for _ in range(100)]
    await asyncio.to_thread(provider.wait_for_requests, 100, 30)
    provider.release()
    assert await asyncio.gather(*reading) == [20] * 100
    assert len({request.connection for request in provider.requests}) == 100


def test_answers_are_not_held_up_by_the_network_stack(provider: Provider, wire: Any) -> None:
    """An answer's second packet does not wait 40 ms for the client's acknowledgement."""
    connection, took = wire(), []
    for _ in range(20):
        begun = time.perf_counter()
        connection.ask()
        connection.answer()
        took.append(time.perf_counter() - begun)
    # The quickest of many: what a loaded machine adds is not the same each time, 40 ms would be.
    assert statistics.quantiles(took, n=10)[0] < 0.03


# What it records


def test_a_request_is_recorded(provider: Provider, say: Say, text_of: Text) -> None:
    """Path, headers by lower-case names, body, prompt, times and tokens."""
    provider.reply(Reply("one two three"))
    before = time.monotonic()
    text_of(say("hello", extra_headers={"X-Mine": "yes"}, temperature=0.5))
    (request,) = provider.requests
    request.wait_closed(60)
    assert request.path == "/v1/chat/completions"
    assert request.headers["x-mine"] == "yes"
    assert request.headers["authorization"] == "Bearer test"
    assert request.body["temperature"] == 0.5
    assert request.body["messages"][-1]["content"] == request.prompt == "hello"
    assert request.state == "finished"
    assert request.tokens_written == 3
    assert request.ended_at is not None
    assert before < request.asked_at <= request.ended_at <= time.monotonic()


def test_connections_are_numbered(provider: Provider, wire: Any) -> None:
    """Requests that came by one connection have its number."""
    one, two = wire(), wire()
    for connection in (one, one, two, one):
        connection.ask()
        connection.answer()
    assert [request.connection for request in provider.requests] == [0, 0, 1, 0]
    assert provider.open_connections == 2


def test_waiting_for_requests(provider: Provider, say: Say, text_of: Text) -> None:
    """It returns when they have come, and says how many had if they have not."""
    with pytest.raises(TimeoutError, match=r"0 of 1 requests came in 0\.01 s"):
        provider.wait_for_requests(1, 0.01)
    asking = threading.Thread(target=lambda: text_of(say("from a thread")))
    asking.start()
    (request,) = provider.wait_for_requests(1)
    assert request.prompt == "from a thread"
    asking.join()


def test_a_client_that_leaves_is_recorded(provider: Provider, say: Say) -> None:
    """Leaving is noticed while tokens are written, and how many were is known."""
    provider.reply(Reply(tokens=100_000, every=0.01))
    with say() as chunks:
        for chunk in chunks:
            if chunk.choices[0].delta.content:
                break
    (request,) = provider.requests
    request.wait_closed(60)
    assert request.state == "client_left"
    assert 1 <= request.tokens_written < 500
    assert request.ended_at is not None


@pytest.mark.parametrize(
    ("reply", "stream"),
    [
        (Reply("a b", hold_after=1), True),
        (Reply("a b", hold_after=1), False),
        (Reply("a b", stall_after=1), True),
        (Reply("a b", stall_after=1), False),
        (Reply("a b", first_after=60), True),
        (Reply("a b", first_after=60), False),
        (Reply("a b", every=60), True),
    ],
)
def test_leaving_is_noticed_while_nothing_is_written(
    provider: Provider, wire: Any, reply: Reply, stream: bool
) -> None:
    """Also when the provider has nothing to say, streamed or not."""
    provider.reply(reply)
    connection = wire()
    connection.ask(stream=stream)
    (request,) = provider.wait_for_requests(1)
    with pytest.raises(TimeoutError, match="the request is still running"):
        request.wait_closed(0.01)
    connection.close()
    request.wait_closed(60)
    assert request.state == "client_left"


async def test_closing_can_be_awaited(provider: Provider, async_client: openai.AsyncOpenAI) -> None:
    """``aclosed`` waits without blocking the loop that the client lives in."""
    provider.reply(Reply("a b c", hold_after=1))
    call: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    stream = await async_client.chat.completions.create(**call)
    (request,) = provider.requests
    closing = asyncio.ensure_future(request.aclosed(60))
    await anext(aiter(stream))
    assert not closing.done()
    await stream.close()
    await closing
    assert request.state == "client_left"


def test_a_client_that_does_not_read_is_felt(provider: Provider, wire: Any) -> None:
    """The provider cannot write far ahead of its client, and goes on when that reads again."""
    provider.reply(Reply(tokens=10_000))
    connection = wire()
    connection.ask()
    (request,) = provider.wait_for_requests(1)
    written = -1
    while written != request.tokens_written or not written:
        written = request.tokens_written
        threading.Event().wait(0.3)  # nothing tells that nothing happens any more
    assert written < 1_000
    answer = connection.answer()
    assert answer.body.count(b' t9999"') == 1
    assert request.tokens_written == 10_000


# Its life


def test_closing_ends_every_answer(wire: Any, provider: Provider) -> None:
    """Whoever is connected is cut off, at once, and that is recorded."""
    provider.default = Reply("a b c", hold_after=1)
    connections = [wire() for _ in range(3)]
    for connection in connections:
        connection.ask()
    requests = provider.wait_for_requests(3)
    begun = time.monotonic()
    provider.close()
    assert time.monotonic() - begun < 10
    assert [request.state for request in requests] == ["stopped"] * 3
    assert provider.open_connections == 0
    with pytest.raises((ConnectionError, ValueError, IndexError)):
        while connections[0].answer():
            pass
    provider.close()  # once is enough, twice does no harm


async def test_it_is_a_context_manager_of_both_kinds() -> None:
    """``with`` and ``async with`` open a port and close it again, and leave no thread."""
    await asyncio.to_thread(lambda: None)  # the loop's own thread is there from now on
    before = set(threading.enumerate())
    async with Provider() as one:
        with Provider() as two:
            assert one.base_url != two.base_url
            for provider in (one, two):
                async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="test") as client:
                    assert [model.id async for model in client.models.list()] == ["gpt-4o-mini"]
    assert set(threading.enumerate()) <= before


def test_it_can_be_closed_unopened() -> None:
    """A provider that was never started has nothing to close."""
    Provider().close()


def test_a_recorded_request_shows_itself() -> None:
    """What a failing test prints is the request, without locks."""
    shown = repr(RecordedRequest("/v1/x", {}, {"messages": [{"content": "hi"}]}, 3))
    assert "/v1/x" in shown
    assert "running" in shown
    assert "Event" not in shown


def test_connections_that_come_as_it_closes() -> None:
    """They are closed, too, and not left to the garbage collector, at however bad a moment."""
    for _ in range(20):
        with Provider() as provider:
            address = ("127.0.0.1", int(provider.base_url.split(":")[2].split("/")[0]))
            clients = [socket.create_connection(address, timeout=60) for _ in range(30)]
        for client in clients:
            with client, contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
