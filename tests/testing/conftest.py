"""What the tests of this room share: real ``openai`` clients, and a socket that shows the bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tokenweir.testing import Provider


@dataclass
class Raw:
    """An answer as it came over the wire: its head, and the parts that it was sent in."""

    status: int
    headers: dict[str, str]
    parts: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class Wire:
    """One connection, without an HTTP client between."""

    def __init__(self, provider: Provider) -> None:
        port = int(provider.base_url.split(":")[2].split("/")[0])
        self.socket = socket.socket()
        self.socket.settimeout(10)
        # Small, and set before connecting, so that not reading is felt soon.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self.socket.connect(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def ask(self, prompt: str = "hello", **options: Any) -> None:
        """Send a request for a chat completion."""
        messages = [{"role": "user", "content": prompt}]
        body = json.dumps({"messages": messages, "stream": True, **options}).encode()
        self.send("POST", "/v1/chat/completions", body)

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)

    def answer(self) -> Raw:
        """Read one answer."""
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        if "content-length" in headers:
            return Raw(status, headers, [self.file.read(int(headers["content-length"]))])
        parts = []
        while size := int(self.file.readline(), 16):
            parts.append(self.file.read(size))
            self.file.readline()
        self.file.readline()
        return Raw(status, headers, parts)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def wire(provider: Provider) -> Iterator[Callable[[], Wire]]:
    """Opens connections to the provider."""
    opened: list[Wire] = []

    def open_() -> Wire:
        opened.append(Wire(provider))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture
def client(provider: Provider) -> Iterator[openai.OpenAI]:
    """A sync client that does not try again."""
    with openai.OpenAI(base_url=provider.base_url, api_key="test", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(provider: Provider) -> AsyncIterator[openai.AsyncOpenAI]:
    """An async client that does not try again."""
    async with openai.AsyncOpenAI(
        base_url=provider.base_url, api_key="test", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def say(client: openai.OpenAI) -> Callable[..., Any]:
    """Asks for a streamed completion; an iterator of its chunks."""

    def ask(prompt: Any = "hello", **options: Any) -> Any:
        messages: Any = [{"role": "user", "content": prompt}]
        return client.chat.completions.create(
            **{"model": "gpt-4o-mini", "messages": messages, "stream": True, **options}
        )

    return ask


@pytest.fixture
def text_of() -> Callable[[Any], str]:
    """The text that a stream of chunks adds up to."""

    def text(chunks: Any) -> str:
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)

    return text
