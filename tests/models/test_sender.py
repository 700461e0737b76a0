"""Requests that are sent without the openai SDK: the same as it would send, to the same end."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.bare_server import bare_server
from tokenweir.models._openai import clients
from tokenweir.models._openai.sender import Sender
from tokenweir.models.chat import chat_model
from tokenweir.testing import Provider, Reply, ToolCall

IDENTIFIED = {"x-request-id": "req_1"}
AT_ONCE = {"retry-after": "0.01", **IDENTIFIED}
TOKENS = ["One", " two", " three", " four"]


def model_of(base_url: str, **kwargs: Any) -> Any:
    given = {"base_url": base_url, "api_key": "sk-secret-key", "streaming": True, **kwargs}
    return chat_model("openai:gpt-4o-mini", **given)


async def warm(model: Any, **kwargs: Any) -> None:
    """Have the SDK make two requests of a kind, so that others like them go without it."""
    for _ in range(2):
        await model.ainvoke("hi", **kwargs)


def by_itself(model: Any) -> Any:
    """The model as it comes."""
    return model


def by_the_sdk(model: Any) -> Any:
    """The same model, all of whose requests the SDK sends."""
    client = model.root_async_client
    client.sender = Sender(client, None)
    return model


async def outcome(model: Any, prompt: str = "hi", **kwargs: Any) -> Any:
    """What came of a call: the answer, or the error and what it holds."""
    try:
        answer = await model.ainvoke(prompt, **kwargs)
    except Exception as error:  # noqa: BLE001 - it is the outcome
        return [told(each) for each in chain(error)]
    return answer.model_dump(exclude={"id"})


def chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found


def told(error: BaseException) -> Any:
    names = ("request_id", "status_code", "body", "code", "type", "param", "chunks", "provider")
    response = getattr(error, "response", None)
    answered = response and (response.status_code, response.headers, response.text)
    try:
        request: Any = getattr(error, "request", None)
    except RuntimeError:  # an error of httpx2 that has none
        request = None
    asked = request and (request.method, str(request.url), request.headers)
    held = {name: getattr(error, name, None) for name in names}
    return type(error), str(error), held, answered, asked


REPLIES: dict[str, list[Reply]] = {
    "text": [Reply("Why did the cat sit down?", headers=IDENTIFIED)],
    "tools": [Reply(tool_calls=[ToolCall("add", '{"a": 2}')], usage="always")],
    "nothing": [Reply("")],
    "slow head": [Reply("so it is", first_after=0.1)],
    "400": [Reply(status=400, headers=IDENTIFIED)],
    "401": [Reply(status=401, headers=IDENTIFIED, message="wrong key sk-secret-key")],
    "403": [Reply(status=403, headers=IDENTIFIED)],
    "404": [Reply(status=404, headers=IDENTIFIED)],
    "422": [Reply(status=422, headers=IDENTIFIED)],
    "no usage": [Reply(status=400, message="unknown argument: stream_options"), Reply("well")],
    **{
        f"{status}, then well": [Reply(status=status, headers=AT_ONCE), Reply("well")]
        for status in (408, 409, 429, 500, 503)
    },
    "503 for ever": [Reply(status=503, headers=AT_ONCE)] * 3,
    "304": [Reply(status=304)],
    "redirect": [Reply(status=307, headers={"location": "/v1/chat/completions"}), Reply("there")],
    "redirect to nowhere": [Reply(status=307, headers={"location": "/nowhere"})],
    "redirect for ever": [Reply(status=308, headers={"location": "/v1/chat/completions"})] * 99,
    "cut at once": [Reply(tokens=TOKENS, cut_after=0), Reply("well")],
    **{
        f"cut later: {kind}": [Reply(tokens=TOKENS, cut_after=2, cut=kind)]
        for kind in ("event", "eof", "reset")
    },
    "error event": [Reply(tokens=TOKENS, error_after=2)],
    "garbage": [Reply(tokens=TOKENS, garbage_after=2)],
    "cookie": [Reply("well", headers={"set-cookie": "a=b; Path=/"}), Reply("well")],
}


@pytest.mark.parametrize("replies", REPLIES.values(), ids=REPLIES.keys())
async def test_every_answer_is_taken_as_the_sdk_takes_it(
    replies: list[Reply], caplog: pytest.LogCaptureFixture
) -> None:
    """Equal: result, error, its message and request id, retries, httpx2's log, and the wire."""
    found = []
    caplog.set_level(logging.INFO, "httpx2")
    with Provider() as provider:
        for way in (by_itself, by_the_sdk):
            model = way(model_of(provider.base_url))
            await warm(model)
            assert (model.root_async_client.sender.known is None) == (way is by_the_sdk)
            provider.requests.clear()
            caplog.clear()
            provider.reply(*replies)
            ends = [await outcome(model), await outcome(model)]
            provider._queue.clear()
            wire = [(each.path, each.headers, each.body) for each in provider.requests]
            log = [record.getMessage() for record in caplog.records if record.name == "httpx2"]
            found.append((ends, wire, log))
            clients._REFUSES_USAGE.clear()
    assert found[0][0] == found[1][0]
    assert found[0][1] == found[1][1]
    assert found[0][2] == found[1][2]


