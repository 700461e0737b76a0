"""``guard``: holds back forbidden text, token by token, before a reader gets it.

A chunk waits until no match can include any of its text. With a regular expression, the ``regex``
package reports partial matches, so text waits only from where a match may have begun. With a
function, Tokenweir cannot know where a match might begin, so it holds back the last characters.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
)
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeAlias, overload

import regex
from langchain_core.messages import AIMessageChunk, RemoveMessage

from tokenweir.errors import GuardError
from tokenweir.streaming.any_stream import close_stream
from tokenweir.streaming.content import call_of, is_last, pieces, tags_of
from tokenweir.streaming.filters import Filter, FilterLike, as_filter
from tokenweir.streaming.stage import stage
from tokenweir.streaming.token_stream import SyncTokenStream, TokenStream
from tokenweir.types import Metadata, Token

__all__ = ["Check", "Guard", "Passing", "guard"]

Check: TypeAlias = str | re.Pattern[str] | Callable[[str], object | Awaitable[object]]
"""A regular expression, or a function that takes text and returns whether it is forbidden."""


def guard(
    only: FilterLike | None, check: Check, *, hold: int = 40, replacement: str | None = None
) -> Guard:
    """A stage that lets no forbidden text through.

    ::

        safe = guard(tag("answer"), r"sk-[A-Za-z0-9]{20,}")
        async for chunk, metadata in safe(astream(graph, inputs)):
            print(chunk.content, end="")

    No character of a match is yielded, even if the match is split across tokens. At a match the
    stream is closed, and with it the run and the provider's connection. Chunks are never divided,
    and later chunks of a call wait for earlier ones. Text, reasoning and tool calls are checked
    separately.

    Args:
        only: The calls that are checked, as for ``only=`` of ``astream``; None for all.
        check: What is forbidden. A regular expression, in the syntax of ``re`` or ``regex``: text
            waits only while it may be the beginning of a match. Or a function, async or not: it
            gets the text held back, once that is longer than ``hold`` characters, and returns
            whether it is forbidden. Forbidden text of up to ``hold`` characters reaches it whole;
            longer text does not.
        hold: How many characters may wait, besides the rest of their chunk. Text that could still
            become a match of the regular expression after that many counts as one.
        replacement: Ends the message, and the stream, in place of the forbidden text; None raises
            a GuardError.

    Raises:
        ValueError: If the expression is not valid or matches the empty text, or if ``hold`` is
            less than 1.
        GuardError: At the reader of the stream, after all text before the match.
    """
    if isinstance(hold, bool) or hold < 1:
        raise ValueError(f"hold must be at least 1 character, not {hold!r}")
    if isinstance(check, (str, re.Pattern)):
        return Guard(as_filter(only), partial(_Matches, _pattern(check), hold), replacement)
    if not callable(check):
        raise TypeError(f"check takes a regular expression or a function, not {check!r}")
    waits = iscoroutinefunction(check) or iscoroutinefunction(type(check).__call__)
    return Guard(as_filter(only), partial(_Verdicts, check, hold), replacement, waits)


def _pattern(check: str | re.Pattern[str]) -> Any:
    text, flags = (check, 0) if isinstance(check, str) else (check.pattern, check.flags)
    try:
        pattern = regex.compile(text, flags)
    except regex.error as error:
        raise ValueError(f"check is no regular expression: {error}: {text!r}") from error
    if pattern.search(""):
        raise ValueError(f"check matches the empty text, which is everywhere: {text!r}")
    return pattern


class Guard:
    """Made by ``guard``. Call it with a stream of ``(chunk, metadata)`` to get a guarded stream.

    One guard may be used on many streams.
    """

    def __init__(
        self,
        only: Filter | None,
        new_scan: Callable[[], _Scan],
        replacement: str | None,
        waits: bool = False,
    ) -> None:
        self._only = only
        self._new_scan = new_scan
        self._replacement = replacement
        self._waits = waits

    @overload
    def __call__(self, stream: AsyncIterator[Token]) -> TokenStream[Token]: ...

    @overload
    def __call__(self, stream: Iterable[Token]) -> SyncTokenStream[Token]: ...

    def __call__(self, stream: Any) -> Any:
        """Guard a stream, async or sync. A sync stream cannot have an async check."""
        if self._waits and not hasattr(stream, "__aiter__"):
            raise TypeError("an async check guards an async stream: guard(...)(astream(...))")
        return stage("guard", stream, partial(self._steps, stream))

    async def _steps(
        self, stream: Any, tokens: AsyncIterator[Token]
    ) -> AsyncGenerator[Token, None]:
        passing = self.begin()
        failed: Exception | None = None
        while not passing.stopped:
            try:
                token = await anext(tokens)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised after the waiting tokens
                failed = error
                break
            for released in await passing.feed(token):
                yield released
        if not passing.stopped:
            for released in await passing.end():
                yield released
        if passing.stopped:
            await close_stream(stream)
            yield passing.in_place()
        elif failed is not None:
            raise failed

    @property
    def waits(self) -> bool:
        """Whether its check is asynchronous."""
        return self._waits

    def begin(self) -> Passing:
        """Start checking the tokens of one stream."""
        return Passing(self)

    def looks_at(self, metadata: Metadata) -> bool:
        """Whether it checks the tokens of a call with this metadata."""
        return self._only is None or self._only.decide(metadata) is not False

    def in_place_of(self, chunk: Any, metadata: Metadata) -> Token:
        """The token that replaces forbidden text; raises GuardError if there is no replacement."""
        if self._replacement is None:
            raise self.error(metadata)
        key = call_of(chunk, metadata)
        message_id = key if isinstance(key, str) else None
        ending = AIMessageChunk(content=self._replacement, id=message_id, chunk_position="last")
        return ending, metadata

    def error(self, metadata: Metadata) -> GuardError:
        """The error for a call with this metadata."""
        node, tags = metadata.get("langgraph_node"), tags_of(metadata)
        tagged = f" (tags: {', '.join(tags)})" if tags else ""
        return GuardError(f"node {node!r}{tagged} wrote forbidden text (guard); it was stopped")


class Passing:
    """The tokens of one stream on their way through a guard. Made by ``Guard.begin``.

    With a sync check, nothing here suspends.

    Attributes:
        stopped: Whether forbidden text has been found; then nothing more may pass.
    """

    def __init__(self, guard: Guard) -> None:
        self.stopped = False
        self._guard = guard
        self._calls: dict[Hashable, _Call] = {}
        self._last: Token | None = None

    async def feed(self, token: Token) -> list[Token]:
        """Add a token; return the tokens that may be read now."""
        chunk, metadata = token
        key = call_of(chunk, metadata)
        if isinstance(chunk, RemoveMessage):
            self._calls.pop(key, None)
        elif self._guard.looks_at(metadata):
            call = self._calls.setdefault(key, _Call(self._guard._new_scan))
            if await call.feed(token):
                self.stopped, self._last = True, token
            elif is_last(chunk):
                del self._calls[key]
            return list(call.released())
        return [token]

    async def end(self) -> list[Token]:
        """End the stream; return the waiting tokens that may be read."""
        found: list[Token] = []
        for call in self._calls.values():
            if await call.end():
                self.stopped, self._last = True, call.waiting[-1][0]
            found += call.released()
        return found

    def in_place(self) -> Token:
        """The replacement for a stopped message; raises GuardError if there is none."""
        assert self._last is not None
        return self._guard.in_place_of(*self._last)


class _Call:
    """The waiting chunks of one call, and how far each kind of their text may pass.

    Attributes:
        waiting: Each token with the kinds of its text, and the end position of each.
    """

    def __init__(self, new_scan: Callable[[], _Scan]) -> None:
        self._new_scan = new_scan
        self._scans: dict[str, _Scan] = {}
        self.waiting: deque[tuple[Token, list[tuple[_Scan, int]]]] = deque()

    async def feed(self, token: Token) -> bool:
        """Add a token; return whether it contains or completes forbidden text."""
        ends: list[tuple[_Scan, int]] = []
        self.waiting.append((token, ends))
        for piece in pieces(token[0]):
            scan = self._scans.get(piece.kind)
            if scan is None:
                scan = self._scans[piece.kind] = self._new_scan()
            forbidden = await scan.feed(piece.text)
            ends.append((scan, scan.length))
            if forbidden:
                return True
        return is_last(token[0]) and await self.end()

    async def end(self) -> bool:
        """End the text; return whether the waiting text is forbidden."""
        for scan in self._scans.values():
            if await scan.end():
                return True
        return False

    def released(self) -> Iterator[Token]:
        """Yield the tokens that need not wait any longer."""
        while self.waiting and all(scan.safe >= end for scan, end in self.waiting[0][1]):
            yield self.waiting.popleft()[0]


class _Scan:
    """Checks text as it arrives.

    Attributes:
        length: The number of characters so far.
        safe: The number of characters that cannot be part of a match.
    """

    length = 0
    safe = 0

    async def feed(self, text: str) -> bool:
        """Add text; return whether forbidden text begins at ``safe``."""
        raise NotImplementedError

    async def end(self) -> bool:
        """Like ``feed``, at the end of the text."""
        raise NotImplementedError


_CONTEXT = 1_000
"""Characters kept before the waiting text, for lookbehind: ``\\b``, ``(?<=...)``."""


class _Matches(_Scan):
    """Searches for a regular expression."""

    def __init__(self, pattern: Any, hold: int) -> None:
        self._search = pattern.search
        self._hold = hold
        self._text = ""

    async def feed(self, text: str) -> bool:
        self.length += len(text)
        self._text += text
        before = self.length - len(self._text)  # characters already dropped
        found = self._search(self._text, self.safe - before, partial=True)
        if found is None:
            self.safe = self.length
        elif found.partial:
            self.safe = before + found.start()
        elif found.end() < len(self._text):
            self.safe = before + found.start()
            return True
        # Otherwise the text so far is a match, and all of it waits: more text may undo the match,
        # or produce one that begins earlier.
        if found is not None and len(self._text) - found.start() > self._hold:
            return True
        if self.safe - before > 2 * _CONTEXT:
            self._text = self._text[self.safe - before - _CONTEXT :]
        return False

    async def end(self) -> bool:
        before = self.length - len(self._text)
        found = self._search(self._text, self.safe - before)
        self.safe = self.length if found is None else before + found.start()
        return found is not None


class _Verdicts(_Scan):
    """Asks a function."""

    def __init__(self, check: Callable[[str], object], hold: int) -> None:
        self._check = check
        self._hold = hold
        self._waiting = ""

    async def feed(self, text: str) -> bool:
        self.length += len(text)
        self._waiting += text
        return len(self._waiting) > self._hold and await self._forbidden(self._hold)

    async def end(self) -> bool:
        return bool(self._waiting) and await self._forbidden(0)

    async def _forbidden(self, keep: int) -> bool:
        """Check the waiting text, and drop all but the last characters."""
        verdict = self._check(self._waiting)
        if await verdict if isawaitable(verdict) else verdict:
            return True
        self._waiting = self._waiting[len(self._waiting) - keep :]
        self.safe = self.length - keep
        return False
