"""What ``models/_openai`` assumes of LangChain, the openai SDK and aiohttp, one by one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletion
from pydantic import SecretStr

from tokenweir.models._openai import byte_source, http_clients, requests
from tokenweir.models._openai.transport import PerLoopClient
from tokenweir.models.chat import ChatModel
from tokenweir.testing import Provider, Reply

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def model_of(base_url: str, **kwargs: Any) -> ChatModel:
    return ChatModel(model="gpt-4o-mini", base_url=base_url, api_key=SecretStr("test"), **kwargs)


class Listener(BaseCallbackHandler):
    """With it LangChain makes the call itself."""

    run_inline = True

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        """Its being here is enough."""


def test_the_sdks_insides(provider: Provider) -> None:
    """A resource knows its client, whose ``request`` all it asks goes through."""
    client = openai.OpenAI(base_url=provider.base_url, api_key="test")
    assert http_clients.client_of(client.chat.completions) is client
    asked: list[Any] = []
    request: Any = client.request

    def seen(cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        asked.append(stream)
        return request(cast_to, options, stream=stream, stream_cls=stream_cls)

    client.request = seen
    messages: Any = BODY["messages"]
    client.chat.completions.create(model="m", messages=messages)
    client.chat.completions.create(model="m", messages=messages, stream=True).close()
    assert asked == [False, True]
    client.close()


def test_langchains_insides() -> None:
    """All names that are asked of a model are there."""
    assert requests._KNOWN
    assert requests._PLAIN is not None
    model = ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("test"))
    assert http_clients._socket_options(model) is not None
    assert requests.step_aside(model, None, {}, True) == "the call has no run"


async def test_a_copied_request_is_the_sdks(provider: Provider) -> None:
    """What ``send`` sends is what the client's ``post`` sends, to the header."""
    model = model_of(provider.base_url)
    request: Any = {"path": "/chat/completions", "body": BODY, "options": requests._PLAIN_OPTIONS}
    for _ in range(2):
        sent = await requests.send(model.root_async_client, request)
        await sent.response.aread()
        kind: Any = requests.RawStream
        posted = await model.root_async_client.post(
            **request, cast_to=ChatCompletion, stream=True, stream_cls=kind
        )
        await posted.response.aread()
    requests.send(model.root_client, request).response.read()
    first, *others, sync = provider.requests
    assert [(other.headers, other.body) for other in others] == [(first.headers, first.body)] * 3
    assert sync.body == first.body
    assert first.headers["authorization"] == "Bearer test"


async def test_a_request_made_from_one_before() -> None:
    """It is what httpx2 itself makes, whatever is different this time."""
    shared = PerLoopClient(openai.DefaultAioHttpClient)
    timeout = openai.Timeout(5, read=7)
    headers = [("Authorization", "Bearer x"), ("Content-Type", "application/json")]

    def both(**more: Any) -> tuple[Any, Any]:
        arguments = {"headers": headers, "content": b"{}", "timeout": timeout, **more}
        url = arguments.pop("url", "http://127.0.0.1/v1/chat/completions")
        ours = shared.build_request("POST", url, **arguments)
        theirs = super(PerLoopClient, shared).build_request("POST", url, **arguments)
        return ours, theirs

    for more in (
        {},
        {},
        {"content": b'{"longer": "body"}'},
        {"headers": [*headers, ("X-Other", "1")]},
        {"headers": [*headers, ("content-length", "2")]},
        {"headers": [*headers, ("content-length", "2")]},
        {"timeout": openai.Timeout(None)},
        {"url": "http://127.0.0.1:81/v1/other"},
        {"params": {"a": "b"}},
        {"headers": dict(headers)},
        {"content": b""},
    ):
        ours, theirs = both(**more)
        assert ours.headers.raw == theirs.headers.raw
        assert (ours.method, ours.url, ours.content) == (theirs.method, theirs.url, theirs.content)
        assert ours.extensions == theirs.extensions
    for number in range(100):
        ours, theirs = both(headers=[("x", str(number))])
        assert ours.headers.raw == theirs.headers.raw
    assert len(shared._built) < 100


def test_a_path_is_joined_once(provider: Provider) -> None:
    """A client asks ``_prepare_url`` for each address; a new base URL or path is a new address."""
    ours: Any = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="test")
    theirs: Any = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="test")
    asked: list[str] = []
    join = ours._prepare_url

    def seen(path: str) -> Any:
        asked.append(path)
        return join(path)

    ours._prepare_url = seen
    http_clients.remember_urls(ours)
    paths = ("/chat/completions", "/chat/completions", "models", "http://other/x")
    for base in ("http://127.0.0.1/v1", "http://127.0.0.1:81/v2/"):
        ours.base_url = theirs.base_url = base
        for path in paths:
            assert ours._prepare_url(path) == theirs._prepare_url(path)
    assert len(asked) == 6

    ours.base_url = provider.base_url
    for _ in range(2):
        ours.chat.completions.create(**{**BODY, "stream": False})
    assert len(asked) == 7
    ours.close()
    theirs.close()


