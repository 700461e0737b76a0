"""``encode_agui`` and ``encode_ai_sdk``: any stream of tokens as the body of a response."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import Any
from uuid import uuid4

from tokenweir.encoders.agui import AgUi
from tokenweir.encoders.ai_sdk import AiSdk
from tokenweir.errors import TokenweirError
from tokenweir.streaming.any_stream import ReadyIterator, close_stream, is_async, token_of

__all__ = ["encode_agui", "encode_ai_sdk"]

_logger = logging.getLogger("tokenweir.encoders")


def _explained(error: Exception) -> str:
    """The text of an error that is safe for clients: only Tokenweir's own messages."""
    return str(error) if isinstance(error, TokenweirError) else "The run failed."


def encode_agui(
    stream: AsyncIterable[Any] | Iterable[Any],
    *,
    thread_id: str = "",
    run_id: str = "",
    explain: Callable[[Exception], str] = _explained,
) -> AsyncIterator[bytes]:
    """A stream of tokens as AG-UI's server-sent events, for ``@ag-ui/client`` and CopilotKit.

    For an endpoint of your own, in any framework that takes an iterator of bytes::

        StreamingResponse(encode_agui(astream(graph, inputs)), media_type="text/event-stream")

    Args:
        stream: Any stream of ``(chunk, metadata)``; in ``custom`` mode also of what nodes write,
            which becomes ``CUSTOM`` events. Closed at the end, and when the client leaves.
        thread_id: The ``threadId`` of the request; one is made up if it is empty.
        run_id: The ``runId`` of the request, likewise.
        explain: Returns the text about an error that the client gets. The error itself is logged,
            not raised: the response ends with ``RUN_ERROR``.

    Returns:
        An iterator of whole events in UTF-8, from ``RUN_STARTED`` to ``RUN_FINISHED``.

    Raises:
        TypeError: If this is not a stream.
    """
    is_async("encode_agui", stream)
    writer = AgUi()
    ids = {"threadId": thread_id or str(uuid4()), "runId": run_id or str(uuid4())}

    def feed(message: Any, metadata: Mapping[str, Any]) -> bytes:
        return writer.parts.feed(message, metadata, _namespace(metadata))

    def fail(error: Exception) -> bytes:
        return writer.fail(explain(error), type(error).__name__)

    def finish() -> bytes:
        return writer.finish({"type": "success"})

    return _encoded("encode_agui", stream, writer.start(ids), feed, writer.custom, finish, fail)


def encode_ai_sdk(
    stream: AsyncIterable[Any] | Iterable[Any],
    *,
    message_id: str | None = None,
    explain: Callable[[Exception], str] = _explained,
) -> AsyncIterator[bytes]:
    """A stream of tokens as the AI SDK's UI message stream, for ``useChat``'s own transport.

    For an endpoint of your own, in any framework that takes an iterator of bytes. The response
    needs one header more::

        headers = {"x-vercel-ai-ui-message-stream": "v1"}
        StreamingResponse(
            encode_ai_sdk(astream(graph, inputs)), media_type="text/event-stream", headers=headers
        )

    Args:
        stream: Any stream of ``(chunk, metadata)``; in ``custom`` mode also of what nodes write,
            which becomes parts ``data-custom``, or ``data-NAME`` for ``{"type": NAME}``. Closed at
            the end, and when the client leaves.
        message_id: The id of the message; the client makes one up if it is None.
        explain: Returns the text about an error that the client gets. The error itself is logged,
            not raised: the stream ends with ``error``.

    Returns:
        An iterator of whole events in UTF-8, from ``start`` to ``[DONE]``.

    Raises:
        TypeError: If this is not a stream.
    """
    is_async("encode_ai_sdk", stream)
    writer = AiSdk()
    step: Any = None

    def feed(message: Any, metadata: Mapping[str, Any]) -> bytes:
        nonlocal step
        namespace = _namespace(metadata)
        written = b""
        if not namespace and (now := metadata.get("langgraph_step")) != step:
            step, written = now, writer.boundary()
        return written + writer.parts.feed(message, metadata, namespace)

    def fail(error: Exception) -> bytes:
        return writer.fail(explain(error))

    begun = writer.start(message_id)
    return _encoded("encode_ai_sdk", stream, begun, feed, writer.custom, writer.finish, fail)


async def _encoded(
    function: str,
    stream: Any,
    begun: bytes,
    feed: Callable[[Any, Mapping[str, Any]], bytes],
    custom: Callable[[Any], bytes],
    finish: Callable[[], bytes],
    fail: Callable[[Exception], bytes],
) -> AsyncIterator[bytes]:
    parts = aiter(stream) if is_async(function, stream) else ReadyIterator(stream)
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(close_stream, stream)
        yield begun
        try:
            async for part in parts:
                token = isinstance(part, (tuple, list))
                if written := feed(*token_of(part)) if token else custom(part):
                    yield written
        except Exception as error:
            _logger.exception("the stream given to %s failed", function)
            yield fail(error)
        else:
            yield finish()


def _namespace(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The path of the subgraph that a token comes from."""
    place = metadata.get("langgraph_checkpoint_ns")
    return tuple(place.split("|")[:-1]) if isinstance(place, str) and "|" in place else ()
