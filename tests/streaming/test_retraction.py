"""Messages of failed attempts are retracted: what a stream has shown is what the state says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy

from tests.generated_graphs import SEEDS, added_up, build, describe, expected, script
from tokenweir import (
    astream,
    chat_model,
    collect,
    completion_model,
    lanes,
    stream,
    tag,
    text,
)
from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.testing import Provider, Reply

POLICY = RetryPolicy(initial_interval=0, jitter=False, max_attempts=5, retry_on=Exception)
CUT = Reply("one two three four", cut_after=3)
WHOLE = "one two three four five six"


def our_model(provider: Provider, **kwargs: Any) -> Any:
    return chat_model(
        "openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", max_retries=0, **kwargs
    )


@pytest.fixture(params=["plain_model", "our_model"])
async def make(
    request: pytest.FixtureRequest, provider: Provider
) -> AsyncIterator[Callable[[], Any]]:
    """Makes a model of LangChain's own, or one of ours."""
    if request.param == "our_model":
        yield lambda: our_model(provider)
        return
    given: dict[str, Any] = {"base_url": provider.base_url, "api_key": "test", "max_retries": 0}
    # The HTTP client that LangChain keeps for all models would outlive the loop of this test, and
    # its connections would be found open by whichever test collects the garbage.
    async with openai.DefaultAsyncHttpxClient() as http:
        yield lambda: ChatOpenAI(model="gpt-4o-mini", http_async_client=http, **given)


def asks(model: Any, prompt: str = "hi", fails: Callable[[], bool] = lambda: False) -> Any:
    """A node that asks the model, and may fail afterwards."""

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        answer = await model.ainvoke(prompt, config)
        if fails():
            raise ConnectionError("after the answer")
        return {"messages": [answer]}

    return ask


def graph_of(node: Any, policy: RetryPolicy | None = None, **kwargs: Any) -> Any:
    builder = StateGraph(MessagesState).add_node("ask", node, retry_policy=policy)
    return builder.add_edge(START, "ask").compile(**kwargs)


async def shown_of(graph: Any, **kwargs: Any) -> tuple[dict[str | None, str], int]:
    """The texts that a run shows and does not retract, and how many messages it retracts."""
    tokens = [token async for token in astream(graph, {"messages": []}, **kwargs)]
    return added_up(tokens), sum(isinstance(message, RemoveMessage) for message, _ in tokens)


async def test_a_node_that_is_retried(provider: Provider, make: Any) -> None:
    """A retry policy's next attempt retracts what the failed one has shown, before its tokens."""
    provider.reply(CUT, WHOLE)
    graph = graph_of(asks(make()), POLICY)
    tokens = [token async for token in astream(graph, {"messages": []})]
    at = next(at for at, (chunk, _) in enumerate(tokens) if isinstance(chunk, RemoveMessage))
    first, then = tokens[:at], tokens[at + 1 :]
    assert {chunk.id for chunk, _ in first} == {tokens[at][0].id}
    assert tokens[at][1] == first[0][1]
    assert "".join(str(chunk.text) for chunk, _ in then) == WHOLE


@pytest.mark.parametrize("kind", ["with_retry", "with_fallbacks", "by hand", "chain"])
async def test_a_call_that_is_repeated(provider: Provider, make: Any, kind: str) -> None:
    """A call that is repeated after some tokens retracts the message of the failed one."""
    provider.reply(CUT, WHOLE)
    model = make()
    if kind == "with_retry":
        node = asks(model.with_retry(wait_exponential_jitter=False))
    elif kind == "with_fallbacks":
        node = asks(model.with_fallbacks([make()]))
    elif kind == "chain":
        node = asks((RunnableLambda(lambda text: text) | model).with_fallbacks([make()]))
    else:

        async def node(state: MessagesState, config: RunnableConfig) -> Any:
            try:
                return {"messages": [await model.ainvoke("hi", config)]}
            except openai.APIError:
                return {"messages": [await model.ainvoke("hi", config)]}

    shown, retracted = await shown_of(graph_of(node))
    assert list(shown.values()) == [WHOLE]
    assert retracted == 1


async def test_an_answer_that_cannot_be_parsed(provider: Provider) -> None:
    """A chain that is tried again because its parser failed retracts a whole answer, too."""
    provider.reply("no number", "42")
    chain = our_model(provider) | RunnableLambda(lambda message: AIMessage(str(int(message.text))))
    shown, retracted = await shown_of(graph_of(asks(chain.with_retry(stop_after_attempt=2))))
    assert sorted(shown.values()) == ["42", "42"]  # the call's, and what the chain made of it
    assert retracted == 1


async def test_collect_and_lanes(provider: Provider) -> None:
    """``collect`` leaves void messages out; a lane retracts, also where its filter reads chunks."""
    provider.reply(CUT, WHOLE, CUT, WHOLE)
    graph = graph_of(asks(our_model(provider, tags=["joke"])), POLICY)
    [(message, _)] = await collect(astream(graph, {"messages": []}))
    assert message.text == WHOLE
    (joke,) = lanes(astream(graph, {"messages": []}), tag("joke") & text)
    assert list(added_up([token async for token in joke]).values()) == [WHOLE]


