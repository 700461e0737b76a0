"""Ten thousand requests that nobody should send: each is refused, and the server stays as it was.

They are written to sockets byte by byte, as HTTP clients would not send most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import httpx
import pytest

from tokenweir.testing import Provider

FRAMED, TORN, HALF = 9200, 700, 100
"""Requests whose end can be told; those that lie about it; those that never come to one."""

BATCH = 40
VALID = {"assistant_id": "talk", "input": {"messages": "hi"}, "stream_mode": "values"}

BODIES: list[bytes] = [
    b"{",
    b"nul",
    b"\x00" * 50,
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf[]",
    b'{"assistant_id": "\xc3\x28"}',
    b'{"assistant_id": "\\ud800"}',
    b'{"assistant_id": "talk", "input": NaN, "stream_mode": "values"}',
    b'{"limit": 1e999, "offset": -1e999}',
    b'{"limit": ' + b"9" * 5000 + b"}",
    b'{"limit": -1, "offset": -7}',
    b'{"assistant_id": "talk", "input": ' + b"[" * 50_000,
    b'{"assistant_id": "talk", "input": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"[" + b"1," * 20_000 + b"1]",
    b'{"ids": [' + b"{}," * 20_000 + b'{}], "select": [[]], "status": {}}',
    b'{"model": "talk", "messages": [' + b"1," * 20_000 + b"1]}",
    b'{"model": "talk", "messages": [{"role": "user", "content": {"a": 1}}]}',
    b'{"model": "talk", "messages": [{"role": "remove", "content": "x"}]}',
    b'{"model": ["talk"], "messages": "hi", "stream": 7}',
    b"model=talk&messages=hi",
    b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x--",
]

WRONG: list[Any] = [7, -1.5, True, [[]], "\U0001f600" * 50]
FIELDS: list[tuple[str, Any]] = [
    (name, wrong)
    for name in ("assistant_id", "config", "command", "stream_mode", "metadata", "interrupt_after")
    for wrong in WRONG
] + [
    ("stream_mode", "everything"),
    ("stream_mode", ["values"] * 50 + ["nothing"]),
    ("multitask_strategy", "win"),
    ("durability", "never"),
    ("after_seconds", -1),
    ("after_seconds", 1e308),
    ("checkpoint", 1),
    ("only", "tag:("),
    ("command", {"goto": [7]}),
    ("config", {"recursion_limit": 10**30}),
    ("config", {"recursion_limit": "many"}),
]

IDS = [
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..\\..\\windows",
    "%00",
    "a%00b",
    "%ff%fe",
    "%F0%9F%98%80",
    "%",
    "%zz",
    "'%20OR%201=1--",
    "{thread_id}",
    "x" * 5000,
    "%0d%0aset-cookie:a=b",
    "-1",
]

PLACES = [
    ("GET", "/threads/ID"),
    ("GET", "/threads/ID/state?subgraphs=maybe"),
    ("POST", "/threads/ID/history"),
    ("GET", "/threads/ID/runs?limit=-1&offset=-99999999999999999999"),
    ("GET", "/threads/ID/runs/ID"),
    ("GET", "/threads/ID/runs/ID/stream?stream_mode=bogus"),
    ("POST", "/threads/ID/runs/ID/cancel?wait=perhaps"),
    ("DELETE", "/threads/ID"),
    ("GET", "/assistants/ID/graph?xray=-1"),
    ("GET", "/assistants/talk/subgraphs/ID"),
    ("GET", "/graphs/ID/events"),
    ("GET", "/graphs/talk/events?input=%7BID"),
    ("GET", "/graphs/talk/events?only=ID%28&messages=x"),
    ("GET", "/runs/ID/events"),
    ("POST", "/runs/ID/cancel"),
    ("GET", "/v1/models/ID"),
    ("GET", "/page/ID"),
    ("GET", "/ID"),
]

POSTS = [
    "/runs/stream",
    "/runs/wait",
    "/runs",
    "/threads/search",
    "/threads/count",
    "/assistants",
    "/assistants/search",
    "/graphs/talk/events",
    "/v1/chat/completions",
]

CURSORS = ["9" * 300, "-7", "x:y", ":", "no-run:1", "1e3", "\u0661", "0" * 5000 + ":1", ";" * 9000]
KINDS = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    "a" * 999,
]
METHODS = ["PUT", "TRACE", "OPTIONS", "PATCH"]


def framed(chance: random.Random) -> bytes:
    """A request that can be told from the next one on its connection."""
    kind = chance.randrange(6)
    method, path, headers, body = "POST", chance.choice(POSTS), {}, b""
    if kind == 0:
        body = chance.choice(BODIES)
    elif kind == 1:
        whole = json.dumps(VALID).encode()
        body = whole[: chance.randrange(1, len(whole))]
    elif kind == 2:
        name, wrong = chance.choice(FIELDS)
        body = json.dumps(VALID | {name: wrong}).encode()
        path = chance.choice(POSTS[:3])
    elif kind == 3:
        method, path = chance.choice(PLACES)
        path = path.replace("ID", chance.choice(IDS))
    elif kind == 4:
        method, path = "GET", chance.choice(["/graphs/talk/events", "/runs/none/events"])
        headers["last-event-id"] = chance.choice(CURSORS)
    else:
        method = chance.choice(METHODS)
        body = chance.choice(BODIES[:10])
    headers["content-type"] = chance.choice(KINDS)
    return written(method, path, headers, body)


def written(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def torn(chance: random.Random) -> bytes:
    """A request that says something else about its end than what is true, or is none at all."""
    body = json.dumps(VALID).encode()
    post = b"POST /runs/wait HTTP/1.1\r\nhost: localhost\r\n"
    chunked = post + b"transfer-encoding: chunked\r\n\r\n"
    return chance.choice(
        [
            post + b"content-length: 99999\r\n\r\n" + body,
            post + b"content-length: 3\r\n\r\n" + body,
            post + b"content-length: -1\r\n\r\n" + body,
            post + b"content-length: 99999999999999999999999\r\n\r\n" + body,
            post + b"content-length: 5\r\ncontent-length: 9\r\n\r\n" + body,
            post + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"transfer-encoding: gzip, chunked, x\r\n\r\n" + body,
            chunked + b"zz\r\n" + body,
            chunked + b"ffffffffffffffffffff\r\n" + body,
            chunked + b"5;" + b"x" * 30_000 + b"\r\nabcde\r\n0\r\n\r\n",
            chunked + b"3\r\nabcdefgh\r\n0\r\n\r\n",
            chunked + b"0\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
            b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nx\r\n y: z\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500),
            b"BREW /ok HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"post /ok HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"CONNECT localhost:1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
            chance.randbytes(chance.randrange(1, 3000)),
            b"\r\n" * 2000,
            b"",
        ]
    )


class Attack:
    """Sends requests, a few connections at a time, and counts the answers by status."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").rpartition(":")
        self._port = int(port)
        self._few = asyncio.Semaphore(16)
        self.statuses: Counter[int] = Counter()

    async def framed(self, requests: list[bytes]) -> None:
        """Requests one behind the other on one connection: each must be answered."""
        last = b"GET /ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        statuses = await self._exchange(b"".join(requests) + last)
        assert len(statuses) == len(requests) + 1, (statuses, requests[len(statuses) - 1][:500])
        assert statuses[-1] == 200
        self.statuses.update(statuses)

    async def torn(self, request: bytes, *, cruel: bool) -> None:
        """One request of which the server may think what it likes, if it is no failure."""
        self.statuses.update(await self._exchange(request, ends=True, cruel=cruel))

    async def half(self, start: bytes) -> asyncio.StreamWriter:
        """A request that never comes to its end: its connection, to be closed."""
        _, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(start)
        await writer.drain()
        return writer

    async def _exchange(
        self, request: bytes, *, ends: bool = False, cruel: bool = False
    ) -> list[int]:
        async with self._few:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            answer = b""
            with contextlib.suppress(OSError), contextlib.closing(writer):
                writer.write(request)
                if cruel:
                    # Without a farewell, as by a machine that fell over.
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return []
                if ends:
                    writer.write_eof()
                while part := await asyncio.wait_for(reader.read(1 << 20), 60):
                    answer += part
            return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def resident(process: int) -> float:
    """A process's memory in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


async def attack(url: str, chance: random.Random, share: float) -> Counter[int]:
    """Send that share of all requests, in an order of chance."""
    attack = Attack(url)
    batches = [[framed(chance) for _ in range(BATCH)] for _ in range(int(FRAMED * share) // BATCH)]
    sending = [attack.framed(batch) for batch in batches]
    sending += [
        attack.torn(torn(chance), cruel=chance.random() < 0.2) for _ in range(int(TORN * share))
    ]
    chance.shuffle(sending)
    starts = [b"POST /runs/wait HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n{", b"G"]
    with contextlib.ExitStack() as halves:
        for _ in range(int(HALF * share)):
            halves.enter_context(contextlib.closing(await attack.half(chance.choice(starts))))
        await asyncio.gather(*sending)
        await asyncio.to_thread(check_health, url)
    return attack.statuses


def check_health(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as http:
        assert http.get("/ok").json() == {"ok": True}
        metrics = http.get("/metrics").text
        for nothing in ("runs_running 0.0", "runs_waiting 0.0", "threads 0.0"):
            assert f"\ntokenweir_{nothing}\n" in metrics
        assert not re.search(r"runs_kept{.*} [1-9]", metrics)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_ten_thousand_malformed_requests(
    serve: Callable[..., Any], provider: Provider
) -> None:
    """None makes the server fail, start a run or grow; a normal run streams right after."""
    server = serve("talk=sample:talk", "--memory", "--max-body", "50000")
    chance = random.Random(5)
    # What is made once is made now, and garbage comes to what there is between two collections.
    await attack(server.url, chance, 0.4)
    before = resident(server.process.pid)
    statuses = await attack(server.url, chance, 0.6)
    grown = resident(server.process.pid) - before
    print(f"{statuses}, {before:.0f} MB, {grown:+.1f} MB")
    assert max(statuses) < 500, statuses
    assert {400, 404, 405, 413, 422} <= set(statuses)
    # The allocator's steps are up to 6 MB; 16 MB are 3 kB for each request.
    assert grown < 16, f"{grown:.1f} MB more"
    provider.on("hello", "all is well")
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        body = {"input": {"messages": "hello"}}
        streamed = (await http.post("/graphs/talk/events", json=body)).text
    assert streamed.count("event: token") >= 3
    assert "event: end" in streamed
