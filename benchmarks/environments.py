"""Environments for the peers, one each, made by uv in ``.venvs`` on demand.

They are not part of the project's lock: they use the newest versions of the day, which the report
lists.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.processes import ROOT

__all__ = ["REQUIREMENTS", "pythons", "versions"]

_NAME = re.compile(r"[\w-]+")

REQUIREMENTS = {
    "pydantic-ai": ["pydantic-ai-slim[openai]>=2"],
    "openai-agents": ["openai-agents>=0.24"],
    "litellm": ["litellm>=1.83"],
    "agno": ["agno>=3", "openai"],
    "aegra": ["aegra-api>=0.11", "langchain-openai>=1.7"],
}


def pythons(peers: Sequence[str], tell: Callable[[str], None]) -> dict[str, Path]:
    """The Python of each peer's environment, with the newest versions; made if there is none."""
    uv = _uv()
    return {peer: _made(uv, peer, tell) for peer in peers}


def versions(peers: Mapping[str, Path]) -> dict[str, str]:
    """The version of each peer, and of the openai SDK that it took; by the peer's name."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = {}
    for peer, python in peers.items():
        package = _NAME.match(REQUIREMENTS[peer][0])
        assert package is not None
        command = [str(python), "-c", code, package[0], "openai"]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        own, sdk = said.stdout.split()
        found[peer] = f"{own} (openai {sdk})"
    return found


def _made(uv: str, peer: str, tell: Callable[[str], None]) -> Path:
    folder = ROOT / ".venvs" / f"bench-{peer}"
    python = folder / "bin" / "python"
    stamp = folder / ".requirements"
    wanted = " ".join(REQUIREMENTS[peer])
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--upgrade"]
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        if not _ran([*install, *REQUIREMENTS[peer]]):
            tell(f"could not look for newer versions of {wanted}: using the installed ones")
        return python
    tell(f"installing {wanted} into {folder.relative_to(ROOT)}")
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run([*install, *REQUIREMENTS[peer]])
    stamp.write_text(wanted)
    return python


def _run(command: Sequence[str]) -> None:
    if not _ran(command):
        raise SystemExit(f"could not make a peer's environment: {' '.join(command)} failed")


def _ran(command: Sequence[str]) -> bool:
    variables = {**os.environ, "UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    variables.pop("VIRTUAL_ENV", None)
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode == 0


def _uv() -> str:
    fetched = ROOT / ".uv" / "bin" / "uv"  # where scripts/setup puts it
    found = shutil.which("uv") or (str(fetched) if fetched.exists() else None)
    if found is None:
        raise SystemExit("--peers needs uv: `make bench` brings it, or install it")
    return found
