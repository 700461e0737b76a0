"""Checks once whether other packages' internals are what the modules in this package expect."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import httpx2
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from pydantic import SecretStr

from tokenweir.streaming.probing import differences

__all__ = ["probe", "probe_push"]

_lock = threading.Lock()


def probe() -> str | None:
    """None if streamed calls may be read without LangChain; otherwise the reason why not.

    The first call streams a scripted answer both ways, and compares the chunks. If they differ, or
    if this fails, LangChain makes every call, which gives the same chunks more slowly; the log says
    so once.
    """
    return _verdicts()[0]


def probe_push() -> str | None:
    """None if bytes may be taken from aiohttp as they arrive; otherwise the reason why not."""
    return _verdicts()[1]


def _verdicts() -> list[str | None]:
    with _lock:
        return _tried()


@cache
def _tried() -> list[str | None]:
    return differences(
        logging.getLogger(__name__),
        "installed packages differ from those that Tokenweir knows (%s): tokens are the same, "
        "but take the slow path",
        _calls,
        _push,
    )


def _event(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, **fields}
    event = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _call(**piece: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": None, "function": {"name": None, **piece}}]}


_LOGPROBS = {"content": [{"token": "c", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
_ANSWER = [
    _event({"role": "assistant", "content": ""}),
    _event({"reasoning_content": "why"}),
    _event({"content": "a"}),
    _event({"content": "b"}),
    _event({"content": "c"}, logprobs=_LOGPROBS),
    _event({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]}),
    _event(_call(arguments='{"a"')),
    _event(_call(arguments=": 1}")),
    _event({}, "tool_calls"),
    b'data: {"id": "x", "choices": [], "model": "m", "usage": '
    b'{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}\n\n',
    b"data: [DONE]\n\n",
]


class _Body(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    def __iter__(self) -> Any:
        return iter(_ANSWER)

    async def __aiter__(self) -> Any:
        for data in _ANSWER:
            yield data


class _ByLangChain(BaseCallbackHandler):
    """Receives the chunks of a call that LangChain makes."""

    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[BaseMessage] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.chunks.append(chunk.message)


class _ByRoute(BaseCallbackHandler):
    """Receives the chunks of a call that is read without LangChain."""

    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[BaseMessage] = []

    def receiver(self, run_id: UUID) -> Any:
        return self.chunks.append


async def _calls() -> str | None:
    from tokenweir.models._openai.requests import missing_names
    from tokenweir.models.chat import ChatModel

    if missing := missing_names():
        return f"langchain-openai has no {', '.join(missing)}"

    class Read(ChatModel):
        def _difference(self) -> None:
            return None

    class Left(ChatModel):
        def _difference(self) -> str:
            return "LangChain makes the calls"

    def respond(request: httpx2.Request) -> httpx2.Response:
        head = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=head, stream=_Body())

    transport = httpx2.MockTransport(respond)
    run_id = uuid4()

    async def asked(kind: type[ChatModel], is_async: bool, handler: Any) -> Any:
        with httpx2.Client(transport=transport) as http:
            async with httpx2.AsyncClient(transport=transport) as http_async:
                model = kind(
                    model="m",
                    base_url="http://127.0.0.1/v1",
                    api_key=SecretStr("none"),
                    streaming=True,
                    http_client=http,
                    http_async_client=http_async,
                )
                config: Any = {"callbacks": [handler], "run_id": run_id}
                whole = await model.ainvoke("", config) if is_async else model.invoke("", config)
        return [(type(each), each, each.model_fields_set) for each in (*handler.chunks, whole)]

    for is_async in (True, False):
        theirs = await asked(Left, is_async, _ByLangChain())
        ours = await asked(Read, is_async, _ByRoute())
        if ours != theirs or await asked(Read, is_async, _ByLangChain()) != theirs:
            return "other chunks"
        if "reasoning_content" not in ours[-1][1].additional_kwargs:
            return "no reasoning"
    return None


async def _push() -> str | None:
    from tokenweir.models._openai.byte_source import push_into

    loop = asyncio.get_running_loop()
    protocol: Any = _Protocol()
    whole, broken = (aiohttp.StreamReader(protocol, 2**16, loop=loop) for _ in range(2))
    taken: list[bytes] = []

    def feed(data: bytes) -> bool:
        taken.append(data)
        return data != b"stop"

    async def pushed(reader: aiohttp.StreamReader, arrive: Callable[[], None]) -> None:
        pushing = loop.create_task(push_into(reader, feed))
        await asyncio.sleep(0)
        try:
            arrive()
        finally:
            await asyncio.wait_for(pushing, 1)

    def chunks() -> None:
        for data in (b"a", b"stop", b"b"):
            whole.begin_http_chunk_receiving()
            whole.feed_data(data)
            whole.end_http_chunk_receiving()

    await pushed(whole, chunks)
    if (taken, whole.read_nowait()) != ([b"a", b"stop"], b"b"):
        return "aiohttp passes on other bytes"
    await pushed(whole, whole.feed_eof)
    await pushed(broken, lambda: broken.set_exception(aiohttp.ClientPayloadError()))
    return None if whole.at_eof() and broken.exception() else "aiohttp ends a body differently"


class _Protocol:
    """A stand-in for the connection of a body."""

    connected = True

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None
