"""The parent's side: the server's process, and the measured processes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.child import Measured
from benchmarks.script import Script
from benchmarks.ways.base import Task

__all__ = ["ChildError", "ChildProcess", "Server", "environment"]

ROOT = Path(__file__).parent.parent

_LEFT_OUT = ("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "TOKENWEIR_", "PYTHON")


class ChildError(Exception):
    """Raised when a measured process failed, or took too long."""


def environment() -> dict[str, str]:
    """The environment of the processes: none of the user's settings, no proxies, no tracing."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_LEFT_OUT) and not name.lower().endswith("_proxy")
    }
    off = {"LANGSMITH_TRACING": "false", "AGNO_TELEMETRY": "false"}
    return {**kept, **off, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


class _Process:
    def __init__(self, python: Path, module: str) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.pid = self._process.pid

    def close(self) -> None:
        self._in.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        self._out.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Server(_Process):
    """The scripted server; closed at the end of ``with``."""

    def __init__(self) -> None:
        super().__init__(Path(sys.executable), "benchmarks.server")
        self.base_url = f"http://127.0.0.1:{int(self._out.readline())}/v1"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ChildProcess(_Process):
    """One way in a process of its own.

    Args:
        way: The way's name.
        task: How it has to read.
        python: A Python with the packages that the way needs.
        limit: Seconds that an answer may take.
    """

    def __init__(self, way: str, task: Task, *, python: Path, limit: float) -> None:
        super().__init__(python, "benchmarks.child")
        self._limit = limit
        try:
            self._ask({"way": way, "task": asdict(task)})
        except ChildError:
            self.close()
            raise

    def measure(
        self, script: Script, *, streams: int = 1, repeat: int = 1, memory: bool = False
    ) -> Measured:
        """Read replies, and return the measurement.

        Raises:
            ChildError: If the process failed or did not answer in time; then it has ended.
        """
        job = {"script": asdict(script), "streams": streams, "repeat": repeat, "memory": memory}
        return Measured(**self._ask(job))

    def _ask(self, job: Mapping[str, Any]) -> Any:
        try:
            print(json.dumps(job), file=self._in, flush=True)
        except OSError:
            raise ChildError("the process has ended") from None
        # One line per answer, so that none can wait in Python's own buffer.
        if not select.select([self._out], [], [], self._limit)[0]:
            self.kill()
            raise ChildError(f"no answer within {self._limit:g} s")
        line = self._out.readline()
        if not line:
            raise ChildError("the process ended; see above")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer
