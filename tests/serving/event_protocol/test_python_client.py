"""``client.threads.stream()`` of ``langgraph_sdk``, unmodified, against the served process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client

from tests import http_client
from tests.serving.conftest import GRAPHS, Server
from tokenweir.testing import Provider, Reply, ToolCall

NAMES = ("two_steps", "nested", "asks", "asks_inside", "writes", "fails", "fans", "waits_beside")
SAMPLES = GRAPHS.with_name("sample_graphs.py")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, provider_: Provider) -> Any:
    """A server for all tests of this module."""
    words = [*(f"sample:{name}" for name in NAMES), "talk=sample:talk"]
    words += [f"agent={SAMPLES}:tagged_agent", "joke_poem_parallel", f"by_hand={SAMPLES}:by_hand"]
    server = Server(words, tmp_path_factory.mktemp("server"), provider_.environ)
    assert server.url.startswith("http://"), server.stderr()
    yield server.url
    server.close()


@pytest.fixture(scope="module")
def provider_() -> Any:
    with Provider() as provider:
        yield provider


@pytest.fixture
async def client(url: str) -> AsyncIterator[Any]:
    client = get_client(url=url)
    yield client
    await client.http.client.aclose()


@pytest.fixture
def topic(provider_: Provider) -> str:
    """A topic that only this test asks about; two_steps says ``one two``, then ``three``."""
    name = uuid4().hex
    provider_.on(f"first {name}", "one two")
    provider_.on(f"second {name}", "three")
    return name


async def within(work: Any) -> Any:
    """What it gives, within a time in which nothing but a fault would take longer."""
    return await asyncio.wait_for(work, 60)


async def all_of(items: Any) -> list[Any]:
    return [item async for item in items]


async def texts(messages: Any) -> list[tuple[str | None, str]]:
    """The node and the text of each message, when all have ended."""
    return [(each.node, await each.text) for each in await all_of(messages)]


def human(text: str) -> Any:
    return {"messages": [{"type": "human", "content": text}]}


async def test_messages_values_and_output(client: Any, topic: str) -> None:
    """Each call is a message with its node, and ``await message.text`` ends; the values follow."""
    async with client.threads.stream(assistant_id="two_steps") as thread:
        await thread.run.start(input={"topic": topic})
        said, values = await within(asyncio.gather(texts(thread.messages), all_of(thread.values)))
        output = await within(thread.output)
    assert said == [("first_step", "one two"), ("second_step", "three")]
    assert output == values[-1] == {"topic": topic, "first": "one two", "second": "three"}


async def test_tokens_come_one_by_one(client: Any, provider_: Provider) -> None:
    """A message's text can be read while the model still writes it."""
    name = uuid4().hex
    provider_.on(name, Reply("one two three", hold_after=2))
    async with client.threads.stream(assistant_id="talk") as thread:
        await thread.run.start(input=human(name))
        feed = asyncio.ensure_future(all_of(thread.messages))
        events = thread.subscribe(["messages"])
        seen = ""
        async for event in events:
            data = event["params"]["data"]
            if data["event"] == "content-block-delta":
                seen += data["delta"]["text"]
            if seen == "one two":
                provider_.release()
                break
        [first] = await within(feed)
        assert [text async for text in first.text] == ["one", " two", " three"]


async def test_a_reader_tells_the_joke_from_the_poem(client: Any, provider_: Provider) -> None:
    """Two calls at once: each message begins with its tags, and no text goes to the other one."""
    name = uuid4().hex
    provider_.on(f"joke about {name}", "ha ha ha ha")
    provider_.on(f"poem about {name}", "la la la la")
    async with client.threads.stream(assistant_id="joke_poem_parallel") as thread:
        await thread.run.start(input={"topic": name})
        found = await within(all_of(thread.messages))
        await within(thread.output)
    lanes = {each._start_metadata["tags"][0]: await each.text for each in found}
    assert lanes == {"joke": "ha ha ha ha", "poem": "la la la la"}


async def test_calls_of_one_node_at_once(client: Any, provider_: Provider) -> None:
    """Messages of one node that are written at the same time stay apart."""
    topics = [uuid4().hex for _ in range(4)]
    for number, name in enumerate(topics):
        provider_.on(f"about {name}", f"{number} " * 5)
    async with client.threads.stream(assistant_id="fans") as thread:
        await thread.run.start(input={"topics": topics})
        said = [text for _, text in await within(texts(thread.messages))]
    assert sorted(said) == sorted(f"{number} " * 5 for number in range(4))


