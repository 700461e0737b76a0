"""What LangGraph's clients may ask of threads and runs, beyond a plain stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from tokenweir.testing import Reply


@pytest.fixture
async def client(shared: Any) -> AsyncIterator[Any]:
    client = get_client(url=shared.url)
    yield client
    await client.http.client.aclose()


@pytest.fixture
def topic(shared: Any) -> str:
    """A topic that only this test asks about; two_steps says ``one two``, then ``three``."""
    name = uuid4().hex
    shared.provider.on(f"first {name}", "one two")
    shared.provider.on(f"second {name}", "three")
    return name


async def new_thread(client: Any, **given: Any) -> str:
    return str((await client.threads.create(**given))["thread_id"])


async def stalled(client: Any, shared: Any, thread_id: str) -> str:
    """The id of a run that is busy on a thread, and stays so."""
    name = uuid4().hex
    shared.provider.on(f"first {name}", Reply("a b", stall_after=1))
    run = await client.runs.create(thread_id, "two_steps", input={"topic": name})
    while not any(name in request.prompt for request in shared.provider.requests):
        seen = len(shared.provider.requests)
        await asyncio.to_thread(shared.provider.wait_for_requests, seen + 1)
    return str(run["run_id"])


async def test_rollback_undoes_a_run(client: Any, shared: Any, topic: str) -> None:
    """multitask_strategy rollback, and cancel with it, leave no run and none of its checkpoints."""
    thread_id = await new_thread(client)
    values = await client.runs.wait(thread_id, "two_steps", input={"topic": topic})
    before = await client.threads.get_history(thread_id, limit=50)

    async def gone(run_id: str) -> None:
        with pytest.raises(NotFoundError):
            await client.runs.get(thread_id, run_id)
        history = await client.threads.get_history(thread_id, limit=50)
        assert history[-len(before) :] == before
        assert run_id not in [state["metadata"].get("run_id") for state in history]

    run_id = await stalled(client, shared, thread_id)
    assert len(await client.threads.get_history(thread_id, limit=50)) > len(before)
    await client.runs.cancel(thread_id, run_id, wait=True, action="rollback")
    await gone(run_id)
    assert (await client.threads.get_state(thread_id))["values"] == values
    thread = await client.threads.get(thread_id)
    assert (thread["status"], thread["values"]) == ("idle", values)

    run_id = await stalled(client, shared, thread_id)
    again = await client.runs.wait(
        thread_id, "two_steps", input={"topic": topic}, multitask_strategy="rollback"
    )
    assert again == values
    await gone(run_id)


async def test_rollback_of_a_run_that_waits(client: Any, shared: Any, topic: str) -> None:
    """A run that had not begun is undone as well; the one that runs goes on."""
    thread_id = await new_thread(client)
    busy = await stalled(client, shared, thread_id)
    waiting = await client.runs.create(thread_id, "two_steps", input={"topic": topic})
    await client.runs.cancel(thread_id, waiting["run_id"], wait=True, action="rollback")
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, waiting["run_id"])
    assert (await client.runs.get(thread_id, busy))["status"] == "running"
    await client.runs.cancel(thread_id, busy, wait=True)


async def test_several_at_once(client: Any, shared: Any, topic: str) -> None:
    """create_batch starts all or none; cancel_many stops those that are named."""
    body = {"assistant_id": "two_steps", "input": {"topic": topic}}
    runs = await client.runs.create_batch([body, {**body, "metadata": {"n": 2}}])
    for run in runs:
        values = await client.runs.join(run["thread_id"], run["run_id"])
        assert values["second"] == "three"
    assert runs[1]["metadata"] == {"n": 2}
    with pytest.raises(UnprocessableEntityError):
        await client.runs.create_batch([body, {**body, "assistant_id": "nothing"}])

    thread_id = await new_thread(client)
    run_id = await stalled(client, shared, thread_id)
    await client.runs.cancel_many(thread_id=thread_id, run_ids=[run_id, "unknown"])
    await client.runs.join(thread_id, run_id)
    assert (await client.runs.get(thread_id, run_id))["status"] == "interrupted"
    with pytest.raises(UnprocessableEntityError):
        await client.runs.cancel_many(thread_id=thread_id)


async def test_a_copied_thread(client: Any, shared: Any, topic: str) -> None:
    """A copy has the same state and history, waits for the same answer, and goes its own way."""
    thread_id = await new_thread(client, metadata={"who": "ann"})
    await client.runs.wait(thread_id, "asks", input={"topic": topic})
    copy = await client.threads.copy(thread_id)
    assert copy["thread_id"] != thread_id
    assert copy["metadata"]["who"] == "ann"
    assert copy["status"] == "interrupted"

    async def history(of: str) -> list[Any]:
        states = await client.threads.get_history(of, limit=50)
        return [(state["checkpoint_id"], state["values"], state["next"]) for state in states]

    before = await history(thread_id)
    assert await history(copy["thread_id"]) == before
    values = await client.runs.wait(copy["thread_id"], "asks", command={"resume": "yes"})
    assert values["answer"] == "yes"
    assert await history(thread_id) == before
    assert (await client.threads.get(thread_id))["status"] == "interrupted"
    other = await client.threads.copy(thread_id)
    await client.runs.wait(other["thread_id"], "two_steps", input={"topic": topic})
    assert (await client.threads.get(thread_id))["metadata"]["graph_id"] == "asks"
    await client.threads.delete(thread_id)
    assert (await history(copy["thread_id"]))[0][1]["answer"] == "yes"


async def test_searching_threads(client: Any, shared: Any, topic: str) -> None:
    """By metadata, values, ids and status; sorted, in pages, with chosen fields; counted."""
    made = [await new_thread(client, metadata={"of": topic, "n": n}) for n in range(3)]
    await client.runs.wait(made[1], "two_steps", input={"topic": topic})
    await client.runs.wait(made[2], "asks", input={"topic": topic})

    async def found(**given: Any) -> list[str]:
        given.setdefault("metadata", {"of": topic})
        return [each["thread_id"] for each in await client.threads.search(**given)]

    assert await found() == made[::-1]
    assert await found(sort_by="created_at", sort_order="asc") == made
    assert await found(sort_by="updated_at", sort_order="desc") == [made[2], made[1], made[0]]
    assert await found(sort_by="thread_id", sort_order="asc") == sorted(made)
    assert await found(limit=1, offset=1, sort_order="asc") == made[1:2]
    assert await found(status="interrupted") == made[2:]
    assert await found(values={"second": "three"}) == made[1:2]
    assert await found(ids=made[:1]) == made[:1]
    assert await found(metadata={"of": topic, "n": 1}) == made[1:2]
    assert await client.threads.count(metadata={"of": topic}) == 3
    assert await client.threads.count(metadata={"of": topic}, status="idle") == 2
    [shown] = await client.threads.search(ids=made[1:2], select=["thread_id", "values"])
    assert set(shown) == {"thread_id", "values"}
    assert await client.threads.update(made[0], metadata={"n": 7}, return_minimal=True) is None
    assert (await client.threads.get(made[0]))["metadata"] == {"of": topic, "n": 7}
    async with httpx.AsyncClient(base_url=shared.url, timeout=60) as http:
        body = {"metadata": {"of": topic}, "limit": 1}
        answer = await http.post("/threads/search", json=body)
        assert answer.headers["x-pagination-total"] == "3"
        assert answer.headers["x-pagination-next"] == "1"
        assert (await http.post("/threads/search", json={"sort_by": "x"})).status_code == 422
    assert await client.threads.prune(made) == {"pruned_count": 3}
    assert await found() == []


async def test_a_thread_from_updates(client: Any, topic: str) -> None:
    """Supersteps bring a new thread to a state; wrong ones leave no thread behind."""
    steps = [
        {"updates": [{"values": {"topic": topic}, "as_node": "__input__"}]},
        {"updates": [{"values": {"topic": topic}, "as_node": "__start__"}]},
        {"updates": [{"values": {"first": "made up"}, "as_node": "first_step"}]},
    ]
    thread_id = await new_thread(client, graph_id="two_steps", supersteps=steps)
    state = await client.threads.get_state(thread_id)
    assert state["values"] == {"topic": topic, "first": "made up"}
    assert state["next"] == ["second_step"]
    values = await client.runs.wait(thread_id, "two_steps", input=None)
    assert values["second"] == "three"
    wrong = str(uuid4())
    with pytest.raises(UnprocessableEntityError):
        await client.threads.create(thread_id=wrong, supersteps=steps)
    with pytest.raises(NotFoundError):
        await client.threads.get(wrong)


async def test_stops_before_and_after_nodes(client: Any, topic: str) -> None:
    """interrupt_before and interrupt_after stop a run there; without an input it goes on."""
    for given, first in (
        ({"interrupt_before": ["second_step"]}, "one two"),
        ({"interrupt_after": "*"}, "one two"),
        ({"interrupt_before": "*"}, None),
    ):
        thread_id = await new_thread(client)
        values = await client.runs.wait(thread_id, "two_steps", input={"topic": topic}, **given)
        assert values.get("first") == first
        state = await client.threads.get_state(thread_id)
        assert state["next"] == ["second_step" if first else "first_step"]
        assert (await client.threads.get(thread_id))["status"] == "interrupted"
        values = await client.runs.wait(thread_id, "two_steps")
        assert values["second"] == "three"


async def test_going_on_from_a_checkpoint(client: Any, topic: str) -> None:
    """A run from an older checkpoint does again only what came after it."""
    thread_id = await new_thread(client)
    await client.runs.wait(thread_id, "two_steps", input={"topic": topic})
    history = await client.threads.get_history(thread_id)
    [older] = [state for state in history if state["next"] == ["second_step"]]
    by_id = await client.threads.get_state(thread_id, checkpoint_id=older["checkpoint_id"])
    assert by_id["values"] == older["values"] == {"topic": topic, "first": "one two"}
    changed = await client.threads.update_state(
        thread_id, {"first": "changed"}, as_node="first_step", checkpoint=older["checkpoint"]
    )
    values = await client.runs.wait(
        thread_id, "two_steps", checkpoint_id=changed["checkpoint"]["checkpoint_id"]
    )
    assert values == {"topic": topic, "first": "changed", "second": "three"}
    before = await client.threads.get_history(thread_id, before=older["checkpoint"])
    assert [state["checkpoint_id"] for state in before] == [
        state["checkpoint_id"] for state in history[history.index(older) + 1 :]
    ]
    chosen = await client.threads.get_state(thread_id, select=["values.first", "next"])
    assert chosen == {"values": {"first": "changed"}, "next": []}


async def test_later(client: Any, topic: str) -> None:
    """after_seconds: the run waits as pending, and can be cancelled meanwhile."""
    thread_id = await new_thread(client)
    given = {"input": {"topic": topic}}
    run = await client.runs.create(thread_id, "two_steps", after_seconds=3600, **given)
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "pending"
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"
    values = await client.runs.wait(thread_id, "two_steps", after_seconds=0.01, **given)
    assert values["second"] == "three"
    assert [run["status"] for run in await client.runs.list(thread_id, status="success")] == [
        "success"
    ]
    await client.runs.delete(thread_id, run["run_id"])
    assert len(await client.runs.list(thread_id)) == 1


async def test_how_often_state_is_kept(client: Any, topic: str) -> None:
    """durability exit keeps the last state only; its older name does the same."""
    counts = {}
    ways: dict[str, dict[str, Any]] = {
        "sync": {"durability": "sync"},
        "async": {"durability": "async"},
        "exit": {"durability": "exit"},
        "during": {"checkpoint_during": False},
    }
    for name, given in ways.items():
        thread_id = await new_thread(client)
        async with httpx.AsyncClient(base_url=str(client.http.client.base_url), timeout=60) as http:
            body = {"assistant_id": "two_steps", "input": {"topic": topic}, **given}
            answer = await http.post(f"/threads/{thread_id}/runs/wait", json=body)
            assert answer.json()["second"] == "three"
        counts[name] = len(await client.threads.get_history(thread_id, limit=50))
    assert counts == {"sync": 4, "async": 4, "exit": 1, "during": 1}


async def test_events_of_subgraphs(client: Any, topic: str) -> None:
    """stream_subgraphs puts the namespace behind every event's name; without it none has one."""
    for asked in (True, False):
        stream = client.runs.stream(
            None,
            "nested",
            input={"topic": topic},
            stream_mode=["values", "updates", "messages-tuple", "tasks"],
            stream_subgraphs=asked,
        )
        names = {part.event async for part in stream}
        inside = {name for name in names if "|" in name}
        kinds = {name.partition("|")[0] for name in inside}
        assert kinds == ({"values", "updates", "messages", "tasks"} if asked else set())
        assert all(name.partition("|")[2].startswith("child:") for name in inside)


