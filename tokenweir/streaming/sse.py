"""Server-sent events from bytes: what each event's data is. Plain code, fed as bytes arrive.

Only ``data`` is kept; event names, ids, retry times and comments are skipped. An event that is not
ended by an empty line has not been sent, and is dropped.
"""

from __future__ import annotations

import re

__all__ = ["EventDecoder"]

_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventDecoder:
    """Splits a stream of bytes into events.

    Most providers send ``data: {...}`` and an empty line, ended by LF; that form is cut out in
    one step. As soon as something else is seen, every line is looked at.
    """

    __slots__ = ("_data", "_rest", "_strict")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._strict = False

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that end in these bytes, in order."""
        if self._strict:
            return self._by_line(received)
        if (
            not self._rest
            and received.find(b"\n") == len(received) - 2
            and received.endswith(b"\n\n")
            and received.startswith(b"data: ")
            and b"\r" not in received
        ):
            return [received[6:-2]]  # one event and no more, as where tokens come one by one
        whole = self._rest + received if self._rest else received
        if b"\r" in received:
            self._strict, self._rest = True, b""
            return self._by_line(whole)
        *events, self._rest = whole.split(b"\n\n")
        found: list[bytes] = []
        for number, event in enumerate(events):
            if event[:6] != b"data: " or b"\n" in event:
                # From here on, everything by line; what was cut off belongs to it again.
                self._strict = True
                remaining = b"\n\n".join([*events[number:], self._rest])
                self._rest = b""
                return found + self._by_line(remaining)
            found.append(event[6:])
        return found

    def _by_line(self, received: bytes) -> list[bytes]:
        text = self._rest + received
        self._rest = b""
        if text.endswith(b"\r"):  # the LF of this line's end may be on its way
            text, self._rest = text[:-1], b"\r"
        *lines, rest = _LINE_END.split(text)
        self._rest = rest + self._rest
        found = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data = []
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
        return found