@asynccontextmanager
async def saying(
    *responses: bytes, requests: list[tuple[bytes, bytes]] | None = None
) -> AsyncIterator[str]:
    """A server that gives one response after the other, one per connection."""
    left = list(responses)

    async def answer(
        head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if requests is not None:
            requests.append((head, body))
        writer.write(left.pop(0))
        await writer.drain()

    async with bare_server(answer) as base_url:
        yield base_url


EVENT = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "well"}}]}\n\n'
WHOLE = EVENT + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n"
GOOD = HEAD + b"\r\n" + WHOLE

CASES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "headers": {"default_headers": {"X-Own": "1", "User-Agent": "own"}},
    "query": {"default_query": {"version": "2"}},
    "body": {"extra_body": {"top_k": 3}, "temperature": 0.5, "seed": 1},
    "organization": {"organization": "org_1"},
    "timeout": {"timeout": 7},
}


@pytest.mark.parametrize("given", CASES.values(), ids=CASES.keys())
async def test_the_same_goes_over_the_wire(given: dict[str, Any]) -> None:
    """Every byte of head and body, whatever the model adds to them, but for the headers' order."""
    requests: list[tuple[bytes, bytes]] = []
    async with saying(*[GOOD] * 6, requests=requests) as base_url:
        for way in (by_itself, by_the_sdk):
            model = way(model_of(base_url, **given))
            await warm(model)
            await outcome(model, 'Ünïcode 🐈 "quoted" \u2028')
    (ours, our_body), (theirs, their_body) = requests[2], requests[5]
    assert sorted(ours.split(b"\r\n")) == sorted(theirs.split(b"\r\n"))
    assert our_body == their_body


RAW = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "a wrong chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
    "a length that is not kept": HEAD + b"content-length: 999\r\n\r\n" + WHOLE[:40],
    "gzip": HEAD + b"content-encoding: gzip\r\n\r\n" + gzip.compress(WHOLE),
    "no gzip": HEAD + b"content-encoding: gzip\r\n\r\n" + WHOLE,
    "an error that is no JSON": b"HTTP/1.1 502 Bad\r\nconnection: close\r\n\r\n<html>no</html>",
    "an error that is cut": b"HTTP/1.1 400 Bad\r\ncontent-length: 99\r\n\r\n{",
    "no content": b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
}


