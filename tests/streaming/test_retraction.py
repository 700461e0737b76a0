"""Messages of failed attempts are retracted: what a stream has shown is what the state says."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy

from tokenweir import astream, chat_model, collect, lanes, stream, tag, text
from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.testing import Provider, Reply

POLICY = RetryPolicy(initial_interval=0, jitter=False, max_attempts=5, retry_on=Exception)
CUT = Reply("one two three four", cut_after=3)
WHOLE = "one two three four five six"


def plain_model(provider: Provider, **kwargs: Any) -> Any:
    given: dict[str, Any] = {"base_url": provider.base_url, "api_key": "test", **kwargs}
    return ChatOpenAI(model="gpt-4o-mini", max_retries=0, **given)


def our_model(provider: Provider, **kwargs: Any) -> Any:
    return chat_model(
        "openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", max_retries=0, **kwargs
    )


MODELS = pytest.mark.parametrize("make", [plain_model, our_model])


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


def added_up(tokens: list[tuple[BaseMessage, Any]]) -> dict[str | None, str]:
    """The text of each message that was not retracted."""
    texts: dict[str | None, str] = {}
    for message, _ in tokens:
        if isinstance(message, RemoveMessage):
            del texts[message.id]  # fails for one that was not shown
        elif isinstance(message, AIMessage):
            texts[message.id] = texts.get(message.id, "") + str(message.text)
    return texts


async def shown_of(graph: Any, **kwargs: Any) -> tuple[dict[str | None, str], int]:
    """The texts that a run shows and does not retract, and how many messages it retracts."""
    tokens = [token async for token in astream(graph, {"messages": []}, **kwargs)]
    return added_up(tokens), sum(isinstance(message, RemoveMessage) for message, _ in tokens)


@MODELS
async def test_a_node_that_is_retried(provider: Provider, make: Any) -> None:
    """A retry policy's next attempt retracts what the failed one has shown, before its tokens."""
    provider.reply(CUT, WHOLE)
    graph = graph_of(asks(make(provider)), POLICY)
    tokens = [token async for token in astream(graph, {"messages": []})]
    at = next(at for at, (chunk, _) in enumerate(tokens) if isinstance(chunk, RemoveMessage))
    first, then = tokens[:at], tokens[at + 1 :]
    assert {chunk.id for chunk, _ in first} == {tokens[at][0].id}
    assert tokens[at][1] == first[0][1]
    assert "".join(str(chunk.text) for chunk, _ in then) == WHOLE


@MODELS
@pytest.mark.parametrize("kind", ["with_retry", "with_fallbacks", "by hand", "chain"])
async def test_a_call_that_is_repeated(provider: Provider, make: Any, kind: str) -> None:
    """A call that is repeated after some tokens retracts the message of the failed one."""
    provider.reply(CUT, WHOLE)
    model = make(provider)
    if kind == "with_retry":
        node = asks(model.with_retry(wait_exponential_jitter=False))
    elif kind == "with_fallbacks":
        node = asks(model.with_fallbacks([make(provider)]))
    elif kind == "chain":
        node = asks((RunnableLambda(lambda text: text) | model).with_fallbacks([make(provider)]))
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


@pytest.mark.parametrize("seed", range(25))
async def test_any_graph(provider: Provider, seed: int) -> None:
    """Whatever fails and is repeated, the texts that were shown are those in the final state."""
    chance = random.Random(seed)
    graph = _random_graph(provider, chance)
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    tokens, state = [], {}
    modes: Any = ["messages", "values"]
    async for _, mode, part in astream(
        graph, {"messages": []}, config, stream_mode=modes, subgraphs=True
    ):
        if mode == "messages":
            tokens.append(part)
        elif not _:
            state = part
    kept = {message.id: str(message.text) for message in state["messages"]}
    assert added_up(tokens) == kept


def _random_graph(provider: Provider, chance: random.Random, depth: int = 0) -> Any:
    """A graph of nodes, in a row and beside each other, some of them graphs, that fail at times."""
    builder = StateGraph(MessagesState)
    row = [START]
    for number in range(chance.randint(1, 3)):
        name = f"{'inner' * depth}node{number}x{chance.randint(0, 10**9)}"
        if depth < 2 and chance.random() < 0.35:
            node: Any = _random_graph(provider, chance, depth + 1)
            if chance.random() < 0.5:
                node = _then_fails(node, chance)
        else:
            node = _random_node(provider, chance, name)
        builder.add_node(name, node, retry_policy=POLICY)
        builder.add_edge(chance.choice(row[-2:]), name)
        row.append(name)
    checkpointer: Any = None
    if depth == 0 and chance.random() < 0.5:
        checkpointer = InMemorySaver()
    elif depth:
        checkpointer = chance.choice([None, None, False])
    return builder.compile(checkpointer=checkpointer)


def _then_fails(graph: Any, chance: random.Random) -> Any:
    """A node that runs a graph, and fails once after it."""
    failures = [True] * chance.randint(0, 1)

    async def node(state: MessagesState, config: RunnableConfig) -> Any:
        done = await graph.ainvoke(state, config)
        if failures and failures.pop():
            raise ConnectionError("after the graph")
        return done

    return node


def _random_node(provider: Provider, chance: random.Random, name: str) -> Any:
    """A node that calls a model whose first answers are cut, and repeats the call or fails."""
    faults = [Reply("one two three", cut_after=chance.randint(0, 2)) for _ in range(2)]
    provider.on(name, *faults[: chance.randint(0, 2)], f"done {name}")
    model = (plain_model if chance.random() < 0.3 else our_model)(provider)
    kind = chance.choice(["bare", "retry", "fallbacks"])
    if kind == "retry":
        model = model.with_retry(wait_exponential_jitter=False)
    elif kind == "fallbacks":
        model = model.with_fallbacks([our_model(provider), our_model(provider)])
    failures = [True] * chance.randint(0, 1)
    return asks(model, name, fails=lambda: bool(failures and failures.pop()))
