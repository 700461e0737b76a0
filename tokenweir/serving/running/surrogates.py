"""Joins halves of surrogate pairs in texts, and replaces single halves by U+FFFD.

Gateways that split a text by UTF-16 units send a character beyond U+FFFF as two tokens, or only
one half of it. JSON can escape a half, but UTF-8 and most JSON parsers reject it.
"""

from __future__ import annotations

import functools
import logging

__all__ = ["Halves", "well_formed"]

_logger = logging.getLogger("tokenweir.serving")


def well_formed(text: str) -> str:
    """The text with pairs joined, and single halves replaced by U+FFFD, as in JavaScript."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _tell()
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@functools.cache
def _tell() -> None:
    _logger.warning(
        "a model or a node wrote half of a surrogate pair, as gateways do that split text by "
        "UTF-16 units; such halves are recorded joined, or as U+FFFD (logged only once)"
    )


class Halves:
    """The texts of one message in parts; a half at the end of a part waits for the next part."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def joined(self, name: str, part: str, *, last: bool) -> str:
        """The next part of a text, without a half at its end, unless it is the ``last``.

        Args:
            name: The text of the message that it belongs to.
            part: The new part.
            last: Whether it is the last part.
        """
        text = self._waiting.pop(name, "") + part
        if text and "\ud800" <= text[-1] <= "\udbff" and not last:
            self._waiting[name] = text[-1]
            text = text[:-1]
            _tell()
        return well_formed(text)
