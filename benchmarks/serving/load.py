"""The load client: many concurrent streams, read by one loop over epoll, in a separate process.

``python -m benchmarks.serving.load`` reads a job as one line of JSON, and answers with one line. It
does as little as possible per token, because it shares a core with the scripted server: it searches
the bytes for the times, whatever the protocol around them.
"""

from __future__ import annotations

import gc
import json
import os
import re
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["STREAM", "Job", "Load", "Seen"]

STREAM = "of-this-stream--"
"""Placeholder in a request for a unique id of the same length."""

_SENT_AT = re.compile(rb"@(\d{10}\.\d{6})")
_LONGEST = 18
_AT_ONCE = 20
"""The most streams that wait for their first token: starting a run costs more than tokens, and the
benchmark measures tokens."""


@dataclass(frozen=True)
class Job:
    """What to do.

    Args:
        ports: The servers' ports; streams use them in turns.
        pids: The servers' processes, whose CPU time and memory are measured.
        request: The whole request for a stream.
        starting: A request to send before that, on a separate connection; "" for none.
        streams: The number of streams.
        settle: Seconds between the last stream's first token and the measurement.
        seconds: The duration of the measurement.
        patience: Seconds until it begins in any case, however many streams have begun.
        beside: Other processes whose CPU time is measured, with that of their children.
    """

    ports: Sequence[int]
    pids: Sequence[int]
    request: str
    starting: str
    streams: int
    settle: float
    seconds: float
    patience: float
    beside: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seen:
    """The result of a job.

    Args:
        streams: The streams that had their first token when the measurement began.
        tokens: The tokens that arrived during the measurement.
        slowest: The tokens of the stream with the fewest.
        cpu: Seconds of the server's CPU time during the measurement.
        seconds: The duration of the measurement.
        starting: Seconds of the server's CPU time until all streams had begun.
        p50, p99, most: Delays of these tokens: seconds from the scripted server's write to the
            client's read.
        before, after: Bytes of the server's memory, before all streams and at the end.
        beside: Seconds of CPU time of the other processes.
    """

    streams: int
    tokens: int
    slowest: int
    cpu: float
    seconds: float
    starting: float
    p50: float
    p99: float
    most: float
    before: int
    after: int
    beside: float = 0.0


class _Stream:
    __slots__ = ("first", "rest", "socket", "tokens")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.rest = b""
        self.tokens = 0
        self.first = False


class Load:
    """One running job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._poll = select.epoll()
        self._streams: dict[int, _Stream] = {}
        self._waiting = 0
        self._late: list[float] = []

    def run(self) -> Seen:
        """Open the streams, measure, and close them."""
        job = self._job
        before = _memory(job.pids)
        begun = _of_all(job.pids)
        deadline = time.monotonic() + job.patience
        while time.monotonic() < deadline:
            while self._waiting < _AT_ONCE and len(self._streams) < job.streams:
                self._open()
            self._read_for(0.01)
            if not self._waiting and len(self._streams) == job.streams:
                break
        starting = _of_all(job.pids) - begun
        self._read_for(job.settle)
        self._late.clear()
        there = [stream for stream in self._streams.values() if stream.first]
        for stream in there:
            stream.tokens = 0
        beside = _with_children(job.beside)
        cpu, started = _of_all(job.pids), time.monotonic()
        self._read_for(job.seconds)
        cpu, lasted = _of_all(job.pids) - cpu, time.monotonic() - started
        beside = _with_children(job.beside) - beside
        late = sorted(self._late)
        after = _memory(job.pids)
        for stream in self._streams.values():
            stream.socket.close()
        if not late:
            raise RuntimeError("no token came")
        return Seen(
            streams=len(there),
            tokens=len(late),
            slowest=min(stream.tokens for stream in there),
            cpu=cpu,
            seconds=lasted,
            starting=starting,
            p50=late[len(late) // 2],
            p99=late[len(late) * 99 // 100],
            most=late[-1],
            before=before,
            after=after,
            beside=beside,
        )

    def _open(self) -> None:
        port = self._job.ports[len(self._streams) % len(self._job.ports)]
        own = f"{os.getpid():08x}{len(self._streams):08x}"
        if self._job.starting:
            with self._send(port, self._job.starting, own) as first:
                answer = b"".join(iter(lambda: first.recv(65536), b""))
            if not answer.startswith(b"HTTP/1.1 200") or b'"success"' not in answer:
                raise RuntimeError(f"no run was started: {answer[:300]!r}")
        connected = self._send(port, self._job.request, own)
        connected.setblocking(False)
        self._streams[connected.fileno()] = _Stream(connected)
        self._poll.register(connected.fileno(), select.EPOLLIN)
        self._waiting += 1

    def _send(self, port: int, request: str, own: str) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", port), timeout=10)
        connected.sendall(request.replace(STREAM, own).encode())
        return connected

    def _read_for(self, seconds: float) -> None:
        clock, poll, streams, found = time.monotonic, self._poll.poll, self._streams, _SENT_AT
        late = self._late
        end = clock() + seconds
        while (left := end - clock()) > 0:
            for number, _ in poll(left, 64):
                stream = streams[number]
                data = stream.rest + stream.socket.recv(65536)
                now = clock()
                if len(data) == len(stream.rest):
                    raise RuntimeError(f"a stream ended early: {data!r}")
                times = found.findall(data)
                if times:
                    if not stream.first:
                        self._begun(stream, data)
                    late += [now - float(sent) for sent in times]
                    stream.tokens += len(times)
                    stream.rest = data[data.rfind(times[-1]) + _LONGEST - 1 :][-_LONGEST:]
                elif stream.first:
                    stream.rest = data[-_LONGEST:]
                else:
                    stream.rest = data
                    if not b"HTTP/1.1 200".startswith(data[:12]):
                        raise RuntimeError(f"the server refused: {data[:300]!r}")

    def _begun(self, stream: _Stream, data: bytes) -> None:
        stream.first = True
        self._waiting -= 1


def _cpu(pid: int) -> float:
    """Seconds of CPU time of a process: Linux has a clock of this number for each."""
    return time.clock_gettime((~pid << 3) | 2)


def _of_all(pids: Sequence[int]) -> float:
    return sum(map(_cpu, pids))


def _with_children(pids: Sequence[int]) -> float:
    """Seconds of CPU time of processes and their children."""
    found = 0.0
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += sum(_cpu(each) for each in (pid, *map(int, children)))
    return found


def _memory(pids: Sequence[int]) -> int:
    return sum(map(_resident, pids))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Pss of process {pid}")


def _main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    gc.disable()
    try:
        answer = asdict(Load(job).run())
    except (OSError, RuntimeError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
