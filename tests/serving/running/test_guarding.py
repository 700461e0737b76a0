"""What a served guard forbids is in no record and no state, however the run is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tests.serving.conftest import Server
from tokenweir import chat_model, guard, tag
from tokenweir.cli.serve import serve as serve_command
from tokenweir.serving.app import create_app
from tokenweir.testing import Provider, Reply

SECRET = Reply(tokens=["The", " key", " is", " sk-", "12", "34", ".", " Bye"], hold_after=7)
ASKED = {"input": {"messages": "hi"}}


def graph_of(provider: Provider, *, streams: bool = True) -> Any:
    model = chat_model(
        "openai:gpt-4o-mini",
        tags=["answer"],
        base_url=provider.base_url,
        api_key="test",
        max_retries=0,
        **({} if streams else {"disable_streaming": True}),
    )

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()


@asynccontextmanager
async def serving(graph: Any, *guards: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app({"talk": graph}, guards=guards)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


async def all_of_it(client: httpx.AsyncClient) -> tuple[str, Any]:
    """What a run tells, as plain events and in all of LangGraph's modes, and its thread's state."""
    thread = (await client.post("/threads", json={})).json()["thread_id"]
    told = await client.post("/graphs/talk/events", json={**ASKED, "thread_id": thread})
    state = (await client.get(f"/threads/{thread}/state")).json()
    runs = (await client.get(f"/threads/{thread}/runs")).json()
    again = await client.get(f"/runs/{runs[0]['run_id']}/events")
    return told.text + again.text, state


@pytest.mark.parametrize("check", [r"sk-\d+", lambda text: "sk-" in text])
async def test_an_error(provider: Provider, check: Any) -> None:
    """The run ends with an error at the match; nothing of it is told, recorded or kept."""
    # A function is asked only when the text is long, or at its end.
    provider.reply(SECRET if isinstance(check, str) else Reply(tokens=SECRET.tokens))
    async with serving(graph_of(provider), guard(tag("answer"), check)) as client:
        told, state = await all_of_it(client)
    assert "sk-" not in told
    assert "sk-" not in str(state)
    assert "GuardError" in told
    if isinstance(check, str):
        assert '"text":" is"' in told
        await provider.requests[-1].aclosed(60)


async def test_a_replacement(provider: Provider) -> None:
    """The answer ends in the replacement, and so does the thread's; the next turn goes on."""
    provider.reply(SECRET, "Fine.")
    safe = guard(tag("answer"), r"sk-\d+", replacement=" [removed]")
    async with serving(graph_of(provider), safe) as client:
        told, state = await all_of_it(client)
        assert "sk-" not in told
        assert '"text":" [removed]"' in told
        assert '"status":"success"' in told
        assert state["next"] == []
        assert state["values"]["messages"][-1]["content"] == "The key is [removed]"
        thread = state["checkpoint"]["thread_id"]
        asked = {"assistant_id": "talk", **ASKED}
        done = (await client.post(f"/threads/{thread}/runs/wait", json=asked)).json()
    assert done["messages"][-1]["content"] == "Fine."


@pytest.mark.parametrize("mode", ["values", "updates", "tasks", "debug", "checkpoints"])
async def test_what_is_not_streamed(provider: Provider, mode: str) -> None:
    """An answer that is not streamed, or not asked for as tokens, comes into no other mode."""
    provider.reply(Reply("The key is sk-1234."))
    async with serving(graph_of(provider, streams=False), guard(None, r"sk-\d+")) as client:
        asked = {"assistant_id": "talk", **ASKED, "stream_mode": [mode]}
        told = (await client.post("/runs/stream", json=asked)).text
    assert "GuardError" in told
    assert "sk-" not in told


async def test_events_of_langchain(provider: Provider) -> None:
    """The stream mode ``events`` tells tokens past every guard: it is refused."""
    async with serving(graph_of(provider), guard(None, "x+y")) as client:
        asked = {"assistant_id": "talk", **ASKED, "stream_mode": ["events"]}
        told = await client.post("/runs/stream", json=asked)
    assert told.status_code == 422
    assert "guards" in told.text


async def test_all_else_passes(provider: Provider) -> None:
    """Calls that a guard does not look at, and text that it does not forbid, are recorded whole."""
    provider.on(lambda request: True, Reply("The key is sk-1234."))
    async with serving(graph_of(provider), guard(tag("other"), r"sk-\d+")) as client:
        told, state = await all_of_it(client)
        assert "sk-1234" in told
    async with serving(graph_of(provider), guard(None, r"key\d"), guard(None, "nothing")) as client:
        told, state = await all_of_it(client)
    assert state["values"]["messages"][-1]["content"] == "The key is sk-1234."
    assert told.count('"text":" key"') == 1  # and in the sum of the second reader
    assert '"text":"The key is sk-1234."' in told


def test_on_the_command_line(
    serve: Callable[..., Server], http: httpx.Client, provider: Provider
) -> None:
    """``--guard FILTER REGEX`` guards all graphs of a server."""
    provider.on("joke", "Ha, secret.")
    provider.on("poem", "A secret rose.")
    server = serve("joke_poem", "--guard", "tag:joke", "secret", "--guard", "all", "no.?body")
    told = http.get(f"{server.url}/graphs/joke_poem/events?topic=cats").text
    assert "secret" not in told
    assert "GuardError" in told
    wrong = CliRunner().invoke(serve_command, ["joke_poem", "--guard", "tag:joke", "("])
    assert wrong.exit_code == 2
    assert "is no regular expression" in wrong.output


def test_an_asynchronous_check() -> None:
    """A server cannot wait for a check: it is refused."""

    async def check(text: str) -> bool:
        return False

    with pytest.raises(TypeError, match="regular expression or a plain function"):
        create_app({}, guards=[guard(None, check)])


async def test_messages_that_nodes_write(provider: Provider) -> None:
    """A message that a node returns is looked at, too, where it is told as a token."""
    done = StateGraph(MessagesState).add_node(
        "ask", lambda state: {"messages": [AIMessage("sk-1")]}
    )
    async with serving(done.add_edge(START, "ask").compile(), guard(None, r"sk-\d+")) as client:
        told = (await client.post("/graphs/talk/events", json=ASKED)).text
    assert "sk-" not in told
    assert "GuardError" in told