async def test_aiohttps_response(provider: Provider) -> None:
    """The body and the connection of a response over aiohttp are found; of another, none."""
    provider.default = Reply("one two", hold_after=1)
    options: Any = requests._PLAIN_OPTIONS
    asked: Any = {"body": BODY, "cast_to": ChatCompletion, "stream": True, "options": options}
    kind: Any = requests.RawStream
    async with openai.DefaultAioHttpClient() as http:
        client: Any = openai.AsyncOpenAI(
            base_url=provider.base_url, api_key="test", http_client=http
        )
        stream = await client.post("/chat/completions", **asked, stream_cls=kind)
        assert isinstance(byte_source.aiohttp_body(stream.response), aiohttp.StreamReader)
        transport = byte_source.aiohttp_transport(stream.response)
        assert transport is not None
        assert transport.is_reading()
        await stream.response.aclose()
        assert byte_source.aiohttp_transport(stream.response) is None
    async with openai.DefaultAsyncHttpxClient() as http:
        client = openai.AsyncOpenAI(base_url=provider.base_url, api_key="test", http_client=http)
        stream = await client.post("/chat/completions", **asked, stream_cls=kind)
        assert byte_source.aiohttp_body(stream.response) is None
        assert byte_source.aiohttp_transport(stream.response) is None
        await stream.response.aclose()


@asynccontextmanager
async def saying(*events: str) -> AsyncIterator[str]:
    """A server that says just that, and closes the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"connection: close\r\n\r\n")
        writer.write("".join(f"data: {event}\n\n" for event in events).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


HELLO = '{"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hello"}}]}'


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("listening", [False, True])
async def test_done_is_an_end(sync: bool, listening: bool) -> None:
    """``[DONE]`` without a finish reason is an end on both paths; without ``[DONE]`` on neither."""

    async def told(*events: str) -> str:
        async with saying(*events) as base_url:
            model = model_of(base_url, max_retries=0, streaming=True)
            config: Any = {"callbacks": [Listener()] if listening else []}
            if sync:
                answer = await asyncio.to_thread(model.invoke, "hi", config)
            else:
                answer = await model.ainvoke("hi", config)
            return str(answer.content)

    assert await told(HELLO, "[DONE]") == "hello"
    with pytest.raises(Exception, match="without a finish reason"):
        await told(HELLO)


OTHER_INSIDES = """
import asyncio, logging
import langchain_openai.chat_models.base as base, langchain_openai.chat_models._client_utils as u
import langgraph.pregel._messages as messages
records = []
handler = logging.Handler(); handler.emit = records.append
logging.getLogger("tokenweir").addHandler(handler)
{change}
from tokenweir import astream, chat_model
from tokenweir.testing import Provider
from langgraph.graph import START, MessagesState, StateGraph
async def main():
    with Provider() as provider:
        model = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
        async def ask(state, config):
            return {{"messages": [await model.ainvoke(state["messages"], config)]}}
        graph = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
        for _ in range(2):
            found = [chunk async for chunk, _ in astream(graph, {{"messages": [("user", "hey")]}})]
            print("".join(chunk.content for chunk in found), len(found))
asyncio.run(main())
for record in records:
    print(record.levelname, record.getMessage())
"""

CHANGES = {
    "langchain-openai's functions": "del u._resolve_socket_options",
    "langgraph's handler": "messages.Other = messages.__dict__.pop('StreamMessagesHandler')",
    "a method of the model": (
        "import sys\n"
        "theirs = base.BaseChatOpenAI._use_responses_api\n"
        "def other(self, *args):\n"
        "    if sys._getframe(1).f_globals['__name__'].startswith('tokenweir'):\n"
        "        raise AttributeError('it has another name')\n"
        "    return theirs(self, *args)\n"
        "base.BaseChatOpenAI._use_responses_api = other"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_insides(change: str) -> None:
    """A dependency whose insides have changed costs the speed and one line; tokens still come."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_INSIDES.format(change=change)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    first, second, *said = done.stdout.splitlines() or [done.stderr, ""]
    assert first == second
    assert first.startswith("You said: hey")
    assert [line.split()[0] for line in said] == ["WARNING"], said
