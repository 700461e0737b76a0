"""What tests of the display need: chunks made in a line, and a terminal that can be read."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pyte
import pytest
from langchain_core.messages import AIMessageChunk
from rich.console import Console

from tokenweir.display.terminal.live import TerminalDisplay


class Screen(io.StringIO):
    """A file that is a terminal: what is written to it is obeyed, and can be read as lines."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(width, height, history=10_000)
        self._stream = pyte.Stream(self.screen)
        self._written = threading.Condition()
        self.raw = ""
        self.tallest = 0

    def write(self, text: str) -> int:
        with self._written:
            self.raw += text
            self._stream.feed(text.replace("\n", "\r\n"))  # as the kernel does for terminals
            self._written.notify_all()
        return len(text)

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """Everything, from what scrolled away on, without the empty lines at the end."""
        above = [_line(row, self.screen.columns) for row in self.screen.history.top]
        lines = [line.rstrip() for line in above + self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def cursor_is_shown(self) -> bool:
        return not self.screen.cursor.hidden

    def wait_for(self, what: str) -> None:
        """Wait until this stands on the screen."""
        with self._written:
            assert self._written.wait_for(lambda: what in self.text, 60), self.text


def _line(row: Any, width: int) -> str:
    return "".join(row[column].data for column in range(width))


Feed = Callable[..., None]


class Watched:
    """A display on a screen of its own."""

    def __init__(self, width: int, height: int, **options: Any) -> None:
        self.screen = Screen(width, height)
        self.console = Console(
            file=self.screen,
            force_terminal=True,
            width=width,
            height=height,
            highlight=False,
            markup=False,
            emoji=False,
            _environ={"TERM": "xterm-256color", **options},
        )
        self.display = TerminalDisplay(console=self.console)

    def say(self, tag: str, *tokens: str, call: str | None = None, last: bool = True) -> None:
        """Feed the tokens of one call."""
        for number, token in enumerate(tokens):
            chunk = AIMessageChunk(content=token, id=call or f"run-{tag}")
            if last and number == len(tokens) - 1:
                chunk.chunk_position = "last"
            self.display.feed(chunk, {"tags": [tag], "langgraph_node": "write"})


@pytest.fixture
def watched() -> type[Watched]:
    """Makes displays on screens that can be read."""
    return Watched
