"""LangSmith's tracing works with our models as with LangChain's, and never sees the key."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tokenweir.testing import Provider, Reply

KEY = "sk-very-secret-0123456789"

CODE = """
import asyncio
from langchain_core.tracers.langchain import wait_for_all_tracers
from langgraph.graph import START, MessagesState, StateGraph
from tokenweir import astream, chat_model
model = chat_model("openai:gpt-traced")
async def answer(state, config):
    return {"messages": [await model.ainvoke(state["messages"], config)]}
answer.__annotations__ = {}
builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")
async def main():
    async for chunk, _ in astream(builder.compile(), {"messages": [("user", "how many?")]}):
        print(chunk.content, end="|")
asyncio.run(main())
wait_for_all_tracers()
"""


@pytest.fixture
def langsmith() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes whatever is sent to it; its URL, and what came."""
    came: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            came.append(self.body())
            self.answer(b"{}")

        do_PATCH = do_POST  # noqa: N815

        def do_GET(self) -> None:
            self.answer(b"{}")

        def body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def answer(self, body: bytes) -> None:
            self.send_response(202)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()


def test_a_run_is_traced(provider: Provider, langsmith: tuple[str, list[bytes]]) -> None:
    """With ``LANGSMITH_TRACING`` each call arrives there with its tokens; the key does not."""
    url, came = langsmith
    provider.default = Reply(tokens=["forty", "-two"])
    environ = {
        **os.environ,
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": KEY,
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": url,
        "LANGSMITH_API_KEY": "ls-test",
        "LANGSMITH_DISABLE_RUN_COMPRESSION": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        check=True,
        capture_output=True,
        text=True,
        env=environ,
    )
    assert "forty|-two|" in done.stdout
    sent = b"".join(came)
    for part in (b"gpt-traced", b"how many?", b"forty-two", b"answer"):
        assert part in sent
    assert KEY.encode() not in sent
    assert KEY not in done.stderr