async def test_a_reader_who_names_no_modes(client: Any, topic: str) -> None:
    """Joins in the modes that the run was asked for, as the clients do when they come back."""
    thread_id = await new_thread(client)
    stream = client.runs.stream(
        thread_id, "two_steps", input={"topic": topic}, stream_mode=["messages", "custom"]
    )
    parts = [part async for part in stream]
    assert "messages/partial" in {part.event for part in parts}
    [run] = await client.runs.list(thread_id)
    joined = client.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")
    assert [part async for part in joined] == parts


async def test_an_interrupt_inside_of_a_subgraph(client: Any, topic: str) -> None:
    """The state with subgraphs shows where the question stands; the answer reaches it."""
    thread_id = await new_thread(client)
    values = await client.runs.wait(thread_id, "asks_inside", input={"topic": topic})
    [told] = values["__interrupt__"]
    assert told["value"] == {"question": f"about {topic}?"}
    state = await client.threads.get_state(thread_id, subgraphs=True)
    inside = state["tasks"][0]["state"]
    assert inside["next"] == ["ask"]
    assert inside["checkpoint"]["checkpoint_ns"].startswith("child:")
    assert state["interrupts"][0]["value"] == told["value"]
    by_id = {"resume": {told["id"]: "yes"}}
    values = await client.runs.wait(thread_id, "asks_inside", command=by_id)
    assert values["answer"] == "yes"


