"""React's ``useChat`` of ``@ai-sdk/react``, unmodified, in Chromium against the real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import npm_packages
from tests.serving.conftest import Shared
from tests.serving.page.conftest import browser
from tests.waiting import wait_until
from tokenweir.testing import Reply

__all__ = ["browser"]

pytestmark = pytest.mark.browser

PAGE = '<!doctype html><main></main><script type="module" src="/-/bundle.js"></script>'
Open = Callable[[str], Any]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's script, with React and the hook in it."""
    folder: Path = tmp_path_factory.mktemp("use_chat")
    shutil.copy(npm_packages.FRONT_ENDS / "use_chat.jsx", folder)
    npm_packages.bundle(folder, "use_chat.jsx", npm_packages.FRONT_ENDS)
    return (folder / "bundle.js").read_text(encoding="utf-8")


@pytest.fixture
def opened(browser: Any, shared: Shared, script: str) -> Iterator[Open]:
    """Opens a page with a chat, as if the server had it; nothing is scripted yet."""
    shared.provider.release()
    shared.provider._rules.clear()
    window = browser.new_page()
    window.set_default_timeout(20_000)
    troubles: list[str] = []
    window.on("pageerror", lambda error: troubles.append(str(error)))
    window.route("**/-/", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    window.route(
        "**/-/bundle.js", lambda route: route.fulfill(body=script, content_type="text/javascript")
    )

    def opened(graph: str) -> Any:
        window.goto(f"{shared.url}/-/#/{graph}/{uuid4()}")
        return window

    yield opened
    window.close()
    assert troubles == []


def send(window: Any, text: str) -> None:
    """Type it, and press the button."""
    window.fill("input", text)
    window.click("text=Send")


def wait_for(window: Any, status: str, *texts: str) -> None:
    """Wait until the page shows these messages, and the hook has this status."""
    shown = "[...document.querySelectorAll('p, footer')].map((each) => each.textContent)"
    wait_until(lambda: window.evaluate(shown) == [*texts, status])


def test_an_answer_is_made_anew(opened: Open, shared: Shared) -> None:
    """``regenerate`` replaces the answer; loaded again meanwhile, the page gets the new one."""
    shared.provider.on("count", "1 2", Reply("3 4 5", hold_after=2))
    window = opened("chat")
    send(window, "count")
    wait_for(window, "ready", "count", "1 2")
    window.click("text=Again")
    wait_for(window, "streaming", "count", "3 4")
    window.reload()
    wait_for(window, "streaming", "3 4")
    shared.provider.release()
    wait_for(window, "ready", "3 4 5")


def test_a_failure_is_tried_again(opened: Open, shared: Shared) -> None:
    """After an answer that was cut off, ``regenerate`` brings one that is whole."""
    shared.provider.on("break", Reply("one two three", cut_after=2), "four five")
    window = opened("chat")
    send(window, "break")
    wait_for(window, "error", "break", "one two")
    window.click("text=Again")
    wait_for(window, "ready", "break", "four five")
    send(window, "break")
    wait_for(window, "ready", "break", "four five", "break", "four five")


def test_a_node_is_tried_again(opened: Open, shared: Shared) -> None:
    """What a failed attempt said is gone from the page, and everything is said once."""
    shared.provider.on("retry", Reply("one two three", cut_after=2), "one two three")
    window = opened("retries")
    send(window, "retry")
    wait_for(window, "ready", "retry", "one two three")
