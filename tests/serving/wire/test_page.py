"""The page in a real browser: Debian's Chromium, driven by Playwright, at the real server."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tokenweir.testing import Provider, Reply, ToolCall

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

Page = Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests; each has a window of its own."""
    playwright.expect.set_options(timeout=20_000)
    with playwright.sync_playwright() as driver:
        # Root has no sandbox in Chromium.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Page]:
    """The page, opened; what goes wrong in it fails the test, but for requests it was to refuse."""
    context = browser.new_context(base_url=server)
    context.set_default_timeout(15_000)
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    page.goto("/")
    page.locator("#picture svg").wait_for()
    yield page
    context.close()
    allowed = ("422",)
    assert [each for each in troubles if not any(part in each for part in allowed)] == []


def expect(locator: Any) -> Any:
    """Playwright's waiting assertions; patient, as the machine may be busy."""
    return playwright.expect(locator)


def choose(page: Page, graph: str) -> None:
    """Pick a graph, and wait for its picture."""
    with page.expect_response(f"**/graphs/{graph}/picture.svg"):
        page.select_option("#graph", graph)
    expect(page.locator("#status")).to_have_text("Ready.")


def test_lanes_fill_side_by_side(page: Page, provider: Provider) -> None:
    """Each tag has a lane, which fills token by token while its node is lit; figures are shown."""
    provider.on("joke", Reply("Why did the cat", hold_after=2))
    provider.on("poem", Reply("Soft paws tread", hold_after=1))
    choose(page, "joke_poem_parallel")
    page.fill("#field-topic", "cats")
    page.keyboard.press("Enter")
    joke, poem = page.locator("[data-lane=joke]"), page.locator("[data-lane=poem]")
    expect(joke.locator(".text")).to_have_text("Why did")
    expect(poem.locator(".text")).to_have_text("Soft")
    for node in ("write_joke", "write_poem"):
        expect(page.locator(f"[data-node={node}]")).to_have_class(re.compile("active"))
    expect(joke.locator("dd").first).to_have_text(re.compile(r"\d+ ms|\d\.\d\d s"))
    box, other = joke.bounding_box(), poem.bounding_box()
    assert box["y"] == other["y"]
    assert box["x"] != other["x"]
    provider.release()
    expect(joke.locator(".text")).to_have_text("Why did the cat")
    expect(poem.locator(".text")).to_have_text("Soft paws tread")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".node.active")).to_have_count(0)
    expect(page.locator(".node.done")).to_have_count(4)
    expect(page.locator("#tokens")).to_have_text("7")
    expect(page.locator("#rate")).to_have_text(re.compile(r"\d"))
    assert page.locator("[data-lane=joke] polyline").get_attribute("points")


def test_stop_stops_the_model(page: Page, provider: Provider) -> None:
    """The stop button, or Escape, closes the provider's connection; what was written stays."""
    choose(page, "chat")
    ways: list[Callable[[], None]] = [
        lambda: page.click("#stop"),
        lambda: page.keyboard.press("Escape"),
    ]
    for press in ways:
        provider.reply(Reply("One two", stall_after=1))
        page.fill("#field-messages", "hi")
        page.keyboard.press("Enter")
        expect(page.locator(".text").last).to_have_text("One")
        press()
        expect(page.locator("#status")).to_have_text("Stopped.")
        provider.requests[-1].wait_closed(10)
        assert provider.requests[-1].state == "client_left"
        expect(page.locator("#run")).to_be_enabled()


def test_a_reload_in_the_middle_goes_on(page: Page, provider: Provider) -> None:
    """After a reload all that was written is there, figures too, and the run goes on."""
    provider.reply(Reply("One two three four", hold_after=2))
    choose(page, "chat")
    page.fill("#field-messages", "count")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_have_text("One two")
    expect(page.locator("#first")).to_have_text(re.compile(r"\d"))
    first = page.locator("#first").text_content()
    page.reload()
    expect(page.locator("#graph")).to_have_value("chat")
    expect(page.locator(".text")).to_have_text("One two")
    expect(page.locator(".said")).to_have_text("count")
    expect(page.locator("[data-node=respond]")).to_have_class(re.compile("active"))
    provider.release()
    expect(page.locator(".text")).to_have_text("One two three four")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator("#first")).to_have_text(first)
    expect(page.locator("#tokens")).to_have_text("4")
    assert len(provider.requests) == 1
    page.reload()
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".text")).to_have_text("One two three four")
    expect(page.locator("#tokens")).to_have_text("4")


def test_another_window_follows_by_address(
    page: Page, provider: Provider, browser: Any, server: str
) -> None:
    """The page's address names the run: elsewhere it shows the same text."""
    provider.reply(Reply("One two three", hold_after=2))
    choose(page, "chat")
    page.fill("#field-messages", "count")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_have_text("One two")
    context = browser.new_context()
    other = context.new_page()
    other.goto(page.evaluate("location.href"))
    expect(other.locator(".text")).to_have_text("One two")
    provider.release()
    expect(other.locator(".text")).to_have_text("One two three")
    expect(other.locator("#status")).to_have_text("Done.")
    context.close()


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
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listening.close()


