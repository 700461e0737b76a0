"""Guards of a served run: text that they forbid is neither recorded nor kept in a state.

Tokens are checked before they are recorded. Answers that are not streamed are checked when the
model call ends, before the node receives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from tokenweir.streaming.any_stream import complete
from tokenweir.streaming.guard import Guard, Passing
from tokenweir.types import Metadata, Token

__all__ = ["GuardHandler", "Guarding", "ReplacedError", "check_guards"]


class ReplacedError(Exception):
    """Raised when a guard's replacement was recorded in place of forbidden text."""


def check_guards(guards: Iterable[Guard]) -> tuple[Guard, ...]:
    """Return the guards; raise TypeError for one that a server cannot use."""
    found = tuple(guards)
    for guard in found:
        if not isinstance(guard, Guard):
            raise TypeError(f"guards are made by tokenweir.guard(...), not {guard!r}")
        if guard.waits:
            raise TypeError("a server's guards take a regular expression or a plain function")
    return found


class Guarding:
    """Passes the tokens of one run through its guards, in their order."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._passing = [guard.begin() for guard in guards]
        self._stopped: Passing | None = None

    def feed(self, token: Token) -> list[Token]:
        """Add a token; return the tokens that may be recorded now."""
        return self._through([token], 0)

    def end(self) -> list[Token]:
        """Note that no more tokens come; return the tokens that were held back."""
        found: list[Token] = []
        for number, passing in enumerate(self._passing):
            found += self._through(complete(passing.end()), number + 1)
            self._note(passing)
        return found

    def ending(self) -> Token | None:
        """The token that replaces forbidden text, to be recorded last; None if there was none.

        Raises GuardError if text was forbidden and has no replacement.
        """
        return None if self._stopped is None else self._stopped.in_place()

    def _through(self, tokens: list[Token], first: int) -> list[Token]:
        for passing in self._passing[first:]:
            passed: list[Token] = []
            for token in tokens:
                if not passing.stopped:
                    passed += complete(passing.feed(token))
            self._note(passing)
            tokens = passed
        return tokens

    def _note(self, passing: Passing) -> None:
        if passing.stopped and self._stopped is None:
            self._stopped = passing


class GuardHandler(BaseCallbackHandler):
    """Fails a model call if a guard forbids its complete answer."""

    run_inline = True
    raise_error = True
    ignore_agent = True
    ignore_chain = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards
        self._calls: dict[UUID, Metadata] = {}

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        self._calls[run_id] = {**(kwargs.get("metadata") or {}), "tags": kwargs.get("tags") or []}

    on_llm_start = on_chat_model_start

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        metadata = self._calls.pop(run_id, None) or {}
        for made in response.generations[0] if response.generations else ():
            said = getattr(made, "message", None) or made.text
            for guard in self._guards:
                passing = guard.begin()
                complete(passing.feed((said, metadata)))
                complete(passing.end())
                if passing.stopped:
                    raise guard.error(metadata)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._calls.pop(run_id, None)