async def test_commands(client: Any, topic: str) -> None:
    """A command may go to a node, and change the state, instead of an input."""
    thread_id = await new_thread(client)
    await client.runs.wait(thread_id, "two_steps", input={"topic": topic})
    values = await client.runs.wait(
        thread_id, "two_steps", command={"goto": "second_step", "update": {"first": "changed"}}
    )
    assert values == {"topic": topic, "first": "changed", "second": "three"}


async def test_what_a_client_may_send_besides(client: Any, shared: Any, topic: str) -> None:
    """Fields that mean nothing here are left alone; a kept stateless thread can be read."""
    body = {
        "assistant_id": "two_steps",
        "input": {"topic": topic},
        "stream_mode": [],
        "feedback_keys": ["likes"],
        "langsmith_tracer": {"project_name": "p"},
        "strict_resume": True,
        "stream_resumable": False,
        "something_new": [1],
        "on_completion": "keep",
    }
    async with httpx.AsyncClient(base_url=shared.url, timeout=60) as http:
        answer = await http.post("/runs/wait", json=body)
        assert answer.json()["second"] == "three"
        place = answer.headers["content-location"]
        assert answer.headers["location"] == f"{place}/join"
        thread = place.removeprefix("/threads/").partition("/")[0]
        assert (await client.threads.get_state(thread))["values"]["second"] == "three"
        body["on_completion"] = "delete"
        answer = await http.post("/runs/wait", json=body)
        assert answer.headers["content-location"].startswith("/runs/")
        thread = answer.headers["location"].removeprefix("/threads/").partition("/")[0]
    with pytest.raises(NotFoundError):
        await client.threads.get(thread)


