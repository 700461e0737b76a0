"""The load client: many streams at once, read by one loop over epoll, in a process of its own.

``python -m benchmarks.serving.load``; a job in one line of JSON on standard input, one line back.
It does as little as it can for each token, as it shares a core with the scripted server: it looks
for the times in the bytes, whatever the protocol around them.
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
"""In a request: becomes an id that no other stream has, as long as this."""

_SENT_AT = re.compile(rb"@(\d{10}\.\d{6})")
_LONGEST = 18
_AT_ONCE = 20
"""Streams that may be waiting for their first token: the start of a run costs more than tokens, and
it is tokens that are measured."""


@dataclass(frozen=True)
class Job:
    """What to do.

    Args:
        ports: The servers'; streams take them in turns.
        pids: The servers' processes, whose CPU time and memory are taken.
        request: What to send for a stream, all of it.
        starting: What to send before that, on a connection of its own; "" if nothing.
        streams: How many.
        settle: Seconds between the last stream's first token and the measurement.
        seconds: Of the measurement.
        patience: Seconds until it begins in any case, however many streams have begun.
        beside: Processes whose CPU time is taken, too, with their children's.
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
    """What came of it.

    Args:
        streams: How many had their first token when the measurement began.
        tokens: That came while it lasted.
        slowest: Of the stream with the fewest.
        cpu: Seconds of the server's CPU time, while it lasted.
        seconds: That it lasted.
        starting: Seconds of the server's CPU time until all streams had begun.
        p50, p99, most: Seconds from the scripted server's write to our read, of these tokens.
        before, after: Bytes of the server's memory, before all streams and at the end.
        beside: Seconds of CPU time of the processes beside it.
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
    """One job under way."""

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
    """The same of processes and their children."""
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
