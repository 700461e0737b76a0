"""The answer of one call: parses its bytes, delivers chunks over the call's route, merges them.

No I/O. Consecutive pieces of one kind are collected and joined at the end, so the cost of a piece
does not depend on how many there are. Private names used: those of pydantic models, which
``chunk_template`` explains.
"""

from __future__ import annotations

from contextvars import copy_context
from time import monotonic
from typing import Any

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import (
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
    tool_call_chunk,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from openai.types.chat import ChatCompletionChunk

from tokenweir.models._calls.deadlines import Deadline
from tokenweir.models._calls.state import CallState
from tokenweir.models._openai.chunk_template import ChunkTemplate, Fields, metadata_of
from tokenweir.models._openai.parser import ChatParser, Event, Item, Logprobs, ToolPieces, event_of
from tokenweir.streaming.merge import message_of, parse_cut_json
from tokenweir.streaming.route import Route

__all__ = ["Answer"]

_set = object.__setattr__


class Answer:
    """The answer of one call, as far as it has arrived.

    Args:
        convert: LangChain's conversion of an event: ``convert(event, class of the chunk before)``.
        template: The fields of the model's chunks.
        route: The call's route.
        state: The call's state; counts what arrives.
        deadline: The call's deadline; restarted by every token.
        message_id: The id of all messages of the call; None if their receiver sets it.

    Attributes:
        parser: The parser of the current attempt.
        pending: The pieces that ``feed`` has not delivered.
        failed: The exception that was raised when ``feed`` delivered.
    """

    def __init__(
        self,
        convert: Any,
        template: ChunkTemplate,
        route: Route,
        state: CallState,
        deadline: Deadline,
        message_id: str | None,
    ) -> None:
        self._convert = convert
        self._text, self._tool, self._metadata = template.text, template.tool, template.metadata
        self._route = route
        self._state = state
        self._received = state.received
        self._deadline = deadline
        self._id = message_id
        self._context = copy_context()
        self._class: type[Any] = AIMessageChunk
        self._parts: list[tuple[Any, dict[str, Any] | None]] = []
        """Messages, each with its generation info."""
        self._texts: list[str] = []
        self._after_text = False
        """Whether the last message was one of plain text, so that bare texts may follow it."""
        self._logprobs: list[dict[str, Any]] = []
        self._calls: dict[int, list[Any]] = {}
        self.parser = ChatParser()
        self.pending: list[Item] = []
        self.failed: BaseException | None = None
        route.count_with(state.received)

    def begin_attempt(self) -> None:
        """Start an attempt, the first or another one."""
        self.parser = ChatParser()
        self.pending = []
        self._state.begin_attempt()

    def feed(self, data: bytes) -> bool:
        """Parse bytes of the response, and deliver the pieces in the context of the call.

        Returns:
            False if the caller must act: pieces are ``pending`` until a reader has room, delivering
            has ``failed``, or the parser is at an end or an error.
        """
        parser, route = self.parser, self._route
        try:
            items = parser.feed(data)
            if not parser.plain or not route.has_room(len(items)):
                self.pending = items
                return False
            if items:
                tokens = self._received.tokens
                self._context.run(self.deliver, items)
                if self._received.tokens > tokens:
                    self._deadline.began = monotonic()
        except BaseException as error:  # noqa: BLE001 - it is the call's, not the connection's
            self.failed = error
            return False
        return True

    def raise_failure(self) -> None:
        """Raise the exception of a delivery in ``feed``, or the error that the parser found."""
        failed, self.failed = self.failed or self.parser.error, None
        if failed is not None:
            raise failed

    def check_end(self) -> None:
        """At the end of the body, raise if the provider has not ended the answer."""
        if not self.parser.ended:
            raise self._state.cut_short_error()

    def deliver(self, items: list[Item]) -> None:
        """Store pieces of the answer, and send their chunks."""
        route, received = self._route, self._received
        for item in items:
            kind = type(item)
            if kind is str:
                text: str = item  # type: ignore[assignment]
                if not text and self._repeats_opening():
                    continue
                if self._class is not AIMessageChunk:
                    self._add_event(event_of(item))
                else:
                    if self._calls or self._logprobs:
                        self._join()
                    self._texts.append(text)
                    if route.wanted and not (self._after_text and route.send_text(text)):
                        self._send(self._chunk(text, self._text))
                        self._after_text = True
                received.chunks += 1
                received.tokens += bool(text)
                received.characters += len(text)
                continue
            self._after_text = False
            self._deliver_other(item)

    def _deliver_other(self, item: Any) -> None:
        """Like ``deliver``, for a piece that is not plain text."""
        kind, received = type(item), self._received
        characters: int | None = 0
        if kind is Event:
            characters = item.characters
            if characters is None and not self.parser.ended and self._repeats_opening():
                return
            self._add_event(item.data)
        elif self._class is not AIMessageChunk:
            self._add_event(event_of(item))
        elif kind is ToolPieces:
            self._take_pieces(item.pieces)
            if self._route.wanted:
                self._send(self._parsed_tool_chunk(item.pieces))
        else:
            if self._calls or len(self._texts) != len(self._logprobs):
                self._join()
            self._texts.append(item.text)
            self._logprobs.append(item.logprobs)
            if self._route.wanted:
                info = {"logprobs": item.logprobs}
                self._send(self._logprobs_chunk(item.text, item.logprobs), info)
        if kind is Logprobs:
            characters = len(item.text)
        received.chunks += 1
        received.tokens += characters is not None
        received.characters += characters or 0

    def _send(self, message: AIMessageChunk, info: dict[str, Any] | None = None) -> None:
        """Send a chunk, with the generation info that LangChain gives it."""
        self._route.send(message)

    def _chunk(self, content: str, kind: Fields) -> AIMessageChunk:
        """The chunk that LangChain would make from an event, at a fraction of the cost."""
        fields, names = kind
        fields = fields.copy()
        fields["content"] = content
        fields["id"] = self._id
        fields["additional_kwargs"] = {}
        fields["response_metadata"] = self._metadata.copy()
        fields["tool_calls"] = []
        fields["invalid_tool_calls"] = []
        fields["tool_call_chunks"] = []
        made = AIMessageChunk.__new__(AIMessageChunk)
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_fields_set__", names.copy())
        _set(made, "__pydantic_extra__", {})
        _set(made, "__pydantic_private__", None)
        return made

    def _logprobs_chunk(self, text: str, logprobs: dict[str, Any]) -> AIMessageChunk:
        made = self._chunk(text, self._text)
        made.response_metadata = {"logprobs": logprobs, **self._metadata}
        return made

    def _tool_chunk(self, chunks: list[ToolCallChunk]) -> AIMessageChunk:
        """A chunk of tool calls that are not parsed."""
        made = self._chunk("", self._tool)
        made.tool_call_chunks.extend(chunks)
        return made

    def _parsed_tool_chunk(self, pieces: list[Any]) -> AIMessageChunk:
        """A chunk of tool calls, each parsed as far as it is JSON."""
        made = self._tool_chunk(
            [
                tool_call_chunk(name=name, args=arguments, id=call_id, index=index)
                for index, call_id, name, arguments in pieces
            ]
        )
        for _, call_id, name, arguments in pieces:
            found = _object_in(arguments) if arguments else {}
            if found is None:
                made.invalid_tool_calls.append(
                    invalid_tool_call(name=name, args=arguments, id=call_id, error=None)
                )
            else:
                made.tool_calls.append(tool_call(name=name or "", args=found, id=call_id))
        return made

    def _repeats_opening(self) -> bool:
        return not self._received.tokens and self._state.repeats_opening()

    def _take_pieces(self, pieces: list[Any]) -> None:
        """Store pieces of tool calls; a new call is kept separate from the pieces before it."""
        if self._texts:
            self._join()
        for index, call_id, name, arguments in pieces:
            call = self._calls.get(index)
            if call is not None and (call_id or name):
                # The sum decides whether this is the same call.
                self._join()
                call = None
            if call is None:
                self._calls[index] = [call_id, name, [arguments]]
            else:
                # Some servers send an empty id and name.
                call[0] = call_id if call[0] is None else call[0]
                call[1] = name if call[1] is None else call[1]
                call[2].append(arguments)

    def _add_event(self, event: Any) -> None:
        """Let LangChain convert an event in the form in which the openai SDK returns it."""
        self._join()
        if not _is_flat(event):
            event = ChatCompletionChunk.construct(**event).model_dump()
        made = self._convert(event, self._class)
        if made is None:
            return
        self._class = type(made.message)
        made.message.response_metadata = metadata_of(made)
        if made.message.id is None:
            made.message.id = self._id
        elif made.message.id != self._id:
            self._route.mark_seen(made.message.id)
        self._parts.append((made.message, made.generation_info))
        if self._route.wanted:
            self._send(made.message, made.generation_info)

    def _join(self) -> None:
        """Join consecutive pieces into one part."""
        if self._texts:
            text, self._texts = "".join(self._texts), []
            message, info = self._chunk(text, self._text), None
            if self._logprobs:
                info = {"logprobs": _joined_logprobs(self._logprobs)}
                message = self._logprobs_chunk(text, info["logprobs"])
                self._logprobs = []
            self._parts.append((message, info))
        if self._calls:
            chunks = [
                tool_call_chunk(
                    name=name,
                    args="".join(part or "" for part in parts) if any(parts) else parts[0],
                    id=call_id,
                    index=index,
                )
                for index, (call_id, name, parts) in self._calls.items()
            ]
            self._calls = {}
            self._parts.append((self._tool_chunk(chunks), None))

    def result(self) -> ChatResult:
        """Send the mark of the end, and return the whole answer."""
        self._join()
        parts = self._parts
        if parts and self._class is AIMessageChunk:
            last = AIMessageChunk(content="", chunk_position="last", id=self._id)
            parts.append((last, None))
            if self._route.wanted:
                self._route.send(last)
        if not parts or self._class is not AIMessageChunk:
            # This raises LangChain's own error if there is no answer.
            return generate_from_stream(
                ChatGenerationChunk(message=message, generation_info=info)
                for message, info in parts
            )
        made = ChatGeneration(
            message=message_of([message for message, _ in parts]),
            generation_info=_joined_info([info for _, info in parts if info]),
        )
        made.message.response_metadata = metadata_of(made)
        return ChatResult(generations=[made])


_FLAT = {"content", "reasoning", "reasoning_content", "refusal", "role"}
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def _is_flat(event: Any) -> bool:
    """Whether the SDK would return this event as the same dict, as for the first and last ones.

    The SDK may add fields to other events.
    """
    if not isinstance(event, dict):
        return True
    choices, usage = event.get("choices"), event.get("usage")
    if usage is not None and not _counts(usage):
        return False
    if not choices:
        return True
    choice = choices[0]
    delta = choice.get("delta")
    if len(choices) > 1 or choice.get("logprobs") is not None or not isinstance(delta, dict):
        return False
    return all(key in _FLAT or value is None for key, value in delta.items())


def _counts(usage: Any) -> bool:
    """Whether all counts of a usage are numbers; otherwise the SDK converts or adds some."""
    return isinstance(usage, dict) and all(type(usage.get(name)) is int for name in _COUNTS)


def _object_in(arguments: str) -> dict[str, Any] | None:
    """A tool call's complete or partial arguments as an object; None if they are not one."""
    if arguments.lstrip(" \t\n\r")[:1] != "{":
        return None  # no prefix of it would be an object
    try:
        found = parse_cut_json(arguments)
    except (ValueError, RecursionError):  # a model may repeat a bracket endlessly
        return None
    return found if isinstance(found, dict) else None


def _joined_logprobs(logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Log probabilities, concatenated."""
    lists = [found["content"] for found in logprobs if found["content"] is not None]
    return {
        **logprobs[0],
        "content": [each for found in lists for each in found] if lists else None,
    }


def _joined_info(infos: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Generation infos, added up as LangChain does."""
    if len(infos) < 2:
        return infos[0] if infos else None
    blank = AIMessageChunk(content="")
    first, *rest = [ChatGenerationChunk(message=blank, generation_info=info) for info in infos]
    return (first + rest).generation_info
