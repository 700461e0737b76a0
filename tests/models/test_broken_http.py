"""Providers whose HTTP is broken, huge, or leads elsewhere: a clear error, or another attempt.

Each is asked by the fast path, by LangChain's own, and by a sync client.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler

from tests.bare_server import bare_server
from tests.waiting import pause
from tokenweir.errors import FirstTokenTimeoutError, TokenGapTimeoutError
from tokenweir.models._openai.compression import DecompressionError
from tokenweir.models.chat import chat_model

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = event("ab") + event("cd") + event("", "stop") + DONE
GOOD = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Listener(BaseCallbackHandler):
    """With it LangChain makes the call itself."""

    run_inline = True

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        """Its being here is enough."""


@asynccontextmanager
async def answering(*responses: bytes | list[bytes]) -> AsyncIterator[list[bytes]]:
    """A server that answers one request after the other, and closes each connection at its end.

    A list is sent part by part, each 50 ms after the one before. The list it gives holds the heads
    of the requests; its first item is the server's URL.
    """
    heads: list[bytes] = []
    left = list(responses)

    async def answer(
        head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        heads.append(head)
        parts = left.pop(0)
        for number, part in enumerate([parts] if isinstance(parts, bytes) else parts):
            if number:
                await pause(0.05)  # another packet
            writer.write(part)
            await writer.drain()
        if isinstance(parts, list):
            await reader.read()  # until the client leaves

    async with bare_server(answer) as base_url:
        heads.append(base_url.encode())
        yield heads


def model_of(heads: list[bytes], **kwargs: Any) -> Any:
    arguments: dict[str, Any] = {
        "base_url": heads[0].decode(),
        "api_key": "sk-secret-key",
        "max_retries": 0,
    }
    return chat_model("openai:gpt-4o-mini", streaming=True, **arguments | kwargs)


async def fast(model: Any) -> Any:
    return (await model.ainvoke("hello")).content


async def plain(model: Any) -> Any:
    return (await model.ainvoke("hello", {"callbacks": [Listener()]})).content


async def sync(model: Any) -> Any:
    return (await asyncio.to_thread(model.invoke, "hello")).content


async def plain_sync(model: Any) -> Any:
    config: Any = {"callbacks": [Listener()]}
    return (await asyncio.to_thread(model.invoke, "hello", config)).content


every_way = pytest.mark.parametrize("call", [fast, plain, sync, plain_sync])
Call = Callable[[Any], Any]

BROKEN = {
    "no HTTP": b"hello\r\n\r\n",
    "no status": b"HTTP/1.1 two hundred\r\n\r\n",
    "broken header": b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "broken chunk": CHUNKED + b"zz\r\n",
    "nothing": b"",
}


@every_way
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_http_is_tried_again(call: Call, broken: bytes) -> None:
    """Before the first token it is a connection that broke: the next attempt gets the answer."""
    async with answering(broken, GOOD) as heads:
        assert await call(model_of(heads, max_retries=1)) == "abcd"


@every_way
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_http_is_told(call: Call, broken: bytes) -> None:
    """Without retries it is the SDK's connection error, and no key is in it."""
    async with answering(broken) as heads:
        with pytest.raises(openai.APIConnectionError) as caught:
            await call(model_of(heads))
    assert "sk-secret-key" not in repr(caught.value)


async def test_a_refused_connection_is_told_in_plain_words() -> None:
    """Where nobody listens on an http URL, nothing is said of TLS."""
    with socket.socket() as unheard:  # bound, so that nobody else takes the port
        unheard.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unheard.getsockname()[1]}"
        model = chat_model(
            "openai:m", base_url=f"http://{place}/v1", api_key="sk-secret-key", max_retries=0
        )
        with pytest.raises(openai.APIConnectionError) as caught:
            await model.ainvoke("hi")
    told: Any = caught.value
    causes = []
    while (told := told.__cause__) is not None:
        causes.append(str(told))
    assert any(f"Cannot connect to host {place} [" in said for said in causes), causes


@every_way
@pytest.mark.parametrize(
    "packets", [[CHUNKED + chunk(WHOLE), b"zz\r\n"], [CHUNKED, chunk(WHOLE) + b"zz\r\n"]]
)
async def test_what_breaks_behind_the_end_is_no_matter(call: Call, packets: list[bytes]) -> None:
    """An answer is whole with ``[DONE]``, whatever the connection does then."""
    async with answering(packets) as heads:
        assert await call(model_of(heads)) == "abcd"


@every_way
async def test_a_chunk_that_breaks_later_ends_the_call(call: Call) -> None:
    """A malformed HTTP chunk in the middle of an answer is an error at once, and no silence."""
    async with answering([CHUNKED + chunk(event("ab")), b"zz\r\n"]) as heads:
        with pytest.raises(openai.APIConnectionError):
            await call(model_of(heads))


@every_way
async def test_large_headers(call: Call) -> None:
    """Headers of 20 kB pass, as some gateways send them."""
    large = GOOD.replace(b"connection: close", b"connection: close\r\nx-trace: " + b"x" * 20_000)
    async with answering(large) as heads:
        assert await call(model_of(heads)) == "abcd"


def compressed(body: bytes) -> bytes:
    made = gzip.compress(body)
    head = HEAD + b"connection: close\r\ncontent-encoding: gzip\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(made) + made


@every_way
async def test_compressed_answers(call: Call) -> None:
    """They are read as others are."""
    async with answering(compressed(WHOLE)) as heads:
        assert await call(model_of(heads)) == "abcd"


@every_way
async def test_a_response_that_grows_without_measure(call: Call) -> None:
    """100 kB that would become 100 MB are refused with a clear error, and not tried again."""
    bomb = compressed(event("a") + b": " + b"x" * 100_000_000 + b"\n\n" + DONE)
    tracemalloc.start()
    try:
        async with answering(bomb) as heads:
            with pytest.raises(DecompressionError, match="grows more than 100 times"):
                await call(model_of(heads, max_retries=2))
        assert len(heads) == 2
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


@every_way
async def test_empty_chunks_are_no_tokens(call: Call) -> None:
    """A provider that sends empty chunks for ever does not keep the limits from running out."""
    async with answering([CHUNKED, *[chunk(event(""))] * 200]) as heads:
        with pytest.raises(FirstTokenTimeoutError):
            await call(model_of(heads, first_token_timeout=0.3))
    async with answering([CHUNKED + chunk(event("ab")), *[chunk(event(""))] * 200]) as heads:
        with pytest.raises(TokenGapTimeoutError):
            await call(model_of(heads, token_gap_timeout=0.3))


@every_way
async def test_keys_stay_with_their_server(call: Call) -> None:
    """A redirect to another server takes no key with it, in whatever header that stands."""
    async with answering(GOOD) as other:
        moved = b"HTTP/1.1 307 Moved\r\nconnection: close\r\ncontent-length: 0\r\nlocation: "
        async with answering(moved + other[0] + b"/chat/completions\r\n\r\n") as heads:
            model = model_of(heads, default_headers={"x-api-key": "sk-other-key"})
            assert await call(model) == "abcd"
    assert b"sk-secret-key" in heads[1]
    assert b"sk-other-key" in heads[1]
    assert b"sk-" not in other[1]
    assert "sk-other-key" not in repr(model)
    assert "sk-other-key" not in repr(model.model_dump())