@pytest.mark.parametrize("response", RAW.values(), ids=RAW.keys())
async def test_http_that_is_broken(response: bytes) -> None:
    """What comes of it is what comes of it by the SDK."""
    found = []
    for way in (by_itself, by_the_sdk):
        async with saying(GOOD, GOOD, response, GOOD) as base_url:
            model = way(model_of(base_url, max_retries=1))
            await warm(model)
            found.append(re.sub(r"127.0.0.1:\d+", "", repr(await outcome(model))))
    assert found[0] == found[1]


async def calls_of_the_sdk(asked: Callable[[], Awaitable[Any]]) -> int:
    """How many of its functions run while a request is made."""
    folder = str(Path(openai.__file__).parent / "_base_client.py")
    calls = 0

    def profile(frame: Any, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename == folder

    sys.setprofile(profile)
    try:
        await asked()
    finally:
        sys.setprofile(None)
    return calls


def a_hook(model: Any) -> None:
    async def hook(request: httpx2.Request) -> None:
        request.headers["x-hook"] = "1"

    model.root_async_client._client.event_hooks["request"].append(hook)


def another_method(model: Any) -> None:
    client = model.root_async_client
    theirs = client.request

    async def request(*args: Any, **kwargs: Any) -> Any:
        return await theirs(*args, **kwargs)

    client.request = request


def another_key(model: Any) -> None:
    model.root_async_client.api_key = "another"


def another_address(model: Any) -> None:
    client = model.root_async_client
    client.base_url = str(client.base_url).replace("127.0.0.1", "localhost")


CHANGES: dict[str, Callable[[Any], None]] = {
    "a hook": a_hook,
    "a method that somebody watches": another_method,
    "another key": another_key,
    "another address": another_address,
    "debugging": lambda model: logging.getLogger("openai").setLevel(logging.DEBUG),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_whatever_is_different_goes_by_the_sdk(
    provider: Provider, change: Callable[[Any], None]
) -> None:
    """A known request is sent without the SDK; after a change the SDK makes the next one."""
    model = model_of(provider.base_url)
    level = logging.getLogger("openai").level
    await warm(model)
    try:
        small = await calls_of_the_sdk(lambda: model.ainvoke("hi"))
        change(model)
        assert await calls_of_the_sdk(lambda: model.ainvoke("hi")) > small + 20
    finally:
        logging.getLogger("openai").setLevel(level)


async def test_headers_of_one_call(provider: Provider) -> None:
    """A call's own headers are sent with that call alone, even if their owner changes them."""
    model = model_of(provider.base_url)
    own = {"x-own": "1"}
    await warm(model, extra_headers=own)
    await model.ainvoke("hi", extra_headers=own)
    own["x-own"] = "2"
    await model.ainvoke("hi", extra_headers=own)
    await model.ainvoke("hi")
    sent = [request.headers.get("x-own") for request in provider.requests]
    assert sent == ["1", "1", "1", "2", None]


async def test_a_reset_is_no_news_of_asyncio(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that was reset is told by the call's error alone."""
    model = model_of(provider.base_url)
    provider.reply(Reply(tokens=TOKENS, cut_after=2, cut="reset"))
    assert isinstance(await outcome(model), list)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_a_header_that_is_never_the_same(provider: Provider) -> None:
    """A key of its own for each request, as against repeated work, is never sent twice."""
    model = model_of(provider.base_url)
    client = model.root_async_client
    client._idempotency_header = "Idempotency-Key"
    for _ in range(4):
        await model.ainvoke("hi")
    assert len({request.headers["idempotency-key"] for request in provider.requests}) == 4


@pytest.mark.parametrize("wrong", [float("nan"), b"bytes", {1, 2}])
async def test_what_is_no_json_is_refused_as_by_the_sdk(provider: Provider, wrong: Any) -> None:
    """The same error, and nothing is sent."""
    model = model_of(provider.base_url)
    await warm(model)
    count = len(provider.requests)
    found = [await outcome(each, seed=wrong) for each in (model, by_the_sdk(model))]
    assert found[0] == found[1]
    assert isinstance(found[0], list)
    assert len(provider.requests) == count
