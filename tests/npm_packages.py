"""The packages of npm clients, React and esbuild, for tests.

Installed once into ``.cache``, as a folder's ``package-lock.json`` says: LangGraph's clients, and
those of the front ends' protocols.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

__all__ = ["FRONT_ENDS", "SOURCES", "bundle", "installed", "with_scripts"]

SOURCES = Path(__file__).parent / "serving" / "langgraph" / "npm"
FRONT_ENDS = Path(__file__).parent / "serving" / "npm"
_CACHE = Path(__file__).parent.parent / ".cache"
_UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH")


def installed(sources: Path = SOURCES) -> Path:
    """A folder whose ``node_modules`` has the packages; skips where there cannot be one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    lock = (sources / "package-lock.json").read_bytes()
    folder = _CACHE / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE, ignore_cleanup_errors=True) as new:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(sources / name, new)
            asked = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(asked, cwd=new, capture_output=True, text=True, check=False)
            if done.returncode != 0 and any(code in done.stderr for code in _UNREACHABLE):
                pytest.skip("npm's registry cannot be reached")
            assert done.returncode == 0, done.stderr
            with contextlib.suppress(OSError):  # another process was quicker
                Path(new).rename(folder)
    return folder


def with_scripts(sources: Path = SOURCES) -> Path:
    """The folder, with our scripts in it, as modules are looked for beside the script."""
    folder = installed(sources)
    for script in sources.glob("*.mjs"):
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy:
            copy.write(script.read_bytes())
        Path(copy.name).replace(folder / script.name)
    return folder


def bundle(folder: Path, script: str, sources: Path = SOURCES) -> None:
    """Make ``bundle.js`` in a folder, of a script in it and the packages that it imports."""
    packages = installed(sources) / "node_modules"
    done = subprocess.run(
        [
            *(str(packages / ".bin" / "esbuild"), script, "--bundle", "--format=esm"),
            *("--jsx=automatic", "--outfile=bundle.js", "--log-level=warning"),
        ],
        cwd=folder,
        env={**os.environ, "NODE_PATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
