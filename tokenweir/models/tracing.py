"""OpenTelemetry: a span and metrics for every model call, by the GenAI semantic conventions.

It is off, and OpenTelemetry is not imported, until ``instrument()`` is called or a model is made
while ``TOKENWEIR_OTEL=1`` is set. It never records prompts and answers, only their size and speed.

Names: https://github.com/open-telemetry/semantic-conventions-genai (spans ``chat MODEL``; metrics
``gen_ai.client.operation.duration``, ``gen_ai.client.token.usage``,
``gen_ai.client.operation.time_to_first_chunk`` and ``...time_per_output_chunk``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.tracers.context import register_configure_hook

from tokenweir.errors import TokenweirError

__all__ = ["OpenTelemetryHandler", "instrument"]

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
"""Histogram boundaries that the conventions recommend."""

_MOST_CALLS = 10_000
"""The most concurrent calls that are tracked."""

_REQUEST = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}

_lock = threading.Lock()
_everywhere: OpenTelemetryHandler | None = None


def instrument(tracer_provider: Any = None, meter_provider: Any = None) -> OpenTelemetryHandler:
    """Trace every model call of this process from now on, including LangChain's own models.

    For single runs, pass ``OpenTelemetryHandler()`` as a callback instead.

    Args:
        tracer_provider: Receives the spans; by default the global provider.
        meter_provider: Receives the metrics; by default the global provider.

    Returns:
        The handler; a second call returns the same one. ``handler.enabled = False`` stops it.

    Raises:
        TokenweirError: If OpenTelemetry is not installed.
    """
    global _everywhere
    with _lock:
        if _everywhere is None:
            made = OpenTelemetryHandler(tracer_provider, meter_provider)
            # Each call's own handlers are asked for; a variable with a value is one of them.
            watching: ContextVar[Any] = ContextVar("tokenweir_otel", default=made)
            register_configure_hook(watching, inheritable=False)
            _everywhere = made
        return _everywhere


@dataclass
class _Call:
    span: Any
    attributes: dict[str, Any]
    began: float
    parent: UUID | None
    last: float | None = None


class OpenTelemetryHandler(BaseCallbackHandler):
    """A LangChain callback handler that records spans and metrics for model calls."""

    run_inline = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise TokenweirError(
                "OpenTelemetry is not installed: pip install 'tokenweir[otel]'"
            ) from error
        from tokenweir._version import __version__

        self.enabled = True
        self._trace = trace
        self._tracer = trace.get_tracer("tokenweir", __version__, tracer_provider)
        meter = metrics.get_meter("tokenweir", __version__, meter_provider)

        def histogram(name: str, unit: str, bounds: Any, description: str) -> Any:
            return meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=bounds
            )

        client = "gen_ai.client"
        self._duration = histogram(
            f"{client}.operation.duration", "s", _SECONDS, "GenAI operation duration."
        )
        self._usage = histogram(
            f"{client}.token.usage", "{token}", _TOKENS, "Number of input and output tokens used."
        )
        self._first = histogram(
            f"{client}.operation.time_to_first_chunk", "s", _SECONDS, "Time to the first chunk."
        )
        self._gap = histogram(
            f"{client}.operation.time_per_output_chunk", "s", _GAPS, "Time per output chunk."
        )
        self._calls: dict[UUID, _Call] = {}

    def receiver(self, run_id: UUID) -> Callable[[BaseMessage], None] | None:
        """A function that takes the chunks of a call, for models that deliver them directly."""
        return (lambda message: self._chunk(run_id)) if run_id in self._calls else None

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, metadata: Any = None, **kwargs: Any
    ) -> None:
        self._start("chat", run_id, metadata or {}, kwargs)

    def on_llm_start(
        self, serialized: Any, prompts: Any, *, run_id: UUID, metadata: Any = None, **kwargs: Any
    ) -> None:
        self._start("text_completion", run_id, metadata or {}, kwargs)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._chunk(run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        span, attributes = call.span, call.attributes
        output = response.llm_output or {}
        generations = response.generations[0] if response.generations else []
        info: dict[str, Any] = {}
        usage: Any = None
        for made in generations:
            message = getattr(made, "message", None)
            info |= {k: v for k, v in (made.generation_info or {}).items() if v is not None}
            info |= getattr(message, "response_metadata", None) or {}
            usage = usage or getattr(message, "usage_metadata", None) or info.get("usage_metadata")
        model = info.get("model_name") or output.get("model_name")
        if model:
            attributes["gen_ai.response.model"] = model
            span.set_attribute("gen_ai.response.model", model)
        if reason := info.get("finish_reason"):
            span.set_attribute("gen_ai.response.finish_reasons", [reason])
        if response_id := info.get("id") or info.get("request_id") or output.get("id"):
            span.set_attribute("gen_ai.response.id", response_id)
        self._count(span, attributes, usage or _usage(output.get("token_usage")))
        self._finish(call)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        kind = type(error).__name__
        call.attributes["error.type"] = kind
        call.span.set_attribute("error.type", kind)
        # Not the error's text: it may repeat the prompt.
        call.span.set_status(self._trace.StatusCode.ERROR, kind)
        self._finish(call)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        # LangChain reports nothing for a cancelled call; its node fails with the cancellation.
        for call_id, call in list(self._calls.items()):
            if call.parent == run_id:
                self.on_llm_error(error, run_id=call_id)

    def _start(
        self, operation: str, run_id: UUID, metadata: dict[str, Any], kwargs: dict[str, Any]
    ) -> None:
        if not self.enabled:
            return
        if len(self._calls) >= _MOST_CALLS:  # calls cancelled outside of any chain
            self.on_llm_error(TimeoutError(), run_id=next(iter(self._calls)))
        parameters = kwargs.get("invocation_params") or {}
        model = metadata.get("ls_model_name") or parameters.get("model") or "unknown"
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": metadata.get("ls_provider") or "unknown",
            "gen_ai.request.model": model,
        }
        more: dict[str, Any] = {
            name: parameters[given]
            for given, name in _REQUEST.items()
            if isinstance(parameters.get(given), (int, float))
        }
        if node := metadata.get("langgraph_node"):
            more["langgraph.node"] = node
        if thread := metadata.get("thread_id"):
            more["gen_ai.conversation.id"] = str(thread)
        span = self._tracer.start_span(
            f"{operation} {model}",
            kind=self._trace.SpanKind.CLIENT,
            attributes={**attributes, **more},
        )
        parent = kwargs.get("parent_run_id")
        self._calls[run_id] = _Call(span, attributes, time.perf_counter(), parent)

    def _chunk(self, run_id: UUID) -> None:
        call = self._calls.get(run_id)
        if call is None:
            return
        now = time.perf_counter()
        if call.last is None:
            call.span.set_attribute("gen_ai.request.stream", True)
            call.span.set_attribute("gen_ai.response.time_to_first_chunk", now - call.began)
            self._first.record(now - call.began, call.attributes)
        else:
            self._gap.record(now - call.last, call.attributes)
        call.last = now

    def _count(self, span: Any, attributes: dict[str, Any], usage: Any) -> None:
        if not usage:
            return
        for kind in ("input", "output"):
            tokens = usage.get(f"{kind}_tokens") or 0
            span.set_attribute(f"gen_ai.usage.{kind}_tokens", tokens)
            self._usage.record(tokens, {**attributes, "gen_ai.token.type": kind})
        reasoning = (usage.get("output_token_details") or {}).get("reasoning")
        if reasoning is not None:
            span.set_attribute("gen_ai.usage.reasoning.output_tokens", reasoning)
        cached = (usage.get("input_token_details") or {}).get("cache_read")
        if cached is not None:
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)

    def _finish(self, call: _Call) -> None:
        self._duration.record(time.perf_counter() - call.began, call.attributes)
        call.span.end()


def _usage(counted: Any) -> dict[str, Any] | None:
    if not counted:
        return None
    return {
        "input_tokens": counted.get("prompt_tokens"),
        "output_tokens": counted.get("completion_tokens"),
    }
