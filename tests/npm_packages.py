"""The packages of LangGraph's npm clients, React and esbuild, for tests.

Installed once into ``.cache``, as ``serving/langgraph/npm/package-lock.json`` says.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

__all__ = ["SOURCES", "installed"]

SOURCES = Path(__file__).parent / "serving" / "langgraph" / "npm"
_CACHE = Path(__file__).parent.parent / ".cache"
_UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH")


def installed() -> Path:
    """A folder whose ``node_modules`` has the packages; skips where there cannot be one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    lock = (SOURCES / "package-lock.json").read_bytes()
    folder = _CACHE / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE, ignore_cleanup_errors=True) as new:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, new)
            asked = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(asked, cwd=new, capture_output=True, text=True, check=False)
            if done.returncode != 0 and any(code in done.stderr for code in _UNREACHABLE):
                pytest.skip("npm's registry cannot be reached")
            assert done.returncode == 0, done.stderr
            with contextlib.suppress(OSError):  # another process was quicker
                Path(new).rename(folder)
    return folder
