"""Plain SSE over real HTTP: what curl, EventSource and scripts read."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.messages.tool import tool_call_chunk

from tests.serving.one_server import SAMPLES
from tokenweir.serving.log.events import Event
from tokenweir.serving.running.encoding import TokenEncoder
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.sse.frames import Frames
from tokenweir.serving.sse.token_records import record_of
from tokenweir.streaming.content import token_record
from tokenweir.streaming.filters import reasoning, tag, text
from tokenweir.streaming.run_filter import run_filter
from tokenweir.testing import Provider, Reply, ToolCall


class Said:
    """One event: its name, its id without the run's, and its record."""

    def __init__(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        self.name = fields.get("event", "")
        self.id = fields.get("id", "")
        self.record: dict[str, Any] = json.loads(fields.get("data", "{}"))

    def __repr__(self) -> str:
        return f"<{self.name} {self.id} {self.record}>"


class Stream:
    """A response, read event by event."""

    def __init__(self, server: str, method: str, path: str, body: Any = None, **headers: str):
        place = urlsplit(server)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        sent = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent is not None:
            named.setdefault("content-type", "application/json")
        self._connection.request(method, path, sent, named)
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def events(self) -> Iterator[Said]:
        """The events that come, to the end."""
        block: list[str] = []
        for line in self.response:
            text = line.decode().rstrip("\n")
            if text:
                block.append(text)
                continue
            said = Said("\n".join(block))
            block = []
            if said.name:
                yield said

    def json(self) -> Any:
        """The whole body."""
        with self:
            return json.loads(self.response.read())

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._connection.close()


def said_text(events: list[Said]) -> dict[str, str]:
    """The text of each message, added up."""
    found: dict[str, str] = {}
    for each in events:
        if each.name == "token":
            key = each.record["id"]
            found[key] = found.get(key, "") + each.record["text"]
    return found


def get(server: str, path: str, **headers: str) -> list[Said]:
    """All events of a GET."""
    with Stream(server, "GET", path, **headers) as stream:
        assert stream.status == 200, stream.response.read()
        return list(stream.events())


CHUNKS = [
    AIMessageChunk(content="Why", id="m1"),
    AIMessageChunk(content="", id="m1", additional_kwargs={"reasoning_content": "hm"}),
    AIMessageChunk(
        content=[{"type": "text", "text": "a"}, {"type": "reasoning", "reasoning": "b"}]
    ),
    AIMessageChunk(
        content="", tool_call_chunks=[tool_call_chunk(name="add", args="{", id="c", index=0)]
    ),
    AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(args="1}", index=0)], id="m1"),
    AIMessageChunk(content="", response_metadata={"finish_reason": "stop"}, id="m1"),
    AIMessageChunk(
        content="",
        id="m1",
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    ),
    AIMessage("whole", id="m2", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c"}]),
    ToolMessage("4", tool_call_id="c", name="add", id="m3"),
    AIMessageChunk(content="", id="m1"),
]
METADATA = {
    "langgraph_node": "write",
    "tags": ["joke", "seq:step:1"],
    "ls_model_name": "gpt",
    "langgraph_checkpoint_ns": "edit:t1|write:t2",
}


@pytest.mark.parametrize("chunk", CHUNKS, ids=range(len(CHUNKS)))
def test_records_are_the_command_lines(chunk: Any) -> None:
    """A message that went through the event log gives the record of ``tokenweir run --json``."""
    event = Event(
        1, "messages|edit:t1", *TokenEncoder().encode("messages|edit:t1", chunk, METADATA)
    )
    expected = token_record(chunk, METADATA, ["edit:t1"])
    assert record_of(event) == (None if expected is None else {**expected, "task": "t2"})


