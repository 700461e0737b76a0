"""Sorts a stream of tokens into parts of messages. No I/O.

Front ends do not read chunks but events: a text starts, continues and ends; likewise reasoning and
tool calls. ``Parts`` derives these events, the same for every protocol; a ``Dialect`` writes them.
``agui.py`` and ``ai_sdk.py`` are the dialects.

Most events continue a text. So each part stores the bytes around its texts, and a caller that
already has a text as JSON can insert it without involving the dialect.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from langchain_core.messages import AIMessageChunk

from tokenweir.streaming.content import call_of, field_of, is_last, pieces, tags_of, text_of
from tokenweir.streaming.merge import add_usage

__all__ = ["Dialect", "Item", "Part", "Parts", "Result", "Said", "frame"]

_ENCODER = msgspec.json.Encoder(enc_hook=str)


def frame(value: Mapping[str, Any]) -> bytes:
    """A value as one server-sent event. Values that JSON lacks become text."""
    return b"data: %s\n\n" % _ENCODER.encode(value)


class Said:
    """The message of one model call.

    Attributes:
        id: The message's id; generated if a node writes a message by hand without one.
        about: Its origin: ``node``, ``tags`` and ``model``, as far as known.
        namespace: The path of the subgraph that it comes from.
        parts: Its parts, in order.
        usage: Its token counts in LangChain's form; None until they are known.
        over: Whether it has ended.
    """

    __slots__ = ("about", "calls", "id", "namespace", "over", "parts", "usage", "writing")

    def __init__(self, id: str, about: dict[str, Any], namespace: Sequence[str]) -> None:
        self.id = id
        self.about = about
        self.namespace = tuple(namespace)
        self.parts: list[Part] = []
        self.usage: dict[str, Any] | None = None
        self.over = False
        self.writing: Part | None = None
        """The text or the reasoning that is open."""
        self.calls: dict[Any, Part] = {}
        """The tool calls that are open, by their index in the message."""


class Part:
    """A contiguous part of a message, of one kind.

    Attributes:
        kind: Text, reasoning, or a tool call, whose texts are its arguments as JSON.
        id: An id that is unique in the stream; for a tool call, the call's id.
        name: The name of the tool.
        said: The message.
        texts: Its texts so far, each as a JSON string.
        open: Whether more may come.
        head: The bytes that a dialect writes before each further text.
        tail: The bytes that it writes after it.
    """

    __slots__ = ("head", "id", "kind", "name", "open", "said", "tail", "texts")

    def __init__(
        self, kind: Literal["text", "reasoning", "call"], id: str, said: Said, name: str = ""
    ) -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.said = said
        self.texts: list[bytes] = []
        self.open = True
        self.head = self.tail = b""

    @property
    def body(self) -> bytes:
        """The texts so far, as one JSON string."""
        return b'"%s"' % b"".join(text[1:-1] for text in self.texts)

    @property
    def text(self) -> str:
        """The texts so far."""
        found: str = msgspec.json.decode(self.body)
        return found


class Result(NamedTuple):
    """The result of a tool.

    Attributes:
        id: The id of the tool's message.
        call_id: The call that it answers.
        value: The message's content.
        failed: Whether the tool reported a failure.
        namespace: The path of the subgraph that it comes from.
    """

    id: str
    call_id: str
    value: Any
    failed: bool
    namespace: tuple[str, ...]

    @property
    def text(self) -> str:
        """The content as text."""
        return text_of({"type": "tool", "content": self.value})


Item: TypeAlias = "Said | Result | bytes"
"""Something that a reader was shown: a message, a tool's result, or a dialect's own note."""


class Dialect(Protocol):
    """Writes the events of a protocol."""

    def begin(self, part: Part) -> bytes:
        """Start a part; sets its ``head`` and ``tail``."""
        ...

    def end(self, part: Part) -> bytes:
        """End a part."""
        ...

    def result(self, result: Result) -> bytes:
        """Write a tool's result."""
        ...

    def void(self, gone: Said, left: Sequence[Item]) -> bytes:
        """Remove a void message; ``left`` is everything else that was shown."""
        ...


