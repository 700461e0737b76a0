"""Scripts for Node, which say what they saw as one line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["run_script"]


def run_script(
    script: Path, *words: str, does: Mapping[str, Callable[[], object]] | None = None
) -> Any:
    """What a script printed last.

    Args:
        script: The script.
        words: What it is started with.
        does: What to do at a line that it prints; it is told when that is done.
    """
    # Without the first Node has WebSockets from 22 on; without the second it warns of them.
    flags = ("--experimental-websocket", "--no-warnings")
    with subprocess.Popen(
        ["node", *flags, str(script), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        line = ""
        for line in process.stdout:
            if line.strip() in (does or {}):
                (does or {})[line.strip()]()
                with contextlib.suppress(BrokenPipeError):  # it has failed meanwhile
                    os.write(process.stdin.fileno(), b"done\n")
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    return json.loads(line)
