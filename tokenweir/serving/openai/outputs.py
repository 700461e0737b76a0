"""The graph's output, for answers without any model's text; read from its updates. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenweir.serving.graph_inputs import MESSAGES
from tokenweir.serving.log.events import Event
from tokenweir.streaming.content import text_of

__all__ = ["Outputs"]


class Outputs:
    """Collects the ``updates`` of a run."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._interrupted = False

    def feed(self, event: Event) -> None:
        """Take one update: a node's result, or an interrupt."""
        for node, update in event.value.items():
            if node == "__interrupt__":
                self._interrupted = True
            elif not event.namespace:
                for each in update if isinstance(update, list) else [update]:
                    self._take(each)

    def text(self) -> str:
        """The last text of each key of the state, in order; for ``messages``, the model's last."""
        return "\n\n".join(text for text in self._texts.values() if text)

    def trouble(self, status: str) -> str | None:
        """Why there is no complete answer; None if there is one."""
        if self._interrupted:
            return (
                "the graph waits for the answer to an interrupt, which OpenAI's protocol cannot "
                "give: use LangGraph's API, or POST /graphs/NAME/events"
            )
        return "the run was cancelled" if status == "interrupted" else None

    def _take(self, update: Any) -> None:
        if not isinstance(update, Mapping):
            return
        for key, value in update.items():
            if key == MESSAGES:
                for message in value if isinstance(value, list) else [value]:
                    if isinstance(message, Mapping) and message.get("type") == "ai":
                        self._texts[key] = text_of(message)
            elif isinstance(value, str):
                self._texts[key] = value