async def test_two_turns_are_two_messages(client: Any, provider_: Provider) -> None:
    """Each turn on a thread has its own message, on the same stream and on a new one."""
    first, second, third = uuid4().hex, uuid4().hex, uuid4().hex
    for name in (first, second, third):
        provider_.on(name, f"to {name[:8]}")
    async with client.threads.stream(assistant_id="talk") as thread:
        await thread.run.start(input=human(first))
        assert await within(texts(thread.messages)) == [("talk", f"to {first[:8]}")]
        await thread.run.start(input=human(second))
        assert await within(texts(thread.messages)) == [("talk", f"to {second[:8]}")]
        thread_id = thread.thread_id
    async with client.threads.stream(thread_id, assistant_id="talk") as thread:
        await thread.run.start(input=human(third))
        said, output = await within(asyncio.gather(texts(thread.messages), thread.output))
    assert said == [("talk", f"to {third[:8]}")]
    assert [message["content"] for message in output["messages"]] == [
        *(first, f"to {first[:8]}", second, f"to {second[:8]}", third, f"to {third[:8]}")
    ]


async def test_a_question_and_its_answer(client: Any, topic: str) -> None:
    """A run that waits for somebody says for what; the answer goes on with it."""
    async with client.threads.stream(assistant_id="asks") as thread:
        await thread.run.start(input={"topic": topic})
        said = await within(texts(thread.messages))
        assert said == [("first_step", "one two")]
        assert thread.interrupted
        assert thread.interrupts[0]["value"] == {"question": f"about {topic}?"}
        await thread.run.respond("yes")
        assert (await within(thread.output))["answer"] == "yes"


async def test_an_answer_on_another_connection(client: Any, topic: str) -> None:
    """Who comes back to a thread that waits is asked again."""
    async with client.threads.stream(assistant_id="asks") as thread:
        await thread.run.start(input={"topic": topic})
        await within(texts(thread.messages))
        thread_id = thread.thread_id
    async with client.threads.stream(thread_id, assistant_id="asks") as thread:
        async for _ in thread.values:  # ends when the question comes
            pass
        await thread.run.respond("no")
        assert (await within(thread.output))["answer"] == "no"


async def test_an_answer_that_nobody_waits_for(client: Any, topic: str, url: str) -> None:
    """is refused with the protocol's word."""
    async with client.threads.stream(assistant_id="two_steps") as thread:
        await thread.run.start(input={"topic": topic})
        await within(thread.output)
        params = {"namespace": [], "interrupt_id": "none", "response": 1}
        with pytest.raises(RuntimeError, match="no_such_interrupt"):
            await thread._send_command("input.respond", params)


async def test_tool_calls(client: Any, provider_: Provider) -> None:
    """A tool's beginning and its result; the model's call is in its message."""
    name = uuid4().hex
    provider_.on(name, Reply(tool_calls=[ToolCall("calculate", '{"expression": "6*7"}')]))
    async with client.threads.stream(assistant_id="agent") as thread:
        await thread.run.start(input=human(name))
        messages, tools = await within(
            asyncio.gather(all_of(thread.messages), all_of(thread.tool_calls))
        )
    [tool] = tools
    assert (tool.name, tool.input) == ("calculate", {"expression": "6*7"})
    assert "42" in str(await tool.output)
    [call] = (await messages[0].output).tool_calls
    assert (call["name"], call["args"]) == ("calculate", {"expression": "6*7"})


async def test_subgraphs(client: Any, topic: str) -> None:
    """A subgraph is found, its messages are its own, and it ends."""
    async with client.threads.stream(assistant_id="nested") as thread:
        await thread.run.start(input={"topic": topic})
        found = await within(all_of(thread.subgraphs))
        [child] = [each for each in found if each.graph_name == "child"]
        said = await within(texts(child.messages))
    assert (child.status, said) == (
        "completed",
        [("first_step", "one two"), ("second_step", "three")],
    )


