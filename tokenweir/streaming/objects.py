"""``objects``: structured output while it is written, as objects of the type asked for."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Hashable,
    Iterable,
    Mapping,
)
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Generic, TypeVar, overload

from langchain_core.messages import RemoveMessage
from pydantic import ValidationError

from tokenweir.errors import ObjectError
from tokenweir.streaming.content import call_of, field_of, is_cut, is_last, text_of
from tokenweir.streaming.partial import JSONReader, json_reader, members
from tokenweir.streaming.stage import stage
from tokenweir.streaming.token_stream import SyncTokenStream, TokenStream
from tokenweir.types import Metadata, Token

__all__ = ["objects"]

T = TypeVar("T")


@overload
def objects(
    stream: AsyncIterable[Token], kind: type[T], *, tool: str | None = None
) -> TokenStream[T]: ...


@overload
def objects(
    stream: AsyncIterable[Token], kind: UnionType, *, tool: str | None = None
) -> TokenStream[Any]: ...


@overload
def objects(
    stream: Iterable[Token], kind: type[T], *, tool: str | None = None
) -> SyncTokenStream[T]: ...


@overload
def objects(
    stream: Iterable[Token], kind: UnionType, *, tool: str | None = None
) -> SyncTokenStream[Any]: ...


def objects(stream: Any, kind: Any, *, tool: str | None = None) -> Any:
    """Read structured output from a stream while the model still writes it.

    ::

        async for joke in objects(astream(graph, inputs), Joke):
            print(joke.setup, joke.punchline)

    It reads answers that are JSON, and the arguments of tool calls that are named after the type,
    as ``with_structured_output`` makes them. It skips all other tokens. It yields objects of the
    type itself, each grown since the last one: texts and lists grow, other values appear when they
    are complete. A field that is missing or not valid yet has its default, or else None (a key of
    a TypedDict is missing). Validators of fields run on what has arrived, validators of whole
    models do not. The last object of an answer is complete and fully validated.

    Each token gives an object in the first 1,000 characters of JSON. After that, the answer gives
    one whenever it has grown by 1 %, so the total time is linear in its length.

    Args:
        stream: A stream of ``(chunk, metadata)``, async or sync. If several calls answer with the
            type, their objects mix: choose one with ``only=``, or divide the stream with ``lanes``.
        kind: A pydantic model, a dataclass, a TypedDict, a ``msgspec.Struct``, a list of them, or
            a union of them (``A | B``), of which the tool's name chooses one. Before Python 3.12
            a TypedDict must come from ``typing_extensions``.
        tool: Read only the arguments of calls of this tool.

    Returns:
        An async stream of objects, or a sync one for a sync stream. Closing it closes ``stream``.

    Raises:
        TypeError: At the call, if this is not a stream, or if the type cannot be read from JSON.
        ObjectError: At the end of the stream, if a complete answer is not a valid object of the
            type, unless the graph got a valid one in a later step; or if no answer was JSON.
    """
    answers: _Answers[Any] = _Answers(kind, tool)

    async def read(tokens: AsyncIterator[Token]) -> AsyncGenerator[Any, None]:
        async for token in tokens:
            for made in answers.feed(*token):
                yield made
        for made in answers.end():
            yield made

    return stage("objects", stream, read)


_EACH_TOKEN = 1_000
"""Characters up to which each token gives an object."""
_STEP = 0.01
"""Beyond that, an answer is parsed each time it has grown by this fraction. A parse takes time
proportional to the length; all of them together cost about a hundred times the last one."""


@dataclass
class _Answer(Generic[T]):
    """JSON that grows: the text of one model call, or the arguments of one tool call."""

    reader: JSONReader[T]
    metadata: Metadata
    is_text: bool
    last: T | None
    parts: list[str] = field(default_factory=list)
    length: int = 0
    parsed: int = 0
    is_json: bool | None = None
    cut: bool = False

    def text(self) -> str:
        """All text so far."""
        text = "".join(self.parts)
        self.parts = [text]
        if self.is_text and text.lstrip().startswith("```"):  # a block of Markdown
            text = text.partition("\n")[2].rstrip().removesuffix("```")
        return text if self.is_text else text or "{}"

    def grow(self, text: str) -> Iterable[T]:
        """Add a piece of text; yield the new object, if there is one."""
        if self.is_json is None and (begun := text.lstrip()[:1]):
            self.is_json = not self.is_text or begun in "{[`"
        self.parts.append(text)
        self.length += len(text)
        if self.is_json and self.length - self.parsed >= (self.length - _EACH_TOKEN) * _STEP:
            self.parsed = self.length
            made = self.reader.part(self.text())
            if made is not None and (self.length > _EACH_TOKEN or made != self.last):
                self.last = made
                yield made


class _Answers(Generic[T]):
    """All answers of a stream. No I/O."""

    def __init__(self, kind: Any, tool: str | None) -> None:
        kinds = members(kind)
        self._reader: JSONReader[T] = json_reader(kind)
        readers = [self._reader] if kinds == (kind,) else list(map(json_reader, kinds))
        self._name = " or ".join(getattr(each, "__name__", str(each)) for each in kinds)
        self._tool = tool
        self._tools = {name: reader for reader in readers for name in reader.names}
        if tool is not None:
            self._tools = {tool: self._reader}
        self._open: dict[Hashable, dict[Any, _Answer[T]]] = {}
        self._ended: set[Hashable] = set()
        self._failed: list[tuple[int, Hashable, ObjectError]] = []
        self._found = False
        self._others: list[str] = []

    def feed(self, chunk: Any, metadata: Metadata) -> Iterable[T]:
        """Add one token; yield the objects that it completes or grows."""
        call = call_of(chunk, metadata)
        if isinstance(chunk, RemoveMessage) or field_of(chunk, "type") == "remove":
            self._open.pop(call, None)
            self._ended.discard(call)
            self._failed = [each for each in self._failed if each[1] != call]
        elif call not in self._ended and _is_answer(chunk):
            answers = self._open.setdefault(call, {})
            for at, tool, text in self._pieces(chunk, answers):
                if at not in answers:
                    reader = self._tools[tool] if tool else self._reader
                    answers[at] = _Answer(reader, metadata, at is None, reader.part("{}"))
                yield from answers[at].grow(text)
            if is_cut(chunk):
                for answer in answers.values():
                    answer.cut = True
            if is_last(chunk):
                yield from self._end(call)

    def end(self) -> Iterable[T]:
        """End the stream; yield the last objects, or raise ObjectError."""
        for call in list(self._open):
            yield from self._end(call)
        if self._failed:
            raise self._failed[0][2]
        if not self._found and self._others and self._tool is None:
            raise ObjectError(
                f"the stream holds no {self._name}: no answer was JSON, and no tool that is named "
                f"{' or '.join(map(repr, sorted(self._tools)))} was called; there were "
                + "; ".join(dict.fromkeys(self._others[:5]))
            )

    def _pieces(
        self, chunk: Any, known: Mapping[Any, _Answer[T]]
    ) -> Iterable[tuple[int | None, str | None, str]]:
        """The pieces of JSON in a chunk, each with its tool call's index, or None for text, and
        with the tool's name where the call begins."""
        if self._tool is None and (text := text_of(chunk)):
            yield None, None, text
        pieces = field_of(chunk, "tool_call_chunks")
        for number, piece in enumerate(
            pieces or (is_last(chunk) and field_of(chunk, "tool_calls")) or ()
        ):
            at = number if piece.get("index") is None else piece["index"]
            name, arguments = piece.get("name"), piece.get("args") or ""
            if name and name not in self._tools:
                self._others.append(f"a call of {name!r}")
            elif name or at in known:
                text = arguments if isinstance(arguments, str) else json.dumps(arguments)
                yield at, name, text

    def _end(self, call: Hashable) -> Iterable[T]:
        self._ended.add(call)
        for answer in self._open.pop(call).values():
            where = f"node {answer.metadata.get('langgraph_node')!r}"
            if answer.is_text and not answer.is_json:
                if text := answer.text().strip():
                    self._others.append(f"text of {where} that begins with {text[:40]!r}")
                continue
            self._found = True
            step = answer.metadata.get("langgraph_step") or 0
            try:
                made = answer.reader.whole(answer.text())
            except ValueError as error:
                reason = _reason(error) + (", as the limit of tokens cut it" if answer.cut else "")
                failed = ObjectError(
                    f"the answer of {where} is no {self._name}: {reason}", answer.text()
                )
                failed.__cause__ = error
                self._failed.append((step, call, failed))
            else:
                self._failed = [each for each in self._failed if each[0] >= step]
                yield made


def _is_answer(chunk: Any) -> bool:
    """Whether a model wrote this, not a user or a tool."""
    return (field_of(chunk, "type") or field_of(chunk, "role") or "ai") in (
        "ai",
        "AIMessageChunk",
        "assistant",
    )


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if each["loc"] else each["msg"]
        for each in error.errors(include_url=False)
    )
