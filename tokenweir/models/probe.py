"""Ask an endpoint whether it streams, how fast and how evenly, and what else it sends."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk

from tokenweir.errors import ConnectTimeoutError, TimeLimitError
from tokenweir.models.chat import chat_model
from tokenweir.models.completion import completion_model
from tokenweir.models.embedded.model import start_model
from tokenweir.models.providers import parse_model_name
from tokenweir.models.rhythm import Rhythm, Verdict
from tokenweir.streaming.content import reasoning_of, text_of

__all__ = ["ProbeReport", "probe"]

Tools = Literal["streamed", "whole", "not called", "refused", "not asked"]

PROMPT = "Count from one to sixty in words, separated by commas. Write nothing else."
TOOL_PROMPT = (
    "Call the tool save_note with a text of about thirty words on why rivers meander. "
    "Do not answer in any other way."
)
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "save_note",
        "description": "Save a note.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string", "description": "The note's text."}},
            "required": ["text"],
        },
    },
}


@dataclass(frozen=True)
class ProbeReport:
    """The observed behaviour of an endpoint.

    Attributes:
        model: The model's full name.
        streams: ``token by token``, ``in lumps``, ``not at all``, or ``nothing came``.
        stalled: The limit that was exceeded in the middle, or None.
        chunks: Chunks with content.
        characters: Characters of text in them.
        time_to_first_token: Seconds, or None if nothing came.
        chunks_per_second: After the first chunk; None if there was only one.
        output_tokens: By the provider's own count, or None if it reports no usage.
        reasoning: Whether reasoning was sent in addition to the text.
        tools: Whether a tool call's arguments come in pieces, whole, or not at all.
    """

    model: str
    streams: Verdict
    stalled: str | None
    chunks: int
    characters: int
    time_to_first_token: float | None
    chunks_per_second: float | None
    output_tokens: int | None
    reasoning: bool
    tools: Tools

    @property
    def reports_usage(self) -> bool:
        """Whether the provider says how many tokens it made."""
        return self.output_tokens is not None


async def probe(
    name: str | None = None,
    *,
    completions: bool = False,
    tools: bool = True,
    first_token_timeout: float = 60.0,
    token_gap_timeout: float = 20.0,
    **kwargs: Any,
) -> ProbeReport:
    """Ask a model two short questions, and report how its answers arrived.

    Args:
        name: The model, as for ``chat_model``.
        completions: Ask it as a completion model.
        tools: Ask for a tool call too.
        first_token_timeout: Seconds after which the endpoint counts as stalled.
        token_gap_timeout: Seconds of silence after which it counts as stalled.
        **kwargs: Arguments of the model: ``base_url``, ``api_key`` ...

    Raises:
        ModelNameError: If the model's name, key or package is missing.
        Exception: The client's own error if the endpoint cannot be reached or refuses.
    """
    parsed = parse_model_name(name)
    limits = {"first_token_timeout": first_token_timeout, "token_gap_timeout": token_gap_timeout}
    ours = parsed.provider in ("openai", "local", "qwen", "dashscope")
    if ours:
        kwargs = {"max_tokens": 300, **limits, **kwargs}
    make = completion_model if completions else chat_model
    model: Any = make(str(parsed), **kwargs)
    if parsed.provider == "local":
        await asyncio.to_thread(start_model, parsed.model)  # the start must not count as a delay
    heard = await _listen(model, PROMPT)
    asked: Tools = "not asked"
    if tools and not completions and heard.stalled is None:
        asked = await _ask_for_a_tool(model)
    rhythm = heard.rhythm
    return ProbeReport(
        model=str(parsed),
        streams=rhythm.verdict(),
        stalled=heard.stalled,
        chunks=len(rhythm.times),
        characters=rhythm.characters,
        time_to_first_token=rhythm.first,
        chunks_per_second=rhythm.chunks_per_second,
        output_tokens=rhythm.output_tokens,
        reasoning=heard.reasoning,
        tools=asked,
    )


@dataclass
class _Heard:
    rhythm: Rhythm
    reasoning: bool = False
    stalled: str | None = None


async def _listen(model: Any, prompt: str) -> _Heard:
    heard = _Heard(Rhythm())
    rhythm = heard.rhythm
    began = time.perf_counter()
    try:
        async for chunk in _chunks(model, prompt):
            now = time.perf_counter() - began
            text, thought = text_of(chunk), reasoning_of(chunk)
            heard.reasoning = heard.reasoning or bool(thought)
            if text or thought:
                rhythm.feed(now, len(text))
            if usage := getattr(chunk, "usage_metadata", None):
                rhythm.output_tokens = usage["output_tokens"]
    except ConnectTimeoutError:
        raise
    except TimeLimitError as error:
        heard.stalled = error.reason
    return heard


async def _chunks(model: Any, prompt: str) -> Any:
    if isinstance(model, BaseChatModel):
        async for chunk in model.astream(prompt):
            yield chunk
        return
    # A completion model's own stream is only text; its callbacks get the rest.
    heard = _Last()
    async for text in model.astream(prompt, {"callbacks": [heard]}):
        info = getattr(heard.chunk, "generation_info", None) or {}
        yield AIMessageChunk(content=text, usage_metadata=info.get("usage_metadata"))


class _Last(AsyncCallbackHandler):
    """Keeps the last chunk of a call."""

    run_inline = True
    chunk: Any = None

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.chunk = chunk


async def _ask_for_a_tool(model: BaseChatModel) -> Tools:
    pieces = 0
    try:
        bound = model.bind_tools([TOOL])
        async for chunk in bound.astream(TOOL_PROMPT):
            pieces += sum(
                bool(part["args"]) for part in getattr(chunk, "tool_call_chunks", None) or ()
            )
    except (asyncio.CancelledError, ConnectTimeoutError):
        raise
    except Exception:  # noqa: BLE001 - each client has its own error for what an endpoint refuses
        return "refused"
    if not pieces:
        return "not called"
    return "streamed" if pieces > 1 else "whole"
