"""More connections than a process can have open: who is served, who is refused, who has to go."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests import http_client
from tokenweir.serving.http.open_files import Shares
from tokenweir.testing import Provider, Reply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2, and prlimit")

FILES = 256
SHARES = Shares.of(FILES)


STREAM = (
    b"GET /graphs/talk/events?messages=held HTTP/1.1\r\n"
    b"host: localhost\r\nconnection: close\r\n\r\n"
)


@contextlib.contextmanager
def connected(url: str, count: int, request: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections, idle or with a request."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with contextlib.ExitStack() as stack:
        made: list[socket.socket] = []
        for _ in range(count):
            each = socket.create_connection((host, int(port)), timeout=60)
            made.append(stack.enter_context(each))
            with contextlib.suppress(ConnectionError):
                each.sendall(request)
        yield made


def up_to(connection: socket.socket, end: bytes | None) -> bytes:
    """What comes until then, or until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while (end is None or end not in found) and (part := connection.recv(1 << 16)):
            found += part
    return found


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_the_limit_is_raised(serve: Callable[..., Any], provider: Provider) -> None:
    """The server opens as many files as it may, and not as many as is usual."""
    server = serve("talk=sample:talk", "--memory", files=(FILES, 1000))
    found = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert found == (1000, 1000)


def test_more_streams_than_files(serve: Callable[..., Any], provider: Provider) -> None:
    """So many are served to their end, the others are refused; the log is written meanwhile."""
    provider.on("held", Reply("a b c", hold_after=1))
    server = serve("talk=sample:talk", "--max-per-address", "1000", files=(FILES, FILES))
    with connected(server.url, 2 * FILES, STREAM) as streams:
        heads = [up_to(each, b"\r\n\r\n") for each in streams]
        provider.wait_for_requests(SHARES.connections)
        provider.release()
        told = [head + up_to(each, None) for head, each in zip(heads, streams, strict=True)]
    ended = [each for each in told if b'"status":"success"' in each]
    refused = [each for each in told if each.startswith(b"HTTP/1.1 503 ")]
    assert len(ended) == SHARES.connections
    assert len(refused) >= SHARES.refusals
    assert all(b"\r\nretry-after: 1\r\n" in each for each in refused)
    assert all(b"too many connections" in each for each in refused)
    assert len(ended) + len(refused) + told.count(b"") == len(told)
    kept = 'kept{status="success"} ' + str(SHARES.connections)
    assert kept in http_client.get(f"{server.url}/metrics").text
    server.terminate()
    assert "Too many open files" not in server.stderr()
    assert f"at most {SHARES.connections} connections" in server.stderr()


def test_openais_clients_are_told_in_their_shape(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """Beyond the connections, /v1 is refused with OpenAI's error."""
    provider.on("held", Reply("a b c", hold_after=1))
    server = serve("talk=sample:talk", "--memory", "--max-per-address", "1")
    with http_client.stream("GET", f"{server.url}/graphs/talk/events?messages=held") as answer:
        assert answer.status_code == 200
        provider.wait_for_requests(1)
        with (
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as client,
            pytest.raises(openai.InternalServerError, match="too many connections") as refused,
        ):
            client.models.list()
        assert refused.value.status_code == 503
        assert refused.value.code == "server_overloaded"
        provider.release()
        answer.read()


def test_idle_connections_shut_nobody_out(serve: Callable[..., Any], provider: Provider) -> None:
    """An address full of idle connections keeps out no other one, and itself only for moments."""
    server = serve("talk=sample:talk", "--memory", files=(FILES, FILES))
    with connected(server.url, 2 * FILES) as idle:
        with httpx.Client(
            transport=httpx.HTTPTransport(local_address="127.0.0.2"), timeout=60
        ) as other:
            assert other.get(f"{server.url}/ok").status_code == 200
        assert sum(not closed(each) for each in idle) <= SHARES.connections // 2 + SHARES.refusals
        served = False
        while not served:  # by its own time limit, if that does not come
            with contextlib.suppress(httpx.TransportError):
                served = http_client.get(f"{server.url}/ok", timeout=5).status_code == 200
        assert any(not closed(each) for each in idle)  # one had to go, not all


def test_who_works_does_not_go(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """However many connections come, a stream that is silent keeps its own."""
    provider.on("held", Reply("a b c", hold_after=1))
    server = serve("talk=sample:talk", "--memory", files=(FILES, FILES))
    with http_client.stream("GET", f"{server.url}/graphs/talk/events?messages=held") as answer:
        provider.wait_for_requests(1)
        with connected(server.url, 2 * FILES):
            served = False
            while not served:
                with contextlib.suppress(httpx.TransportError):
                    served = http_client.get(f"{server.url}/ok", timeout=5).status_code == 200
            provider.release()
            assert '"status":"success"' in answer.read().decode()
