"""The examples, started as their users start them; those with a page are driven in Chromium.

Each test works on a copy, whose addresses have ports that are free.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import npm_packages
from tests.chromium import browser
from tests.waiting import wait_until
from tokenweir.testing import Provider, Reply

__all__ = ["browser"]

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = ("event_source", "use_stream", "use_chat", "agui")
JOKE, POEM = "Why did the cat sit down?", "In sunlit patches, sleek and sly."

page = pytest.mark.parametrize("name", PAGES)


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def listens(port: str) -> bool:
    """Whether somebody listens at a port."""
    try:
        socket.create_connection(("localhost", int(port)), 1).close()
    except OSError:
        return False
    return True


Open = Callable[[str], Any]


@pytest.fixture
def open_page(browser: Any, provider: Provider, tmp_path: Path) -> Iterator[Open]:
    """Starts an example by its command, and opens its page."""
    started: list[subprocess.Popen[bytes]] = []
    windows: list[Any] = []
    troubles: list[str] = []

    def open_page(name: str) -> Any:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("node_modules"))
        if (folder / "package.json").exists():
            packages = npm_packages.installed(npm_packages.FRONT_ENDS) / "node_modules"
            (folder / "node_modules").symlink_to(packages)
        graph, files = free_port(), free_port()
        for each in folder.iterdir():
            if each.is_file():
                text = each.read_text(encoding="utf-8")
                each.write_text(text.replace("2024", graph).replace("5173", files), "utf-8")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environ = {**os.environ, **provider.environ, "PATH": path}
        environ["TOKENWEIR_MODEL"] = "openai:gpt-4o-mini"
        command = [str(folder / "start")]
        # esbuild serves for as long as its input is open.
        process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        wait_until(lambda: listens(graph) and listens(files))
        window = browser.new_page()
        window.set_default_timeout(20_000)
        window.on("pageerror", lambda error: troubles.append(str(error)))
        windows.append(window)
        window.goto(f"http://localhost:{files}/")
        return window

    yield open_page
    for window in windows:
        window.close()
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        assert process.stdin is not None
        process.stdin.close()
    assert troubles == []


def lanes(window: Any) -> dict[str, str]:
    """What the page shows of the newest answer, by tag."""
    script = """() => Object.fromEntries([...document.querySelectorAll("section")].slice(-2)
        .map((lane) => [...lane.children].map((each) => each.textContent)))"""
    found: dict[str, str] = window.evaluate(script)
    return found


def ask(window: Any, topic: str) -> None:
    """Type a topic, and have it written about."""
    window.fill("input", topic)
    window.click("text=Write")


@pytest.mark.browser
@page
def test_lanes_by_tag(open_page: Open, provider: Provider, name: str) -> None:
    """Each call's text grows in the lane of its tag, token by token; a second topic works, too."""
    provider.on("joke about cats", Reply(JOKE, hold_after=2))
    provider.on("poem about cats", Reply(POEM, hold_after=1))
    provider.on("dogs", Reply("Woof."))
    window = open_page(name)
    ask(window, "cats")
    wait_until(lambda: lanes(window) == {"joke": "Why did", "poem": "In"})
    provider.release()
    wait_until(lambda: lanes(window) == {"joke": JOKE, "poem": POEM})
    ask(window, "dogs")
    wait_until(lambda: lanes(window) == {"joke": "Woof.", "poem": "Woof."})


@pytest.mark.browser
@page
def test_stop(open_page: Open, provider: Provider, name: str) -> None:
    """The button closes the providers' connections."""
    provider.on("stall", Reply("la la la", stall_after=1))
    window = open_page(name)
    ask(window, "stall")
    wait_until(lambda: lanes(window) == {"joke": "la", "poem": "la"})
    window.click("text=Stop")
    for request in provider.requests:
        request.wait_closed(60)


@pytest.mark.browser
@pytest.mark.parametrize("name", ["use_chat", "agui"])
def test_a_page_is_loaded_again(open_page: Open, provider: Provider, name: str) -> None:
    """In the middle of an answer the page is loaded again, and shows all of it."""
    provider.on("cats", Reply("one two three", hold_after=2))
    window = open_page(name)
    ask(window, "cats")
    wait_until(lambda: lanes(window) == {"joke": "one two", "poem": "one two"})
    window.reload()
    wait_until(lambda: lanes(window) == {"joke": "one two", "poem": "one two"})
    provider.release()
    wait_until(lambda: lanes(window) == {"joke": "one two three", "poem": "one two three"})


def test_the_terminal(provider: Provider) -> None:
    """A topic is answered by both models, and the end of the input ends the program."""
    provider.on("joke about cats", JOKE)
    provider.on("poem about cats", POEM)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "terminal" / "chat.py")],
        env={**os.environ, **provider.environ, "TOKENWEIR_MODEL": "openai:gpt-4o-mini"},
        input="cats\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "down?" in done.stdout
    assert "sly." in done.stdout


def test_no_example_is_long() -> None:
    """Each file that a person reads has less than a hundred lines."""
    for path in EXAMPLES.rglob("*"):
        if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts):
            assert len(path.read_text(encoding="utf-8").splitlines()) < 100, path
