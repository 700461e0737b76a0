"""aegra, another server of LangGraph's API, in a separate environment and with its defaults.

It stores runs and checkpoints in Postgres, and carries events over Redis, whose server has to be on
PATH. By default it executes 30 runs at once.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks import environments
from benchmarks.processes import ROOT

__all__ = ["COMMAND", "python", "settings", "start_redis"]

COMMAND = ("uvicorn", "aegra_api.main:app", "--port", "{port}", "--log-level", "warning")
_REDIS = ("redis-server", "valkey-server")


@cache
def python() -> Path:
    """The Python of its environment, made if there is none."""
    if sys.hexversion < 0x030C0000:  # not version_info, by which mypy leaves out the rest
        raise RuntimeError("aegra needs Python 3.12: --pythons 3.13")
    return environments.pythons(["aegra"], lambda line: print(f"bench: {line}", file=sys.stderr))[
        "aegra"
    ]


def settings(folder: Path, postgres: str) -> dict[str, str]:
    """Its environment variables; it serves ``plain_graph.py``."""
    file = folder / "aegra.json"
    graph = ROOT / "benchmarks" / "serving" / "plain_graph.py"
    file.write_text(json.dumps({"graphs": {"say": f"{graph}:say"}}))
    port = _port(folder)
    return {
        "AEGRA_CONFIG": str(file),
        "DATABASE_URL": postgres,
        "LOG_LEVEL": "WARNING",
        "REDIS_BROKER_ENABLED": "true",
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
    }


def start_redis(folder: Path) -> subprocess.Popen[bytes]:
    """Its Redis, at the port in the settings; it stores nothing on the disk."""
    found = next(filter(None, map(shutil.which, _REDIS)), None)
    if found is None:
        raise RuntimeError("aegra needs redis-server on PATH (Debian: apt install redis-server)")
    port = (folder / "redis.port").read_text()
    command = [found, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _port(folder: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    (folder / "redis.port").write_text(port)
    return port
