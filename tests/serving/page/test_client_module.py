"""The client module in a real JavaScript engine (Node), against servers that misbehave."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tokenweir.serving

NODE = shutil.which("node")
MODULE = Path(tokenweir.serving.__file__).parent / "page" / "client.js"

pytestmark = [
    pytest.mark.one_python,
    pytest.mark.skipif(NODE is None, reason="Node is not installed"),
]

HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
STARTED = HEAD + "content-location: /runs/r1\r\n\r\n"

Answer = Callable[[socket.socket], None]


class Server:
    """Answers one connection after the other with what it is given, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[str | Answer] = []
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                self._one(connection)

    def _one(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            if not part:  # Node keeps a spare connection ready
                return
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        self.requests.append((first.rpartition(" ")[0], headers, body.decode()))
        answer = self.answers.pop(0)
        if callable(answer):
            answer(connection)
        else:
            connection.sendall(answer.encode())

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a loopback port that does what its ``answers`` say."""
    running = Server()
    yield running
    running.close()


def javascript(source: str) -> Any:
    """Run a module; what it gives to ``tell`` comes back, in order."""
    assert NODE is not None
    prelude = (
        f"import {{ EventParser, TokenweirError, follow, run }} from {MODULE.as_uri()!r};\n"
        "const tell = (...said) => console.log(JSON.stringify(said));\n"
        "const calls = { delta: (t) => tell('delta', t.text), finish: (e) => tell('end', e.status),"
        " fail: (e) => tell('fail', e.kind, e.message, e.status) };\n"
    )
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input=prelude + source,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def event(number: int, name: str, **record: Any) -> str:
    """One event as the server sends it."""
    return f"id: r1:{number}\nevent: {name}\ndata: {json.dumps(record)}\n\n"


PARSED = [
    ("data: a\n\n", [["message", "a", ""]]),
    ("data: a\r\ndata: b\r\n\r\n", [["message", "a\nb", ""]]),
    ("data:a\rdata:  b\r\r", [["message", "a\n b", ""]]),
    ("\ufeffdata: a\n\n", [["message", "a", ""]]),
    (": comment\n\nevent: token\nid: 7\ndata: a\n\n", [["token", "a", "7"]]),
    ("id: 7\n\ndata: a\n\n", [["message", "a", "7"]]),
    ("id: 7\ndata: a\n\nid\ndata: b\n\n", [["message", "a", "7"], ["message", "b", ""]]),
    ("id: 1\0\ndata: a\n\n", [["message", "a", ""]]),
    ("event: token\n\ndata: a\n\n", [["message", "a", ""]]),
    ("data\n\ndata: unfinished", [["message", "", ""]]),
    ("data: a\u2028b\n\n", [["message", "a\u2028b", ""]]),
]


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_parser_keeps_the_standard(size: int) -> None:
    """Every form of line end, field and comment is read, wherever the text is cut."""
    found = javascript(
        f"for (const [text] of {json.dumps(PARSED)}) {{\n"
        "  const parser = new EventParser(); const found = [];\n"
        f"  for (let at = 0; at < text.length; at += {size})\n"
        f"    found.push(...parser.feed(text.slice(at, at + {size})));\n"
        "  tell(...found.map((e) => [e.event, e.data, e.id]));\n"
        "}"
    )
    assert found == [events for _, events in PARSED]


def test_a_run_is_started_and_read(server: Server) -> None:
    """Input and filter are posted; tokens and end come to their callbacks, then reading is done."""
    server.answers = [
        STARTED
        + event(1, "token", text="Why ")
        + ": heartbeat\n\n"
        + event(2, "token", text="not? ☃")
        + event(3, "end", status="success")
    ]
    found = javascript(
        f"const reading = run('{server.url}/graphs/joke', {{ topic: 'cats' }},"
        " { only: 'tag:joke', headers: { 'x-api-key': 'k' }, ...calls,"
        "   begin: (r) => tell('begin', r.id) });\n"
        "await reading.done; tell(reading.lastEventId);"
    )
    assert found == [
        ["begin", "r1"],
        ["delta", "Why "],
        ["delta", "not? ☃"],
        ["end", "success"],
        ["r1:3"],
    ]
    [(request, headers, body)] = server.requests
    assert request == "POST /graphs/joke/events"
    assert headers["x-api-key"] == "k"
    assert json.loads(body) == {"input": {"topic": "cats"}, "only": "tag:joke"}


def test_a_cut_connection_is_taken_up_again(server: Server) -> None:
    """After a cut the run is followed from the last whole event, with the filter; none is lost."""
    server.answers = [
        STARTED + "retry: 10\n\n" + event(1, "token", text="a") + "id: r1:2\nevent: token\nda",
        HEAD + "\r\n" + event(2, "token", text="b"),
        lambda connection: None,  # closed without an answer
        "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        HEAD + "\r\n" + event(3, "end", status="success"),
    ]
    found = javascript(
        f"await run('{server.url}/graphs/joke', {{}}, {{ only: 'tag:a b', ...calls }}).done;"
    )
    assert found == [["delta", "a"], ["delta", "b"], ["end", "success"]]
    assert [request for request, _, _ in server.requests[1:]] == [
        "GET /runs/r1/events?only=tag%3Aa+b"
    ] * 4
    ids = [headers.get("last-event-id") for _, headers, _ in server.requests]
    assert ids == [None, "r1:1", "r1:2", "r1:2", "r1:2"]


def test_a_server_below_a_path(server: Server) -> None:
    """Where a proxy serves the graphs below a path, the run is looked for below it, too."""
    server.answers = [STARTED, HEAD + "\r\n" + event(2, "end", status="success")]
    javascript(f"await run('{server.url}/weir/graphs/joke', {{}}, calls).done;")
    assert server.requests[1][0] == "GET /weir/runs/r1/events"


def test_characters_cut_between_packets_arrive_whole() -> None:
    """A character whose bytes come in two parts is read as one, wherever the cut is."""
    sent = event(1, "token", text="x").replace('"x"', '"🐈"') + event(2, "end", status="success")
    assert (
        javascript(
            f"const bytes = new TextEncoder().encode({json.dumps(sent)});\n"
            "for (let at = 1; at < bytes.length; at++) {\n"
            "  const body = new ReadableStream({ start(parts) {\n"
            "    parts.enqueue(bytes.slice(0, at)); parts.enqueue(bytes.slice(at));\n"
            "    parts.close();\n"
            "  } });\n"
            "  let text = '';\n"
            "  await run('http://h/graphs/a', {}, { fetch: async () => new Response(body),\n"
            "    delta: (t) => (text += t.text), finish: () => (text += '.') }).done;\n"
            "  if (text !== '🐈.') tell(at, text);\n"
            "}"
        )
        == []
    )


def test_a_silent_connection_counts_as_broken() -> None:
    """Where not even heartbeats come any more, the run is read by another connection."""
    first, last = event(1, "token", text="a"), event(2, "end", status="success")
    found = javascript(
        "let asked = 0;\n"
        "const fetch = async (url, { signal }) => {\n"
        "  tell(url); asked += 1;\n"
        "  const headers = { 'content-location': '/runs/r1' };\n"
        f"  if (asked > 1) return new Response({json.dumps(last)}, {{ headers }});\n"
        "  return new Response(new ReadableStream({ start(parts) {\n"
        f"    parts.enqueue(new TextEncoder().encode({json.dumps(first)}));\n"
        "    signal.addEventListener('abort', () => parts.error(signal.reason));\n"
        "  } }), { headers });\n"
        "};\n"
        "await run('http://h/graphs/a', {}, { fetch, silence: 200, ...calls }).done;"
    )
    assert found == [
        ["http://h/graphs/a/events"],
        ["delta", "a"],
        ["http://h/runs/r1/events"],
        ["end", "success"],
    ]


def test_a_failed_run_fails_once(server: Server) -> None:
    """The run's own error comes after its tokens, as kind "run", and is not tried again."""
    server.answers = [
        STARTED
        + event(1, "token", text="a")
        + event(2, "error", error="StreamError", message="the model failed")
    ]
    assert javascript(f"await run('{server.url}/graphs/a', {{}}, calls).done;") == [
        ["delta", "a"],
        ["fail", "run", "the model failed", None],
    ]
    assert len(server.requests) == 1


def test_a_refused_request_says_why(server: Server) -> None:
    """What the server says against a request is the error's message, and it is not repeated."""
    body = json.dumps({"detail": "there is no graph 'a'"})
    server.answers = [f"HTTP/1.1 404 No\r\ncontent-length: {len(body)}\r\n\r\n{body}"]
    assert javascript(f"await run('{server.url}/graphs/a', {{}}, calls).done;") == [
        ["fail", "refused", "there is no graph 'a'", 404]
    ]
    assert len(server.requests) == 1


def test_a_start_without_answer_is_not_repeated(server: Server) -> None:
    """A run that may have begun is not begun a second time."""
    server.answers = [lambda connection: None]
    [said] = javascript(f"await run('{server.url}/graphs/a', {{}}, calls).done;")
    assert said[:2] == ["fail", "connection"]
    assert len(server.requests) == 1


def test_it_gives_up_at_last(server: Server) -> None:
    """After ``retries`` tries without progress reading fails."""
    server.answers = [STARTED + "retry: 5\n\n", *[lambda connection: None] * 2]
    [said] = javascript(
        f"await run('{server.url}/graphs/a', {{}}, {{ retries: 2, ...calls }}).done;"
    )
    assert said[:2] == ["fail", "connection"]
    assert len(server.requests) == 3


def test_abort_ends_reading_at_once(server: Server) -> None:
    """After ``abort`` no callback is called, and the connection is closed."""
    left = threading.Event()

    def answer(connection: socket.socket) -> None:
        tokens = event(1, "token", text="a") + event(2, "token", text="b")
        connection.sendall((STARTED + tokens).encode())
        connection.recv(1)
        left.set()

    server.answers = [answer]
    found = javascript(
        f"const reading = run('{server.url}/graphs/a', {{}},"
        " { ...calls, delta(t) { tell(t.text); reading.abort(); } });\n"
        "await reading.done; tell(reading.lastEventId);"
    )
    assert found == [["a"], ["r1:1"]]
    assert left.wait(60)


def test_a_signal_aborts_as_well(server: Server) -> None:
    """An AbortSignal that was aborted before keeps everything from happening."""
    found = javascript(
        "const c = new AbortController(); c.abort();\n"
        f"await run('{server.url}/graphs/a', {{}}, {{ signal: c.signal, ...calls }}).done;"
    )
    assert found == []


def test_following_from_an_event(server: Server) -> None:
    """``follow`` asks for what came after an event; 204 says that there is nothing more."""
    server.answers = ["HTTP/1.1 204 None\r\nconnection: close\r\n\r\n"]
    found = javascript(
        f"await follow('{server.url}/runs/r1', {{ lastEventId: 'r1:9', ...calls }}).done; tell(1);"
    )
    assert found == [[1]]
    [(request, headers, _)] = server.requests
    assert (request, headers["last-event-id"]) == ("GET /runs/r1/events", "r1:9")


def test_cancel_stops_the_run_itself(server: Server) -> None:
    """``cancel`` posts to the run, with the key; before the run is known it waits until it is."""
    server.answers = [
        STARTED + event(1, "end", status="interrupted"),
        "HTTP/1.1 202 Yes\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ]
    found = javascript(
        f"const reading = run('{server.url}/graphs/a', {{}},"
        " { headers: { 'x-api-key': 'k' }, ...calls });\n"
        "await reading.cancel(); await reading.done;"
    )
    assert found == [["end", "interrupted"]]
    assert server.requests[1][0] == "POST /runs/r1/cancel"
    assert server.requests[1][1]["x-api-key"] == "k"


def test_what_did_not_begin_cannot_be_cancelled(server: Server) -> None:
    """``cancel`` of a run that was refused, or left before it began, says so and asks nothing."""
    server.answers = ["HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n"]
    found = javascript(
        f"const reading = run('{server.url}/graphs/a', {{}}, calls);\n"
        "await reading.cancel().catch((e) => tell(e.kind, e.message));\n"
        f"const left = run('{server.url}/graphs/a', {{}}, calls); left.abort();\n"
        "await left.cancel().catch((e) => tell(e.kind));"
    )
    assert found == [
        ["fail", "refused", "the server answered 422", 422],
        ["refused", "the run did not start, so there is nothing to cancel"],
        ["refused"],
    ]


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_start_that_is_refused_is_not_a_broken_connection(server: Server, status: int) -> None:
    """What the server does not begin, for good or for now, is "refused", with its status."""
    body = json.dumps({"detail": "not now"})
    server.answers = [f"HTTP/1.1 {status} No\r\ncontent-length: {len(body)}\r\n\r\n{body}"]
    assert javascript(f"await run('{server.url}/graphs/a', {{}}, calls).done;") == [
        ["fail", "refused", "not now", status]
    ]
    assert len(server.requests) == 1


def test_a_key_that_is_no_longer_good_ends_reading(server: Server) -> None:
    """401 on the way is told at once, and not tried for ever."""
    body = json.dumps({"detail": "an API key is needed"})
    server.answers = [
        STARTED + event(1, "token", text="a"),
        f"HTTP/1.1 401 No\r\ncontent-length: {len(body)}\r\n\r\n{body}",
    ]
    assert javascript(f"await run('{server.url}/graphs/a', {{}}, calls).done;") == [
        ["delta", "a"],
        ["fail", "refused", "an API key is needed", 401],
    ]


def test_waits_grow_and_differ(server: Server) -> None:
    """The first new try comes soon, the next ones after what ``retry`` says, doubled thrice at
    most, and not at the same moment for all readers."""
    server.answers = [STARTED + "retry: 1000\n\n", *[lambda connection: None] * 6]
    [waits, _] = javascript(
        "const waits = []; const soon = globalThis.setTimeout;\n"
        "globalThis.setTimeout = (act, after) => {\n"
        "  if (!Number.isInteger(after)) waits.push(after); // not Node's own\n"
        "  return soon(act, 0);\n"
        "};\n"
        "globalThis.clearTimeout = () => {};\n"
        f"await run('{server.url}/graphs/a', {{}},"
        " { retries: 6, silence: 0, fail: () => tell(...waits), finish: 0 }).done;\n"
        "tell(0);"
    )
    means = [250, 1000, 2000, 4000, 8000, 8000]
    assert len(waits) == len(means)
    for wait, mean in zip(waits, means, strict=True):
        assert 0.75 * mean <= wait <= 1.25 * mean


def test_all_that_a_run_can_be_given(server: Server) -> None:
    """Thread, config, context, command and what happens on a disconnect are posted as they are."""
    server.answers = [STARTED + event(1, "end", status="success")]
    javascript(
        f"await run('{server.url}/graphs/a', undefined, {{ thread: 't', config: {{ a: 1 }},"
        " context: { b: 2 }, command: { resume: 3 }, onDisconnect: 'cancel' }).done;"
    )
    assert json.loads(server.requests[0][2]) == {
        "thread_id": "t",
        "config": {"a": 1},
        "context": {"b": 2},
        "command": {"resume": 3},
        "on_disconnect": "cancel",
    }


def test_what_a_callback_throws_is_not_hidden(server: Server) -> None:
    """An error in the page's own code rejects ``done`` and ends reading."""
    server.answers = [STARTED + event(1, "token", text="a")]
    found = javascript(
        f"await run('{server.url}/graphs/a', {{}}, {{ delta() {{ throw new Error('mine'); }} }})"
        ".done.catch((e) => tell(e.message));"
    )
    assert found == [["mine"]]
    assert len(server.requests) == 1
