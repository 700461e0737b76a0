"""LangGraph's API, by its own clients: ``langgraph_sdk`` and ``RemoteGraph``, unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from tokenweir.streaming.content import text_of
from tokenweir.testing import Provider, Reply

SAMPLES = [f"sample:{name}" for name in ("two_steps", "nested", "asks", "writes", "fails", "talk")]


@pytest.fixture
def server(serve: Callable[..., Any]) -> Any:
    return serve(*[*SAMPLES[:-1], "talk=sample:talk"])


@pytest.fixture
async def client(server: Any) -> Any:
    client = get_client(url=server.url)
    yield client
    await client.http.client.aclose()


def texts(parts: list[Any]) -> dict[str, str]:
    """The text of each message of a messages-tuple stream, by id."""
    found: dict[str, str] = {}
    for part in parts:
        if part.event.partition("|")[0] == "messages":
            message = part.data[0]
            found[message["id"]] = found.get(message["id"], "") + text_of(message)
    return found


async def collected(stream: Any) -> list[Any]:
    return [part async for part in stream]


async def test_a_stateless_stream(client: Any, provider: Provider) -> None:
    """Several modes at once: metadata first, tokens that add up, updates, the final values."""
    provider.on("first", "one two")
    provider.on("second", "three four")
    created: list[Any] = []
    parts = await collected(
        client.runs.stream(
            None,
            "two_steps",
            input={"topic": "x"},
            stream_mode=["messages-tuple", "updates", "values"],
            on_run_created=created.append,
        )
    )
    assert parts[0].event == "metadata"
    assert parts[0].data == {"run_id": created[0]["run_id"], "attempt": 1}
    assert list(texts(parts).values()) == ["one two", "three four"]
    updates = [part.data for part in parts if part.event == "updates"]
    assert updates == [
        {"first_step": {"first": "one two"}},
        {"second_step": {"second": "three four"}},
    ]
    assert parts[-1].event == "values"
    assert parts[-1].data == {"topic": "x", "first": "one two", "second": "three four"}
    [token, *_] = [part.data for part in parts if part.event == "messages"]
    assert token[0]["type"] == "AIMessageChunk"
    assert token[1]["langgraph_node"] == "first_step"


async def test_cumulative_messages(client: Any, provider: Provider) -> None:
    """Mode messages: metadata once per message, then the text so far."""
    provider.on("first", Reply(tokens=["a", "b"]))
    provider.on("second", "c")
    stream = client.runs.stream(None, "two_steps", input={"topic": "x"}, stream_mode="messages")
    parts = await collected(stream)
    [about, *_] = [part.data for part in parts if part.event == "messages/metadata"]
    [(message_id, told)] = about.items()
    assert told["metadata"]["langgraph_node"] == "first_step"
    partial = [p.data[0] for p in parts if p.event == "messages/partial"]
    first = [each["content"] for each in partial if each["id"] == message_id]
    assert [text for text in first if text][:2] == ["a", "ab"]
    assert first[-1] == "ab"
    assert partial[-1]["content"] == "c"
    assert partial[-1]["type"] == "ai"


async def test_custom_and_errors(client: Any) -> None:
    """What a node writes comes as custom; a failure is the last event, and carries no stack."""
    parts = await collected(client.runs.stream(None, "writes", input={}, stream_mode="custom"))
    assert [part.data for part in parts[1:]] == [{"stage": "start"}, {"stage": "end"}]
    parts = await collected(client.runs.stream(None, "fails", input={}, stream_mode="values"))
    assert parts[-1].event == "error"
    assert parts[-1].data == {"error": "ValueError", "message": "boom"}
    with pytest.raises(Exception, match="boom"):
        await client.runs.wait(None, "fails", input={})


async def test_subgraphs(client: Any, provider: Provider) -> None:
    """Tokens made inside of a subgraph come under its namespace if asked for, else not at all."""
    provider.on("first", "one")
    provider.on("second", "two")
    for asked in (True, False):
        parts = await collected(
            client.runs.stream(
                None,
                "nested",
                input={"topic": "x"},
                stream_mode=["messages-tuple", "updates"],
                stream_subgraphs=asked,
            )
        )
        inside = [part for part in parts if part.event.startswith("messages|child:")]
        assert bool(inside) is asked
        assert texts(inside) == texts(parts)


async def test_threads_remember(client: Any, provider: Provider) -> None:
    """State, history and the thread's record after two turns; deleted, it is gone."""
    thread = await client.threads.create(metadata={"who": "ann"})
    thread_id = thread["thread_id"]
    assert (await client.threads.get_state(thread_id))["checkpoint"] is None
    values: Any = None
    for turn in ("hello", "again"):
        message = {"role": "user", "content": turn}
        values = await client.runs.wait(thread_id, "talk", input={"messages": [message]})
    assert [m["content"] for m in values["messages"]] == [
        "hello",
        "You said: hello",
        "again",
        "You said: again",
    ]
    state = await client.threads.get_state(thread_id)
    assert state["values"] == values
    assert state["next"] == []
    history = await client.threads.get_history(thread_id, limit=50)
    assert history[0]["checkpoint"] == state["checkpoint"]
    assert len(history) == 6
    older = await client.threads.get_state(thread_id, checkpoint=history[3]["checkpoint"])
    assert [m["content"] for m in older["values"]["messages"]] == ["hello", "You said: hello"]
    message = {"role": "user", "content": "instead"}
    place = {**history[3]["checkpoint"]}
    forked = await client.runs.wait(
        thread_id, "talk", input={"messages": [message]}, checkpoint=place
    )
    assert [m["content"] for m in forked["messages"]] == [
        "hello",
        "You said: hello",
        "instead",
        "You said: instead",
    ]
    found = await client.threads.search(metadata={"who": "ann"}, status="idle")
    assert [each["thread_id"] for each in found] == [thread_id]
    assert found[0]["values"] == forked
    runs = await client.runs.list(thread_id)
    assert [run["status"] for run in runs] == ["success"] * 3
    changed = await client.threads.update_state(
        thread_id, {"messages": [{"role": "user", "content": "more"}]}, as_node="talk"
    )
    state = await client.threads.get_state(thread_id)
    assert state["checkpoint"]["checkpoint_id"] == changed["checkpoint"]["checkpoint_id"]
    assert state["values"]["messages"][-1]["content"] == "more"
    await client.threads.delete(thread_id)
    with pytest.raises(NotFoundError):
        await client.threads.get(thread_id)