async def test_sync(provider: Provider) -> None:
    """Sync streams retract as well."""
    provider.reply(CUT, WHOLE)
    model = our_model(provider)
    graph = graph_of(lambda state: {"messages": [model.invoke("hi")]}, POLICY)
    tokens = list(stream(graph, {"messages": []}))
    assert list(added_up(tokens).values()) == [WHOLE]


async def test_langgraphs_stream_to_the_letter(provider: Provider) -> None:
    """``retract=False`` leaves what was shown."""
    provider.reply(CUT, WHOLE)
    shown, retracted = await shown_of(graph_of(asks(our_model(provider)), POLICY), retract=False)
    assert list(shown.values()) == ["one two three", WHOLE]
    assert retracted == 0


async def test_what_nobody_saw_is_not_retracted(provider: Provider) -> None:
    """A message that the filter kept back is not retracted."""
    provider.reply(CUT, WHOLE)
    graph = graph_of(asks(our_model(provider, tags=["joke"])), POLICY)
    with pytest.warns(UnmatchedFilterWarning):
        assert await shown_of(graph, only=tag("other")) == ({}, 0)


async def test_a_partial_answer_that_the_node_keeps(provider: Provider) -> None:
    """A node that streams, and keeps what came before a failure, keeps it in the stream, too."""
    provider.reply(CUT, "goodbye")
    model = our_model(provider)

    async def node(state: MessagesState, config: RunnableConfig) -> Any:
        text, last = "", None
        try:
            async for chunk in model.astream("hi", config):
                text, last = text + chunk.text, chunk
        except openai.APIError:
            assert last is not None
        return {"messages": [AIMessage(text, id=last and last.id), await model.ainvoke("", config)]}

    shown, retracted = await shown_of(graph_of(node))
    assert list(shown.values()) == ["one two three", "goodbye"]
    assert retracted == 0


async def test_a_run_that_fails(provider: Provider) -> None:
    """What a run has shown stays when it fails: there is no replacement, and the error is told."""
    provider.reply(CUT)
    tokens = []
    with pytest.raises(Exception, match="after 4 chunks"):
        async for token in astream(graph_of(asks(our_model(provider))), {"messages": []}):
            tokens.append(token)
    assert list(added_up(tokens).values()) == ["one two three"]


async def test_an_error_handler(provider: Provider) -> None:
    """A node whose error another node handles has shown what no state holds."""
    provider.reply(CUT, WHOLE)
    model = our_model(provider)
    builder = StateGraph(MessagesState)
    builder.add_node("ask", asks(model), error_handler=asks(model))
    graph = builder.add_edge(START, "ask").compile()
    # LangGraph takes the handler for a subgraph of the node.
    tokens = [token async for _, token in astream(graph, {"messages": []}, subgraphs=True)]
    assert list(added_up(tokens).values()) == [WHOLE]


async def test_a_command_to_the_parent_is_no_failure(provider: Provider) -> None:
    """A subgraph that hands over to its parent's node has not failed."""
    provider.reply("before", "behind")
    model = our_model(provider)

    async def leave(state: MessagesState, config: RunnableConfig) -> Any:
        answer = await model.ainvoke("hi", config)
        return Command(goto="next", update={"messages": [answer]}, graph=Command.PARENT)

    builder = StateGraph(MessagesState).add_node("inner", graph_of(leave), destinations=("next",))
    builder.add_node("next", asks(model)).add_edge(START, "inner")
    tokens = [
        token async for _, token in astream(builder.compile(), {"messages": []}, subgraphs=True)
    ]
    assert sorted(added_up(tokens).values()) == ["before", "behind"]


async def read(parts: Any) -> list[Any]:
    """All parts of a stream, async or sync."""
    if hasattr(parts, "__aiter__"):
        return [part async for part in parts]
    return await asyncio.to_thread(list, parts)


