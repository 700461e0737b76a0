"""``/metrics``: what a server tells Prometheus."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from prometheus_client.parser import text_string_to_metric_families

from tokenweir import chat_model
from tokenweir.serving.app import create_app
from tokenweir.serving.running.usage import Caller, Counts, Usage
from tokenweir.testing import Provider, Reply

GRAPH = StateGraph(MessagesState).add_node("one", lambda state: state).add_edge(START, "one")


async def metrics(runs: int) -> tuple[str, dict[str, float]]:
    """The content type and the samples of an application of its own that has had so many runs."""
    app = create_app({"one": GRAPH.compile()})
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        for _ in range(runs):
            asked = {"assistant_id": "one", "input": {"messages": "hi"}, "on_completion": "keep"}
            await client.post("/runs/wait", json=asked)
        answer = await client.get("/metrics")
    return answer.headers["content-type"], samples(answer)


def samples(answer: httpx.Response) -> dict[str, float]:
    """The samples, by their name and their labels: agent, graph, model, node."""
    families = text_string_to_metric_families(answer.text)
    found = [sample for family in families for sample in family.samples]
    return {"|".join([each.name, *each.labels.values()]): each.value for each in found}


@pytest.fixture
def agent(provider: Provider) -> Any:
    """A graph with a tagged model in a node, and an agent."""
    given: Any = {"base_url": provider.base_url, "api_key": "test", "max_retries": 0}
    joke_model = chat_model("openai:gpt-4o-mini", tags=["joke", "short"], **given)

    def joke(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [joke_model.invoke("joke", config)]}

    poet = create_agent(chat_model("openai:gpt-4o", **given), name="poet")
    builder: Any = StateGraph(MessagesState).add_node("joking", joke).add_node("rhyming", poet)
    return builder.add_edge(START, "joking").add_edge("joking", "rhyming").compile()


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 an async node does not know its config by itself",
)
async def test_calls_and_tokens(provider: Provider, agent: Any) -> None:
    """Calls and tokens are added up by graph, node, agent and model, and by tag.

    What a client puts into the config names nothing. Filters of the run make no difference.
    """
    provider.on(lambda request: True, "one two three")
    app = create_app({"two": agent})
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        config = {"tags": ["theirs"], "metadata": {"lc_agent_name": "theirs"}}
        asked = {"input": {"messages": "hi"}, "only": "tag:none", "config": config}
        for _ in range(2):
            await client.post("/graphs/two/events", json=asked)
        del config["metadata"]
        await client.post("/graphs/two/events", json=asked)
        provider._rules.clear()
        provider.reply(Reply(status=400))
        await client.post("/graphs/two/events", json=asked)
        found = samples(await client.get("/metrics"))
    joke, poet = "|two|gpt-4o-mini|joking", "poet|two|gpt-4o|model"
    assert found[f"tokenweir_model_calls_total|{joke}"] == 4
    assert found[f"tokenweir_model_failed_total|{joke}"] == 1
    assert found[f"tokenweir_model_input_tokens_total|{joke}"] == 3
    assert found[f"tokenweir_model_output_tokens_total|{joke}"] == 9
    assert found[f"tokenweir_model_calls_total|{poet}"] == 1
    assert found["tokenweir_model_calls_total||two|gpt-4o|model"] == 2
    assert {key for key in found if key.startswith("tokenweir_tag_calls")} == {
        "tokenweir_tag_calls_total|joke",
        "tokenweir_tag_calls_total|short",
    }
    assert found["tokenweir_tag_output_tokens_total|joke"] == 9


async def test_durations(provider: Provider) -> None:
    """Histograms tell how long runs waited, and how soon and how evenly tokens came.

    Of three runs with two answers each, one of which comes as LangChain itself brings it."""
    given: Any = {"base_url": provider.base_url, "api_key": "test", "max_retries": 0}
    models = [chat_model("openai:gpt-4o-mini", **given), ChatOpenAI(model="gpt-4o-mini", **given)]

    async def say(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke("go on", config) for model in models]}

    builder: Any = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say")
    provider.on(lambda request: True, "one two three")
    app = create_app({"two": builder.compile()})
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        for _ in range(3):
            await client.post("/graphs/two/events", json={"input": {"messages": "hi"}})
        found = samples(await client.get("/metrics"))

    assert found["tokenweir_queue_wait_seconds_count"] == 3
    assert found["tokenweir_takeover_seconds_count"] == 0
    assert found["tokenweir_time_to_first_token_seconds_count|two"] == 3
    assert found["tokenweir_token_gap_seconds_count|two"] == 3 * 2 * 2
    assert found["tokenweir_token_gap_seconds_bucket|two|+Inf"] == 3 * 2 * 2
    assert found["tokenweir_token_gap_seconds_sum|two"] > 0
    assert (
        found["tokenweir_time_to_first_token_seconds_sum|two"]
        >= (found["tokenweir_queue_wait_seconds_sum"])
    )


def test_callers_without_end() -> None:
    """However many names a program makes, a thousand are told apart, and all is counted."""
    usage = Usage()
    for number in range(3000):
        usage.count(Caller("g", "n", "", "m"), [f"user-{number}"], Counts(1, 0, 2, 3))
    assert len(usage.tags) == 1001
    assert usage.tags["other"] == Counts(2000, 0, 4000, 6000)
    assert usage.callers == {Caller("g", "n", "", "m"): Counts(3000, 0, 6000, 9000)}


async def test_metrics_are_of_one_application() -> None:
    """Each application counts its own runs, threads and events, in Prometheus' text format."""
    await metrics(2)
    kind, found = await metrics(1)
    assert kind.startswith("text/plain; version=0.0.4")
    assert found.pop("tokenweir_uptime_seconds") >= 0
    assert found.pop("tokenweir_events_total") > 1
    assert found.pop("tokenweir_queue_wait_seconds_sum") >= 0
    assert found["tokenweir_queue_wait_seconds_bucket|+Inf"] == 1
    found = {name: value for name, value in found.items() if "_bucket" not in name}
    assert found == {
        "tokenweir_queue_wait_seconds_count": 1,
        "tokenweir_takeover_seconds_count": 0,
        "tokenweir_takeover_seconds_sum": 0,
        "tokenweir_time_to_first_token_seconds_count|one": 0,
        "tokenweir_time_to_first_token_seconds_sum|one": 0,
        "tokenweir_token_gap_seconds_count|one": 0,
        "tokenweir_token_gap_seconds_sum|one": 0,
        "tokenweir_runs_running": 0,
        "tokenweir_runs_waiting": 0,
        "tokenweir_runs_kept|error": 0,
        "tokenweir_runs_kept|interrupted": 0,
        "tokenweir_runs_kept|success": 1,
        "tokenweir_runs_kept|timeout": 0,
        "tokenweir_threads": 1,
    }
