"""What goes wrong around the page: networks, servers, keys, hostile text. In a real browser."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.serving.page.actions import Page, expect, run
from tokenweir.testing import Provider, Reply

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"


def test_a_cut_network_loses_nothing(window: Any, wire: Any, provider: Provider) -> None:
    """While the network is gone the run goes on; when it is back the page has every token."""
    words = [f"w{number} " for number in range(60)]
    provider.reply(Reply(tokens=words, every=0.02, hold_after=50))
    page = window(wire.url)
    run(page, "chat", messages="go")
    expect(page.locator(".text")).to_contain_text("w3 ")
    wire.cut()
    expect(page.locator("#status")).to_contain_text("trying again")
    page.wait_for_timeout(3000)  # the network is gone for 3 s, whoever waits
    wire.mend()
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    assert page.locator(".text").text_content() == "".join(words)
    expect(page.locator("#tokens")).to_have_text("60")
    assert len(provider.requests) == 1


def test_event_source_comes_back_by_itself(browser: Any, wire: Any, provider: Provider) -> None:
    """The browser's own EventSource goes on after a cut, ends, and starts no second run."""
    words = [f"w{number} " for number in range(20)]
    provider.reply(Reply(tokens=words, hold_after=10))
    # For the test's own script, which the page's policy would not let in.
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(wire.url)
    page.evaluate(EVENT_SOURCE, "/graphs/chat/events?messages=hi")
    page.wait_for_function("said.endsWith('w9 ')")
    wire.cut()
    provider.release()
    provider.requests[0].wait_closed(60)
    wire.mend()
    page.wait_for_function("state === 'end closed'")
    assert page.evaluate("said") == "".join(words)
    assert len(provider.requests) == 1
    context.close()


