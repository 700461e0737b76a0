"""What is known of the model calls of one run, so that a failure can be told in full.

Plain bookkeeping: fed by callback handlers, asked once, when the run has failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tokenweir.errors import ProviderError, StreamError, TokenweirError
from tokenweir.types import ReadOnlyMetadata

__all__ = ["Call", "Calls"]


@dataclass
class Call:
    """One model call: its metadata and tags, and how much of its answer has arrived."""

    __slots__ = ("characters", "chunks", "metadata", "tags")

    metadata: ReadOnlyMetadata
    tags: tuple[str, ...]
    chunks: int
    characters: int


class Calls:
    """The model calls of one run: those under way, and the failures of those that failed."""

    def __init__(self) -> None:
        self._under_way: dict[UUID, Call] = {}
        self._failed: list[tuple[BaseException, Call]] = []

    def started(self, run_id: UUID, metadata: ReadOnlyMetadata, tags: list[str] | None) -> None:
        """A call begins."""
        shown = tuple(tag for tag in tags or () if not tag.startswith(("seq:step", "graph:")))
        self._under_way[run_id] = Call(metadata, shown, 0, 0)

    def under_way(self, run_id: UUID) -> Call | None:
        """A call that has not ended, to be counted by whoever makes it."""
        return self._under_way.get(run_id)

    def arrived(self, run_id: UUID, text: object) -> None:
        """One chunk of a call has come."""
        call = self._under_way.get(run_id)
        if call is not None:
            call.chunks += 1
            if isinstance(text, str):
                call.characters += len(text)

    def ended(self, run_id: UUID) -> None:
        """A call has ended well."""
        self._under_way.pop(run_id, None)

    def failed(self, run_id: UUID, error: BaseException) -> None:
        """A call has failed. Its node may still save the run: nothing is raised for now."""
        call = self._under_way.pop(run_id, None)
        if call is not None and isinstance(error, Exception):
            self._failed.append((error, call))

    def explained(self, error: BaseException) -> BaseException:
        """What the reader is given when ``error`` ends the run.

        A failed model call becomes a StreamError with the call's story; whatever a node raised
        by itself, and what already is one of ours, stays as it is.
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
                    chunks=call.chunks,
                    characters=call.characters,
                )
                told.__cause__ = error
                return told
            return error
        return error


def _reason(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
