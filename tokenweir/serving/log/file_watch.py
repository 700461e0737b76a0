"""Checks whether an open file is still the one at its path, and complete.

SQLite keeps writing into a file that was removed, and for long into one that was truncated. All
these writes would be lost without an error.
"""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["FileWatches"]

_logger = logging.getLogger("tokenweir.serving")
_AFTER = "stop the server, restore a backup of the folder or choose another, and start it again"


class FileWatches:
    """Watches several open SQLite files."""

    def __init__(self, *paths: Path) -> None:
        self._files = [_FileWatch(path) for path in paths]
        self._told: str | None = None

    def add(self, path: Path) -> None:
        """Watch another file."""
        self._files.append(_FileWatch(path))

    def problem(self) -> str | None:
        """What happened to one of the files, and what to do, also logged; None if all are well."""
        found = next(filter(None, (each.problem() for each in self._files)), None)
        if found is not None and found != self._told:
            _logger.error("%s", found)
            self._told = found
        return found


class _FileWatch:
    """Watches one open SQLite file."""

    def __init__(self, path: Path) -> None:
        found = path.stat()
        self._path = path
        self._file = found.st_dev, found.st_ino
        self._size = found.st_size

    def problem(self) -> str | None:
        """What happened to the file, and what to do; None if nothing happened."""
        try:
            found = self._path.stat()
            if (found.st_dev, found.st_ino) != self._file:
                return f"{self._path} was replaced while it was open: {_AFTER}"
            if found.st_size < self._size and self._cut_short(found.st_size):
                return f"{self._path} was truncated while it was open: {_AFTER}"
        except OSError as error:
            return f"{self._path} cannot be found ({error.strerror}): {_AFTER}"
        self._size = found.st_size
        return None

    def _cut_short(self, size: int) -> bool:
        """Whether the file has fewer pages than its header says; SQLite itself changes both."""
        with self._path.open("rb") as file:
            head = file.read(32)
        page_size = int.from_bytes(head[16:18], "big")  # 1 stands for 65,536
        pages = int.from_bytes(head[28:32], "big")
        return size == 0 or (65_536 if page_size == 1 else page_size) * pages > size
