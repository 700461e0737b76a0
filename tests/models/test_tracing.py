"""OpenTelemetry: spans and metrics of model calls, and nothing of it when it is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tokenweir.errors import StreamError
from tokenweir.models.chat import chat_model
from tokenweir.models.completion import completion_model
from tokenweir.models.tracing import OpenTelemetryHandler
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply

TOKENS = ["One", " two", " three"]
KEY = "sk-very-secret-0123456789"


class Watched:
    """A handler, and what it recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.handler = OpenTelemetryHandler(self.traces, self.meters)

    @property
    def spans(self) -> Any:
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, list[Any]]:
        data: Any = self.reader.get_metrics_data()
        [resource] = data.resource_metrics
        [scope] = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def watched() -> Iterator[Watched]:
    """A handler with exporters in memory."""
    made = Watched()
    yield made
    made.traces.shutdown()
    made.meters.shutdown()


def chat(provider: Provider, **kwargs: Any) -> Any:
    made = {"base_url": provider.base_url, "api_key": KEY, "stream_usage": True, **kwargs}
    return chat_model("openai:gpt", **made)


def completing(provider: Provider, **kwargs: Any) -> Any:
    made = {"base_url": provider.base_url, "api_key": KEY, "stream_usage": True, **kwargs}
    return completion_model("openai:gpt-3.5-turbo-instruct", **made)


def graph_of(model: Any) -> Any:
    async def answer(state: MessagesState, config: RunnableConfig) -> Any:
        said = await model.ainvoke("count", config)
        return {"messages": [said if not isinstance(said, str) else ("ai", said)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile()


ASK: Any = {"messages": [("user", "count")]}


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(
    ("make", "operation", "model"),
    [(chat, "chat", "gpt"), (completing, "text_completion", "gpt-3.5-turbo-instruct")],
)
async def test_a_call_is_a_span_and_metrics(
    provider: Provider, watched: Watched, make: Any, operation: str, model: str, in_graph: bool
) -> None:
    """Model, provider, usage, finish reason, first chunk and gaps, under the conventions' names."""
    provider.default = Reply(tokens=TOKENS, every=0.005)
    config: RunnableConfig = {"callbacks": [watched.handler]}
    if in_graph:
        made = graph_of(make(provider, temperature=0.5))
        assert [token async for token in astream(made, ASK, config)]
    else:
        assert [part async for part in make(provider, temperature=0.5).astream("count", config)]
    [span] = watched.spans
    said = dict(span.attributes)
    assert (span.name, span.kind) == (f"{operation} {model}", SpanKind.CLIENT)
    assert said["gen_ai.operation.name"] == operation
    assert said["gen_ai.provider.name"] == "openai"
    assert said["gen_ai.request.model"] == said["gen_ai.response.model"] == model
    assert said["gen_ai.request.temperature"] == 0.5
    assert said["gen_ai.response.finish_reasons"] == ("stop",)
    assert said["gen_ai.usage.output_tokens"] == 3
    assert said["gen_ai.request.stream"] is True
    assert said.get("langgraph.node") == ("answer" if in_graph else None)
    found = watched.metrics()
    [duration] = found["gen_ai.client.operation.duration"]
    [first] = found["gen_ai.client.operation.time_to_first_chunk"]
    [gap] = found["gen_ai.client.operation.time_per_output_chunk"]
    assert (duration.count, first.count) == (1, 1)
    assert gap.count >= 2
    assert duration.sum >= first.sum + gap.sum
    usage = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in found["gen_ai.client.token.usage"]
    }
    assert usage == {"input": said["gen_ai.usage.input_tokens"], "output": 3}


async def test_a_call_that_fails(provider: Provider, watched: Watched) -> None:
    """The span ends with the error's kind; neither its text nor the key is in it."""
    provider.default = Reply(tokens=TOKENS, error_after=1, message=f"no more for {KEY}")
    with pytest.raises(StreamError):
        async for _ in astream(graph_of(chat(provider)), ASK, {"callbacks": [watched.handler]}):
            pass
    [span] = watched.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "APIError"
    assert KEY not in span.to_json()
    [duration] = watched.metrics()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "APIError"


async def test_a_call_that_is_left(provider: Provider, watched: Watched) -> None:
    """A reader that goes ends the span; nothing is kept of the call."""
    provider.default = Reply(tokens=TOKENS, stall_after=2)
    async with astream(graph_of(chat(provider)), ASK, {"callbacks": [watched.handler]}) as tokens:
        async for _ in tokens:
            break
    await asyncio.to_thread(provider.requests[0].wait_closed, 10)
    [span] = watched.spans
    assert span.status.status_code is StatusCode.ERROR
    assert watched.handler._calls == {}


async def test_chunks_are_the_same_when_watched(provider: Provider, watched: Watched) -> None:
    """Watching changes nothing of what is streamed."""
    provider.default = Reply(tokens=TOKENS)
    graph = graph_of(chat(provider))
    plain = [chunk.content async for chunk, _ in astream(graph, ASK)]
    config: RunnableConfig = {"callbacks": [watched.handler]}
    assert [chunk.content async for chunk, _ in astream(graph, ASK, config)] == plain


def script(code: str, **environ: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )
    return done.stdout


SAY = (
    "from opentelemetry import trace\n"
    "from opentelemetry.sdk.trace import TracerProvider\n"
    "from opentelemetry.sdk.trace.export import SimpleSpanProcessor, ConsoleSpanExporter\n"
    "provider = TracerProvider()\n"
    "provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))\n"
    "trace.set_tracer_provider(provider)\n"
    "from tokenweir.models.chat import chat_model\n"
    "model = chat_model('openai:gpt', base_url={url!r})\n"
    "list(model.stream('hi')); model.invoke('hi')\n"
)


def test_on_for_the_whole_process(provider: Provider) -> None:
    """``TOKENWEIR_OTEL=1`` makes a span of each call, once, without a callback being passed."""
    out = script(SAY.format(url=provider.base_url), TOKENWEIR_OTEL="1")
    assert out.count('"name": "chat gpt"') == 2
    assert '"name": "chat gpt"' not in script(SAY.format(url=provider.base_url), TOKENWEIR_OTEL="")


def test_off_nothing_of_it_is_needed(provider: Provider) -> None:
    """Without being asked for, a call imports nothing of ours, and works without the package."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from tokenweir.models.chat import chat_model\n"
        f"chat_model('openai:gpt', base_url={provider.base_url!r}).invoke('hi')\n"
        "print('tokenweir.models.tracing' in sys.modules)\n"
    )
    assert script(code, TOKENWEIR_OTEL="").split() == ["False"]


def test_without_opentelemetry_the_extra_is_named(provider: Provider) -> None:
    """Asked for where it is not installed, the error names the extra."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from tokenweir.models.tracing import instrument\n"
        "from tokenweir.errors import TokenweirError\n"
        "try: instrument()\n"
        "except TokenweirError as error: print(error)\n"
    )
    assert "pip install 'tokenweir[otel]'" in script(code)