async def test_interrupt_and_resume(client: Any) -> None:
    """A graph that asks stops as interrupted, tells the question, and goes on with the answer."""
    thread_id = (await client.threads.create())["thread_id"]
    stream = client.runs.stream(
        thread_id, "asks", input={"topic": "x"}, stream_mode=["updates", "values"]
    )
    parts = await collected(stream)
    told = [p.data["__interrupt__"] for p in parts if "__interrupt__" in (p.data or {})]
    assert told[0][0]["value"] == {"question": "about x?"}
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert [each["value"] for [each] in thread["interrupts"].values()] == [{"question": "about x?"}]
    state = await client.threads.get_state(thread_id)
    assert state["next"] == ["ask"]
    assert state["tasks"][0]["interrupts"][0]["value"] == {"question": "about x?"}
    values = await client.runs.wait(thread_id, "asks", command={"resume": "yes"})
    assert values["answer"] == "yes"
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_background_join_cancel(client: Any, provider: Provider) -> None:
    """A run without a reader runs; it can be joined, waited for, and cancelled."""
    provider.on("first", Reply("a b c d", hold_after=2))
    provider.on("second", "done")
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "two_steps", input={"topic": "x"})
    assert run["status"] in ("pending", "running")
    await asyncio.to_thread(provider.wait_for_requests, 1)
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "running"
    assert (await client.threads.get(thread_id))["status"] == "busy"
    with pytest.raises(ConflictError):
        await client.runs.create(
            thread_id, "two_steps", input={"topic": "x"}, multitask_strategy="reject"
        )
    provider.release()
    values = await client.runs.join(thread_id, run["run_id"])
    assert values == {"topic": "x", "first": "a b c d", "second": "done"}
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "success"

    run = await client.runs.create(thread_id, "two_steps", input={"topic": "x"})
    request = (await asyncio.to_thread(provider.wait_for_requests, 3))[2]
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"
    await asyncio.to_thread(request.wait_closed, 5)
    assert request.state == "client_left"
    with pytest.raises(NotFoundError):
        await client.runs.cancel(thread_id, run["run_id"])


