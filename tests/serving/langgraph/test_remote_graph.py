"""``RemoteGraph`` against the served process: what a local graph can do, from far away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client
from pydantic import BaseModel

from tokenweir import astream, objects
from tokenweir.streaming.content import text_of
from tokenweir.testing import Reply


@pytest.fixture
def topic(shared: Any) -> str:
    """A topic that only this test asks about."""
    name = uuid4().hex
    shared.provider.on(f"first {name}", "one two")
    shared.provider.on(f"second {name}", "three")
    return name


@pytest.fixture
async def remote(shared: Any) -> AsyncIterator[Callable[[str], RemoteGraph]]:
    """A served graph by its name, with clients that are closed in the end."""
    client, sync_client = get_client(url=shared.url), get_sync_client(url=shared.url)
    yield lambda name: RemoteGraph(name, client=client, sync_client=sync_client)
    await client.http.client.aclose()
    sync_client.http.client.close()


def on_thread() -> Any:
    return {"configurable": {"thread_id": str(uuid4())}}


def said(parts: list[Any]) -> str:
    """The text of the tokens of subgraphs in ``(namespace, mode, data)``."""
    return "".join(text_of(data[0]) for ns, mode, data in parts if ns and mode == "messages")


def check(parts: list[Any]) -> None:
    """Tokens and updates of a nested run, each under the namespace that it comes from."""
    assert said(parts) == "one twothree"
    updates = [(bool(ns), data) for ns, mode, data in parts if mode == "updates"]
    assert updates[:2] == [
        (True, {"first_step": {"first": "one two"}}),
        (True, {"second_step": {"second": "three"}}),
    ]
    assert [next(iter(data)) for inside, data in updates if not inside] == ["child", "beside"]


class Joke(BaseModel):
    setup: str
    punchline: str


async def test_objects_from_afar(remote: Any, shared: Any) -> None:
    """Structured output grows over HTTP as it does here, token by token."""
    topic = uuid4().hex
    said = ['{"setup": "Why', " did", ' it?", "punchline": ', '"So', '."}']
    shared.provider.on(f"first {topic}", Reply(tokens=said))
    shared.provider.on(f"second {topic}", "three")
    tokens = astream(remote("two_steps"), {"topic": topic}, only="node:first_step")
    made = [joke async for joke in objects(tokens, Joke)]
    assert [joke.setup for joke in made] == ["Why", "Why did", *["Why did it?"] * (len(made) - 2)]
    assert [joke.punchline for joke in made[2:]] == [None, "So", "So.", "So."]
    assert made[-1] == Joke(setup="Why did it?", punchline="So.")


async def test_several_modes_with_subgraphs(remote: Any, topic: str) -> None:
    """Tuples of namespace, mode and data, by astream as by stream."""
    graph = remote("nested")
    how: Any = {"stream_mode": ["messages", "updates"], "subgraphs": True}
    check([part async for part in graph.astream({"topic": topic}, **how)])
    check(list(graph.stream({"topic": topic}, **how)))


async def test_an_interrupt_inside_of_a_subgraph(remote: Any, topic: str) -> None:
    """It is told, is in the state of the task below, and Command(resume=) goes on from it."""
    graph = remote("asks_inside")
    config = on_thread()
    values: Any = await graph.ainvoke({"topic": topic}, config)
    assert "answer" not in values
    state = await graph.aget_state(config, subgraphs=True)
    [task] = state.tasks
    assert task.name == "child"
    below: Any = task.state
    assert below.next == ("ask",)
    assert below.values["first"] == "one two"
    assert [each.value for each in state.interrupts] == [{"question": f"about {topic}?"}]
    parts: Any = [
        part async for part in graph.astream(Command(resume="yes"), config, stream_mode="values")
    ]
    assert parts[-1]["answer"] == "yes"
    assert (await graph.aget_state(config)).next == ()


def test_an_interrupt_without_async(remote: Any, topic: str) -> None:
    """As above, by the methods for plain functions."""
    graph = remote("asks_inside")
    config = on_thread()
    graph.invoke({"topic": topic}, config)
    [task] = graph.get_state(config, subgraphs=True).tasks
    below: Any = task.state
    assert below.next == ("ask",)
    values: Any = graph.invoke(Command(resume="yes"), config)
    assert values["answer"] == "yes"


async def test_history_and_updates(remote: Any, topic: str) -> None:
    """The history is newest first; a state that was changed is what the run goes on from."""
    graph = remote("two_steps")
    config = on_thread()
    await graph.ainvoke({"topic": topic}, config)
    states = [state async for state in graph.aget_state_history(config)]
    assert [state.next for state in states] == [
        (),
        ("second_step",),
        ("first_step",),
        ("__start__",),
    ]
    await graph.aupdate_state(config, {"first": "changed"}, as_node="first_step")
    changed = await graph.aget_state(config)
    assert (changed.next, changed.values["first"]) == (("second_step",), "changed")
    values: Any = await graph.ainvoke(None, config)
    assert (values["first"], values["second"]) == ("changed", "three")
    assert len([state async for state in graph.aget_state_history(config, limit=2)]) == 2


def test_history_and_updates_without_async(remote: Any, topic: str) -> None:
    """As above, by the methods for plain functions."""
    graph = remote("two_steps")
    config = on_thread()
    graph.invoke({"topic": topic}, config)
    states = list(graph.get_state_history(config))
    assert [state.next for state in states][:2] == [(), ("second_step",)]
    graph.update_state(config, {"first": "changed"}, as_node="first_step")
    assert graph.get_state(config).values["first"] == "changed"
    values: Any = graph.invoke(None, config)
    assert (values["first"], values["second"]) == ("changed", "three")
