"""What anybody can make a server log is bounded."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tokenweir.serving.http.log_limit import LogLimit


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "not shown" in self.lines[-1]:
            self.news.set()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tokenweir.tests.limited")
    logger.propagate = False
    yield logger
    for limit in logger.filters[:]:
        logger.removeFilter(limit)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)


async def test_some_of_each_kind_pass(logger: logging.Logger) -> None:
    """The first of a period pass, a line tells of the others, and then it begins again."""
    kept = Kept()
    logger.addHandler(kept)
    logger.addFilter(LogLimit(logger, first=2, period=0.5))
    for _ in range(2):
        kept.lines.clear()
        kept.news.clear()
        for number in range(7):
            logger.warning("no request: %d", number)
        logger.warning("something else")
        assert kept.lines == ["no request: 0", "no request: 1", "something else"]
        await asyncio.wait_for(kept.news.wait(), 60)
        assert kept.lines[3:] == ["no request: %d (5 more times, not shown)"]


def test_a_hostile_client_does_not_fill_the_log(
    serve: Callable[..., Any], http: httpx.Client
) -> None:
    """Of hundreds of requests that are none the server logs a few, and how many more there were."""
    server = serve("sample:writes", "--memory")
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    for number in range(300):
        with socket.create_connection((host, int(port)), timeout=60) as raw:
            raw.sendall(b"\x16\x03 hello %d\r\n\r\n" % number)
            assert raw.recv(1000).startswith(b"HTTP/1.1 400 ")
    for _ in range(20):
        with http.stream("GET", f"{server.url}/ok", headers={"upgrade": "websocket"}) as answer:
            answer.read()
    assert server.terminate() == 0
    lines = server.stderr().splitlines()
    assert len(lines) < 20, lines
    assert "tokenweir: Invalid HTTP request received. (295 more times, not shown)" in lines