async def test_events_mode(client: Any, shared: Any, topic: str) -> None:
    """``events`` gives what the graph's own ``astream_events`` gives, among the other modes."""
    parts: list[Any] = []
    modes = ["events", "messages-tuple", "values", "updates", "custom"]
    async for part in client.runs.stream(
        None, "nested", input={"topic": topic}, stream_mode=modes, stream_subgraphs=True
    ):
        parts.append(part)
    run_id = parts[0].data["run_id"]
    told = [part.data for part in parts if part.event == "events"]
    ends = [each for each in told if not each["parent_ids"]]
    assert [(each["event"], each["run_id"]) for each in ends] == [
        ("on_chain_start", run_id),
        ("on_chain_end", run_id),
    ]
    assert ends[-1]["data"]["output"]["second"] == "three"
    tokens = [each for each in told if each["event"] == "on_chat_model_stream"]
    said = "".join(each["data"]["chunk"]["content"] for each in tokens)
    assert said == "one twothree"
    nodes = [each["metadata"]["langgraph_node"] for each in tokens]
    assert list(dict.fromkeys(nodes)) == ["first_step", "second_step"]
    names = {part.event.partition("|")[0] for part in parts}
    assert names == {"metadata", "events", "messages", "values", "updates"}
    messages = [part.data[0] for part in parts if part.event.startswith("messages|")]
    assert "".join(each["content"] for each in messages) == said
    assert parts[-1].event in ("events", "values")


