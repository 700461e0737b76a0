"""Writes a run's events as AG-UI's. No I/O.

Nodes are steps, subgraphs are subagents. The state without ``messages`` is sent once as a whole,
then as changes. The messages of the state are sent when the run has ended, so that the client ends
up with exactly what the graph has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenweir.encoders.agui import AgUi
from tokenweir.encoders.parts import frame
from tokenweir.serving.agui.messages import for_client
from tokenweir.serving.agui.steps import Steps
from tokenweir.serving.event_tokens import EventTokens
from tokenweir.serving.graph_inputs import MESSAGES
from tokenweir.serving.log.events import END, Event
from tokenweir.serving.running.records import Run

__all__ = ["Frames"]

_ASKED = {"reason": "reason", "message": "message", "tool_call_id": "toolCallId"}
"""The keys that an interrupt's value may have, with their names in the protocol."""


class Frames:
    """Writes the events of one run for one reader.

    Args:
        run: The run.
        ids: The client's ``threadId`` and ``runId``.
        before: The client's messages; None if the client has to be sent them.
        said: The user's message, for a graph that keeps no messages.
    """

    def __init__(
        self,
        run: Run,
        ids: Mapping[str, str],
        before: Sequence[Mapping[str, Any]] | None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        self._run = run
        self._ids = ids
        self._tells = before is None
        self._said = said
        self._writer = AgUi(before or ())
        self._tokens = EventTokens(self._writer.parts, self._other)
        self._steps = Steps()
        self._state: dict[str, Any] | None = None
        self._messages: list[Any] | None = None
        self._interrupts: dict[str, Mapping[str, Any]] = {}
        self._failed = False
        self.encode = self._tokens.encode

    def begin(self) -> bytes:
        """What to write before all events."""
        more: dict[str, Any] = {"metadata": {"tokenweir": {"run": self._run.id}}}
        if self._said is not None:
            more["input"] = {**self._ids, "messages": [self._said], "tools": [], "context": []}
        return self._writer.start(self._ids, **more)

    def _other(self, event: Event) -> bytes:
        """What to write for an event that is not a token."""
        kind = event.kind
        if self._failed:
            return b""
        if kind == END:
            return self._end(event.value["status"])
        if kind == "error":
            self._failed = True
            value = event.value
            return self._writer.fail(f"{value['error']}: {value['message']}", value["error"])
        if kind == "metadata":
            return self._steps.reset() if event.value["attempt"] > 1 else b""
        if kind == "values":
            return self._values(event.value)
        if event.mode == "tasks":
            for interrupt in event.value.get("interrupts") or ():
                self._interrupts[interrupt["id"]] = interrupt
            return self._steps.feed(event.value, event.namespace)
        if event.mode == "custom":
            return self._writer.custom(event.value)
        return b""

    def _values(self, values: Any) -> bytes:
        if not isinstance(values, Mapping):
            return b""
        messages = values.get(MESSAGES)
        hidden = (MESSAGES, "__interrupt__")
        state = {name: value for name, value in values.items() if name not in hidden}
        written = b""
        if isinstance(messages, list):
            if self._messages is None and self._tells:
                self._writer.before = [*for_client(messages)]
                written = self._writer.messages(self._writer.before)
            self._messages = messages
        if self._state is None:
            written += frame({"type": "STATE_SNAPSHOT", "snapshot": state})
        elif delta := _changes(self._state, state):
            written += frame({"type": "STATE_DELTA", "delta": delta})
        self._state = state
        return written

    def _end(self, status: str) -> bytes:
        if status in ("error", "timeout"):
            return self._writer.fail("The run took too long." if status == "timeout" else status)
        asked = [*self._interrupts.values()] if status == "interrupted" else []
        written = self._writer.parts.close()
        # After a stopped run, the state has more than was recorded.
        whole = status == "success" or asked
        if whole and self._messages is not None and self._run.request.only is None:
            written += self._writer.messages(for_client(self._messages))
        written += self._steps.end()
        if asked:
            told = [self._asked(each) for each in asked]
            return written + self._writer.finish({"type": "interrupt", "interrupts": told})
        outcome = "success" if status == "success" else "cancelled"
        return written + self._writer.finish({"type": outcome})

    def _asked(self, interrupt: Mapping[str, Any]) -> dict[str, Any]:
        value = interrupt.get("value")
        told: dict[str, Any] = {"id": interrupt["id"], "reason": "langgraph:interrupt"}
        about: Mapping[str, Any] = value if isinstance(value, Mapping) else {"message": value}
        for key, name in _ASKED.items():
            if isinstance(about.get(key), str):
                told[name] = about[key]
        if isinstance(about.get("response_schema"), Mapping):
            told["responseSchema"] = about["response_schema"]
        requests = about.get("action_requests")
        if isinstance(requests, list) and len(requests) == 1:
            [one] = requests
            if call := self._writer.parts.call(str(one.get("name")), one.get("args")):
                told["toolCallId"] = call
        told["metadata"] = {"tokenweir": {"value": value}}
        return told


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changes as a JSON Patch of whole keys."""
    found: list[dict[str, Any]] = []
    for name in {**before, **after}:
        path = "/" + str(name).replace("~", "~0").replace("/", "~1")
        if name not in after:
            found.append({"op": "remove", "path": path})
        elif name not in before:
            found.append({"op": "add", "path": path, "value": after[name]})
        elif before[name] != after[name]:
            found.append({"op": "replace", "path": path, "value": after[name]})
    return found
