"""The same benchmarks on other Pythons, each in a separate environment, one after the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.results import Results

__all__ = ["run_on"]


def run_on(version: str, arguments: Sequence[str], tell: Callable[[str], None]) -> Results:
    """Run the benchmarks on a Python version, and return the results.

    Args:
        version: Such as ``3.13``.
        arguments: The arguments of the command line, without ``--pythons``.
        tell: Takes a line about the progress.

    Raises:
        SystemExit: If there is no such Python, or the benchmarks failed.
    """
    folder = Path(".venvs") / f"bench-{version}"
    tell(f"on Python {version}, in {folder}")
    variables = {**os.environ, "PYTHON": _found(version)}
    setup = [str(ROOT / "scripts" / "setup"), str(folder), "bench"]
    if subprocess.run(setup, cwd=ROOT, env=variables, check=False).returncode:
        raise SystemExit(f"could not make the environment for Python {version}")
    command = [str(ROOT / folder / "bin" / "python"), "-m", "benchmarks", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"the benchmarks failed on Python {version}")
    return Results.from_json(json.loads(done.stdout))


def _found(version: str) -> str:
    """The path of an installed Python. Each is run, because pyenv's shims may fail."""
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for candidate in _candidates(version):
        said = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if said.returncode == 0 and said.stdout.startswith(f"{version} "):
            return said.stdout.rstrip().partition(" ")[2]
    raise SystemExit(f"found no Python {version}; install one, with python{version} on PATH")


def _candidates(version: str) -> Iterator[str]:
    if sys.version.startswith(f"{version}."):
        yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for folder in sorted(pyenv.glob(f"versions/{version}.*"), reverse=True):
        yield str(folder / "bin" / "python3")