def test_a_cut_network_loses_nothing(browser: Any, server: str, provider: Provider) -> None:
    """While the network is gone the run goes on; when it is back the page has every token."""
    words = [f"w{number} " for number in range(60)]
    provider.reply(Reply(tokens=words, every=0.02, hold_after=50))
    wire = Wire(server)
    context = browser.new_context()
    page = context.new_page()
    page.goto(wire.url)
    page.locator("#picture svg").wait_for()
    choose(page, "chat")
    page.fill("#field-messages", "go")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_contain_text("w3 ")
    wire.cut()
    expect(page.locator("#status")).to_contain_text("trying again")
    page.wait_for_timeout(3000)  # the network is gone for 3 s, whoever waits
    wire.mend()
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    assert page.locator(".text").text_content() == "".join(words)
    assert len(provider.requests) == 1
    context.close()
    wire.close()


def test_event_source_comes_back_by_itself(browser: Any, server: str, provider: Provider) -> None:
    """The browser's own EventSource goes on after a cut, ends, and starts no second run."""
    words = [f"w{number} " for number in range(20)]
    provider.reply(Reply(tokens=words, hold_after=10))
    wire = Wire(server)
    # For the test's own script, which the page's policy would not let in.
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(wire.url)
    page.evaluate(
        """() => {
            window.said = ""; window.state = "";
            const source = new EventSource("/graphs/chat/events?messages=hi");
            source.addEventListener("token", (e) => { said += JSON.parse(e.data).text; });
            source.addEventListener("end", () => { state += "end "; });
            source.addEventListener("error", () => {
                if (source.readyState === EventSource.CLOSED) state += "closed";
            });
        }"""
    )
    page.wait_for_function("said.endsWith('w9 ')")
    wire.cut()
    provider.release()
    provider.requests[0].wait_closed(10)
    wire.mend()
    page.wait_for_function("state === 'end closed'")
    assert page.evaluate("said") == "".join(words)
    assert len(provider.requests) == 1
    context.close()
    wire.close()


def test_messages_are_shown_once_and_void_ones_not(page: Page) -> None:
    """A whole message adds nothing to its tokens; one that is void goes away."""
    texts = page.evaluate(
        """async () => {
            const { Lanes } = await import("/page/lanes.js");
            const place = document.createElement("div");
            const lanes = new Lanes(place);
            const token = (id, text, type) =>
                lanes.token({ id, text, type, tags: ["a"], node: "n" }, 0, 0);
            token("m1", "one ", "token");
            token("m1", "two", "token");
            token("m1", "one two", "message");
            token("m2", "void", "token");
            token("m3", "whole", "message");
            lanes.remove("m2");
            return [...place.querySelectorAll("article")].map((each) => each.textContent);
        }"""
    )
    assert texts == ["one two", "whole"]


def test_what_models_write_is_text(page: Page, provider: Provider) -> None:
    """Markup in tokens and in input is shown as it is, and does nothing."""
    markup = "<img src=x onerror=alert(1)><b>bold</b>"
    provider.reply(Reply(tokens=[markup], reasoning=[markup]))
    choose(page, "chat")
    page.fill("#field-messages", markup)
    page.keyboard.press("Enter")
    for place in (".text", ".reasoning div", ".said"):
        expect(page.locator(place)).to_have_text(markup)
    assert page.locator("#lanes img, #lanes b").count() == 0


def test_reasoning_and_tools_stand_apart(page: Page, provider: Provider) -> None:
    """Reasoning is in a block of its own; a tool call shows its name, arguments and result."""
    provider.reply(
        Reply(
            reasoning=["I should", " calculate"],
            tool_calls=[ToolCall("calculate", '{"expression": "6*7"}')],
        ),
        "It is 42.",
    )
    choose(page, "agent")
    page.fill("#field-messages", "6*7?")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".reasoning div")).to_have_text("I should calculate")
    expect(page.locator(".call b")).to_have_text("calculate")
    expect(page.locator(".call code")).to_have_text('{"expression": "6*7"}')
    expect(page.locator(".call .result")).to_have_text("42")
    expect(page.locator(".text")).to_have_text("It is 42.")


def test_a_conversation_goes_on(page: Page, provider: Provider) -> None:
    """A second message is answered on the same thread, and a reload shows both turns."""
    provider.reply("Hello Ann.", "You are Ann.")
    choose(page, "chat")
    for number, text in enumerate(("I am Ann", "Who am I?"), 1):
        page.fill("#field-messages", text)
        page.keyboard.press("Enter")
        expect(page.locator(".text")).to_have_count(number)
        expect(page.locator("#status")).to_have_text("Done.")
    said = [each["content"] for each in provider.requests[1].body["messages"]]
    assert said[1:] == ["I am Ann", "Hello Ann.", "Who am I?"]
    page.reload()
    expect(page.locator(".text")).to_have_text(["Hello Ann.", "You are Ann."])
    expect(page.locator(".said")).to_have_text(["I am Ann", "Who am I?"])
    page.click("#fresh")
    expect(page.locator(".lane")).to_have_count(0)


