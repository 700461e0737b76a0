"""Where the chunks of one model call go, for a model that hands them over itself.

LangChain dispatches every chunk to every callback handler: a coroutine, a look-up and a context
switch each. A model that finds only handlers here that are known gives its chunks to what they
would have given them to. With any other handler (a tracer, say) ``receivers_of`` gives None, and
the model goes LangChain's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import BaseMessage

from tokenweir.streaming._langgraph.handlers import (
    GateHandler,
    MessagesHandler,
    langgraphs_receiver,
)
from tokenweir.streaming.backpressure import Gate
from tokenweir.streaming.calls import Call

__all__ = ["Receivers", "receivers_of"]

Put = Callable[[BaseMessage], None]

_DEAF = (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)


class Receivers:
    """Takes the messages of one call, counts them, and holds the call to its reader's pace.

    Attributes:
        wanted: Whether anybody takes the messages; if not, none need to be made.
        text: Takes a text as it is, without a message, directly behind a message of text; says
            whether it has. None if only messages are taken.
    """

    __slots__ = ("_calls", "_gates", "_puts", "_seen", "put", "text", "wanted")

    def __init__(
        self,
        puts: list[Put],
        gates: list[Gate],
        calls: list[Call],
        seen: Sequence[set[Any]] = (),
        text: Callable[[str], bool] | None = None,
    ) -> None:
        self.text = text
        self._puts = puts
        self._seen = seen
        self._gates = gates
        self._calls = calls
        self.wanted = bool(puts)
        self.put: Put = puts[0] if len(puts) == 1 else self._put_all

    def _put_all(self, message: BaseMessage) -> None:
        for put in self._puts:
            put(message)

    def portions(self, items: list[Any]) -> Iterator[list[Any]]:
        """What came together, in parts for which there is room; ``admit`` after each."""
        at = 0
        while at < len(items):
            room = min([gate.room for gate in self._gates], default=len(items))
            yield items[at : at + room]
            at += room

    def takes(self, chunks: int) -> bool:
        """Whether so many messages may be put at once, with ``count`` for ``admit``."""
        for gate in self._gates:  # noqa: SIM110 - for each token: no generator for it
            if not gate.takes(chunks):
                return False
        return True

    def also_known(self, message_id: Any) -> None:
        """The call's messages have an id of the provider's, too: do not give the whole one again.

        A node's result is streamed unless LangGraph has seen the id of its message.
        """
        for seen in self._seen:
            seen.add(message_id)

    def count(self, chunks: int, characters: int) -> None:
        """Count messages without waiting, as ``admit`` does: those before a failure."""
        for call in self._calls:
            call.chunks += chunks
            call.characters += characters

    def _counted(self, chunks: int, characters: int) -> list[Gate]:
        self.count(chunks, characters)
        return [gate for gate in self._gates if gate.passed(chunks)]

    async def admit(self, chunks: int, characters: int) -> None:
        """After messages that came together: wait while the reader is behind."""
        for gate in self._counted(chunks, characters):
            await gate.admit()

    def admit_sync(self, chunks: int, characters: int) -> None:
        """As ``admit``, blocking."""
        for gate in self._counted(chunks, characters):
            gate.admit_sync()


def receivers_of(
    handlers: Iterable[BaseCallbackHandler], run_id: UUID, message_id: str
) -> Receivers | None:
    """Where the messages of a call go, by its callback handlers.

    Args:
        handlers: Those of the call's run manager.
        run_id: The call's.
        message_id: The id that all its messages have.

    Returns:
        None if a handler is not known, so that only LangChain can tell it of tokens.
    """
    puts: list[Put] = []
    gates: list[Gate] = []
    calls: list[Call] = []
    seen: list[set[Any]] = []
    text: Callable[[str], bool] | None = None
    for handler in handlers:
        put: Any = None
        if isinstance(handler, (MessagesHandler, GateHandler)):
            gates.append(handler.gate)
            call = handler.calls.under_way(run_id)
            if call is not None:
                calls.append(call)
            if isinstance(handler, MessagesHandler):
                put = handler.receiver(run_id, message_id)
                text = handler.texts(run_id, message_id)
        elif (own := getattr(handler, "receiver", None)) is not None:
            put = own(run_id)  # a handler of ours that takes messages as they are
        elif not handler.ignore_llm and not _is_deaf(handler):
            put = langgraphs_receiver(handler, run_id, message_id)
            if put is False:
                return None
        if isinstance(ids := getattr(handler, "seen", None), set):
            seen.append(ids)
        if put is not None:
            puts.append(put)
    # Texts pass the gate of who takes them, and no other.
    alone = len(puts) == len(gates) == 1
    return Receivers(puts, gates, calls, seen, text if alone else None)


def _is_deaf(handler: Any) -> bool:
    """Whether a handler does nothing about tokens."""
    return getattr(
        type(handler), "on_llm_new_token", None
    ) in _DEAF and "on_llm_new_token" not in vars(handler)
