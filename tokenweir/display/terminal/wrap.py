"""Wraps text to a width while it still arrives. Each character is processed once.

A full line never changes again. So a long answer costs no more per frame than a short one, and the
text on the screen does not move. Widths are terminal cells: a Chinese character takes two.
"""

from __future__ import annotations

from rich.cells import get_character_cell_size

__all__ = ["Line", "Wrap"]

Line = list[tuple[str, str]]
"""One line of the screen: stretches of ``(style, text)``."""


class Wrap:
    """Greedy word wrap to ``width`` cells: ``write`` text, read ``lines``."""

    def __init__(self, width: int) -> None:
        self.width = max(width, 2)  # a wide character needs two
        self._lines: list[Line] = []
        self._line: Line = []
        self._cells = 0
        self._word: Line = []  # may still move to the next line as a whole
        self._word_cells = 0

    @property
    def lines(self) -> list[Line]:
        """The lines so far; the last one may still grow."""
        return [*self._lines, self._line + self._word]

    def tail(self, count: int) -> list[Line]:
        """The last ``count`` lines."""
        full = self._lines[-(count - 1) :] if count > 1 else []
        return [*full, self._line + self._word]

    @property
    def height(self) -> int:
        return len(self._lines) + 1

    def write(self, text: str, style: str = "") -> None:
        """Add text. A line ends at a newline or at the width."""
        for character in text:
            if character == "\n":
                self._settle()
                self._break()
            elif character == " ":
                self._settle()
                # A space that does not fit is the line's end; it is not carried over.
                if self._cells < self.width:
                    self._put(self._line, " ", style)
                    self._cells += 1
            else:
                # The emoji selector may widen the character before it by a cell.
                cells = 1 if character == "\ufe0f" else get_character_cell_size(character)
                self._character(character, cells, style)

    def _character(self, character: str, cells: int, style: str) -> None:
        if cells == 2:
            self._settle()  # between two wide characters a line may end
        if self._cells + self._word_cells + cells > self.width:
            if self._line and self._word_cells + cells <= self.width:
                self._break()
            else:  # one word, wider than the line
                self._settle()
                self._break()
        self._put(self._word, character, style)
        self._word_cells += cells
        if cells == 2:
            self._settle()

    def _settle(self) -> None:
        """The word is whole: it belongs to the line."""
        for style, text in self._word:
            self._put(self._line, text, style)
        self._cells += self._word_cells
        self._word, self._word_cells = [], 0

    def _break(self) -> None:
        self._lines.append(self._line)
        self._line, self._cells = [], 0

    @staticmethod
    def _put(line: Line, text: str, style: str) -> None:
        if line and line[-1][0] == style:
            line[-1] = (style, line[-1][1] + text)
        else:
            line.append((style, text))