async def test_custom_updates_tasks_and_checkpoints(client: Any) -> None:
    """What a node writes, each node's update, tasks and checkpoints really arrive."""
    async with client.threads.stream(assistant_id="writes") as thread:
        await thread.run.start(input={"topic": "x"})
        events = await within(
            all_of(thread.subscribe(["custom", "updates", "tasks", "checkpoints"]))
        )
    data = [(each["method"], each["params"]["data"]) for each in events]
    assert [each["payload"] for method, each in data if method == "custom"] == [
        {"stage": "start"},
        {"stage": "end"},
    ]
    assert ("updates", {"node": "custom", "values": {"answer": "done"}}) in data
    assert [each["name"] for method, each in data if method == "tasks"] == ["custom", "custom"]
    assert [each["step"] for method, each in data if method == "checkpoints"] == [-1, 0, 1]


async def test_tokens_of_a_client_without_langchain(client: Any) -> None:
    """What ``write_tokens`` writes is a message like any other."""
    async with client.threads.stream(assistant_id="by_hand") as thread:
        await thread.run.start(input={"name": "x"})
        assert await within(texts(thread.messages)) == [("by_hand", "by hand")]


async def test_a_run_that_fails(client: Any) -> None:
    """The error is raised where the output is awaited."""
    async with client.threads.stream(assistant_id="fails") as thread:
        await thread.run.start(input={"topic": "x"})
        with pytest.raises(RuntimeError, match="boom"):
            await within(thread.output)


async def test_a_run_that_is_stopped(client: Any, provider_: Provider) -> None:
    """Its message ends with what came, and so does the output."""
    name = uuid4().hex
    provider_.on(f"first {name}", Reply("la la la", stall_after=2))
    async with client.threads.stream(assistant_id="two_steps") as thread:
        started = await thread.run.start(input={"topic": name})
        messages = thread.messages.__aiter__()
        message = await within(anext(messages))
        feeding = asyncio.ensure_future(all_of(messages))
        async for _ in message.text:
            break
        await client.runs.cancel(thread.thread_id, started["run_id"])
        await within(feeding)
        assert await within(message.text) in ("la", "la la")
        await within(thread.output)


async def test_going_on_from_a_number(client: Any, topic: str, url: str) -> None:
    """Every number is a place to go on from: what follows is what had followed it."""
    async with client.threads.stream(assistant_id="nested") as thread:
        await thread.run.start(input={"topic": topic})
        await within(thread.output)
        await thread.run.start(input={"topic": topic})
        thread_id = thread.thread_id
    channels = ["messages", "values", "lifecycle", "checkpoints", "tasks"]
    whole = await follow(url, thread_id, {"channels": channels, "since": 0}, ends=2)
    numbers = [event["seq"] for event in whole]
    assert numbers == sorted(set(numbers))
    for place in range(0, len(whole), 7):
        body = {"channels": channels, "since": numbers[place]}
        ends = sum(is_end(event) for event in whole[place + 1 :])
        rest = await follow(url, thread_id, body, ends=ends)
        assert plain(rest) == plain(whole[place + 1 :])
    last = [event for event in whole if event["params"]["data"].get("run_id")][-1]
    latest = await follow(url, thread_id, {"channels": channels}, ends=1)
    assert plain(latest)[-1] == plain([last])[0]
    assert plain(latest) == plain(whole[-len(latest) :])


def is_end(event: Any) -> bool:
    params = event["params"]
    over = params["data"].get("event") in ("completed", "failed") if params["data"] else False
    return event["method"] == "lifecycle" and not params["namespace"] and over


def plain(events: list[Any]) -> list[Any]:
    """Events without the time at which they were sent."""
    return [
        {**event, "params": {n: v for n, v in event["params"].items() if n != "timestamp"}}
        for event in events
    ]


async def follow(url: str, thread_id: str, body: Any, *, ends: int) -> list[Any]:
    """The events of a thread's stream, until so many runs have ended."""
    found: list[Any] = []
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("POST", f"{url}/threads/{thread_id}/stream/events", json=body) as response,
    ):
        assert response.status_code == 200
        if ends == 0:
            return found
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                found.append(httpx.Response(200, content=line[6:]).json())
                ends -= is_end(found[-1])
                if ends == 0:
                    break
    return found


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"channels": []}, "channels are any of"),
        ({"channels": ["nope"]}, "nope"),
        ({}, "channels is missing"),
        ({"channels": ["values"], "since": -1}, "since"),
    ],
)
def test_wrong_subscriptions(url: str, body: Any, says: str) -> None:
    """are refused, with what is wrong."""
    thread_id = http_client.post(f"{url}/threads", json={}).json()["thread_id"]
    answer = http_client.post(f"{url}/threads/{thread_id}/stream/events", json=body)
    assert answer.status_code == 422
    assert says in answer.text