async def test_interrupting_another_run(client: Any, provider: Provider) -> None:
    """multitask_strategy interrupt stops what runs on the thread, then runs."""
    provider.on("first slow", Reply("a b", stall_after=1))
    provider.on("first", "quick")
    provider.on("second", "end")
    thread_id = (await client.threads.create())["thread_id"]
    slow = await client.runs.create(thread_id, "two_steps", input={"topic": "slow"})
    await asyncio.to_thread(provider.wait_for_requests, 1)
    values = await client.runs.wait(
        thread_id, "two_steps", input={"topic": "y"}, multitask_strategy="interrupt"
    )
    assert values["first"] == "quick"
    assert (await client.runs.get(thread_id, slow["run_id"]))["status"] == "interrupted"


@pytest.mark.parametrize(("policy", "status"), [("cancel", "interrupted"), ("continue", "success")])
async def test_leaving(client: Any, provider: Provider, policy: str, status: str) -> None:
    """Who leaves a stream stops its run if on_disconnect says so, and only then."""
    provider.on("first", Reply("a b c", hold_after=1))
    provider.on("second", "end")
    thread_id = (await client.threads.create())["thread_id"]
    stream = client.runs.stream(
        thread_id,
        "two_steps",
        input={"topic": "x"},
        stream_mode="messages-tuple",
        on_disconnect=policy,
    )
    async for part in stream:
        if part.event == "messages" and part.data[0]["content"]:
            break
    await stream.aclose()
    [request] = await asyncio.to_thread(provider.wait_for_requests, 1)
    if policy == "cancel":
        await asyncio.to_thread(request.wait_closed, 10)
        assert request.state == "client_left"
    else:
        provider.release()
    [run] = await client.runs.list(thread_id)
    await client.runs.join(thread_id, run["run_id"])
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == status


async def test_joining_by_id(client: Any, provider: Provider) -> None:
    """join_stream gives all from -1, what follows from an id, and nothing without one."""
    provider.on("first", "a b c")
    provider.on("second", "d e f")
    thread_id = (await client.threads.create())["thread_id"]
    stream = client.runs.stream(
        thread_id, "two_steps", input={"topic": "x"}, stream_mode=["messages-tuple", "values"]
    )
    parts = await collected(stream)
    [run] = await client.runs.list(thread_id)
    ids = [part.id for part in parts]
    assert len(set(ids)) == len(ids)
    for start in range(-1, len(parts)):
        cursor = "-1" if start < 0 else ids[start]
        rest = client.runs.join_stream(thread_id, run["run_id"], last_event_id=cursor)
        assert await collected(rest) == parts[start + 1 :]
    assert await collected(client.runs.join_stream(thread_id, run["run_id"])) == []
    only = client.runs.join_stream(
        thread_id, run["run_id"], last_event_id="-1", stream_mode="values"
    )
    assert [part for part in await collected(only) if part.event != "metadata"] == [
        part for part in parts if part.event == "values"
    ]