EVENT_SOURCE = """(address) => {
    window.said = ""; window.state = "";
    const source = new EventSource(address);
    source.addEventListener("token", (e) => { said += JSON.parse(e.data).text; });
    source.addEventListener("end", () => { state += "end "; });
    source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) state += "closed";
    });
}"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """A site of another origin, with an empty page."""
    (tmp_path / "index.html").write_text("<!doctype html><title>elsewhere</title>")
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()


def test_a_listed_origin_reads_streams(
    browser: Any, serve: Callable[..., Any], elsewhere: str, provider: Provider
) -> None:
    """A page of an origin that ``--cors`` lists runs, resumes and stops with the client module,
    and with EventSource; a page of another origin does not."""
    server = serve("chat", "--cors", elsewhere, "--key", "secret").url
    provider.reply("One two three", "Four five")
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere)
    script = """async (server) => {
        const { run, follow } = await import(server + "/page/client.js");
        const headers = { "x-api-key": "secret" };
        const read = (start) => new Promise((resolve) => {
            let text = ""; let id;
            const reading = start({ headers, begin: (begun) => { id = begun.id; },
                delta: (token) => { text += token.text; },
                finish: () => resolve([text, id, reading.lastEventId]),
                fail: (error) => resolve([error.kind, error.message]) });
        });
        const graph = server + "/graphs/chat";
        const [text, id] = await read((options) => run(graph, { messages: "hi" }, options));
        const [again] = await read((options) => follow(server + "/runs/" + id, options));
        return [text, again];
    }"""
    assert page.evaluate(script, server) == ["One two three"] * 2
    page.goto(elsewhere.replace("127.0.0.1", "localhost"))
    with pytest.raises(Exception, match="Failed to fetch dynamically imported module"):
        page.evaluate(script, server)
    open_server = serve("chat", "--cors", elsewhere, "--memory").url
    page.goto(elsewhere)
    page.evaluate(EVENT_SOURCE, f"{open_server}/graphs/chat/events?messages=hi")
    page.wait_for_function("state === 'end closed'")
    assert page.evaluate("said") == "Four five"
    page.goto(elsewhere.replace("127.0.0.1", "localhost"))
    page.evaluate(EVENT_SOURCE, f"{open_server}/graphs/chat/events?messages=hi")
    page.wait_for_function("state === 'closed'")
    assert len(provider.requests) == 2
    context.close()


def test_what_models_write_is_text(page: Page, provider: Provider) -> None:
    """Markup in tokens and in input is shown as it is, and does nothing."""
    provider.reply(Reply(tokens=[MARKUP], reasoning=[MARKUP]))
    run(page, "chat", messages=MARKUP)
    for place in (".text", ".reasoning div", ".body .said"):
        expect(page.locator(place)).to_have_text(MARKUP)
    assert page.locator("main img, #lanes b").count() == 0


def test_names_are_text(page: Page, provider: Provider, server: str) -> None:
    """Graphs and nodes may be called what they are: names are shown as they are, and found."""
    name, node = '"quoted" & <b>', "<img src=x onerror=alert(1)>"
    provider.reply(Reply("One two", hold_after=1))
    run(page, name, name="x")
    expect(page.locator(".text")).to_have_text("One")
    expect(page.locator(".node.active text")).to_have_text(node)
    expect(page.locator(".lane small")).to_contain_text(node)
    assert page.locator("main img, main b, header b").count() == 0
    page.reload()
    expect(page.locator("#graph")).to_have_value(name)
    expect(page.locator(".text")).to_have_text("One")
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    page.goto(f"{server}/graphs/{quote(name, safe='')}/picture.svg")
    assert page.locator("img").count() == 0


def test_a_failure_is_told(page: Page, provider: Provider) -> None:
    """What fails is told in words, after the tokens before it; the node is marked; the run can be
    taken up where it failed, with nothing said twice to the model."""
    provider.reply(Reply("One two", error_after=1, message="too much"), "Now it works.")
    run(page, "chat", messages="hi")
    expect(page.locator("#status")).to_have_text("Failed.")
    expect(page.locator("#status")).to_have_class("bad")
    expect(page.locator("#problem-text")).to_contain_text("too much")
    expect(page.locator(".text")).to_have_text("One")
    expect(page.locator(".node.failed")).to_have_attribute("data-node", "respond")
    page.click("#again")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".text").last).to_have_text("Now it works.")
    expect(page.locator("#problem")).to_be_hidden()
    assert [each["content"] for each in provider.requests[1].body["messages"]][1:] == ["hi"]


def test_a_failure_before_any_token_is_told(page: Page) -> None:
    """A graph that fails at once says why, on an otherwise empty page."""
    run(page, "broken", name="x")
    expect(page.locator("#problem-text")).to_contain_text("the node is broken")
    expect(page.locator(".node.failed")).to_have_count(1)


def test_a_message_that_was_not_taken_is_given_back(page: Page, provider: Provider) -> None:
    """What the server refuses to run is there to be sent again."""
    page.route(
        "**/events", lambda route: route.fulfill(status=503, json={"detail": "too many runs wait"})
    )
    run(page, "chat", messages="a long thought")
    expect(page.locator("#problem-text")).to_have_text("too many runs wait")
    expect(page.locator("#field-messages")).to_have_value("a long thought")
    page.unroute("**/events")
    provider.reply("Hello.")
    page.click("#again")
    expect(page.locator(".text")).to_have_text("Hello.")
    assert len(provider.requests) == 1


def test_a_run_that_is_gone_is_told(window: Any) -> None:
    """The address of a run that the server does not know says so, and the page can be used."""
    page = window("/#graph=chat&run=none")
    expect(page.locator("#problem-text")).to_contain_text("there is no run none")
    run(page, "chat", messages="hi")
    expect(page.locator("#status")).to_have_text("Done.")


def test_a_server_that_is_away_is_told(window: Any, wire: Any) -> None:
    """A run that could not be started says so, and can be tried again."""
    page = window(wire.url)
    page.locator("#fields label").first.wait_for()
    page.locator("#picture svg").wait_for()
    wire.cut()
    run(page, "chat", messages="hi")
    expect(page.locator("#problem-text")).to_contain_text("the connection to the server broke")
    wire.mend()
    page.click("#again")
    expect(page.locator("#status")).to_have_text("Done.")


def test_a_key_is_asked_for(window: Any, serve: Callable[..., Any]) -> None:
    """A server with keys still shows the page, which asks for one and keeps it for the window; a
    wrong one is told."""
    page = window(serve("chat", "--key", "secret").url)
    expect(page.locator("#key-text")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#problem-text")).to_contain_text("an API key is needed")
    page.fill("#key-text", "secret")
    page.keyboard.press("Enter")
    page.locator("#picture svg").wait_for()
    expect(page.locator("#problem")).to_be_hidden()
    page.reload()
    page.locator("#picture svg").wait_for()
    expect(page.locator("#key")).to_be_hidden()


def test_a_browser_that_keeps_nothing(window: Any, provider: Provider) -> None:
    """Where nothing may be stored the page works; its address alone brings a run back."""
    page = window("about:blank")
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty("
        "window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    page.goto("/")
    run(page, "chat", messages="hi")
    expect(page.locator("#status")).to_have_text("Done.")
    text = page.locator(".text").text_content()
    page.reload()
    expect(page.locator(".text")).to_have_text(text)
