"""The event protocol over a WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tokenweir.testing import Provider, Reply


@pytest.fixture
def server(serve: Callable[..., Any], provider: Provider) -> Any:
    provider.on("first", "one two")
    provider.on("second", "three")
    return serve("sample:two_steps", "sample:asks")


@pytest.fixture
async def client(server: Any) -> AsyncIterator[Any]:
    client = get_client(url=server.url)
    yield client
    await client.http.client.aclose()


def address(server: Any, thread_id: str) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/threads/{thread_id}/stream/events"


async def ask(socket: Any, number: int, method: str, **params: Any) -> Any:
    """The answer to a command; events that come before it are left out."""
    await socket.send(json.dumps({"id": number, "method": method, "params": params}))
    return await answer_to(socket, number)


async def answer_to(socket: Any, number: int | None) -> Any:
    while True:
        said = json.loads(await asyncio.wait_for(socket.recv(), 60))
        if said["type"] != "event" and said["id"] == number:
            return said


async def test_pythons_client(client: Any) -> None:
    """``threads.stream(transport="websocket")``: messages, output, a question and its answer."""
    async with client.threads.stream(assistant_id="asks", transport="websocket") as thread:
        await thread.run.start(input={"topic": "x"})
        messages = [each async for each in thread.messages]
        assert [await each.text for each in messages] == ["one two"]
        assert thread.interrupts[0]["value"] == {"question": "about x?"}
        await thread.run.respond("yes")
        assert (await asyncio.wait_for(thread.output, 60))["answer"] == "yes"


async def test_commands_and_subscriptions(server: Any) -> None:
    """All on one connection: start, subscribe, go on from a number, unsubscribe, be told what is
    wrong."""
    thread_id = str(uuid4())
    async with connect(address(server, thread_id)) as socket:
        answer = await ask(socket, 1, "subscription.subscribe", channels=["values"])
        assert answer["error"] == "no_such_run"  # there is no thread yet
        given = {"assistant_id": "two_steps", "input": {"topic": "x"}}
        assert (await ask(socket, 2, "run.start", **given))["type"] == "success"
        answer = await ask(socket, 3, "subscription.subscribe", channels=["messages", "lifecycle"])
        name = answer["result"]["subscription_id"]
        events: list[Any] = []
        while not events or events[-1]["params"]["data"]["event"] != "completed":
            events.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
        deltas = [each["params"]["data"].get("delta") for each in events]
        assert "".join(each["text"] for each in deltas if each) == "one twothree"
        assert (await ask(socket, 4, "subscription.unsubscribe", subscription_id=name))[
            "result"
        ] == {}
        again = await ask(socket, 5, "subscription.unsubscribe", subscription_id=name)
        assert again["error"] == "no_such_subscription"
        since = events[4]["seq"]
        await ask(socket, 6, "subscription.subscribe", channels=["messages"], since=since)
        following = json.loads(await asyncio.wait_for(socket.recv(), 60))
        assert following["event_id"] == events[5]["event_id"]
        assert (await ask(socket, 7, "subscription.subscribe", channels=["x"]))["type"] == "error"
        await socket.send("no json")
        assert (await answer_to(socket, None))["error"] == "invalid_argument"
        await socket.send(b'{"id": 9, "method": "state.get"}')
        assert (await answer_to(socket, 9))["type"] == "success"
        assert (await ask(socket, 8, "state.get"))["result"]["values"]["second"] == "three"


async def test_one_order_over_all_subscriptions(server: Any, provider: Provider) -> None:
    """Whichever subscription an event is sent for, it comes after all that were before it: a run's
    end is sent for one when the others have been sent all messages, and those who are about to
    subscribe count."""
    provider.on("long", "w " * 3000)
    thread_id = str(uuid4())
    async with connect(address(server, thread_id)) as socket:
        given = {"assistant_id": "two_steps", "input": {"topic": "long"}}
        run = (await ask(socket, 1, "run.start", **given))["result"]["run_id"]
        async with get_client(url=server.url) as client:
            await client.runs.join(thread_id, run)
        wanted = [["lifecycle"], ["values", "lifecycle"], ["messages", "lifecycle"], ["updates"]]
        for number, channels in enumerate(wanted, 2):
            params = {"channels": channels}
            command = {"id": number, "method": "subscription.subscribe", "params": params}
            await socket.send(json.dumps(command))
        numbers, ends = dict[int, str](), 0
        while ends < 3:
            event = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if event["type"] == "event":
                numbers.setdefault(event["seq"], event["method"])
                ends += event["params"]["data"].get("event") == "completed"
        assert list(numbers) == sorted(numbers)
        assert set(numbers.values()) == {"lifecycle", "values", "messages", "updates"}


async def test_who_waits_for_the_next_run_holds_back_nobody(server: Any) -> None:
    """Neither does one that asks for what comes behind a number that nothing has yet."""
    thread_id = str(uuid4())
    async with connect(address(server, thread_id)) as socket:
        given = {"assistant_id": "two_steps", "input": {"topic": "x"}}
        await ask(socket, 1, "run.start", **given)
        await ask(socket, 2, "subscription.subscribe", channels=["lifecycle"])
        while json.loads(await asyncio.wait_for(socket.recv(), 60))["params"]["data"]["event"] != (
            "completed"
        ):
            pass
        # That end was told: who only watches for ends waits for the next one.
        await ask(socket, 3, "subscription.subscribe", channels=["lifecycle", "input"])
        await ask(socket, 4, "subscription.subscribe", channels=["values"], since=2**52)
        await ask(socket, 5, "subscription.subscribe", channels=["messages"])
        event = json.loads(await asyncio.wait_for(socket.recv(), 60))
        assert event["method"] == "messages"


async def test_a_client_that_comes_back(server: Any) -> None:
    """is told that its subscriptions ended with its connection, and goes on from a number."""
    thread_id = str(uuid4())
    async with connect(address(server, thread_id)) as socket:
        given = {"assistant_id": "two_steps", "input": {"topic": "x"}}
        run = (await ask(socket, 1, "run.start", **given))["result"]["run_id"]
        answer = await ask(socket, 2, "subscription.subscribe", channels=["messages", "lifecycle"])
        name = answer["result"]["subscription_id"]
        missed = [json.loads(await asyncio.wait_for(socket.recv(), 60)) for _ in range(4)]
        about = {"run_id": run, "subscriptions": [name]}
        answer = await ask(socket, 3, "subscription.reconnect", **about)
        assert answer["result"] == {"restored": True}
    async with connect(address(server, thread_id)) as socket:
        answer = await ask(socket, 1, "subscription.reconnect", **about, last_event_id="1")
        assert answer["result"] == {"restored": False}
        answer = await ask(socket, 2, "subscription.reconnect", run_id=str(uuid4()))
        assert answer["error"] == "no_such_run"
        assert (await ask(socket, 3, "subscription.reconnect"))["error"] == "invalid_argument"
        since = missed[0]["seq"]
        await ask(socket, 4, "subscription.subscribe", channels=["messages"], since=since)
        again = json.loads(await asyncio.wait_for(socket.recv(), 60))
        assert again["seq"] > since


async def test_keys_and_origins(serve: Callable[..., Any], provider: Provider) -> None:
    """A handshake needs what a request needs: a key, and a page of an origin that is listed."""
    provider.on("first", "one")
    provider.on("second", "two")
    server = serve("sample:two_steps", "--memory", TOKENWEIR_API_KEYS="ann,bob")
    thread_id = str(uuid4())
    place = address(server, thread_id)
    with pytest.raises(InvalidStatus):
        await connect(place)
    ann, bob = {"x-api-key": "ann"}, {"x-api-key": "bob"}
    with pytest.raises(InvalidStatus):
        await connect(place, additional_headers=ann, origin="https://elsewhere.example")  # type: ignore[arg-type]
    given = {"assistant_id": "two_steps", "input": {"topic": "x"}}
    async with connect(place, additional_headers=ann) as socket:
        assert (await ask(socket, 1, "run.start", **given))["type"] == "success"
        assert (await ask(socket, 2, "state.get"))["type"] == "success"
    async with connect(place, additional_headers=bob) as socket:
        for number, method in enumerate(("state.get", "run.start", "subscription.subscribe")):
            params = {**given, "channels": ["values"]}
            assert (await ask(socket, number, method, **params))["type"] == "error"


async def test_a_server_that_stops(serve: Callable[..., Any], provider: Provider) -> None:
    """Who follows a thread is told to come back, and what is under way goes on later."""
    provider.on("first", Reply("one two", hold_after=1))
    server, thread_id = serve("sample:two_steps", "--drain-seconds", "0"), str(uuid4())
    async with connect(address(server, thread_id)) as socket:
        given = {"assistant_id": "two_steps", "input": {"topic": "x"}}
        await ask(socket, 1, "run.start", **given)
        await ask(socket, 2, "subscription.subscribe", channels=["messages"])
        await asyncio.wait_for(socket.recv(), 60)
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(socket.recv(), 60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert await asyncio.to_thread(server.process.wait, 30) == 0