def test_filters_decide_on_plain_data() -> None:
    """Filters by tag, by text and by reasoning pass the same messages as they do as objects."""
    for chunk in CHUNKS:
        event = Event(1, "messages", *TokenEncoder().encode("messages", chunk, METADATA))
        for only in (tag("joke"), tag("poem"), text, reasoning, ~text & tag("joke")):
            passed = record_of(event, only)
            assert (passed is not None) == (only(METADATA, chunk) and record_of(event) is not None)


def test_void_messages_are_told_whatever_the_filter() -> None:
    """A message that is void is told as ``remove``, with its id."""
    run = Run(id="r", thread_id="t", request=RunRequest(graph="g"), assistant_id="a")
    frames = Frames(run, run_filter(tag("poem")))
    event = Event(4, "messages", b'[{"type":"remove","id":"m1"},{}]')
    assert frames.feed(event) == b'id: r:4\nevent: remove\ndata: {"type":"remove","id":"m1"}\n\n'


@pytest.mark.parametrize(
    "asked",
    [
        ["/graphs/joke_poem/events", "-d", '{"input": {"topic": "cats"}}'],
        ["/graphs/joke_poem/events?topic=cats"],
    ],
    ids=["POST", "GET"],
)
def test_curl_reads_a_run(asked: list[str], server: str, provider: Provider) -> None:
    """``curl -N`` shows the run, its nodes, its tokens with ids, and its end, and then ends."""
    provider.on("joke", "Why not?")
    provider.on("poem", Reply(tokens=["Roses", "\nare"]))
    shown = subprocess.run(
        ["curl", "-sN", server + asked[0], *asked[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert shown.startswith("retry: 1000\n\nid: ")
    events = [Said(block) for block in shown.split("\n\n")[1:-1]]
    assert [event.name for event in events[:2]] == ["run", "node"]
    assert events[-1].name == "end"
    assert sorted(said_text(events).values()) == ["Roses\nare", "Why not?"]
    run = events[0].record["run"]
    numbers = [int(event.id.removeprefix(f"{run}:")) for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].record["status"] == "success"
    assert {tuple(e.record["tags"]) for e in events if e.name == "token"} == {("joke",), ("poem",)}


def test_headers_keep_proxies_from_buffering(server: str) -> None:
    """The response is an event stream that nobody stores or buffers, and says where the run is."""
    with Stream(server, "GET", "/graphs/repeat/events?name=a") as stream:
        headers = stream.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        first = next(stream.events())
        assert headers["content-location"] == f"/runs/{first.record['run']}"


def test_input_comes_by_url(server: str, provider: Provider) -> None:
    """Query parameters are the input's keys, with ``only`` beside them; numbers are JSON."""
    provider.on("poem", "Roses are")
    provider.on("joke about two dogs", "Ha.")
    events = get(server, "/graphs/joke_poem/events?topic=two%20dogs&only=tag:joke")
    assert list(said_text(events).values()) == ["Ha."]
    assert get(server, "/graphs/repeat/events?name=a&count=2")[-1].name == "end"
    assert get(server, '/graphs/repeat/events?input={"name":"a"}&count=2')[-1].name == "end"


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 an async node does not know its config by itself",
)
def test_tokens_of_an_agent(server: str, provider: Provider) -> None:
    """An agent is a filter by its name, when the run is made and when it is read."""
    provider.on("cats", Reply("They sleep.", reasoning=["Cats"]))
    only = "agent:researcher%20%26%20text"
    events = get(server, f"/graphs/with_agent/events?messages=cats&only={only}")
    assert list(said_text(events).values()) == ["They sleep."]
    run = events[0].record["run"]
    again = get(server, f"/runs/{run}/events?only=agent:researcher")
    assert list(said_text(again).values()) == ["They sleep."]
    assert said_text(get(server, f"/runs/{run}/events?only=agent:writer")) == {}


UNMATCHED = (
    "nothing passed the filter tag:jok; there were tag:joke, node:call_model, model:gpt-4o-mini"
)


def test_a_filter_that_nothing_passes(serve: Callable[..., Any], provider: Provider) -> None:
    """The end says so, with what there was, to each reader of the run; and so does the log."""
    provider.on("joke", "Ha.")
    provider.on("poem", "Roses")
    server = serve("joke_poem")
    events = get(server.url, "/graphs/joke_poem/events?topic=a&only=tag:jok")
    assert (said_text(events), events[-1].name) == ({}, "end")
    warning = events[-1].record["warning"]
    assert warning.startswith(UNMATCHED)
    run = events[0].record["run"]
    server.wait_for(f"run {run} of joke_poem: '{UNMATCHED}")
    for path in ("", "?only=tag:joke", "?replay=full"):
        for after in ({}, {"last_event_id": events[-2].id}):
            again = get(server.url, f"/runs/{run}/events{path}", **after)
            assert again[-1].record["warning"] == warning
    events = get(server.url, "/graphs/joke_poem/events?topic=a&only=tag:joke")
    assert "warning" not in events[-1].record
    body = {"input": {"topic": "a"}, "only": "tag:jok"}
    with Stream(server.url, "POST", "/graphs/joke_poem/events", body) as stream:
        assert [*stream.events()][-1].record["warning"] == warning


def test_a_reader_with_a_filter_that_nothing_passes(server: str, provider: Provider) -> None:
    """A reader whose own filter passes nothing learns it; not if it read what passed before."""
    provider.on("joke", "Ha.")
    provider.on("poem", "Roses")
    events = get(server, "/graphs/joke_poem/events?topic=a")
    assert "warning" not in events[-1].record
    run = events[0].record["run"]
    for path in ("only=tag:jok", "only=tag:jok&replay=full"):
        again = get(server, f"/runs/{run}/events?{path}")
        assert said_text(again) == {}
        assert again[-1].record["warning"].startswith(UNMATCHED)
    poems = next(
        number for number, each in enumerate(events) if each.record.get("tags") == ["poem"]
    )
    for path in ("only=tag:joke", "only=tag:joke%26text"):
        seen = get(server, f"/runs/{run}/events?{path}", last_event_id=events[poems - 1].id)
        assert said_text(seen) == {}
        assert "warning" not in seen[-1].record
        [late] = [each for each in get(server, f"/runs/{run}/events?{path}") if each.name == "end"]
        assert "warning" not in late.record


def test_a_late_reader(server: str, provider: Provider) -> None:
    """Who joins a run gets each message that is there as one event, and then live tokens."""
    provider.reply(Reply("one two three four five", hold_after=3))
    with Stream(server, "POST", "/graphs/chat/events", {"input": {"messages": "hi"}}) as stream:
        events = stream.events()
        run = next(events).record["run"]
        for each in events:
            if each.record.get("text") == " three":
                break
        with Stream(server, "GET", f"/runs/{run}/events") as late:
            joined = late.events()
            first = list(until_token(joined))
            assert [each.record["text"] for each in first if each.name == "token"] == [
                "one two three"
            ]
            assert all("." in each.id for each in first if each.name == "token")
            provider.release()
            rest = list(joined)
    assert [each.record["text"] for each in rest if each.record.get("text")] == [" four", " five"]
    full = get(server, f"/runs/{run}/events?replay=full")
    assert len([each for each in full if each.record.get("text")]) == 5
    over = get(server, f"/runs/{run}/events")
    assert said_text(over) == said_text(first + rest) == said_text(full)
    assert len([each for each in over if each.name == "token"]) == 1
    assert over[-1].name == "end"


def until_token(events: Iterator[Said]) -> Iterator[Said]:
    for each in events:
        yield each
        if each.name == "token":
            return


def test_a_late_reader_who_comes_back(server: str, provider: Provider) -> None:
    """Wherever a late reader is cut off, its last id brings what it lacks, and nothing twice."""
    provider.on("joke", "Ha, ha.")
    provider.on("poem", "Roses are")
    run = get(server, "/graphs/joke_poem/events?topic=cats")[0].record["run"]
    whole = get(server, f"/runs/{run}/events")
    assert len({each.id for each in whole}) == len(whole)
    for place, last in enumerate(whole[1:-1], 1):
        back = get(server, f"/runs/{run}/events", last_event_id=last.id)
        assert [each.record for each in back[1:]] == [each.record for each in whole[place + 1 :]]
        assert [each.id for each in back] == [each.id for each in whole[place:]]
    with Stream(server, "GET", f"/runs/{run}/events", last_event_id=whole[-1].id) as stream:
        assert stream.status == 204


def test_tokens_come_one_by_one(server: str, provider: Provider) -> None:
    """A token is there before the model has written the next."""
    provider.reply(Reply("Hello you there", hold_after=2))
    with Stream(server, "GET", "/graphs/chat/events?messages=hi") as stream:
        events = stream.events()
        tokens = (event.record["text"] for event in events if event.name == "token")
        assert [next(tokens), next(tokens)] == ["Hello", " you"]
        provider.release()
        assert next(tokens) == " there"


@pytest.mark.parametrize("address", ["graph", "run"])
def test_a_reader_that_comes_back_misses_nothing(
    address: str, server: str, provider: Provider
) -> None:
    """With Last-Event-ID, at the run's address or at the one that started it, the rest comes."""
    provider.reply(Reply("one two three four", hold_after=2))
    start = "/graphs/chat/events?messages=hi"
    before: list[Said] = []
    with Stream(server, "GET", start) as stream:
        for event in stream.events():
            before.append(event)
            if event.record.get("text") == " two":
                break
    run = before[0].record["run"]
    path = start if address == "graph" else f"/runs/{run}/events"
    with Stream(server, "GET", path, last_event_id=before[-1].id) as stream:
        events = stream.events()
        assert next(events).record["run"] == run
        provider.release()
        after = list(events)
    assert list(said_text(before + after).values()) == ["one two three four"]
    assert after[-1].name == "end"
    assert len(provider.requests) == 1
    with Stream(server, "GET", path, last_event_id=after[-1].id) as stream:
        assert stream.status == 204


def test_every_place_of_a_run_can_be_resumed(server: str, provider: Provider) -> None:
    """From each event of a finished run on, exactly the events after it come."""
    whole = get(server, "/graphs/joke_poem_parallel/events?topic=cats")
    run = whole[0].record["run"]
    for at, event in enumerate(whole[:-1]):
        again = get(server, f"/runs/{run}/events", last_event_id=event.id)
        assert [each.id for each in again[1:]] == [each.id for each in whole[at + 1 :]]
    full = get(server, f"/runs/{run}/events?replay=full")
    assert [each.id for each in full[1:]] == [each.id for each in whole[1:]]


def test_a_failed_run_ends_with_an_error(server: str, provider: Provider) -> None:
    """What fails is told after the tokens before it, as the last event, and stays told."""
    provider.reply(Reply("one two", error_after=1, message="too much"))
    events = get(server, "/graphs/chat/events?messages=hi")
    assert list(said_text(events).values()) == ["one"]
    last = events[-1]
    assert (last.name, last.record["error"]) == ("error", "StreamError")
    assert "too much" in last.record["message"]
    run = events[0].record["run"]
    with Stream(server, "GET", f"/runs/{run}/events", last_event_id=last.id) as stream:
        assert stream.status == 204


def test_cancel_stops_the_model(server: str, provider: Provider) -> None:
    """``POST /runs/{id}/cancel`` closes the provider's connection; readers are told the end."""
    provider.reply(Reply("one two", stall_after=1))
    with Stream(server, "GET", "/graphs/chat/events?messages=hi") as stream:
        events = stream.events()
        run = next(events).record["run"]
        while next(events).name != "token":
            pass
        with Stream(server, "POST", f"/runs/{run}/cancel") as cancelling:
            assert cancelling.json() == {"run": run, "status": "interrupted"}
        provider.requests[0].wait_closed(60)
        assert list(events)[-1].record["status"] == "interrupted"
    assert provider.requests[0].state == "client_left"
    with Stream(server, "POST", f"/runs/{run}/cancel") as again:
        assert again.status == 200


@pytest.mark.parametrize("policy", ["cancel", "continue"])
def test_leaving(policy: str, server: str, provider: Provider) -> None:
    """A run goes on without its reader, unless ``on_disconnect`` says to cancel it."""
    provider.reply(Reply("one two three", hold_after=1))
    body = {"input": {"messages": "hi"}, "on_disconnect": policy}
    with Stream(server, "POST", "/graphs/chat/events", body) as stream:
        events = stream.events()
        run = next(events).record["run"]
        while next(events).name != "token":
            pass
    if policy == "continue":
        provider.release()
    provider.requests[0].wait_closed(60)
    last = get(server, f"/runs/{run}/events")[-1]
    assert last.record["status"] == {"cancel": "interrupted", "continue": "success"}[policy]


def test_an_interrupt_is_told_and_answered(server: str) -> None:
    """The end names what the graph waits for; a command on the same thread answers it."""
    path = "/graphs/asking/events"
    with Stream(server, "POST", path, {"input": {"name": "Al"}, "thread_id": "t1"}) as stream:
        *before, end = stream.events()
    assert end.record["status"] == "interrupted"
    assert [each["value"] for each in end.record["interrupts"]] == [{"question": "how old?"}]
    assert end.record["thread"] == "t1"
    resumed = get(server, f"/runs/{end.id.partition(':')[0]}/events", last_event_id=before[-1].id)
    assert resumed[-1].record["interrupts"] == end.record["interrupts"]
    with Stream(server, "POST", path, {"command": {"resume": 7}, "thread_id": "t1"}) as stream:
        assert list(stream.events())[-1].record["status"] == "success"


def test_subgraphs_and_tools_are_told(server: str, provider: Provider) -> None:
    """Tool calls come in parts with the model's tokens, their results as messages."""
    provider.reply(
        Reply(tool_calls=[ToolCall("calculate", '{"expression": "2+2"}')]), Reply("It is 4.")
    )
    events = get(server, "/graphs/agent/events?messages=2%2B2")
    parts = [e.record["tool_calls"] for e in events if e.record.get("tool_calls")]
    assert json.loads("".join(call["args"] or "" for part in parts for call in part)) == {
        "expression": "2+2"
    }
    [result] = [e.record for e in events if e.record.get("role") == "tool"]
    assert (result["type"], result["tool_call_id"]) == ("message", "call_1")
    assert [(e.record["node"], e.record["state"]) for e in events if e.name == "node"] == [
        (node, state)
        for node in ("call_model", "tools", "call_model")
        for state in ("started", "finished")
    ]


def test_tokens_written_by_hand_are_tokens(server: str) -> None:
    """What a node writes without LangChain comes as tokens, by its tags."""
    events = get(server, "/graphs/by_hand/events?name=a&only=tag:hand")
    assert "".join(said_text(events).values()) == "by hand"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_graph_that_needs_no_key_needs_no_input(server: str, method: str) -> None:
    """Without a body and without parameters it runs, as all its keys are optional."""
    with Stream(server, method, "/graphs/by_hand/events") as stream:
        assert "".join(said_text(list(stream.events())).values()) == "by hand"


def test_a_silent_stream_is_kept_alive(serve: Callable[..., Any], provider: Provider) -> None:
    """While nothing happens comments come, which readers of SSE skip."""
    provider.reply(Reply("one", first_after=60))
    served = serve("chat", "--heartbeat-seconds", "0.05")
    with Stream(served.url, "GET", "/graphs/chat/events?messages=hi") as stream:
        assert any(line.startswith(b": ") for line in stream.response)


REFUSED = [
    ("GET", "/graphs/none/events?topic=a", None, 404, "there is no graph 'none'"),
    ("GET", "/graphs/none/picture.svg", None, 404, "there is no graph 'none'"),
    ("GET", "/graphs/joke_poem/events", None, 422, "joke_poem needs an input. Its keys: topic"),
    ("POST", "/graphs/joke_poem/events", None, 422, 'in the body, {"input": {"topic": ...}}'),
    ("GET", "/graphs/joke_poem/events?topc=a", None, 422, "did you mean topic?"),
    ("GET", "/graphs/repeat/events?count=x", None, 422, "count takes integer as JSON"),
    ("GET", "/graphs/joke_poem/events?topic=a&only=tag", None, 422, "cannot read 'tag'"),
    ("GET", "/graphs/joke_poem/events?topic=a&only=(tag:a", None, 422, "a bracket is not closed"),
    (
        "POST",
        "/graphs/joke_poem/events",
        {"input": {"topic": "a"}, "only": "a:b"},
        422,
        "unknown kind",
    ),
    ("POST", "/graphs/joke_poem/events", {"input": {"topic": "a"}, "only": 1}, 422, "only"),
    ("GET", "/graphs/joke_poem/events?topic=a&on_disconnect=x", None, 422, "on_disconnect is"),
    ("GET", "/graphs/joke_poem/events?input={", None, 422, "input is not JSON"),
    ("POST", "/graphs/joke_poem/events", {"topic": "a"}, 422, 'go into "input"'),
    ("POST", "/graphs/joke_poem/events", [1], 422, "the body must be an object"),
    ("POST", "/graphs/joke_poem/events", {"input": {}, "config": 1}, 422, "config must be"),
    ("POST", "/graphs/joke_poem/events", {"input": {}, "thread_id": 1}, 422, "thread_id must be"),
    ("GET", "/runs/none/events", None, 404, "there is no run none"),
    ("POST", "/runs/none/cancel", None, 404, "there is no run none"),
]


def test_wrong_requests_are_told_what_is_wrong(server: str) -> None:
    """Each wrong request gets a status below 500 and a sentence, and starts nothing."""
    for method, path, body, status, message in REFUSED:
        with Stream(server, method, path.replace(" ", "%20"), body) as stream:
            assert (stream.status, path) == (status, path)
            assert message in stream.json()["detail"]
    with Stream(server, "GET", "/runs/a/events", last_event_id="x:y") as stream:
        assert stream.status in (404, 422)


def test_pages_of_other_sites_start_nothing_by_themselves(server: str) -> None:
    """A request that a browser sends for another site's page needs a preflight to start a run."""
    path, foreign = "/graphs/repeat/events?name=a", {"sec_fetch_site": "cross-site"}
    with Stream(server, "GET", path, **foreign) as stream:
        assert stream.status == 403
    with Stream(server, "POST", path, {}, content_type="text/plain", **foreign) as stream:
        assert stream.status == 403
    with Stream(server, "POST", path, {}, **foreign) as stream:
        assert stream.status == 200


def test_a_listed_sites_pages_may_start_runs(serve: Callable[..., Any]) -> None:
    """A page that ``--cors`` lists may use EventSource, which can only GET; others may not, nor
    may what does not say where it is from, such as an image."""
    site = "https://app.example"
    server = serve(f"repeat={SAMPLES}:repeat", "--cors", site).url
    path, foreign = "/graphs/repeat/events?name=a", {"sec_fetch_site": "cross-site"}
    with Stream(server, "GET", path, origin=site, **foreign) as stream:
        assert stream.status == 200
        assert stream.response.headers["access-control-allow-origin"] == site
        assert "Content-Location" in stream.response.headers["access-control-expose-headers"]
        last = list(stream.events())[-1]
        assert last.name == "end"
    with Stream(server, "GET", path, origin=site, last_event_id=last.id, **foreign) as stream:
        assert stream.status == 204
    with Stream(server, "GET", path, origin="https://other.example", **foreign) as stream:
        assert stream.status == 403
    with Stream(server, "GET", path, **foreign) as stream:
        assert stream.status == 403


def test_addresses_hold_names_as_they_are(server: str) -> None:
    """The addresses of a graph with an odd name lead to it."""
    with Stream(server, "GET", "/graphs") as stream:
        [odd] = [graph for graph in stream.json()["graphs"] if '"' in graph["name"]]
    assert get(server, f"{odd['events']}?name=a")[-1].name == "end"
    with Stream(server, "GET", odd["picture"]) as stream:
        assert b"&lt;img src=x onerror=alert(1)&gt;" in stream.response.read()


def test_a_place_in_another_graphs_run_is_refused(server: str) -> None:
    """Last-Event-ID of one graph's run is not followed at another graph's address."""
    last = get(server, "/graphs/repeat/events?name=a")[-1].id
    for path in ("/graphs/chat/events?messages=hi", "/runs/none/events"):
        with Stream(server, "GET", path, last_event_id=last) as stream:
            assert stream.status == 404


def test_looking_starts_nothing(server: str, provider: Provider) -> None:
    """A HEAD request, as link previews send it, runs no graph."""
    with Stream(server, "HEAD", "/graphs/chat/events?messages=hi") as stream:
        assert stream.status == 200
    get(server, "/graphs/chat/events?messages=other")
    assert [request.prompt for request in provider.requests] == ["other"]


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
def test_deep_input_is_no_failure(server: str, depth: int) -> None:
    """JSON nested beyond all reason is refused or run, and is no fault of the server."""
    place = urlsplit(server)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    body = '{"input": {"name": ' + "[" * depth + "]" * depth + "}}"
    connection.request("POST", "/graphs/repeat/events", body)
    response = connection.getresponse()
    assert response.status < 500, response.read()
    connection.close()


def test_what_graphs_there_are(server: str) -> None:
    """The graphs are listed with the keys of their inputs, and drawn as SVG and mermaid."""
    with Stream(server, "GET", "/graphs") as stream:
        graphs = {graph["name"]: graph for graph in stream.json()["graphs"]}
    assert graphs["joke_poem"]["input"] == [{"name": "topic", "type": "string", "required": True}]
    assert graphs["agent"]["input"][0]["type"] == "messages"
    assert [key["type"] for key in graphs["repeat"]["input"]] == ["string", "integer", "string"]
    with Stream(server, "GET", "/graphs/story") as stream:
        assert stream.json()["name"] == "story"
    with Stream(server, "GET", "/graphs/story/picture.svg") as stream:
        assert stream.response.headers["content-type"] == "image/svg+xml"
        assert b'data-node="edit:finish"' in stream.response.read()
    with Stream(server, "GET", "/graphs/story/picture.mermaid") as stream:
        assert b"graph TD" in stream.response.read()


def test_runs_are_seen_by_their_owner_only(serve: Callable[..., Any]) -> None:
    """With API keys a run can be neither read nor stopped with another key."""
    server = serve(f"repeat={SAMPLES}:repeat", "--key", "ann", "--key", "bob").url
    with Stream(server, "GET", "/graphs/repeat/events?name=a") as stream:
        assert stream.status == 401
    run = get(server, "/graphs/repeat/events?name=a", x_api_key="ann")[0].record["run"]
    for method, path in (("GET", "events"), ("POST", "cancel")):
        with Stream(server, method, f"/runs/{run}/{path}", x_api_key="bob") as stream:
            assert stream.status == 404
    path = "/graphs/repeat/events?name=a"
    with Stream(server, "GET", path, x_api_key="bob", last_event_id=f"{run}:0") as stream:
        assert stream.status == 404
