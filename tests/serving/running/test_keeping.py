"""A served run that is stopped leaves in its thread what it has shown; the next turn works."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client

from tests.generated_graphs import SEEDS, describe, script
from tests.serving.conftest import Server, Shared
from tests.serving.running.test_generated_graphs import shared  # noqa: F401
from tokenweir.testing import Reply

__all__ = ["Server"]

ASKED = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(shared: Shared) -> AsyncIterator[Any]:  # noqa: F811
    async with get_client(url=shared.url) as client:
        yield client


def slow(shared: Shared) -> None:  # noqa: F811
    """The first graph's model says two words and waits."""
    shared.provider._rules.clear()
    shared.provider.on(lambda request: True, Reply("one two three", hold_after=2))


async def two_words(client: Any, thread: str, name: str, **options: Any) -> Any:
    """Start a run, and read it until two words have come; its id."""
    stream = client.runs.stream(
        thread, name, input=ASKED, stream_mode="messages-tuple", stream_subgraphs=True, **options
    )
    run = None
    async for part in stream:
        if part.event == "metadata":
            run = part.data["run_id"]
        elif part.event.startswith("messages") and "two" in part.data[0]["content"]:
            break
    if options:
        await stream.aclose()
    return run


async def cancel(client: Any, thread: str, run: Any) -> None:
    """Cancel a run, unless it is over: its reader may be behind."""
    with contextlib.suppress(httpx.HTTPStatusError):
        await client.runs.cancel(thread, run, wait=True)
    assert (await client.runs.get(thread, run))["status"] not in ("pending", "running")


async def texts(client: Any, thread: str) -> list[tuple[str, bool]]:
    state = await client.threads.get_state(thread)
    assert state["next"] == []
    return [
        (message["content"], message["response_metadata"].get("interrupted", False))
        for message in state["values"]["messages"]
        if message["type"] == "ai"
    ]


@pytest.mark.parametrize("how", ["cancel", "interrupt", "rollback"])
async def test_a_stopped_run(client: Any, shared: Shared, how: Any) -> None:  # noqa: F811
    """Cancelled or interrupted, it keeps what was shown; rolled back, nothing."""
    slow(shared)
    thread = (await client.threads.create())["thread_id"]
    run = await two_words(client, thread, "g4")
    if how == "cancel":
        await client.runs.cancel(thread, run, wait=True)
    else:
        script(shared.provider, describe(4, faults=False))
        await client.runs.wait(thread, "g4", input=ASKED, multitask_strategy=how)
    found = await texts(client, thread)
    assert (("one two", True) in found) is (how != "rollback")
    assert sum(cut for _, cut in found) == (how != "rollback")


async def test_generated_graphs_that_are_stopped(client: Any, shared: Shared) -> None:  # noqa: F811
    """Wherever a run is stopped, its thread has what was shown, and its next turn succeeds."""
    for seed in SEEDS:
        chance, name = random.Random(seed), f"g{seed}"
        description = describe(seed)
        script(shared.provider, description)
        count = chance.randint(2, 30)
        thread = (await client.threads.create())["thread_id"]
        shown: dict[str, str] = {}
        run = None
        async for part in client.runs.stream(
            thread, name, input=ASKED, stream_mode="messages-tuple", stream_subgraphs=True
        ):
            if part.event == "metadata":
                run = part.data["run_id"]
            elif part.event.startswith("messages"):
                message = part.data[0]
                if message["type"] == "remove":
                    del shown[message["id"]]
                else:
                    shown[message["id"]] = shown.get(message["id"], "") + message["content"]
            if (count := count - 1) == 0:
                await cancel(client, thread, run)
        state = await client.threads.get_state(thread)
        assert state["next"] == [], name
        held = {m["id"]: m["content"] for m in state["values"]["messages"] if m["type"] == "ai"}
        assert held == shown, name
        script(shared.provider, describe(seed, faults=False))
        await client.runs.wait(thread, name, input=ASKED)
        assert (await client.threads.get_state(thread))["next"] == [], name
