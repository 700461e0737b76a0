"""Generated graphs in every protocol: the texts a client keeps are those in the final state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from langgraph_sdk import get_client

from tests.generated_graphs import SEEDS, Graph, describe, expected, script
from tests.serving.conftest import Server, Shared
from tests.serving.event_protocol.test_cuts import Watcher, command
from tests.serving.test_front_end_cuts import Page
from tokenweir.testing import Provider


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One server with all generated graphs."""
    with Provider() as provider:
        words = [f"g{seed}=tests.generated_graphs:g{seed}" for seed in SEEDS]
        server = Server(words, tmp_path_factory.mktemp("generated"), provider.environ)
        try:
            assert server.url.startswith("http://"), server.stderr()
            yield Shared(server.url, provider)
        finally:
            server.close()


def scripted(shared: Shared) -> Iterator[tuple[str, Graph]]:
    """Each graph, with its name, and its answers ready at the provider."""
    for seed in SEEDS:
        graph = describe(seed)
        script(shared.provider, graph)
        yield f"g{seed}", graph


def texts_of(state: Any) -> dict[str, str]:
    """The texts of a state's messages, by id."""
    return {message["id"]: message["content"] for message in state["values"]["messages"]}


def test_plain_events(shared: Shared) -> None:
    """Server-sent events of records: tokens added up, without those that were removed."""
    with httpx.Client(base_url=shared.url, timeout=60) as client:
        for name, graph in scripted(shared):
            thread = client.post("/threads", json={}).json()["thread_id"]
            asked = {"input": {"messages": []}, "thread_id": thread}
            told = client.post(f"/graphs/{name}/events", json=asked).text
            shown: dict[str, str] = {}
            for data in re.findall("^data: (.*)$", told, re.MULTILINE):
                record = json.loads(data)
                if record["type"] == "token":
                    shown[record["id"]] = shown.get(record["id"], "") + record["text"]
                elif record["type"] == "remove":
                    shown.pop(record["id"], None)  # of one without a text there was no record
            assert shown == texts_of(client.get(f"/threads/{thread}/state").json()), name
            assert sorted(shown.values()) == expected(graph), name


@pytest.mark.parametrize("mode", ["messages-tuple", "messages"])
async def test_langgraphs_client(shared: Shared, mode: Any) -> None:
    """``langgraph_sdk``: messages whole or in chunks, without those of type ``remove``."""
    async with get_client(url=shared.url) as client:
        for name, graph in scripted(shared):
            thread = (await client.threads.create())["thread_id"]
            shown: dict[str, str] = {}
            async for part in client.runs.stream(
                thread,
                name,
                input={"messages": []},
                stream_mode=mode,
                stream_subgraphs=True,
            ):
                if not part.event.startswith("messages") or "metadata" in part.event:
                    continue
                message: Any = part.data[0]
                if message["type"] == "remove":
                    del shown[message["id"]]
                elif mode == "messages":
                    shown[message["id"]] = message["content"]
                else:
                    shown[message["id"]] = shown.get(message["id"], "") + message["content"]
            assert shown == texts_of(await client.threads.get_state(thread)), name
            assert sorted(shown.values()) == expected(graph), name


@pytest.mark.parametrize("stream", [True, False])
def test_openais_client(shared: Shared, stream: bool) -> None:
    """OpenAI's: a stream by the ids in ``tokenweir``; a whole answer as paragraphs."""
    asked: Any = [{"role": "user", "content": "go"}]
    with openai.OpenAI(base_url=f"{shared.url}/v1", api_key="none", max_retries=0) as client:
        for name, graph in scripted(shared):
            if not stream:
                whole = client.chat.completions.create(model=name, messages=asked)
                paragraphs = (whole.choices[0].message.content or "").split("\n\n")
                assert sorted(paragraphs) == expected(graph), name
                continue
            shown: dict[str, str] = {}
            with client.chat.completions.create(model=name, messages=asked, stream=True) as chunks:
                for chunk in chunks:
                    ours = (chunk.model_extra or {}).get("tokenweir") or {}
                    if "remove" in ours:
                        shown.pop(ours["remove"], None)
                    elif text := chunk.choices[0].delta.content:
                        shown[ours["id"]] = shown.get(ours["id"], "") + text
            assert sorted(text.strip() for text in shown.values()) == expected(graph), name


def test_late_plain_events(shared: Shared) -> None:
    """Who comes when the run is over: each message added up, and every event."""
    with httpx.Client(base_url=shared.url, timeout=60) as client:
        for name, graph in scripted(shared):
            begun = client.post(f"/graphs/{name}/events", json={"input": {"messages": []}})
            for replay in ("compact", "full"):
                place = f"{begun.headers['content-location']}/events?replay={replay}"
                shown: dict[str, str] = {}
                for data in re.findall("^data: (.*)$", client.get(place).text, re.MULTILINE):
                    record = json.loads(data)
                    if record["type"] == "token":
                        assert replay == "full" or record["id"] not in shown, name
                        shown[record["id"]] = shown.get(record["id"], "") + record["text"]
                    elif record["type"] == "remove":
                        assert replay == "full", name
                        shown.pop(record["id"], None)
                assert sorted(shown.values()) == expected(graph), (name, replay)


def test_event_protocol(shared: Shared) -> None:
    """LangGraph's event protocol, as it comes, and added up when the run is over."""
    for name, graph in scripted(shared):
        thread = str(uuid4())
        command(shared.url, thread, name, messages=[])
        for replay in ("full", "compact"):
            watcher = Watcher(shared.url, thread, replay=replay)
            watcher.read(lambda: watcher.ends == 1)  # noqa: B023 - read at once
            kept = {each["id"]: each["content"] for each in watcher.values["messages"]}
            assert watcher.texts == kept, (name, replay)
            assert sorted(watcher.said()) == expected(graph), (name, replay)


def test_agui(shared: Shared) -> None:
    """AG-UI: texts by message, without those that a snapshot has no more; also before the last
    one, which tells the whole state."""
    with httpx.Client(base_url=shared.url, timeout=60) as client:
        for name, graph in scripted(shared):
            asked = [{"id": "u1", "role": "user", "content": "go"}]
            page, before = Page(), dict[str, str]()
            body = {"threadId": str(uuid4()), "messages": asked}
            for event in _events(client.post(f"/agui/{name}", json=body)):
                before = dict(page.texts) if event["type"] == "MESSAGES_SNAPSHOT" else before
                page.agui(event)
            assert page.over
            for shown in (before, page.texts):
                assert sorted(filter(None, shown.values())) == expected(graph), name


def test_ai_sdk(shared: Shared) -> None:
    """The AI SDK's stream: texts of each step, without those before it was reset."""
    with httpx.Client(base_url=shared.url, timeout=60) as client:
        for name, graph in scripted(shared):
            part = {"type": "text", "text": "go"}
            body = {"id": str(uuid4()), "messages": [{"id": "u", "role": "user", "parts": [part]}]}
            shown, page = list[str](), Page()
            for event in _events(client.post(f"/ai/{name}", json=body)):
                if event["type"] == "start-step":
                    shown += page.texts.values()
                    page.texts.clear()
                page.ai_sdk(event)
            assert page.over
            shown += page.texts.values()
            assert sorted(filter(None, shown)) == expected(graph), name


def _events(answer: httpx.Response) -> list[Any]:
    return [json.loads(each) for each in re.findall("^data: ({.*)$", answer.text, re.MULTILINE)]