MODES: list[Any] = ["messages", "values"]
WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "async": (astream, {"stream_mode": MODES}),
    "async, tokens alone": (astream, {}),
    "async, as dicts": (astream, {"stream_mode": MODES, "version": "v2"}),
    "sync": (stream, {"stream_mode": MODES}),
    "sync, tokens alone": (stream, {}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_generated_graphs(provider: Provider, way: str) -> None:
    """Whatever fails and is repeated, the texts that were shown are those in the final state."""
    ours, options = WAYS[way]
    for seed in SEEDS:
        description = describe(seed)
        script(provider, description)
        graph = build(description, sync=ours is stream, base_url=provider.base_url, api_key="test")
        config = {"configurable": {"thread_id": "1"}}
        parts = await read(ours(graph, {"messages": []}, config, subgraphs=True, **options))
        tokens, state = [], None
        for part in parts:
            namespace, mode, payload = opened(part)
            if mode == "messages":
                tokens.append(payload)
            elif not namespace:
                state = payload
        shown = added_up(tokens)
        if state is not None:
            kept = {message.id: str(message.text) for message in state["messages"]}
            assert shown == kept, f"graph {seed}"
        assert sorted(shown.values()) == expected(description), f"graph {seed}"


def opened(part: Any) -> tuple[Any, str, Any]:
    """The namespace, mode and payload of a part."""
    if isinstance(part, dict):
        return part["ns"], part["type"], part["data"]
    return part if len(part) == 3 else (part[0], "messages", part[1])


@pytest.mark.parametrize("kind", ["retry policy", "with_retry"])
async def test_a_graph_inside_a_node(provider: Provider, kind: str) -> None:
    """A node that streams another graph hears what is void in it, and so do the node's readers."""
    provider.reply(CUT, WHOLE)
    model = our_model(provider)
    if kind == "with_retry":
        inner = graph_of(asks(model.with_retry(wait_exponential_jitter=False)))
    else:
        inner = graph_of(asks(model), POLICY)
    heard: list[Any] = []

    async def node(state: MessagesState, config: RunnableConfig) -> None:
        heard.extend([token async for token in astream(inner, state, config)])

    tokens = [token async for _, token in astream(graph_of(node), {"messages": []}, subgraphs=True)]
    for each in (heard, tokens):
        assert list(added_up(each).values()) == [WHOLE]
        assert sum(isinstance(message, RemoveMessage) for message, _ in each) == 1


async def test_chunks_that_wait_are_left_out(provider: Provider, make: Any) -> None:
    """A reader that is slower than the failure is never told of the void message, or then of it."""
    provider.reply(CUT, WHOLE)
    graph = graph_of(asks(make()), POLICY)
    tokens = []
    options: Any = {"stream_mode": MODES, "version": "v2", "buffer": 0}
    async for part in astream(graph, {"messages": []}, **options):
        await asyncio.sleep(0)
        if part["type"] == "messages":
            tokens.append(part["data"])
    assert list(added_up(tokens).values()) == [WHOLE]


async def test_whole_messages_and_completions(provider: Provider) -> None:
    """Where parts come by LangGraph's queue, whole messages and completions are retracted, too."""
    failures = [True]
    model = completion_model("gpt-4o-mini", base_url=provider.base_url, api_key="test")
    provider.reply("some words", "some words")

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        text = await model.ainvoke("hi", config)
        return {"messages": [AIMessage("whole"), AIMessage(text)]}

    inner = graph_of(ask)

    async def node(state: MessagesState, config: RunnableConfig) -> Any:
        done = await inner.ainvoke(state, config)
        if failures:
            raise ConnectionError(f"after the graph, {failures.pop()}")
        return done

    options: Any = {"stream_mode": ["messages", "values"], "version": "v2", "subgraphs": True}
    parts = [part async for part in astream(graph_of(node, POLICY), {"messages": []}, **options)]
    tokens = [part["data"] for part in parts if part["type"] == "messages"]
    assert sum(isinstance(message, RemoveMessage) for message, _ in tokens) == 3
    assert sorted(added_up(tokens).values()) == ["some words", "some words", "whole"]


async def test_a_message_with_a_fixed_id(provider: Provider) -> None:
    """A message that became void, and is given again under its id, is shown again."""
    failures = [True]
    inner = graph_of(lambda state: {"messages": [AIMessage("hello", id="fixed")]})

    async def node(state: MessagesState, config: RunnableConfig) -> Any:
        done = await inner.ainvoke(state, config)
        if failures:
            raise ConnectionError(f"after the graph, {failures.pop()}")
        return done

    graph = graph_of(node, POLICY)
    tokens = [token async for _, token in astream(graph, {"messages": []}, subgraphs=True)]
    assert [type(message).__name__ for message, _ in tokens].count("RemoveMessage") == 1
    assert added_up(tokens) == {"fixed": "hello"}


async def test_a_reader_who_leaves_between_two_attempts(provider: Provider) -> None:
    """The next attempt has nobody to tell that the one before is void, and breaks nothing off.

    LangChain makes the coroutines of all handlers before it awaits the first one: if that raises,
    Python warns of the others.
    """
    provider.reply(CUT, Reply(WHOLE, hold_after=0))
    calls = 0

    class Leaves(BaseCallbackHandler):
        run_inline = True

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                left.set()

        def on_llm_error(self, *args: Any, **kwargs: Any) -> None:
            parts._channel.close()  # as aclose() begins

    left = asyncio.Event()
    model = our_model(provider, callbacks=[Leaves()])
    graph = graph_of(asks(model.with_fallbacks([model])))
    parts: Any = astream(graph, {"messages": []})
    await anext(parts)
    await left.wait()
    await parts.aclose()
