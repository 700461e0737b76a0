"""Providers that keep to no protocol: the fast path tells of them what LangChain's own path tells.

The servers are bare sockets, because no server library would send most of this.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from tests.bare_server import bare_server
from tests.models.alike import ByLangChain
from tokenweir.errors import StreamError
from tokenweir.models.chat import ChatModel
from tokenweir.streaming.filters import tag
from tokenweir.streaming.stream import astream
from tokenweir.testing import without_run_ids

INPUT: Any = {"messages": [("user", "hello")]}


class Listener(BaseCallbackHandler):
    """A handler that wants every token: with it LangChain makes the call itself."""

    run_inline = True

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        pass


def event(delta: Any, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": fields.pop("finish_reason", None)}
    choice |= {name: fields.pop(name) for name in ("logprobs",) if name in fields}
    return {"id": "x", "model": "m", "choices": [choice], **fields}


def text(content: Any, **fields: Any) -> dict[str, Any]:
    return event({"content": content}, **fields)


def pieces(*calls: tuple[int, str | None, str | None, str | None]) -> dict[str, Any]:
    return event(
        {
            "tool_calls": [
                {"index": index, "id": call, "function": {"name": name, "arguments": arguments}}
                for index, call, name, arguments in calls
            ]
        }
    )


def sse(*events: Any) -> bytes:
    """Events, a dict each or the data as it is, and the end."""
    data = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    return b"".join(b"data: " + each + b"\n\n" for each in [*data, b"[DONE]"])


END = event({}, finish_reason="stop")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
WHOLE = sse(text("a"), text("b"), END)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def answer(body: bytes, headers: bytes = b"") -> bytes:
    return HEAD + headers + b"content-length: %d\r\n\r\n" % len(body) + body


class Bare:
    """A server that reads a request, sends bytes, and waits until its client leaves.

    ``asked`` is set when a request has come, ``left`` when its client has gone.
    """

    def __init__(self, response: bytes, hold: bool, step: int | None) -> None:
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.url = ""
        self._response = response
        self._hold = hold
        self._step = step or max(len(response), 1)

    async def answer(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.asked.set()
        try:
            for at in range(0, len(self._response), self._step):
                writer.write(self._response[at : at + self._step])
                await writer.drain()
                await asyncio.sleep(0)
            if self._hold:
                await reader.read()
        finally:
            self.left.set()


@asynccontextmanager
async def serving(
    response: bytes, *, hold: bool = False, step: int | None = None
) -> AsyncIterator[Bare]:
    bare = Bare(response, hold, step)
    async with bare_server(bare.answer) as bare.url:
        yield bare


def graph_of(url: str, kind: type[ChatModel] = ChatModel) -> Any:
    key = SecretStr("test")
    model = kind(model="gpt-4o-mini", base_url=url, api_key=key, max_retries=0)

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()


async def told(url: str, slow: bool) -> tuple[Any, Any]:
    """The parts that came, and the error after them; LangChain's, if ``slow``.

    These are also told where LangChain dispatches the chunks that are read here.
    """
    if not slow:
        return await told_by(graph_of(url), None)
    listening: Any = {"callbacks": [Listener()]}
    theirs = await told_by(graph_of(url, ByLangChain), listening)
    assert await told_by(graph_of(url), listening) == theirs
    return theirs


async def told_by(graph: Any, config: Any) -> tuple[Any, Any]:
    parts = []
    try:
        async with astream(graph, INPUT, config, stream_mode=["messages", "values"]) as stream:
            async for part in stream:
                parts.append(part)
    except StreamError as error:
        found: Any = (type(error.__cause__), error.chunks, error.characters)
    else:
        found = None
    return without_run_ids(parts), found


BODIES: dict[str, bytes] = {
    "long event": sse(text("x" * 1_000_000), END),
    "data in lines": json.dumps(text("a"), indent=1)
    .replace("\n", "\ndata: ")
    .join(("data: ", "\n\n"))
    .encode()
    + WHOLE,
    "no blank after the colon": WHOLE.replace(b"data: ", b"data:"),
    "CR only": WHOLE.replace(b"\n", b"\r"),
    "CR only, and no end": WHOLE.replace(b"data: [DONE]\n\n", b"").replace(b"\n", b"\r"),
    "BOM": b"\xef\xbb\xbf" + WHOLE,
    "no end": WHOLE.replace(b"data: [DONE]\n\n", b""),
    "comments only": b": keep-alive\n\n" * 3,
    "JSON": json.dumps({"id": "x", "choices": [{"message": {"content": "hi"}}]}).encode(),
    "HTML": b"<html>\n\n<h1>sorry</h1>\n\n</html>",
    "nothing": b"",
}

EVENTS: dict[str, list[Any]] = {
    "null delta": [event(None)],
    "no delta": [{"choices": [{"index": 0}]}],
    "empty delta": [event({})],
    "null content": [text(None)],
    "null choices": [{"choices": None}],
    "no choices": [{"object": "ping"}],
    "two choices": [{"choices": [*text("A")["choices"], {"index": 1, "delta": {"content": "B"}}]}],
    "a choice that is none": [{"choices": [{}]}],
    "content is a number": [text(5)],
    "content is a list": [text([{"type": "text", "text": "hi"}])],
    "content is an object": [text({"a": 1})],
    "delta is a string": [event("abc")],
    "a string": [b'"hello"'],
    "a list": [b"[]"],
    "null": [b"null"],
    "not JSON": [b"hello"],
    "not UTF-8": [b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}'],
    "half a surrogate pair": [b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}'],
    "deep": [b'{"choices":[{"index":0,"delta":{}}],"x":' + b"[" * 9000 + b"]" * 9000 + b"}"],
    "error as a string": [{"error": "boom"}],
    "error as a number": [{"error": 5}],
    "error beside choices": [text("q", error={"message": "boom"})],
    "an id of its own": [event({"content": "q", "id": "abc"})],
    "another role": [event({"role": "user", "content": "q"})],
    "an empty function call": [event({"function_call": {}, "content": "q"})],
    "an odd function call": [event({"function_call": "x", "content": "q"})],
    "usage every time": [text(each, usage=USAGE) for each in "xyz"],
    "empty usage": [text("q", usage={})],
    "usage in strings": [text("q", usage={name: str(n) for name, n in USAGE.items()})],
    "usage is a string": [text("q", usage="x")],
    "reasoning between": [event({"reasoning_content": "r"}), text("q"), event({"reasoning": "s"})],
    "reasoning beside": [event({"reasoning_content": "r", "content": "q"})],
    "call without index": [event({"tool_calls": [{"id": "i", "function": {"name": "f"}}]})],
    "call without function": [event({"tool_calls": [{"index": 0, "id": "i"}]})],
    "call's index is a string": [event({"tool_calls": [{"index": "a", "function": {}}]})],
    "arguments as an object": [
        event({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]})
    ],
    "one id twice": [pieces((0, "i", "f", "{}")), pieces((1, "i", "f", "{}"))],
    "an id said again": [pieces((0, "i", "f", '{"a"')), pieces((0, "i", None, ":1}"))],
    "an id without letters": [pieces((0, None, "f", '{"a"')), pieces((0, "", None, ":1}"))],
    "a name without letters": [pieces((0, "i", None, "}")), pieces((0, None, "", None))],
    "empty log probabilities": [text("q", usage=USAGE, logprobs={})],
    "calls entwined": [
        pieces((1, "j", "g", '{"b"'), (0, "i", "f", '{"a"')),
        pieces((0, None, None, ":1}")),
        pieces((1, None, None, ":2}")),
    ],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_bodies(body: bytes) -> None:
    """Whatever the body is, the parts and the error are those of LangChain's path."""
    async with serving(answer(body)) as bare:
        assert await told(bare.url, slow=False) == await told(bare.url, slow=True)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("events", EVENTS.values(), ids=EVENTS.keys())
