"""``docs/reference/cli.md``: what each command says of itself, written anew from the commands.

``python -m tests.docs.cli_page`` says whether the page is right; with ``--write`` it makes it so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.docs import blocks

__all__ = ["PAGE", "renewed"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def renewed(page: str) -> str:
    """The page with what its ``tokenweir ... --help`` commands print now."""
    lines = page.splitlines()
    commands = [
        command for block in blocks.blocks_of(page) for command in blocks.commands_of(block)
    ]
    for command in reversed(commands):  # from the end, so that the lines before keep their numbers
        if command.words.startswith("tokenweir ") and command.words.endswith(" --help"):
            length = len(command.printed.splitlines())
            lines[command.line : command.line + length] = _printed(command.words)
    return "\n".join(lines) + "\n"


def _printed(command: str) -> list[str]:
    """What a command prints, as on a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip().splitlines()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the page anew")
    options = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = renewed(before)
    if before == after:
        return 0
    if options.write:
        PAGE.write_text(after, encoding="utf-8")
        return 0
    print(f"{PAGE.name} is not what the commands say: --write makes it so", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
