"""``/metrics``: what a server tells Prometheus."""

from __future__ import annotations

import httpx
from langgraph.graph import START, MessagesState, StateGraph
from prometheus_client.parser import text_string_to_metric_families

from tokenweir.serving.app import create_app

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
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    found = {"|".join([each.name, *each.labels.values()]): each.value for each in samples}
    return answer.headers["content-type"], found


async def test_metrics_are_of_one_application() -> None:
    """Each application counts its own runs, threads and events, in Prometheus' text format."""
    await metrics(2)
    kind, found = await metrics(1)
    assert kind.startswith("text/plain; version=0.0.4")
    assert found.pop("tokenweir_uptime_seconds") >= 0
    assert found.pop("tokenweir_events_total") > 1
    assert found == {
        "tokenweir_runs_running": 0,
        "tokenweir_runs_waiting": 0,
        "tokenweir_runs_kept|error": 0,
        "tokenweir_runs_kept|interrupted": 0,
        "tokenweir_runs_kept|success": 1,
        "tokenweir_runs_kept|timeout": 0,
        "tokenweir_threads": 1,
    }
