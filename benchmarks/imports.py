"""The cost of importing Tokenweir, next to a user's other imports. Each runs in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from benchmarks.processes import ROOT, environment
from benchmarks.results import Results

__all__ = ["NAME", "TITLE", "UNITS", "run"]

NAME = "import"
TITLE = "CPU time of a process, Python's own start included"
UNITS = {"ms": "ms"}

_COMMANDS = {
    "pass": ["-c", "pass"],
    "import langgraph": ["-c", "import langgraph.graph, langchain_openai"],
    "import tokenweir": ["-c", "import tokenweir"],
    "use tokenweir": ["-c", "from tokenweir import astream, chat_model"],
    "tokenweir --help": ["-m", "tokenweir", "--help"],
}


def run(results: Results, rounds: int, tell: Callable[[str], None]) -> None:
    """Measure each command ``rounds`` times, in turns."""
    for command in () if results.quick else _COMMANDS.values():
        _cpu(command)  # to compile the bytecode
    for number in range(rounds):
        tell(f"{NAME}: round {number + 1} of {rounds}")
        for name, command in _COMMANDS.items():
            results.row(NAME, name).add({"ms": 1e3 * _cpu(command)})


def _cpu(arguments: list[str]) -> float:
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, cwd=ROOT, env=environment()
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"python {' '.join(arguments)} failed with {process.returncode}")
    return used.ru_utime + used.ru_stime
