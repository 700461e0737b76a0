"""``tokenweir serve`` and its clients in the console blocks of a page: really run, by a shell.

A server that a page starts runs until the page is done. It listens at a free port, whichever the
page names: pages are tested at once, and a port may be taken. ``Servers.here`` puts that port into
what a page runs, and ``Servers.there`` the page's own back into what was printed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

__all__ = ["Servers", "is_serve", "is_shell", "shell"]

_SHELL = ("curl", "node")
"""Programs of the machine that pages use."""

_PATIENCE = 60.0


def is_shell(command: str) -> bool:
    """Whether a command is for the shell, and this machine has the program."""
    program = command.split()[0]
    return program in _SHELL and shutil.which(program) is not None


def shell(command: str) -> str:
    """What a command printed; RuntimeError, with what it said, if it failed."""
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Servers:
    """The servers that a page started; a context manager, which stops them."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []
        self._ports: dict[str, str] = {}  # the page's, and the real ones

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._running:
            server.send_signal(signal.SIGTERM)
        for server in self._running:
            server.wait(_PATIENCE)
            assert server.stdout is not None
            server.stdout.close()

    def start(self, command: str) -> str:
        """Start ``VARIABLE=value tokenweir serve ...``; its URL, which is said when it is ready."""
        words = shlex.split(command)
        at = words.index("tokenweir")
        options = words[at + 1 :]
        port = options[options.index("--port") + 1] if "--port" in options else "2024"
        with tempfile.TemporaryFile("w+") as said:
            server = subprocess.Popen(
                ["env", *words[:at], sys.executable, "-m", "tokenweir", *options, "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
            self._running.append(server)
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            if not url:
                server.wait(_PATIENCE)
                said.seek(0)
                raise RuntimeError(f"{command} ended: {said.read()}")
        self._ports[port] = url.rpartition(":")[2]
        return url

    def here(self, text: str) -> str:
        """The page's text with the real ports of its servers."""
        return self._with(self._ports, text)

    def there(self, text: str) -> str:
        """What was printed, with the ports that the page speaks of."""
        return self._with({real: port for port, real in self._ports.items()}, text)

    @staticmethod
    def _with(ports: dict[str, str], text: str) -> str:
        def other(found: re.Match[str]) -> str:
            return found[1] + ports.get(found[2], found[2])

        return re.sub(r"\b((?:127\.0\.0\.1|localhost):)(\d+)\b", other, text)


def is_serve(command: str) -> bool:
    """Whether a command starts a server, maybe with variables before it."""
    return re.match(r"(\w+=\S+ )*tokenweir serve (?!--help)", command) is not None
