"""The exceptions that Tokenweir raises by its own name.

There is one root, so that ``except TokenweirError`` is always enough. What a user's own node
raises is never wrapped: it reaches the reader as it is.
"""

from __future__ import annotations

__all__ = [
    "ConnectTimeoutError",
    "FilterError",
    "FirstTokenTimeoutError",
    "ProviderError",
    "StreamError",
    "TimeLimitError",
    "TokenGapTimeoutError",
    "TokenweirError",
]


class TokenweirError(Exception):
    """Root of every exception that Tokenweir raises by its own name."""


class FilterError(TokenweirError, ValueError):
    """Raised when a filter cannot be understood; the message shows the forms that can."""


class ProviderError(TokenweirError):
    """Root of what a provider's answer can be wrong by, where no client has an error for it.

    At the reader of a graph it is the ``__cause__`` of a StreamError.
    """


class StreamError(TokenweirError):
    """Raised at the reader when a model call fails, after every token that came before.

    The provider's own exception is ``__cause__`` and keeps its type and its fields.

    Attributes:
        provider: What served the call, as in ``ls_provider`` (``"openai"``), or None if unknown.
        model: The model's name, as in ``ls_model_name``, or None if unknown.
        node: The graph's node that made the call, or None outside a graph.
        tags: The call's tags.
        chunks: How many message chunks of this call had arrived.
        characters: How many characters of text those chunks held.
    """

    def __init__(
        self,
        reason: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        node: str | None = None,
        tags: tuple[str, ...] = (),
        chunks: int = 0,
        characters: int = 0,
    ) -> None:
        self.reason = reason
        self.provider = provider
        self.model = model
        self.node = node
        self.tags = tags
        self.chunks = chunks
        self.characters = characters
        super().__init__(reason)

    def __str__(self) -> str:
        who = " ".join(part for part in (self.provider, self.model) if part) or "the model"
        where = f" in node {self.node!r}" if self.node else ""
        tagged = f" (tags: {', '.join(self.tags)})" if self.tags else ""
        if self.chunks:
            arrived = f"after {self.chunks} chunks, {self.characters} characters"
        else:
            arrived = "before the first token"
        return f"{who}{where}{tagged} failed {arrived}: {self.reason}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


class TimeLimitError(StreamError, TimeoutError):
    """Raised when a model took longer than one of its limits; each limit has its own subclass."""


class ConnectTimeoutError(TimeLimitError):
    """Raised when no connection came about within ``connect_timeout``.

    Look at ``base_url`` and the network; the provider may be down.
    """


class FirstTokenTimeoutError(TimeLimitError):
    """Raised when the first token did not come within ``first_token_timeout``.

    The provider may be overloaded, or the model may be one that thinks for long: raise the limit.
    """


class TokenGapTimeoutError(TimeLimitError):
    """Raised when the next token did not come within ``token_gap_timeout``.

    What had come before has been handed on; it is not asked for again.
    """


def _rebuild(kind: type[StreamError], fields: dict[str, object]) -> StreamError:
    """Make a StreamError again after pickling (keyword-only arguments need help)."""
    error = kind("")
    error.__dict__.update(fields)
    return error
