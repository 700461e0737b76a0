"""The base classes of displays: all of them, and those that paint lanes."""

from __future__ import annotations

import contextvars
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tokenweir.display.terminal.board import Board

__all__ = ["Display", "PaintedDisplay"]

PAINTS_PER_SECOND = 20


class Display(ABC):
    """Shows tokens. A context manager, fed one token at a time."""

    @abstractmethod
    def feed(self, chunk: Any, metadata: Mapping[str, Any]) -> None:
        """Show one token."""

    @abstractmethod
    def close(self) -> None:
        """Finish; may be called twice."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()


class PaintedDisplay(Display):
    """A display of lanes. A separate thread paints them, so that painting delays no token.

    The thread paints at most 20 times a second, and only after changes.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._board = Board(encoding)
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._done = threading.Event()
        self._painter: threading.Thread | None = None

    def feed(self, chunk: Any, metadata: Mapping[str, Any]) -> None:
        """Show one token. Returns at once; painting happens elsewhere."""
        with self._lock:
            if self._board.feed(chunk, metadata) is not None and not self._news.is_set():
                self._news.set()

    def __enter__(self) -> Display:
        # A notebook's kernel finds the cell of an output in a context variable.
        run = contextvars.copy_context().run
        self._painter = threading.Thread(
            target=run, args=(self._keep_painting,), name="tokenweir-display", daemon=True
        )
        self._painter.start()
        return self

    def close(self) -> None:
        """Replace the live lanes by their whole text."""
        painter, self._painter = self._painter, None
        if painter is None:
            return
        self._done.set()
        self._news.set()
        painter.join()
        self._finish()

    def _keep_painting(self) -> None:
        while True:
            self._news.wait()
            if self._done.is_set():
                return
            self._news.clear()
            self._paint()
            self._done.wait(1 / PAINTS_PER_SECOND)

    @abstractmethod
    def _paint(self) -> None:
        """Show the board as it is now."""

    @abstractmethod
    def _finish(self) -> None:
        """Show every lane whole; called once, after the last paint."""
