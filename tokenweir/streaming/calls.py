"""Tracks the model calls of one run, to describe those that fail.

Callback handlers feed it. It is asked once, when the run has failed.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from tokenweir.errors import ProviderError, StreamError, TokenweirError
from tokenweir.streaming.content import tags_of, text_of
from tokenweir.types import ReadOnlyMetadata

__all__ = ["Call", "CallMetadata", "Calls", "Received"]


class CallMetadata(dict[str, Any]):
    """The metadata of one call, made when the call starts.

    Attributes:
        started: When the call started, by ``time.perf_counter``.
    """

    __slots__ = ("started",)

    def __init__(self, metadata: ReadOnlyMetadata) -> None:
        super().__init__(metadata)
        self.started = time.perf_counter()


class Received:
    """How much of one answer has arrived.

    Attributes:
        chunks: The number of chunks, including empty ones.
        tokens: The number of chunks that hold something.
        characters: The number of characters of text.
    """

    __slots__ = ("characters", "chunks", "tokens")

    def __init__(self) -> None:
        self.chunks = 0
        self.tokens = 0
        self.characters = 0


class Call:
    """One model call of a run.

    Attributes:
        metadata: LangGraph's metadata of the call.
        tags: The tags that the user gave the call.
        received: How much has arrived. The code that makes the call may set its own counter here.
    """

    __slots__ = ("metadata", "received", "tags")

    def __init__(self, metadata: ReadOnlyMetadata, tags: tuple[str, ...]) -> None:
        self.metadata = metadata
        self.tags = tags
        self.received = Received()


class Calls:
    """The model calls of one run that are under way or have failed."""

    def __init__(self) -> None:
        self._under_way: dict[UUID, Call] = {}
        self._failed: list[tuple[BaseException, Call]] = []

    def started(self, run_id: UUID, metadata: ReadOnlyMetadata, tags: list[str] | None) -> Call:
        """A call begins."""
        call = self._under_way[run_id] = Call(metadata, tuple(tags_of({"tags": tags})))
        return call

    def under_way(self, run_id: UUID) -> Call | None:
        """The call with this run id, if it has not ended."""
        return self._under_way.get(run_id)

    def arrived(self, run_id: UUID, content: object) -> None:
        """Count one chunk of a call, by its content: text, or a list of blocks."""
        call = self._under_way.get(run_id)
        if call is not None:
            call.received.chunks += 1
            text = content if isinstance(content, str) else text_of({"content": content})
            call.received.characters += len(text)

    def ended(self, run_id: UUID) -> None:
        """A call has succeeded."""
        self._under_way.pop(run_id, None)

    def failed(self, run_id: UUID, error: BaseException) -> None:
        """A call has failed. Its node may still recover, so nothing is raised yet."""
        call = self._under_way.pop(run_id, None)
        if call is not None and isinstance(error, Exception):
            self._failed.append((error, call))

    def explained(self, error: BaseException) -> BaseException:
        """The exception to raise at the reader when ``error`` ends the run.

        The failure of a model call becomes a StreamError that describes the call. Errors that a
        node raised itself, and errors of Tokenweir, are returned as they are.
        """
        for cause, call in self._failed:
            if cause is not error:
                continue
            if isinstance(error, StreamError):
                error.node = error.node or call.metadata.get("langgraph_node")
                error.tags = error.tags or call.tags
            elif isinstance(error, ProviderError) or not isinstance(error, TokenweirError):
                told = StreamError(
                    _reason(error),
                    provider=call.metadata.get("ls_provider"),
                    model=call.metadata.get("ls_model_name"),
                    node=call.metadata.get("langgraph_node"),
                    tags=call.tags,
                    chunks=call.received.chunks,
                    characters=call.received.characters,
                )
                told.__cause__ = error
                return told
            return error
        return error


def _reason(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
