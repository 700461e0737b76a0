"""Every exception and warning that Tokenweir defines for its users.

``except TokenweirError`` catches all of the exceptions. An exception raised by a user's own node is
never wrapped: it reaches the reader of the stream unchanged.
"""

from __future__ import annotations

__all__ = [
    "ConnectTimeoutError",
    "DashScopeError",
    "EmbeddedModelError",
    "FilterError",
    "FirstTokenTimeoutError",
    "GraphLoadError",
    "GuardError",
    "MissingConfigWarning",
    "ModelNameError",
    "ObjectError",
    "PictureError",
    "ProviderError",
    "StreamError",
    "TimeLimitError",
    "TokenGapTimeoutError",
    "TokenweirError",
    "UnmatchedFilterWarning",
]


class TokenweirError(Exception):
    """Root of every exception that Tokenweir defines.

    Raised itself when a function is called where it cannot work. The message says what to change.
    """


class FilterError(TokenweirError, ValueError):
    """Raised when a filter cannot be understood.

    The message shows the valid forms.
    """


class ModelNameError(TokenweirError, ValueError):
    """Raised when a model's name, its API key or the package of its provider is missing or unknown.

    The message says which name to write, which variable to set or what to install.
    """


class EmbeddedModelError(TokenweirError):
    """Raised when the embedded model cannot be downloaded, read or started.

    The message says what to do.
    """


class GraphLoadError(TokenweirError):
    """Raised when there is no graph at the given name or place.

    The message lists the graphs that are there.
    """


class GuardError(TokenweirError):
    """Raised at the reader of a guarded stream when a model writes forbidden text.

    The text before it has been read, and the run was stopped. The message does not repeat the text.
    """


class PictureError(TokenweirError):
    """Raised when a graph cannot be drawn because a package is missing.

    The message says what to install.
    """


class ObjectError(TokenweirError, ValueError):
    """Raised at the end of ``objects`` when an answer is not a valid object of the type.

    The message says what is wrong with it; ``__cause__`` is pydantic's or msgspec's own error.

    Attributes:
        text: The answer, or the arguments of its tool call; "" if none of the answers was JSON.
    """

    def __init__(self, message: str, text: str = "") -> None:
        self.text = text
        super().__init__(message)


class StreamError(TokenweirError):
    """Raised at the reader when a model call fails, after every token that came before the failure.

    Look at ``__cause__``: it is the client's own exception, with its own type and fields. Tokens
    that have already been read are not sent again when you retry the run.

    Attributes:
        provider: The provider that served the call, as in ``ls_provider`` (``"openai"``), or None
            if unknown.
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
        return _unpickle, (type(self), dict(self.__dict__))


def _unpickle(kind: type[StreamError], fields: dict[str, object]) -> StreamError:
    """Rebuild a StreamError. Pickle's default cannot pass keyword-only arguments."""
    error = kind("")
    error.__dict__.update(fields)
    return error


class TimeLimitError(StreamError, TimeoutError):
    """Raised when a model call exceeds one of its time limits; each limit has its own subclass."""


class ConnectTimeoutError(TimeLimitError):
    """Raised when no connection was made within ``connect_timeout``.

    Check ``base_url`` and the network; the provider may be down.
    """


class FirstTokenTimeoutError(TimeLimitError):
    """Raised when the first token did not arrive within ``first_token_timeout``.

    Raise the limit for a model that reasons for long; otherwise the provider may be overloaded.
    """


class TokenGapTimeoutError(TimeLimitError):
    """Raised when the next token did not arrive within ``token_gap_timeout``.

    The tokens before it have been delivered, so the call is not retried; run it again, or raise the
    limit.
    """


class ProviderError(TokenweirError):
    """Raised when a provider's answer breaks its protocol or reports an error inside the stream.

    It covers what no client library has an exception for. The reader of a graph gets it as the
    ``__cause__`` of a StreamError.
    """


class DashScopeError(ProviderError):
    """Raised when DashScope refuses a call or breaks it off.

    Look up ``code`` in DashScope's documentation; give ``request_id`` to its support.

    Attributes:
        status_code: The HTTP status.
        code: DashScope's own code (``Throttling.RateQuota``).
        request_id: DashScope's id of the request, or "".
        retry_after: Seconds to wait before the next attempt, or None if DashScope did not say.
    """

    def __init__(
        self,
        status_code: int,
        code: str,
        message: str,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.status_code = status_code
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(status_code, code, message, request_id)

    def __str__(self) -> str:
        status, code, message, request_id = self.args
        asked = f" (request {request_id})" if request_id else ""
        return f"DashScope answered {status} {code}: {message}{asked}"


class MissingConfigWarning(UserWarning):
    """Warned on Python 3.10 when a node calls a model without the node's config.

    None of that call's tokens are streamed. Pass ``config`` on in the node, or put
    ``@tokenweir.node`` on it.
    """


class UnmatchedFilterWarning(UserWarning):
    """Warned at the end of a stream whose filter rejected every model call.

    The message names the filter, and the tags, nodes and models of the run.
    """