def test_a_thread_that_is_not_there(url: str) -> None:
    """has no events; a run makes it."""
    address = f"{url}/threads/{uuid4()}/stream/events"
    assert http_client.post(address, json={"channels": ["values"]}).status_code == 404


async def test_other_commands(client: Any, topic: str) -> None:
    """The state, earlier states, going on from one of them, a message more, the tree of graphs."""
    async with client.threads.stream(assistant_id="nested") as thread:
        send: Callable[..., Any] = thread._send_command
        await thread.run.start(input={"topic": topic})
        await within(thread.output)
        state = await send("state.get", {"namespace": [], "keys": ["first"]})
        assert state["values"] == {"first": "one two"}
        found = (await send("state.listCheckpoints", {"limit": 2}))["checkpoints"]
        assert [each["step"] for each in found] == [2, 1]
        assert found[0]["id"] == state["checkpoint"]["id"]
        more = await send("state.listCheckpoints", {"before": found[1]["id"]})
        assert more["checkpoints"][0]["step"] == 0
        tree = (await send("agent.getTree", {}))["tree"]
        assert (tree["status"], tree["graph_name"]) == ("completed", "nested")
        assert [each["graph_name"] for each in tree["children"]] == ["child"]
        forked = await send("state.fork", {"checkpoint_id": found[1]["id"]})
        assert (await client.runs.join(thread.thread_id, forked["run_id"]))["first"] == "one two"
        with pytest.raises(RuntimeError, match="no_such_checkpoint"):
            await send("state.fork", {"checkpoint_id": str(uuid4())})
        with pytest.raises(RuntimeError, match="not_supported"):
            await send("subscription.reconnect", {"run_id": forked["run_id"]})
        with pytest.raises(RuntimeError, match="unknown_command"):
            await send("nope", {})
        with pytest.raises(RuntimeError, match="invalid_argument"):
            await send("run.start", {"assistant_id": "no such graph", "input": {}})


async def test_a_message_is_put_in(client: Any, provider_: Provider) -> None:
    """``input.inject`` is one more turn."""
    first, second = uuid4().hex, uuid4().hex
    provider_.on(first, "one")
    provider_.on(second, "two")
    async with client.threads.stream(assistant_id="talk") as thread:
        await thread.run.start(input=human(first))
        await within(thread.output)
        message = {"role": "user", "content": second}
        started = await thread._send_command("input.inject", {"namespace": [], "message": message})
        values = await client.runs.join(thread.thread_id, started["run_id"])
    assert [each["content"] for each in values["messages"]] == [first, "one", second, "two"]


# RemoteGraph


@pytest.fixture
async def remote(url: str) -> AsyncIterator[Callable[[str], RemoteGraph]]:
    client, sync_client = get_client(url=url), get_sync_client(url=url)
    yield lambda name: RemoteGraph(name, client=client, sync_client=sync_client)
    await client.http.client.aclose()
    sync_client.http.client.close()


async def test_remote_graph(remote: Any, topic: str) -> None:
    """``RemoteGraph.astream_events(version="v3")`` is a run stream, like a local graph's."""
    async with await remote("two_steps").astream_events({"topic": topic}, version="v3") as run:
        said = await within(texts(run.messages))
        output = await within(run.output())
    assert [text for _, text in said] == ["one two", "three"]
    assert output["second"] == "three"


def test_remote_graph_in_a_thread(remote: Any, topic: str) -> None:
    """``RemoteGraph.stream_events(version="v3")`` is its sync twin."""
    with remote("two_steps").stream_events({"topic": topic}, version="v3") as run:
        said = [str(message.text) for message in run.messages]
        assert run.output["second"] == "three"
    assert said == ["one two", "three"]


async def test_remote_graph_on_a_thread(remote: Any, topic: str) -> None:
    """A second run on a thread has its own output; ``Command(resume=...)`` answers."""
    config = {"configurable": {"thread_id": str(uuid4())}}
    graph = remote("asks")
    async with await graph.astream_events({"topic": topic}, config, version="v3") as run:
        await within(texts(run.messages))
        assert await run.interrupted()
    answer: Command[Any] = Command(resume="sure")
    async with await graph.astream_events(answer, config, version="v3") as run:
        assert (await within(run.output()))["answer"] == "sure"
