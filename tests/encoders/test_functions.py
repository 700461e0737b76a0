"""``encode_agui`` and ``encode_ai_sdk`` on streams of real graphs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from tests.waiting import await_until
from tokenweir import astream, encode_agui, encode_ai_sdk, tag
from tokenweir.graphs import joke_poem_parallel
from tokenweir.models.chat import chat_model
from tokenweir.testing import Provider, Reply

Encode = Callable[..., AsyncIterator[bytes]]


@pytest.fixture
def graph(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A graph with two tagged calls at once."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    provider.on("joke about cats", "ha ha")
    provider.on("poem about cats", "roses are")
    return joke_poem_parallel.build(chat_model("openai:gpt-4o-mini"))


async def read(encoded: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """The events of an encoded stream."""
    written = b"".join([part async for part in encoded])
    frames = [frame.removeprefix("data: ") for frame in written.decode().split("\n\n")]
    return [json.loads(frame) for frame in frames if frame not in ("", "[DONE]")]


async def test_ai_sdk(graph: Any) -> None:
    """One message with a part of each call, in a step."""
    told = await read(encode_ai_sdk(astream(graph, {"topic": "cats"}), message_id="m1"))
    kinds = [event["type"] for event in told]
    assert [*kinds[:2], *kinds[-2:]] == ["start", "start-step", "finish-step", "finish"]
    texts: dict[str, str] = {}
    for event in told:
        if event["type"] == "text-delta":
            texts[event["id"]] = texts.get(event["id"], "") + event["delta"]
    assert sorted(texts.values()) == ["ha ha", "roses are"]


async def test_agui(graph: Any) -> None:
    """A run with a message of each call that passes the filter."""
    stream = astream(graph, {"topic": "cats"}, only=tag("joke"))
    told = await read(encode_agui(stream, thread_id="t", run_id="r"))
    assert told[0]["type"] == "RUN_STARTED"
    assert [told[0]["threadId"], told[-1]["runId"]] == ["t", "r"]
    assert told[-1]["outcome"] == {"type": "success"}
    deltas = [event["delta"] for event in told if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert "".join(deltas) == "ha ha"


@pytest.mark.parametrize("encode", [encode_agui, encode_ai_sdk])
async def test_any_stream(encode: Encode) -> None:
    """A plain list is a stream, too; what is none is refused at once."""
    words = [("a ", {"tags": ["x"]}), ("b", {"tags": ["x"]}), {"stage": 1}]
    told = await read(encode(words))
    assert "".join(event.get("delta", "") for event in told) == "a b"
    assert {"stage": 1} in [event.get("value", event.get("data")) for event in told]
    with pytest.raises(TypeError, match="takes a stream"):
        encode(3)


@pytest.mark.parametrize("encode", [encode_agui, encode_ai_sdk])
async def test_an_error_ends_the_stream(
    graph: Any, provider: Provider, encode: Encode, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before it is there; the client gets words that are fit for it, the log all."""
    provider.on("fails", Reply("one two three", cut_after=2))
    told = await read(encode(astream(graph, {"topic": "fails"}, only=tag("joke"))))
    ended = told[-1]
    assert ended["type"] in ("RUN_ERROR", "error")
    assert "in node 'write_joke' (tags: joke) failed after" in ended.get("message", "") + ended.get(
        "errorText", ""
    )
    assert "failed" in caplog.text

    async def broken() -> AsyncIterator[Any]:
        yield "a", {"tags": []}
        raise ValueError("a secret")

    [*_, ended] = await read(encode(broken()))
    assert "secret" not in json.dumps(ended)
    [*_, ended] = await read(encode(broken(), explain=str))
    assert "secret" in json.dumps(ended)


@pytest.mark.parametrize("encode", [encode_agui, encode_ai_sdk])
async def test_leaving_closes_the_provider(graph: Any, provider: Provider, encode: Encode) -> None:
    """Who leaves an encoded stream stops the run."""
    provider.on("stall", Reply("la la", stall_after=1))
    encoded: Any = encode(astream(graph, {"topic": "stall"}))
    async for part in encoded:
        if b'"la"' in part:
            break
    await encoded.aclose()
    for request in provider.requests:
        await asyncio.to_thread(request.wait_closed, 10)


async def test_an_endpoint_of_fastapi(graph: Any) -> None:
    """The response of an application of one's own is what the clients read."""
    app = FastAPI()

    @app.post("/chat")
    async def chat(body: dict[str, Any]) -> StreamingResponse:
        stream = astream(graph, {"topic": body["messages"][-1]["parts"][0]["text"]})
        headers = {"x-vercel-ai-ui-message-stream": "v1"}
        kind = "text/event-stream"
        return StreamingResponse(encode_ai_sdk(stream), media_type=kind, headers=headers)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        asked = {"messages": [{"role": "user", "parts": [{"type": "text", "text": "cats"}]}]}
        answer = await client.post("/chat", json=asked)
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_a_client_that_leaves_a_real_server(graph: Any, provider: Provider) -> None:
    """When a page closes its connection in the middle, the providers' connections are closed."""
    provider.on("stall", Reply("la la", stall_after=1))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        stream = astream(graph, {"topic": "stall"})
        response = StreamingResponse(encode_ai_sdk(stream), media_type="text/event-stream")
        await response(scope, receive, send)

    config = uvicorn.Config(app, port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await await_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/") as r,
    ):
        async for line in r.aiter_lines():
            if '"la"' in line:
                break
    for request in provider.requests:
        await asyncio.to_thread(request.wait_closed, 10)
    server.should_exit = True
    await serving