async def test_events(events: list[Any]) -> None:
    """Whatever an event holds, and though all come at once, what came before it is not lost."""
    async with serving(answer(sse(text("a"), *events, text("b"), END))) as bare:
        fast, slow = await told(bare.url, slow=False), await told(bare.url, slow=True)
    assert fast == slow
    assert fast[0][1][0] == "messages"


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
async def test_text_beside_usage_is_counted(slow: bool) -> None:
    """A fault after text that came with usage says how much text that was."""
    body = sse(*(text(each, usage=USAGE) for each in ("ab", "cde")), {"error": "boom"})
    async with serving(answer(body)) as bare:
        _, error = await told(bare.url, slow)
    assert error[1:] == (2, 5)


async def test_a_refusal_is_counted() -> None:
    """A fault after pieces of a refusal says that something had come, as on LangChain's path."""
    body = sse(event({"refusal": "I "}), event({"refusal": "won't"})).removesuffix(b"[DONE]\n\n")
    async with serving(answer(body)) as bare:
        fast, slow = await told(bare.url, slow=False), await told(bare.url, slow=True)
    assert fast == slow
    assert fast[1][1:] == (2, 0)


async def test_brackets_without_end() -> None:
    """A piece of arguments too deep to read is a piece all the same."""
    deep = pieces((0, "i", "f", '{"a":' + "[" * 100_000))
    async with serving(answer(sse(text("a"), deep, {"error": "boom"}))) as bare:
        assert await told(bare.url, slow=False) == await told(bare.url, slow=True)


RESPONSES = {
    "gzip": answer(gzip.compress(WHOLE), b"content-encoding: gzip\r\n"),
    "until it closes": HEAD.replace(b"1.1", b"1.0") + b"\r\n" + WHOLE,
    "redirect": b"HTTP/1.1 307 R\r\nlocation: ftp://x/\r\ncontent-length: 0\r\n\r\n",
    "HTML of an error": b"HTTP/1.1 400 R\r\ncontent-length: 6\r\n\r\n<html>",
    "not HTTP": b"hello\r\n\r\n",
    "closed": b"",
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES.keys())
async def test_responses(response: bytes) -> None:
    """The same for what lies around the body."""
    async with serving(response) as bare:
        assert await told(bare.url, slow=False) == await told(bare.url, slow=True)


async def test_byte_by_byte() -> None:
    """One byte at a time, in lines of any kind."""
    body = b": hi\r\n\r\nevent: x\rid: 3\r\n" + WHOLE
    async with serving(answer(body), step=1) as bare:
        assert await told(bare.url, slow=False) == await told(bare.url, slow=True)


async def test_silence_after_the_end() -> None:
    """A server that says it is done and holds its connection does not hold the answer."""
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    async with serving(head + b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE), hold=True) as bare:
        parts, error = await told(bare.url, slow=False)
        await bare.left.wait()
    assert error is None
    assert parts[-1][0] == "values"


@pytest.mark.parametrize("begun", [b"", HEAD + b"transfer-encoding: chunked\r\n\r\n"])
async def test_a_call_that_nobody_watches_leaves_at_once(begun: bytes) -> None:
    """Cancelled in silence, before or after its response began, it closes its connection."""
    async with serving(begun, hold=True) as bare:

        async def read() -> None:
            async for _ in astream(graph_of(bare.url), INPUT, only=tag("poem")):
                pass

        reading = asyncio.create_task(read())
        await bare.asked.wait()
        reading.cancel()
        await asyncio.wait([reading])
        await bare.left.wait()
    assert reading.cancelled()
