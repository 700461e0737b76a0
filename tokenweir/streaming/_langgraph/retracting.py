"""The callback handlers that retract the messages of failed attempts.

``attempts.py`` decides which messages are void. How the retractions are sent depends on whether the
stream's parts come directly or through a pump.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langgraph.types import Command

from tokenweir.streaming._langgraph.attempts import Attempts, Retractable
from tokenweir.streaming._langgraph.handlers import CompletionRoutes, FlowControlHandler
from tokenweir.streaming._langgraph.messages import MessagesHandler
from tokenweir.streaming.calls import Calls
from tokenweir.streaming.flow_control import FlowControl
from tokenweir.streaming.retractions import Retractions
from tokenweir.streaming.route import Route

__all__ = ["PumpedRetractingHandler", "RetractingHandler"]


class _Follower(BaseCallbackHandler):
    """Reports the starts and ends of a run's model calls and nodes to ``Attempts``."""

    _attempts: Attempts

    def _shown_by(self, run_id: UUID) -> Retractable | None:
        """The messages of a call or node that has just started; None if it is not streamed."""
        raise NotImplementedError

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        self._attempts.starts(run_id, **kwargs)
        super().on_chat_model_start(*args, run_id=run_id, **kwargs)
        self._attempts.shows(run_id, self._shown_by(run_id))

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        super().on_llm_end(response, run_id=run_id, **kwargs)
        self._attempts.ended(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        super().on_llm_error(error, run_id=run_id, **kwargs)
        self._attempts.call_failed(run_id, kwargs.get("response"))

    def on_chain_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        self._attempts.starts(run_id, **kwargs)
        super().on_chain_start(*args, run_id=run_id, **kwargs)
        self._attempts.shows(run_id, self._shown_by(run_id))

    def on_chain_end(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        super().on_chain_end(*args, run_id=run_id, **kwargs)
        self._attempts.ended(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        super().on_chain_error(error, run_id=run_id, **kwargs)
        self._attempts.run_failed(run_id, error, streamed="inputs" in kwargs)


class RetractingHandler(_Follower, MessagesHandler):
    """A ``MessagesHandler`` that retracts the messages of failed attempts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._attempts = Attempts()

    def _shown_by(self, run_id: UUID) -> Retractable | None:
        return self._routes.get(run_id)


class PumpedRetractingHandler(_Follower, FlowControlHandler):
    """A ``FlowControlHandler`` that retracts the messages of failed attempts.

    The messages come through LangGraph's queue, so void ones are noted here, and the pump sends
    their retractions.
    """

    def __init__(
        self,
        flow: FlowControl,
        calls: Calls,
        completions: CompletionRoutes,
        retractions: Retractions,
    ) -> None:
        super().__init__(flow, calls, completions)
        self._attempts = Attempts()
        self._retractions = retractions
        self._messages: dict[UUID, _Messages] = {}
        self._routes = completions

    def _shown_by(self, run_id: UUID) -> Retractable | None:
        return self._routes.get(run_id) or self._messages.get(run_id)

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        self._begins(run_id, kwargs.get("metadata"))
        super().on_chat_model_start(*args, run_id=run_id, **kwargs)

    def on_llm_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        self._attempts.starts(run_id, **kwargs)
        super().on_llm_start(*args, run_id=run_id, **kwargs)
        self._attempts.shows(run_id, self._routes.get(run_id))

    def on_chain_start(  # type: ignore[override]
        self, *args: Any, run_id: UUID, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        if metadata and kwargs.get("name") == metadata.get("langgraph_node"):
            self._begins(run_id, metadata)
        super().on_chain_start(*args, run_id=run_id, metadata=metadata, **kwargs)

    def _begins(self, run_id: UUID, metadata: dict[str, Any] | None) -> None:
        if place := (metadata or {}).get("langgraph_checkpoint_ns"):
            self._messages[run_id] = _Messages(self._retractions, place)

    def take(self, token: Any, chunk: Any, run_id: UUID) -> FlowControl | Route:
        messages = self._messages.get(run_id)
        if messages is not None and (message := getattr(chunk, "message", None)) is not None:
            messages.ids.add(message.id)
        return super().take(token, chunk, run_id)

    def route(self, run_id: UUID, message_id: str) -> Route:
        if (messages := self._messages.get(run_id)) is not None:
            messages.ids.add(message_id)
        return super().route(run_id, message_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        if (messages := self._messages.pop(run_id, None)) is not None:
            whole = [getattr(each, "message", None) for each in response.generations[0]]
            messages.whole = [each for each in whole if each is not None]
        super().on_llm_end(response, run_id=run_id, **kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self._messages.pop(run_id, None)
        super().on_llm_error(error, run_id=run_id, **kwargs)

    def on_chain_end(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        if (messages := self._messages.pop(run_id, None)) is not None:
            messages.whole = list(_messages_in(args))
        super().on_chain_end(*args, run_id=run_id, **kwargs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self._messages.pop(run_id, None)
        super().on_chain_error(error, run_id=run_id, **kwargs)


class _Messages:
    """The messages of one call or node, which LangGraph puts into its queue.

    Attributes:
        ids: The ids of those that were streamed.
        whole: The last ones. Those without an id get one from LangGraph when it queues them.
    """

    def __init__(self, retractions: Retractions, place: str) -> None:
        self.ids: set[str | None] = set()
        self.whole: list[BaseMessage] = []
        self._retractions = retractions
        self._place = place

    def retract(self) -> None:
        for message_id in self.ids.union(message.id for message in self.whole):
            if message_id is not None:
                self._retractions.void(self._place, message_id)


_DEEP = 5
"""Levels of what a node returns: a list of commands, a command, its update, a list of messages."""


def _messages_in(output: Any, depth: int = 0) -> Iterator[BaseMessage]:
    """The messages in a node's return value: at least all that LangGraph finds."""
    if isinstance(output, BaseMessage):
        yield output
    elif depth < _DEEP:
        if isinstance(output, Command):
            output = output.update
        elif not isinstance(output, (Mapping, list, tuple)):
            output = getattr(output, "__dict__", ())
        for each in output.values() if isinstance(output, Mapping) else output or ():
            yield from _messages_in(each, depth + 1)
