"""An answer as it comes in: chunks for who watches, and the whole message at the end. No I/O."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from openai.types.chat import ChatCompletionChunk

from tokenweir.models._openai.chunk_template import Pattern, metadata_of
from tokenweir.models._openai.parser import Logprobs, ToolPieces
from tokenweir.streaming.merge import message_of
from tokenweir.streaming.route import Receivers

__all__ = ["Answer"]


class Answer:
    """The answer of one call, as far as it has come: hands its chunks on, and adds them up.

    Pieces of one kind that follow one another are kept as they are and joined at the end, so that
    the sum costs no more per piece, however many there are.
    """

    def __init__(
        self, convert: Any, pattern: Pattern, receivers: Receivers, message_id: str
    ) -> None:
        self._convert = convert
        self._pattern = pattern
        self._receivers = receivers
        self._id = message_id
        self._class: type[Any] = AIMessageChunk
        self._parts: list[tuple[Any, dict[str, Any] | None]] = []
        """Messages, each with its generation info."""
        self._texts: list[str] = []
        self._behind_text = False
        """Whether the last message was one of text, so that texts may follow it as they are."""
        self._logprobs: list[dict[str, Any]] = []
        self._calls: dict[int, list[Any]] = {}

    def take(self, items: list[Any]) -> int:
        """Hand on what has come, chunk by chunk; how many characters of text it was."""
        receivers, pattern, message_id = self._receivers, self._pattern, self._id
        wanted, put = receivers.wanted, receivers.put
        texts = self._texts
        characters = done = 0
        try:
            for done, item in enumerate(items):  # noqa: B007
                kind = type(item)
                if kind is not str:
                    self._behind_text = False
                if self._class is not AIMessageChunk:
                    characters += self._take_event(_event_of(item))
                elif kind is str:
                    if self._calls or self._logprobs:
                        self._join()
                        texts = self._texts
                    texts.append(item)
                    characters += len(item)
                    if wanted and not self._taken_as_it_is(item):
                        put(pattern.text(item, message_id))
                        self._behind_text = receivers.text is not None
                elif kind is ToolPieces:
                    self._take_pieces(item.pieces)
                    if wanted:
                        put(pattern.tool(item.pieces, message_id))
                elif kind is Logprobs:
                    if self._calls or len(texts) != len(self._logprobs):
                        self._join()
                        texts = self._texts
                    texts.append(item.text)
                    characters += len(item.text)
                    self._logprobs.append(item.logprobs)
                    if wanted:
                        put(pattern.with_logprobs(item.text, item.logprobs, message_id))
                else:
                    characters += self._take_event(item)
                    texts = self._texts
        except Exception:
            receivers.count(done, characters)  # those before it have been handed on
            raise
        return characters

    def take_text(self, item: Any) -> bool:
        """Hand on a text as it is, if that is what it is and nobody needs a chunk of it."""
        if type(item) is not str or not self._taken_as_it_is(item):
            return False
        self._texts.append(item)
        return True

    def _taken_as_it_is(self, text: str) -> bool:
        take = self._receivers.text
        return self._behind_text and take is not None and take(text)

    def _take_pieces(self, pieces: list[Any]) -> None:
        """Keep pieces of tool calls; a call that begins is kept apart from what comes before."""
        if self._texts:
            self._join()
        for index, call_id, name, arguments in pieces:
            call = self._calls.get(index)
            if call is not None and (call_id or name):
                # Whether this is the same call is for the sum to say.
                self._join()
                call = None
            if call is None:
                self._calls[index] = [call_id, name, [arguments]]
            else:
                call[2].append(arguments)

    def _take_event(self, event: Any) -> int:
        """Have LangChain convert an event, as the openai SDK would have given it.

        Returns how many characters of text it holds.
        """
        self._join()
        if not _is_flat(event):
            event = ChatCompletionChunk.construct(**event).model_dump()
        made = self._convert(event, self._class)
        if made is None:
            return 0
        self._class = type(made.message)
        made.message.response_metadata = metadata_of(made)
        if made.message.id is None:
            made.message.id = self._id
        elif made.message.id != self._id:
            self._receivers.also_known(made.message.id)
        self._parts.append((made.message, made.generation_info))
        if self._receivers.wanted:
            self._receivers.put(made.message)
        return len(made.text)

    def _join(self) -> None:
        """Make one part of the pieces that followed one another."""
        if self._texts:
            text, self._texts = "".join(self._texts), []
            message, info = self._pattern.text(text, self._id), None
            if self._logprobs:
                info = {"logprobs": _joined_logprobs(self._logprobs)}
                message = self._pattern.with_logprobs(text, info["logprobs"], self._id)
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
            self._parts.append((self._pattern.joined_tool(chunks, self._id), None))

    def result(self) -> ChatResult:
        """Hand on the mark of the end, and give the whole answer."""
        self._join()
        parts = self._parts
        if parts and self._class is AIMessageChunk:
            last = AIMessageChunk(content="", chunk_position="last", id=self._id)
            parts.append((last, None))
            if self._receivers.wanted:
                self._receivers.put(last)
        if not parts or self._class is not AIMessageChunk:
            # Which says that there is no answer, if there is none.
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
    """Whether an event is the same dict when it has been an object of the SDK: the first and last.

    All others may lack fields that the SDK adds.
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
    if len(choices) > 1 or choice.get("logprobs") or not isinstance(delta, dict):
        return False
    return all(key in _FLAT or value is None for key, value in delta.items())


def _counts(usage: Any) -> bool:
    """Whether a usage has its numbers, as numbers; the SDK adds or reads those that it misses."""
    return isinstance(usage, dict) and all(type(usage.get(name)) is int for name in _COUNTS)


def _event_of(item: Any) -> Any:
    """An item as the event that it was."""
    if isinstance(item, str):
        return {"choices": [{"index": 0, "delta": {"content": item}}]}
    if isinstance(item, Logprobs):
        choice = {"index": 0, "delta": {"content": item.text}, "logprobs": item.logprobs}
        return {"choices": [choice]}
    if isinstance(item, ToolPieces):
        calls = [
            {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
            for index, call_id, name, arguments in item.pieces
        ]
        return {"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}
    return item


def _joined_logprobs(logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Log probabilities, one after the other."""
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