async def test_events_of_a_run_that_fails(client: Any) -> None:
    """The error comes last, as in other modes."""
    stream = client.runs.stream(None, "fails", input={"topic": "x"}, stream_mode="events")
    parts = [part async for part in stream]
    assert parts[-1].event == "error"
    assert parts[-1].data == {"error": "ValueError", "message": "boom"}


async def test_a_threads_stream(client: Any, topic: str) -> None:
    """What the runs of a thread stream, one after another; and from any event on."""
    thread_id = await new_thread(client)
    stream = client.threads.join_stream(thread_id)
    reading = asyncio.ensure_future(parts_of(stream, 2))
    modes: Any = ["values", "messages-tuple"]
    for _ in range(2):
        asked = {"input": {"topic": topic}, "stream_mode": modes}
        run = await client.runs.create(thread_id, "two_steps", **asked)
        await client.runs.join(thread_id, run["run_id"])
    live = await asyncio.wait_for(reading, 60)
    whole = await parts_of(client.threads.join_stream(thread_id, last_event_id="-1"), 2)
    assert live == whole[-len(live) :]  # from when the server had the request
    assert {part.event for part in whole} == {"metadata", "values", "messages"}
    ids = [int(part.id) for part in whole]
    assert ids == sorted(set(ids))
    for place in range(0, len(whole), 5):
        ends = sum(is_done(part) for part in whole[place + 1 :])
        rest = client.threads.join_stream(thread_id, last_event_id=whole[place].id)
        assert await parts_of(rest, ends) == whole[place + 1 :]
    lifecycle = client.threads.join_stream(thread_id, last_event_id="-1", stream_mode="lifecycle")
    assert len(await parts_of(lifecycle, 2)) == 4
    with pytest.raises(UnprocessableEntityError, match="run_modes"):
        await parts_of(client.threads.join_stream(thread_id, stream_mode="nope"), 1)


def is_done(part: Any) -> bool:
    return bool(part.event == "metadata" and part.data.get("status") == "run_done")


async def parts_of(asked: Any, ends: int) -> list[Any]:
    """The parts of a thread's stream, until so many runs are over."""
    found: list[Any] = []
    stream = await asked
    while ends:
        found.append(await anext(stream))
        ends -= is_done(found[-1])
    await stream.aclose()
    return found


async def test_what_is_not_offered(client: Any) -> None:
    """Asked for what is not there, clients raise at once, and say what to do instead."""
    asked: list[Any] = [
        client.crons.create("two_steps", schedule="* * * * *", input={}),
        client.crons.search(),
        client.assistants.get_versions("two_steps"),
    ]
    for each in asked:
        with pytest.raises(NotFoundError, match="does not offer"):
            await each
    run = {"input": {}, "webhook": "http://127.0.0.1:1/"}
    with pytest.raises(UnprocessableEntityError, match="does not offer webhooks"):
        await client.runs.create(None, "writes", **run)
    with pytest.raises(UnprocessableEntityError, match="stream_mode is one of"):
        async for _ in client.runs.stream(None, "writes", input={}, stream_mode="nope"):
            pass
    for name in ("multitask_strategy", "if_not_exists", "on_completion", "durability"):
        with pytest.raises(UnprocessableEntityError, match=name):
            await client.runs.create(await new_thread(client), "writes", **{name: "x"})


def test_without_async(shared: Any, topic: str) -> None:
    """The client for plain functions: stream, join, state, history, search, interrupt, answer."""
    client = get_sync_client(url=shared.url)
    thread_id = client.threads.create()["thread_id"]
    created: list[Any] = []
    parts = list(
        client.runs.stream(
            thread_id,
            "asks",
            input={"topic": topic},
            stream_mode=["messages-tuple", "values"],
            stream_resumable=True,
            on_run_created=created.append,
        )
    )
    said = [part.data[0]["content"] for part in parts if part.event == "messages"]
    assert "".join(said) == "one two"
    again = client.runs.join_stream(thread_id, created[0]["run_id"], last_event_id="-1")
    assert list(again) == parts
    assert client.threads.get_state(thread_id)["next"] == ["ask"]
    values: Any = client.runs.wait(thread_id, "asks", command={"resume": "yes"})
    assert values["answer"] == "yes"
    assert len(client.threads.get_history(thread_id)) > 2
    assert client.threads.search(ids=[thread_id])[0]["values"] == values
    assert [each["graph_id"] for each in client.assistants.search(graph_id="asks")] == ["asks"]
    client.http.client.close()