def test_an_interrupt_is_answered(page: Page) -> None:
    """The page shows what a graph waits for, and an answer lets it go on."""
    choose(page, "asking")
    page.fill("#field-name", "Al")
    page.click("#run")
    expect(page.locator("#question")).to_contain_text("how old?")
    expect(page.locator("[data-node=ask]")).to_have_class(re.compile("waiting"))
    page.reload()
    expect(page.locator("#question")).to_contain_text("how old?")
    page.fill("#answer-text", "7")
    page.click("#answer button")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator("#answer")).to_be_hidden()


def test_a_failure_is_told(page: Page, provider: Provider) -> None:
    """What fails is said in red, after the tokens before it, and the next run can start."""
    provider.reply(Reply("One two", error_after=1, message="too much"))
    choose(page, "chat")
    page.fill("#field-messages", "hi")
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("too much")
    expect(page.locator("#status")).to_have_class("bad")
    expect(page.locator(".text")).to_have_text("One")
    expect(page.locator("#run")).to_be_enabled()


def test_a_filter_shows_one_lane(page: Page, provider: Provider) -> None:
    """The filter field is the server's ``only``."""
    choose(page, "joke_poem_parallel")
    page.fill("#field-topic", "cats")
    page.click("summary")
    page.fill("#only", "tag:poem")
    page.click("#run")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".lane")).to_have_count(1)
    page.fill("#only", "tag")
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("cannot read 'tag'")


def test_fields_are_the_graphs_keys(page: Page) -> None:
    """Each key has a field of its type, which a person can reach and fill by keyboard alone."""
    choose(page, "repeat")
    assert page.get_attribute("#field-count", "type") == "number"
    page.focus("#graph")
    page.keyboard.press("Tab")  # the theme
    page.keyboard.press("Tab")
    page.keyboard.type("Al")
    page.keyboard.press("Tab")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Done.")


def test_a_phone_and_the_dark(browser: Any, server: str, provider: Provider) -> None:
    """On a phone nothing is cut off or scrolls sideways; dark follows the system, and a button."""
    context = browser.new_context(
        base_url=server,
        viewport={"width": 375, "height": 740},
        color_scheme="dark",
        has_touch=True,
        is_mobile=True,
    )
    page = context.new_page()
    page.goto("/")
    page.locator("#picture svg").wait_for()
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(11, 17, 32)"
    page.tap("#theme")
    assert page.evaluate(ground) == "rgb(248, 250, 252)"
    choose(page, "joke_poem_parallel")
    page.fill("#field-topic", "cats")
    page.tap("#run")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".lane")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    small = page.locator("button:visible").evaluate_all(
        "all => all.filter(b => b.offsetHeight < 40).map(b => b.id)"
    )
    assert small == []
    context.close()


def test_a_key_is_asked_for(browser: Any, serve: Callable[..., Any]) -> None:
    """A server with keys still shows the page, which asks for one and keeps it for the window."""
    context = browser.new_context(base_url=serve("chat", "--key", "secret").url)
    page = context.new_page()
    page.goto("/")
    page.fill("#key-text", "secret")
    page.keyboard.press("Enter")
    page.locator("#picture svg").wait_for()
    page.reload()
    page.locator("#picture svg").wait_for()
    expect(page.locator("#key")).to_be_hidden()
    context.close()


def test_nothing_comes_from_elsewhere(page: Page, server: str, provider: Provider) -> None:
    """The page and a run need no request to any other place."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.locator("#picture svg").wait_for()
    choose(page, "chat")
    page.fill("#field-messages", "hi")
    page.click("#run")
    expect(page.locator("#status")).to_have_text("Done.")
    assert len(asked) > 8
    assert {url for url in asked if not url.startswith(server)} == set()


def test_files_are_sent_as_what_they_are(server: str) -> None:
    """The page's files have their types and tags; nothing else of the folder is sent."""
    with httpx.Client(base_url=server) as client:
        answer = client.get("/page/client.js")
        assert answer.headers["content-type"].startswith("text/javascript")
        again = client.get("/page/client.js", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        assert "default-src 'self'" in client.get("/").headers["content-security-policy"]
        for name in ("__init__.py", "..%2frecords.py", "none.js"):
            assert client.get(f"/page/{name}").status_code == 404
    folder = Path(__file__).parents[3] / "tokenweir" / "serving" / "page"
    assert {"client.js", "client.d.ts", "page.js"} <= {path.name for path in folder.iterdir()}
