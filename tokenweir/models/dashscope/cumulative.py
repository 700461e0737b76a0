"""Turns DashScope's events into deltas, whether they are cumulative or incremental. No I/O.

DashScope's own protocol streams in two ways: each event holds the whole answer so far, or (with
``incremental_output``) only the new part. ``Deltas`` gives the same deltas for both. It refuses an
event that does not continue the last one, because a delta made from it would be garbage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenweir.errors import ProviderError

__all__ = ["Delta", "Deltas", "ToolDelta"]


@dataclass(frozen=True)
class ToolDelta:
    """The new part of a tool call: ``arguments`` always, ``id`` and ``name`` the first time."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True)
class Delta:
    """The new part in one event. ``finish_reason`` is None until the answer is over."""

    text: str = ""
    reasoning: str = ""
    tools: tuple[ToolDelta, ...] = ()
    finish_reason: str | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.tools or self.finish_reason)


@dataclass
class _Tool:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Deltas:
    """Feed it the ``output`` of every event to get the new part.

    Args:
        incremental: Events hold only the new part; otherwise each repeats everything before it.
    """

    incremental: bool
    _text: str = ""
    _reasoning: str = ""
    _tools: dict[int, _Tool] = field(default_factory=dict)

    def feed(self, output: Mapping[str, Any]) -> Delta:
        """The new part in an event; raises ProviderError if it does not continue the last one."""
        message, reason = _parts(output)
        text = _text_of(message.get("content"))
        reasoning = _text_of(message.get("reasoning_content"))
        calls = _calls(message)
        if not self.incremental:
            text, self._text = _grown("text", self._text, text)
            reasoning, self._reasoning = _grown("reasoning", self._reasoning, reasoning)
        tools = [made for index, call in calls if (made := self._tool(index, call)) is not None]
        return Delta(text, reasoning, tuple(tools), reason)

    def _tool(self, index: int, call: Mapping[str, Any]) -> ToolDelta | None:
        function = call.get("function") or {}
        identity, name = call.get("id") or "", function.get("name") or ""
        arguments = function.get("arguments") or ""
        known = index in self._tools
        tool = self._tools.setdefault(index, _Tool())
        if self.incremental:
            new_id = identity if identity != tool.id else ""
            new_name = name
        else:
            # Every event repeats both in full; the deltas have them once.
            new_id, tool.id = _grown(f"id of tool call {index}", tool.id, identity)
            new_name, tool.name = _grown(f"name of tool call {index}", tool.name, name)
            arguments, tool.arguments = _grown(
                f"arguments of tool call {index}", tool.arguments, arguments
            )
        if self.incremental:
            tool.id = identity or tool.id
        if known and not (new_id or new_name or arguments):
            return None
        return ToolDelta(index, new_id or None, new_name or None, arguments)


def _grown(what: str, before: str, now: str) -> tuple[str, str]:
    """The new part in ``now``, and the whole after it; an empty ``now`` adds nothing."""
    if not now:
        return "", before
    if not now.startswith(before):
        raise ProviderError(
            f"the {what} of an event does not continue the {len(before)} characters before it: "
            "the endpoint does not send cumulative output; use incremental_output=True"
        )
    return now[len(before) :], now


def _parts(output: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """The message and the finish reason of an event, in either of the two result formats."""
    choices = output.get("choices")
    if choices:
        choice = choices[0]
        message, reason = choice.get("message") or {}, choice.get("finish_reason")
    else:
        message, reason = {"content": output.get("text")}, output.get("finish_reason")
    # DashScope sends the text "null" until the answer is over.
    return message, reason if reason and reason != "null" else None


def _text_of(content: Any) -> str:
    """Text, or the texts of a list of parts as multimodal models send them."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for place, call in enumerate(message.get("tool_calls") or ()):
        index = call.get("index")
        yield (index if isinstance(index, int) else place), call
