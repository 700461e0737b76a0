"""Halves of surrogate pairs in texts: joined where both came, U+FFFD where only one did.

Gateways that cut a text by UTF-16 units send a letter beyond U+FFFF as two tokens, or one half of
it. JSON can escape a half, but neither UTF-8 nor most readers of JSON know what it is.
"""

from __future__ import annotations

import functools
import logging

__all__ = ["Halves", "well_formed"]

_logger = logging.getLogger("tokenweir.serving")


def well_formed(text: str) -> str:
    """The text with pairs joined, and U+FFFD in place of single halves, as JavaScript has it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _tell()
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@functools.cache
def _tell() -> None:
    _logger.warning(
        "a model or a node wrote half of a surrogate pair, as gateways do that cut a text by "
        "UTF-16 units: records have such halves joined, or U+FFFD in their place (said once)"
    )


class Halves:
    """The texts of one message, as they come in parts: a half waits for the next part."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def joined(self, name: str, part: str, *, last: bool) -> str:
        """The next part of a text, without a half at its end, unless it is the ``last``.

        Args:
            name: Which of the message's texts it is.
            part: What has come.
            last: Whether nothing more comes.
        """
        text = self._waiting.pop(name, "") + part
        if text and "\ud800" <= text[-1] <= "\udbff" and not last:
            self._waiting[name] = text[-1]
            text = text[:-1]
            _tell()
        return well_formed(text)
