"""One browser for all tests of a module, and ways to its server that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chromium import browser
from tests.serving.one_server import provider, server, shared

__all__ = ["browser", "page", "provider", "server", "shared", "window", "wire"]


@pytest.fixture
def window(browser: Any, server: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a window of its own; what goes wrong in its script fails the test.

    Requests that the server refused are no fault of the script, nor are those that found no server.
    """
    contexts: list[Any] = []
    troubles: list[str] = []

    def said(message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            troubles.append(message.text)

    def opened(path: str = "/", **options: Any) -> Any:
        context = browser.new_context(**{"base_url": server, **options})
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", said)
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def page(window: Callable[..., Any]) -> Any:
    """The page, opened, with the first graph chosen."""
    page = window()
    page.locator("#fields label").first.wait_for()
    return page


class Wire:
    """A network between browser and server, which can be cut."""

    def __init__(self, server: str) -> None:
        self._target = ("127.0.0.1", int(server.rpartition(":")[2]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self.is_cut:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            self._open.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        """Break all connections, and take no new ones."""
        self.is_cut = True
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Take connections again."""
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listening.close()


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    """A way to ``server`` that can be cut and mended."""
    made = Wire(server)
    yield made
    made.close()
