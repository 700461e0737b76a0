"""Readers who do not read: no others wait for them, and no memory is spent on them."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import http_client
from tokenweir.testing import Provider, Reply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

WORDS = [f" {number:04}{'x' * 4000}" for number in range(1500)]
"""6 MB: more than all buffers between a server and its client hold."""
TEXT = "".join(WORDS)
SLOW, FAST = 16, 5
ESTABLISHED = "01"


class SlowReader:
    """Reads a run's events when it is told to; little fits into what the system keeps for it."""

    def __init__(self, url: str, run: str, last: str = "") -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(60)
        self._socket.connect((host, int(port)))
        self._socket.sendall(f"GET /runs/{run}/events HTTP/1.1\r\nhost: {host}\r\n".encode())
        self._socket.sendall(f"last-event-id: {last}\r\n\r\n".encode() if last else b"\r\n")
        self._answer = http.client.HTTPResponse(self._socket)
        self._answer.begin()
        self.data = b""

    def read(self, count: int) -> bool:
        """Read so many bytes more, or to the end; False if the connection is cut before."""
        wanted = len(self.data) + count
        try:
            while len(self.data) < wanted and (part := self._answer.read1(1 << 16)):
                self.data += part
        except (http.client.IncompleteRead, ConnectionError) as error:
            self.data += getattr(error, "partial", b"")
            return False
        return True

    def is_connected(self) -> bool:
        """Whether the server's side is open still; ours is until it has read all that was sent."""
        port = f":{self._socket.getsockname()[1]:04X}"
        rows = map(str.split, Path("/proc/net/tcp").read_text().splitlines())
        return any(row[2].endswith(port) and row[3] == ESTABLISHED for row in rows)

    def close(self) -> None:
        self._answer.close()
        self._socket.close()


def events(data: str) -> Iterator[tuple[str, str, Any]]:
    """Id, name and record of each event that is whole."""
    for block in data.split("\n\n")[:-1]:
        if "\ndata: " in block:
            place, name, record = re.findall(r"^(?:id|event|data): (.*)$", block, re.MULTILINE)
            yield place, name, json.loads(record)


def said(data: str) -> str:
    return "".join(record["text"] for _, name, record in events(data) if name == "token")


def begin(url: str, provider: Provider) -> str:
    """A run that has said its first word, and waits."""
    provider.reply(Reply(tokens=WORDS, hold_after=1))
    asked = len(provider.requests)
    body = {
        "assistant_id": "talk",
        "input": {"messages": "hi"},
        "stream_mode": "messages-tuple",
        "on_completion": "keep",
    }
    run = http_client.post(f"{url}/runs", json=body).json()["run_id"]
    provider.wait_for_requests(asked + 1)
    return str(run)


def peak(server: Any) -> float:
    """The most memory that a server has had, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def read_by_many(url: str, run: str, provider: Provider) -> list[str]:
    """What readers get who read as fast as they can, from its beginning on."""

    def read(started: list[int]) -> str:
        with http_client.stream("GET", f"{url}/runs/{run}/events") as answer:
            parts = answer.iter_text()
            first = next(parts)
            started.append(1)
            if len(started) == FAST:
                provider.release()
            return first + "".join(parts)

    started: list[int] = []
    with ThreadPoolExecutor(FAST) as threads:
        return list(threads.map(read, [started] * FAST))


def test_nobody_waits_for_a_slow_reader(serve: Callable[..., Any], provider: Provider) -> None:
    """The others get all while it is there; it costs no memory, and may read later."""
    server = serve("talk=sample:talk", "--slow-seconds", "120")
    run = begin(server.url, provider)
    assert [said(data) == TEXT for data in read_by_many(server.url, run, provider)] == [True] * FAST
    before = peak(server)
    run = begin(server.url, provider)
    with contextlib.ExitStack() as stack:
        slow = [SlowReader(server.url, run) for _ in range(SLOW)]
        for reader in slow:
            stack.callback(reader.close)
        fast = read_by_many(server.url, run, provider)
        assert [said(data) == TEXT for data in fast] == [True] * FAST
        assert all(reader.is_connected() for reader in slow)
        # A second run costs some 25 MB, with or without them; they, were it all kept, 90 more.
        assert peak(server) - before < SLOW * len(TEXT) / 2**20 / 2
        assert slow[0].read(1 << 40)
        assert said(slow[0].data.decode()) == TEXT


def test_a_slow_reader_that_was_dropped_comes_back(
    serve: Callable[..., Any], provider: Provider
) -> None:
    """With the id of the last event it has, it gets the others: no word is lost or comes twice."""
    server = serve("talk=sample:talk", "--slow-seconds", "0.3")
    run = begin(server.url, provider)
    last, name, text, cuts = "", "", "", 0
    ended = False
    while not ended:
        with contextlib.closing(SlowReader(server.url, run, last)) as reader:
            if cuts == 0:
                provider.release()
            assert reader.read(100_000)
            if cuts < 2:
                fast = http_client.get(f"{server.url}/runs/{run}/events").text
                assert said(fast) == TEXT
                while reader.is_connected():
                    assert http_client.get(f"{server.url}/ok").status_code == 200
            ended = reader.read(1 << 40)
            cuts += not ended
            data = reader.data.decode(errors="ignore")
            text += said(data)
            *_, (last, name, _) = events(data)
    assert (cuts, name) == (2, "end")
    assert text == TEXT
