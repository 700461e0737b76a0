"""The client module under Node, at the real server, behind a proxy that cuts its connections."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tokenweir.serving
from tokenweir.testing import Provider, Reply

NODE = shutil.which("node")
MODULE = Path(tokenweir.serving.__file__).parent / "page" / "client.js"
CUTS = 4

pytestmark = [
    pytest.mark.one_python,
    pytest.mark.skipif(NODE is None, reason="Node is not installed"),
]

SCRIPT = """
const { run } = await import(process.argv[1]);
const texts = {};
let end;
const reading = run(`${process.argv[2]}/graphs/two_steps`, { topic: "x" }, {
  delta: ({ id, text }) => { texts[id] = (texts[id] ?? "") + text; },
  remove: ({ id }) => { delete texts[id]; },
  finish: (record) => { end = record; },
});
await reading.done;
console.log(JSON.stringify({ texts: Object.values(texts), status: end.status }));
"""


class Proxy:
    """Passes bytes on; cuts the first few connections somewhere in their answers."""

    def __init__(self, url: str, chance: random.Random) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._to = host, int(port)
        self._left = [chance.randint(700, 2500) for _ in range(CUTS)]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cuts: list[bytes] = []
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            self._open += [client, server]
            for source, to, cuts in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pass, args=(source, to, cuts))
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, to: socket.socket, cuts: bool) -> None:
        passed, left = b"", None
        try:
            while part := source.recv(1 << 16):
                if cuts and left is None and self._left:
                    left = self._left.pop(0)
                passed += part
                if left is not None and len(passed) >= left:
                    to.sendall(part[: len(part) - (len(passed) - left)])
                    self.cuts.append(passed[:left])
                    break
                to.sendall(part)
        except OSError:
            pass
        for each in (source, to):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for each in [self._listening, *self._open]:
            each.close()


@pytest.fixture
def proxied(serve: Callable[..., Any]) -> Iterator[Proxy]:
    server = serve("sample:two_steps")
    proxy = Proxy(server.url, random.Random(7))
    yield proxy
    proxy.close()


def test_cut_in_the_middle_of_events(proxied: Proxy, provider: Provider) -> None:
    """However often and wherever it is cut, the texts are whole, and the run is begun once."""
    words = [f" wört{number}" for number in range(150)]
    provider.on("first", Reply(tokens=words, every=0.002))
    provider.on("second", Reply(tokens=words[::-1], every=0.002))
    assert NODE is not None
    ended = subprocess.run(
        [NODE, "--input-type=module", "-e", SCRIPT, str(MODULE), proxied.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found == {"texts": ["".join(words), "".join(words[::-1])], "status": "success"}
    assert len(proxied.cuts) == CUTS
    assert any(not cut.endswith(b"\n\n") for cut in proxied.cuts)
    assert len(provider.requests) == 2
