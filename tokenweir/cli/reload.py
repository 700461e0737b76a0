"""``tokenweir serve --reload``: a server that restarts when the code changes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import click

from tokenweir.cli.process import Stopped

__all__ = ["serve_again"]

_LOOK = 0.5
"""Seconds between two looks at the files."""


def serve_again(arguments: Sequence[str], folder: Path) -> NoReturn:
    """Run ``tokenweir serve`` with these arguments; restart it when a file in the folder changes.

    Watches ``*.py``, ``langgraph.json`` and ``.env``. A server that fails to start is tried again
    at the next change.

    Raises:
        Stopped: After SIGINT or SIGTERM, once the server has ended.
    """
    command = [sys.executable, "-m", "tokenweir", "serve", *arguments]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while True:
        seen = _times(folder)
        server = subprocess.Popen(command)
        try:
            while (now := _times(folder)) == seen:
                time.sleep(_LOOK)
            changed = {path for path, _ in seen.items() ^ now.items()}
            shown = ", ".join(sorted(os.path.relpath(path, folder) for path in changed))
            click.echo(f"tokenweir: {shown} changed", err=True)
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT) from None
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                server.terminate()
                server.wait()


def _times(folder: Path) -> dict[str, int]:
    """The modification time of each file."""
    found = {}
    for path in _files(folder):
        with contextlib.suppress(OSError):  # deleted meanwhile
            found[path] = Path(path).stat().st_mtime_ns
    return found


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__"))
            and name != "node_modules"
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            if name.endswith(".py") or name in ("langgraph.json", ".env"):
                yield os.path.join(place, name)  # noqa: PTH118 - runs often, over many files
