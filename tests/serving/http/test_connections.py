"""Connections that take time and bytes without making a request are closed; others are not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests import http_client
from tokenweir.testing import Provider, Reply

POST = b"POST /graphs/talk/events HTTP/1.1\r\nhost: localhost\r\n"
MUCH = 8 << 20


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            found += part
    return found


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"x" * 1000),
        (b"GET /ok HTTP/1.1\r\nhost: localhost\r\n", b"a: " + b"b" * 995 + b"\r\n"),
        (b"GET /ok HTTP/1.1\r\nhost: localhost\r\nx: ", b"y" * 1000),
        (POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;", b"z" * 1000),
        (
            POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
            b"a: " + b"b" * 995 + b"\r\n",
        ),
        (POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx: ", b"y" * 1000),
    ],
    ids=["target", "headers", "header", "chunk", "trailers", "trailer"],
)
def test_what_is_no_body_has_a_limit(serve: Callable[..., Any], start: bytes, more: bytes) -> None:
    """Whatever is sent without end around a body, the server closes the connection early."""
    server = serve("talk=sample:talk", "--memory")
    sent = 0
    with connected(server.url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(start)
            while sent < MUCH:
                connection.sendall(more)
                sent += len(more)
        all_of(connection)
    assert sent < MUCH
    assert http_client.get(f"{server.url}/ok").json() == {"ok": True}


def test_who_does_not_go_on_is_dropped(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """Half a head and half a body end; a connection that is kept, and a silent stream, do not."""
    provider.reply(Reply("a b", hold_after=1))
    server = serve(
        "talk=sample:talk", "--memory", "--slow-seconds", "0.4", "--heartbeat-seconds", "60"
    )
    body = {"input": {"messages": "hi"}}
    http.base_url = httpx.URL(server.url)
    assert http.get("/ok").json() == {"ok": True}
    with (
        http.stream("POST", "/graphs/talk/events", json=body) as stream,
        httpx.Client(timeout=60) as kept,
    ):
        lines = stream.iter_lines()
        assert next(line for line in lines if line == "event: token")
        kept.get(f"{server.url}/ok")
        for start, told in [
            (b"G", b""),
            (b"GET /ok HTTP/1.1\r\nhost: localhost\r\n", b""),
            (POST + b"content-length: 9\r\n\r\n{", b"HTTP/1.1 408 "),
            (POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{", b"HTTP/1.1 408 "),
        ]:
            with connected(server.url) as connection:
                connection.sendall(start)
                assert all_of(connection).startswith(told)
        assert kept.get(f"{server.url}/ok").json() == {"ok": True}
        provider.release()
        assert next(line for line in lines if line == "event: end")


def test_what_comes_slowly_but_comes_is_taken(
    serve: Callable[..., Any], provider: Provider
) -> None:
    """Requests byte by byte, and one behind the other, are answered like any."""
    server = serve("talk=sample:talk", "--memory")
    request = b"GET /ok HTTP/1.1\r\nhost: localhost\r\n\r\n"
    body = b'{"input": {"messages": "hi"}}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with connected(server.url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        last = request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        connection.sendall(
            request * 200 + POST + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        )
        connection.sendall(last)
        answer = all_of(connection)
    assert answer.count(b'{"ok":true}') == 202
    assert answer.count(b"event: end") == 1