class Parts:
    """Takes the tokens of one run for one reader.

    Attributes:
        items: The items shown since ``forget``, in the order in which they began.
        usage: The token counts of all calls by provider and model, in LangChain's form.
        finish_reason: The provider's finish reason of the newest call that has one.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.items: list[Item] = []
        self.usage: dict[tuple[str | None, str | None], dict[str, Any]] = {}
        self.finish_reason: str | None = None
        self._dialect = dialect
        self._known: dict[Hashable, Said] = {}
        self._calls: dict[str, Part] = {}
        """The tool calls that have no result, by their ids."""
        self._made = 0

    def feed(
        self, message: Any, metadata: Mapping[str, Any], namespace: Sequence[str] = ()
    ) -> bytes:
        """The bytes to write for one token (a chunk or a whole message); may be empty.

        Args:
            message: A LangChain message, the same as plain data, or a node's custom write.
            metadata: LangGraph's metadata of the call.
            namespace: The path of the subgraph that it comes from.
        """
        if type(message) is AIMessageChunk and (part := self._goes_on(message)) is not None:
            return self._go_on(part, message.content)  # type: ignore[arg-type]
        kind = field_of(message, "type")
        key = call_of(message, metadata)
        if kind == "remove":
            return self._void(field_of(message, "id"))
        if kind == "tool" or field_of(message, "role") == "tool":
            return self._result(message, namespace)
        whole = isinstance(kind, str) and not kind.endswith("Chunk")
        said = self._known.get(key)
        if whole and (kind != "ai" or said is not None):
            return b"" if said is None else self._close(said)  # already written, token by token
        if said is None or (said.over and not isinstance(key, str)):
            said = self._known[key] = self._new(message, metadata, namespace)
        written = b"".join(self._say(said, message))
        self._count(said, message, metadata)
        if is_last(message):
            written += self._close(said)
        return written

    def writing(self, message: Any, metadata: Mapping[str, Any]) -> Part | None:
        """The open text part of a message, for ``put``; None if there is none."""
        said = self._known.get(call_of(message, metadata))
        part = None if said is None else said.writing
        return part if part is not None and part.kind == "text" else None

    def note(self, written: bytes) -> bytes:
        """Note bytes that must be repeated if the shown items are written again."""
        self.items.append(written)
        return written

    def close(self) -> bytes:
        """End all open parts."""
        return b"".join(self._close(item) for item in self.items if isinstance(item, Said))

    def forget(self) -> None:
        """Make everything shown so far permanent. None of it may be open."""
        self.items.clear()

    def call(self, name: str, args: Any) -> str | None:
        """The id of the first tool call with this name and arguments that has no result."""
        for part in self._calls.values():
            if part.name == name:
                try:
                    if json.loads(part.text or "{}") == args:
                        return part.id
                except ValueError:
                    continue
        return None

    # Inside

    def _goes_on(self, chunk: AIMessageChunk) -> Part | None:
        """The open text part that a chunk continues, if the chunk has nothing else."""
        said = self._known.get(chunk.id)
        if (
            said is None
            or (part := said.writing) is None
            or part.kind != "text"
            or type(chunk.content) is not str
            or not chunk.content
            or chunk.tool_call_chunks
            or chunk.additional_kwargs
            or chunk.usage_metadata
            or chunk.chunk_position
            or chunk.response_metadata
        ):
            return None
        return part

    def _new(self, message: Any, metadata: Mapping[str, Any], namespace: Sequence[str]) -> Said:
        about = {
            "node": metadata.get("langgraph_node"),
            "tags": tags_of(metadata),
            "model": metadata.get("ls_model_name"),
        }
        name = field_of(message, "id")
        if not isinstance(name, str) or not name:
            self._made += 1
            name = f"{about['node'] or 'message'}-{self._made}"
        said = Said(name, {name: value for name, value in about.items() if value}, namespace)
        self.items.append(said)
        return said

    def _say(self, said: Said, message: Any) -> Iterator[bytes]:
        for piece in pieces(message):
            if piece.kind in ("text", "reasoning"):
                kind: Any = piece.kind
                part = said.writing
                if part is None or part.kind != kind:
                    yield self._end(part)
                    numbered = len(said.parts)
                    name = f"{said.id}:{numbered}" if numbered else said.id
                    part = said.writing = Part(kind, name, said)
                    yield self._begin(part)
                yield self._go_on(part, piece.text)
        chunks = field_of(message, "tool_call_chunks")
        for number, call in enumerate(chunks or field_of(message, "tool_calls") or ()):
            if isinstance(call, Mapping):
                yield from self._call(said, call, number)

    def _call(self, said: Said, call: Mapping[str, Any], number: int) -> Iterator[bytes]:
        spec = call.get("function")  # the provider's own form, in what is written by hand
        name, args = (
            (spec.get("name"), spec.get("arguments"))
            if isinstance(spec, Mapping)
            else (call.get("name"), call.get("args"))
        )
        index = call.get("index")
        index = number if index is None else index
        part = said.calls.get(index)
        if part is None:
            yield self._end(said.writing)
            said.writing = None
            call_id = call.get("id") or f"{said.id}:call-{len(said.parts)}"
            part = said.calls[index] = Part("call", call_id, said, name or "")
            self._calls[call_id] = part
            yield self._begin(part)
        if args is not None and not isinstance(args, str):
            args = json.dumps(args, ensure_ascii=False, default=str)
        if args:
            yield self._go_on(part, args)

    def _begin(self, part: Part) -> bytes:
        part.said.parts.append(part)
        return self._dialect.begin(part)

    def _go_on(self, part: Part, text: str) -> bytes:
        try:
            body = _ENCODER.encode(text)
        except UnicodeEncodeError:  # half of a surrogate pair
            body = _ENCODER.encode(
                text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            )
        part.texts.append(body)
        return part.head + body + part.tail

    def _end(self, part: Part | None) -> bytes:
        if part is None or not part.open:
            return b""
        part.open = False
        return self._dialect.end(part)

    def _close(self, said: Said) -> bytes:
        said.over = True
        written = [self._end(said.writing), *map(self._end, said.calls.values())]
        said.writing = None
        said.calls.clear()
        return b"".join(written)

    def _result(self, message: Any, namespace: Sequence[str]) -> bytes:
        call_id = field_of(message, "tool_call_id")
        if not isinstance(call_id, str):
            return b""
        name = field_of(message, "id") or f"{call_id}:result"
        failed = field_of(message, "status") == "error"
        self._calls.pop(call_id, None)
        result = Result(name, call_id, field_of(message, "content"), failed, tuple(namespace))
        self.items.append(result)
        return self._dialect.result(result)

    def _void(self, message_id: Any) -> bytes:
        for item in self.items:
            if isinstance(item, Said) and item.id == message_id:
                self.items.remove(item)
                self._known = {k: said for k, said in self._known.items() if said is not item}
                written = self._dialect.void(item, self.items) if item.parts else b""
                for part in item.parts:
                    part.open = False
                    self._calls.pop(part.id, None)
                return written
        return b""

    def _count(self, said: Said, message: Any, metadata: Mapping[str, Any]) -> None:
        if usage := field_of(message, "usage_metadata"):
            said.usage = add_usage(said.usage, usage)
            which = (metadata.get("ls_provider"), metadata.get("ls_model_name"))
            self.usage[which] = add_usage(self.usage.get(which), usage)
        if reason := (field_of(message, "response_metadata") or {}).get("finish_reason"):
            self.finish_reason = reason