async def test_assistants(client: Any) -> None:
    """Each graph has an assistant by id and by name, with its drawing and its schemas."""
    found = await client.assistants.search(limit=100)
    assert [each["graph_id"] for each in found][:2] == ["two_steps", "nested"]
    by_id = await client.assistants.get(found[0]["assistant_id"])
    assert by_id == await client.assistants.get("two_steps") == found[0]
    graph = await client.assistants.get_graph("two_steps")
    assert {node["id"] for node in graph["nodes"]} >= {"first_step", "second_step"}
    schemas = await client.assistants.get_schemas("two_steps")
    assert "topic" in schemas["input_schema"]["properties"]
    assert "topic" in schemas["state_schema"]["properties"]
    made = await client.assistants.create("writes", name="mine", metadata={"a": 1})
    values = await client.runs.wait(None, made["assistant_id"], input={})
    assert values["answer"] == "done"
    await client.assistants.delete(made["assistant_id"])
    with pytest.raises(NotFoundError):
        await client.assistants.get(made["assistant_id"])


async def test_what_cannot_be(client: Any, server: Any) -> None:
    """Unknown things are 404, requests that make no sense 422, with a reason."""
    with pytest.raises(NotFoundError):
        await client.threads.get("nothing")
    with pytest.raises(NotFoundError):
        await client.runs.create("nothing", "writes", input={})
    with pytest.raises(UnprocessableEntityError, match="graphs here"):
        await client.runs.create(None, "nothing", input={})
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        for body in ("{", "[]", '{"assistant_id": 1}', '{"assistant_id": "writes", "config": 3}'):
            answer = await http.post("/runs/wait", content=body)
            assert answer.status_code == 422
            assert answer.json()["detail"]
        made = {"assistant_id": "writes", "stream_mode": "nonsense"}
        assert (await http.post("/runs/stream", json=made)).status_code == 422


async def test_remote_graph(client: Any, provider: Provider) -> None:
    """The call that users know, from far away: tokens, invoke, state, updates, drawing."""
    provider.on("first", "one two")
    provider.on("second", "three")
    graph = RemoteGraph("two_steps", client=client)
    tokens: list[Any] = [
        part async for part in graph.astream({"topic": "x"}, stream_mode="messages")
    ]
    assert "".join(text_of(chunk) for chunk, _ in tokens) == "one twothree"
    nodes = {part[1]["langgraph_node"] for part in tokens}
    assert nodes == {"first_step", "second_step"}
    values: Any = await graph.ainvoke({"topic": "x"})
    assert values["second"] == "three"
    config: Any = {"configurable": {"thread_id": "never-created-before"}}
    await graph.ainvoke({"topic": "x"}, config)
    state = await graph.aget_state(config)
    assert state.values["first"] == "one two"
    history = [snapshot async for snapshot in graph.aget_state_history(config)]
    assert history[0].config == state.config
    await graph.aupdate_state(config, {"first": "changed"}, as_node="first_step")
    assert (await graph.aget_state(config)).next == ("second_step",)
    drawn = await graph.aget_graph()
    assert "first_step" in drawn.nodes

    asks = RemoteGraph("asks", client=client)
    config = {"configurable": {"thread_id": "asked"}}
    values = await asks.ainvoke({"topic": "x"}, config)
    assert "answer" not in values
    values = await asks.ainvoke(Command(resume="yes"), config)
    assert values["answer"] == "yes"
    fails = RemoteGraph("fails", client=client)
    with pytest.raises(Exception, match="boom"):
        await fails.ainvoke({})


def test_remote_graph_sync(server: Any, provider: Provider) -> None:
    """As above, without async, with several modes and subgraphs."""
    provider.on("first", "one two")
    provider.on("second", "three")
    client = get_sync_client(url=server.url)
    graph = RemoteGraph("nested", sync_client=client)
    parts: list[Any] = list(
        graph.stream({"topic": "x"}, stream_mode=["messages", "values"], subgraphs=True)
    )
    said = [data[0] for namespace, mode, data in parts if mode == "messages" and namespace]
    assert "".join(text_of(chunk) for chunk in said) == "one twothree"
    assert parts[-1][1:] == ("values", {"topic": "x", "first": "one two", "second": "three"})
    config: Any = {"configurable": {"thread_id": "sync"}}
    values: Any = graph.invoke({"topic": "x"}, config)
    assert values["second"] == "three"
    assert graph.get_state(config).values["second"] == "three"
    client.http.client.close()
