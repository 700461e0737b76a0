"""Writes a run's events as the AI SDK's UI message stream. No I/O.

Each step of the graph is a step of the message. When its interrupts are answered, a message
continues; then it consists of several runs, each with its own frames around one writer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tokenweir.encoders.ai_sdk import AiSdk
from tokenweir.serving.event_tokens import EventTokens
from tokenweir.serving.log.events import END, Event
from tokenweir.serving.running.records import Run

__all__ = ["Frames"]


class Frames:
    """Writes the events of one run for one reader.

    writer: Writes the message.
    run: The run.
    message_id: The message's id.
    begins: Whether this run begins the message for the reader.
    ends: Whether this run ends the message.
    void: The ids of messages known to be retracted.
    """

    def __init__(
        self,
        writer: AiSdk,
        run: Run,
        message_id: str,
        *,
        begins: bool = True,
        ends: bool = True,
        void: Collection[str] = (),
    ) -> None:
        self._writer = writer
        self._run = run
        self._message_id = message_id
        self._begins = begins
        self._ends = ends
        self._at_work: set[str] = set()
        self._interrupts: dict[str, Any] = {}
        self._failed = False
        self.encode = EventTokens(writer.parts, self._other, void=void).encode

    def begin(self) -> bytes:
        """What to write before all events."""
        run = self._run
        about = {"run": run.id, "thread": run.thread_id, "graph": run.request.graph}
        if self._begins:
            written = self._writer.start(self._message_id, about)
        else:
            written = self._writer.about(about)
        resume = (run.request.command or {}).get("resume")
        for asked, value in resume.items() if isinstance(resume, Mapping) else ():
            if not (isinstance(value, Mapping) and "decisions" in value):
                written += self._writer.answered(asked, value)
        # In the last step, a page that sends answers automatically would send them again.
        return written + (self._writer.step() if resume else b"")

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
            text = f"{value['error']}: {value['message']}"
            return self._writer.fail(text) if self._ends else self._writer.boundary()
        if kind == "metadata":
            self._at_work.clear()
        elif event.mode == "tasks":
            return self._task(event.value, root=not event.namespace)
        elif event.mode == "custom":
            return self._writer.custom(event.value)
        return b""

    def _task(self, task: Mapping[str, Any], *, root: bool) -> bytes:
        for interrupt in task.get("interrupts") or ():
            self._interrupts[interrupt["id"]] = interrupt.get("value")
        if not root:
            return b""
        if not ("input" in task or "triggers" in task):
            self._at_work.discard(task["id"])
            return b""
        written = b"" if self._at_work else self._writer.boundary()
        self._at_work.add(task["id"])
        return written + self._writer.about({"node": task.get("name")})

    def _end(self, status: str) -> bytes:
        asked = self._interrupts if status == "interrupted" else {}
        written = self._writer.parts.close()
        written += b"".join(self._writer.asked(*each) for each in asked.items())
        if not self._ends:
            return written + self._writer.boundary()
        if status in ("error", "timeout"):
            return written + self._writer.fail(
                "The run took too long." if status == "timeout" else "The run failed."
            )
        if status == "interrupted" and not asked:
            return written + self._writer.abort("The run was stopped.")
        reason = "tool-calls" if asked else None
        return written + self._writer.finish({"status": status}, reason)
