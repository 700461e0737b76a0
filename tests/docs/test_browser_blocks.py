"""The blocks of the documentation that are for a browser, run by one: Chromium.

Their files stand on a web server of another origin than the graphs' server, which lists it with
``--cors``, as the pages say. JSX is bundled by esbuild first, as development servers do.
"""

from __future__ import annotations

import http.server
import re
import socketserver
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import npm_packages
from tests.chromium import browser
from tests.docs import blocks, served
from tokenweir.testing import Provider, Reply

__all__ = ["browser"]

DOCS = Path(__file__).parents[2] / "docs"
JOKE = "Why did the cat sit down? It was tired."
LANGUAGES = ("html", "js", "jsx", "tsx")
"""Languages of blocks that Python's tests do not run."""

pytestmark = [pytest.mark.docs, pytest.mark.browser]


def browser_blocks(page: str) -> list[blocks.Block]:
    """The blocks of a page of the documentation that are for a browser."""
    found = blocks.blocks_of((DOCS / page).read_text(encoding="utf-8"))
    return [block for block in found if block.language in LANGUAGES]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
    """The origin of a web server for the files of ``tmp_path``."""
    handler = partial(_Quiet, directory=str(tmp_path))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def graphs(
    provider: Provider, files: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[served.Servers]:
    """A graphs' server that lists the files' origin."""
    provider.on("joke", Reply(JOKE))
    provider.on("poem", Reply("In sunlit patches, sleek and sly."))
    provider.on("Hello", Reply("Good morning."))
    for name, value in {**provider.environ, "TOKENWEIR_MODEL": "openai:gpt-4o-mini"}.items():
        monkeypatch.setenv(name, value)
    with served.Servers() as servers:
        servers.start(f"tokenweir serve joke_poem chat --memory --cors {files}")
        yield servers


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    """An empty window, whose script's errors fail the test; what it logs is in ``said``."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    page.said = []
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: message.type == "log" and page.said.append(message.text))
    yield page
    page.close()
    assert troubles == []


def test_every_block_is_run() -> None:
    """No page has a block for a browser that the tests below do not run."""
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    found = {page: len(browser_blocks(page)) for page in pages}
    assert {page: count for page, count in found.items() if count} == {
        "how-to/browser.md": 3,
        "clients.md": 5,
    }
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert not any(block.language in LANGUAGES for block in blocks.blocks_of(readme))


def test_a_page_with_event_source(
    graphs: served.Servers, files: str, window: Any, tmp_path: Path
) -> None:
    """The joke fills the page's paragraph, and the connection is left when it is over."""
    [block, *_] = browser_blocks("how-to/browser.md")
    (tmp_path / block.title).write_text(graphs.here(block.text), encoding="utf-8")
    window.goto(f"{files}/{block.title}")
    window.wait_for_function("source.readyState === EventSource.CLOSED")
    assert window.text_content("#joke") == JOKE


def test_a_page_with_the_client_module(
    graphs: served.Servers, files: str, window: Any, tmp_path: Path
) -> None:
    """The script that Node runs in the page's own test runs in a browser, too."""
    [_, block, _] = browser_blocks("how-to/browser.md")
    (tmp_path / block.title).write_text(graphs.here(block.text), encoding="utf-8")
    copied = graphs.here(f"curl -s http://127.0.0.1:2024/page/client.js -o {tmp_path}/client.mjs")
    served.shell(copied)
    page = f'<script type="module" src="{block.title}"></script>'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with window.expect_console_message(lambda message: message.type == "log"):
        window.goto(f"{files}/index.html")
    assert window.said == [f"{JOKE} success"]


def test_a_page_with_react(graphs: served.Servers, files: str, window: Any, tmp_path: Path) -> None:
    """What is typed into the chat is answered, and both stand in the page."""
    [_, _, block] = browser_blocks("how-to/browser.md")
    (tmp_path / block.title).write_text(graphs.here(block.text), encoding="utf-8")
    npm_packages.bundle(tmp_path, block.title)
    page = '<!doctype html><body><script type="module" src="bundle.js"></script>'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    window.goto(f"{files}/index.html")
    window.fill("input", "Hello")
    window.click("button")
    window.wait_for_function("document.querySelectorAll('p').length === 2")
    window.wait_for_selector("button:enabled")
    assert window.locator("p").all_text_contents() == ["Hello", "Good morning."]


def test_event_source_on_the_servers_own_page(graphs: served.Servers, window: Any) -> None:
    """With an address of the page's own server the tokens are logged, one by one."""
    [block, *_] = browser_blocks("clients.md")
    window.goto(graphs.here("http://127.0.0.1:2024/ok"))
    window.evaluate(f"{block.text}; globalThis.source = source;")
    window.wait_for_function("source.readyState === EventSource.CLOSED")
    assert "".join(window.said).startswith(JOKE)
    assert len(window.said) > 10


def test_the_client_module_from_the_server(
    graphs: served.Servers, files: str, window: Any, tmp_path: Path
) -> None:
    """A page imports the module from another origin, and logs the tokens and the end."""
    [_, block, *_] = browser_blocks("clients.md")
    script = graphs.here(block.text)
    page = f'<script type="module">{script}</script>'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with window.expect_console_message(lambda message: message.text.startswith("done in")):
        window.goto(f"{files}/index.html")
    assert "".join(window.said[:-1]) == JOKE
    assert re.fullmatch(r"done in [\d.]+", window.said[-1])


def test_langgraphs_npm_client(
    graphs: served.Servers, files: str, window: Any, tmp_path: Path
) -> None:
    """The client's tokens are logged as they come, joke and poem."""
    [_, _, block, *_] = browser_blocks("clients.md")
    (tmp_path / "script.js").write_text(graphs.here(block.text), encoding="utf-8")
    npm_packages.bundle(tmp_path, "script.js")
    page = '<script type="module" src="bundle.js"></script>'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with window.expect_console_message(lambda message: message.text == " sly."):
        window.goto(f"{files}/index.html")
    assert "".join(window.said) == f"{JOKE}In sunlit patches, sleek and sly."


def test_the_ai_sdks_hook(graphs: served.Servers, files: str, window: Any, tmp_path: Path) -> None:
    """The button says hello, and the answer stands under it."""
    [*_, block, _] = browser_blocks("clients.md")
    (tmp_path / block.title).write_text(graphs.here(block.text), encoding="utf-8")
    npm_packages.bundle(tmp_path, block.title, npm_packages.FRONT_ENDS)
    page = '<!doctype html><body><script type="module" src="bundle.js"></script>'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    window.goto(f"{files}/index.html")
    window.click("button")
    window.wait_for_function("document.querySelectorAll('p').length === 2")
    window.wait_for_selector("button:enabled")
    assert window.locator("p").all_text_contents() == ["Hello", "Good morning."]


def test_ag_uis_client(graphs: served.Servers, files: str, window: Any, tmp_path: Path) -> None:
    """The answer is logged when the run has ended; loaded again, the page has the thread."""
    [*_, block] = browser_blocks("clients.md")
    (tmp_path / block.title).write_text(graphs.here(block.text), encoding="utf-8")
    npm_packages.bundle(tmp_path, block.title, npm_packages.FRONT_ENDS)
    page = '<script type="module" src="bundle.js"></script>'
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    for _ in range(2):
        with window.expect_console_message(lambda message: message.type == "log"):
            window.goto(f"{files}/index.html")
    assert window.said == ["Good morning."] * 2
