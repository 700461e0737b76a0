"""Plain tokens for pipes and files: the text of each token, then ``|``."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Any, TextIO

from langchain_core.messages import RemoveMessage

from tokenweir.display.display import Display
from tokenweir.display.terminal.board import lane_name
from tokenweir.display.visible import visible
from tokenweir.streaming.content import call_of, is_cut, pieces

__all__ = ["PipeDisplay"]


class PipeDisplay(Display):
    """Writes the text of a stream's tokens, separated by ``|``, and nothing else.

    ::

        Why| did| the| cat| sit|?|
        In| sun|lit| patches|,|

    A new line begins where the next token belongs to another model call, so parallel calls take
    turns line by line; filter the stream to see only one. ``[void]`` ends the line of an answer
    that is void, because its call failed and is repeated; ``…`` ends one that was cut off by its
    token limit. Reasoning, tool calls and tool results are left out, because they are not the
    model's answer. A context manager; leaving it ends the line.

    Args:
        file: Where to write; standard output by default. On a terminal (one that cannot show lanes)
            control characters are made visible; everywhere else the text is written unchanged.
        separator: What follows each token.
    """

    def __init__(self, file: TextIO | None = None, *, separator: str = "|") -> None:
        self._file = sys.stdout if file is None else file
        self._separator = separator
        self._encoding = getattr(self._file, "encoding", None) or "utf-8"
        self._terminal = self._file.isatty()
        self._call: Hashable = None
        self._open = False

    def feed(self, chunk: Any, metadata: Mapping[str, Any]) -> None:
        """Write one token, and flush it to the reader of the pipe.

        Raises:
            BrokenPipeError: If the reader has gone.
        """
        call = call_of(chunk, metadata)
        if isinstance(chunk, RemoveMessage):
            self._end_line("[void]", call, metadata)
            return
        for piece in pieces(chunk):
            if piece.kind != "text":
                continue
            turn = "\n" if self._open and call != self._call else ""
            self._call, self._open = call, True
            self._write(f"{turn}{self._escaped(piece.text)}{self._separator}")
        if is_cut(chunk):
            self._end_line("…", call, metadata)

    def _end_line(self, mark: str, call: Hashable, metadata: Mapping[str, Any]) -> None:
        """End the line of a call with a mark; if it is not the last line, name the call."""
        if not self._open or call != self._call:
            self.close()
            self._write(self._escaped(lane_name(metadata)) + " ")
        self._open = True
        self._write(self._escaped(mark))
        self.close()

    def close(self) -> None:
        """End the line."""
        if self._open:
            self._open = False
            self._write("\n")

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if kind is None or not issubclass(kind, BrokenPipeError):
            self.close()

    def _escaped(self, text: str) -> str:
        if self._terminal:
            return visible(text, self._encoding)
        # Characters that the encoding lacks (or half a surrogate pair) must not end the run.
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
