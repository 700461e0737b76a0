"""The page for everybody: by keyboard, on a phone, in the dark, aloud; and with much to show."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.page.actions import Page, expect, run
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def test_by_keyboard_alone(page: Page, provider: Provider) -> None:
    """Graph, fields, run, stop and lanes are reached in order, and the focus is never lost."""
    provider.on("joke", Reply("Why did", stall_after=1))
    provider.on("poem", Reply("Soft paws", stall_after=1))
    page.locator("#fields label").first.wait_for()
    page.keyboard.press("Tab")
    expect(page.locator("#graph")).to_be_focused()
    page.keyboard.type("joke_poem_p")
    expect(page.locator("#graph")).to_have_value("joke_poem_parallel")
    page.keyboard.press("Tab")  # the theme
    page.keyboard.press("Tab")
    page.keyboard.type("cats")
    for name in ("summary", "#run"):
        page.keyboard.press("Tab")
        expect(page.locator(name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".lane")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.locator("#stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.locator("#stop")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".lane .body").first).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_fields_are_the_graphs_keys(page: Page) -> None:
    """Each key has a labelled field of its type; what may be left out says so."""
    run(page, "repeat", name="Al", count="2")
    expect(page.locator("#status")).to_have_text("Done.")
    assert page.get_attribute("#field-count", "type") == "number"
    expect(page.get_by_label("count (optional)")).to_have_value("2")


def test_lines_of_a_message(page: Page, provider: Provider) -> None:
    """Shift+Enter is a new line of a message, Enter sends all of them."""
    provider.reply("Hello.")
    page.locator("#fields label").first.wait_for()
    page.select_option("#graph", "chat")
    page.focus("#field-messages")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_have_text("Hello.")
    assert provider.requests[0].prompt == "one\ntwo"


def test_on_a_phone(window: Any, provider: Provider) -> None:
    """At 360 pixels nothing is cut off or scrolls sideways, every button is large enough for a
    thumb, run and stop stay in sight, and what is written comes into view."""
    provider.on("joke", Reply("Why did the cat", hold_after=2))
    page = window("/", color_scheme="dark", **PHONE)
    page.locator("#fields label").first.wait_for()
    page.select_option("#graph", "joke_poem_parallel")
    page.fill("#field-topic", "a topic that is longer than a phone is wide, with-a-very-long-word")
    page.tap("#run")
    lane = page.locator("[data-lane=joke]")
    expect(lane.locator(".text")).to_have_text("Why did")
    expect(lane.locator(".text")).to_be_in_viewport()
    expect(page.locator("#stop")).to_be_in_viewport()
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    buttons = page.locator("button:visible, select:visible, input:visible, textarea:visible")
    assert (
        buttons.evaluate_all("all => all.filter((b) => b.offsetHeight < 40).map((b) => b.id)") == []
    )
    # In one step: between two, what comes late may move the page.
    assert page.evaluate(
        "scrollTo(0, 1e6),"
        "document.querySelector('.lane:last-child').getBoundingClientRect().bottom"
        " <= document.querySelector('.buttons').getBoundingClientRect().top"
    )


def test_the_dark(window: Any) -> None:
    """Dark follows the system; the button turns it, and that outlives a reload."""
    page = window("/", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    assert (
        sum(map(int, dark[4:-1].split(", "))) < 120 < 660 < sum(map(int, light[4:-1].split(", ")))
    )
    page.reload()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="light")
    page.click("#theme")
    assert page.evaluate(ground) == dark


CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const over = (colors) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (place) => getComputedStyle(place).backgroundColor;
    const grounds = (place) => place ? [...grounds(place.parentElement), ground(place)] : [];
    const found = {};
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const place = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !place.checkVisibility()) continue;
        if (place.closest("svg, select, [aria-disabled=true]")) continue;
        const below = grounds(place);
        const [a, b] = [light(over([...below, getComputedStyle(place).color])), light(over(below))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found[walk.currentNode.data.trim().slice(0, 30)] = ratio;
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(window: Any, provider: Provider, scheme: str) -> None:
    """All text has a contrast of 4.5 to 1 at least: answers, reasoning, tools, errors, labels."""
    calls = [ToolCall("calculate", '{"expression": "6*7"}')]
    provider.reply(Reply("Well.", reasoning=["I think"], tool_calls=calls), Reply(status=400))
    page = window("/", color_scheme=scheme)
    run(page, "agent", messages="hi")
    expect(page.locator("#status")).to_have_text("Failed.")
    assert page.evaluate(CONTRAST) == {}


def test_motion_is_spared(window: Any, provider: Provider) -> None:
    """Who asks for less motion gets none."""
    provider.reply(Reply("One two", hold_after=1))
    page = window("/", reduced_motion="reduce")
    run(page, "chat", messages="hi")
    expect(page.locator(".text")).to_have_text("One")
    page.locator("#picture svg").wait_for()
    moving = "document.getAnimations({ subtree: true }).length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0


def test_tokens_are_not_read_aloud_one_by_one(page: Page, provider: Provider) -> None:
    """What a screen reader is told of by itself changes with the run's state, not with tokens."""
    provider.reply(Reply(tokens=[f"w{number} " for number in range(300)], every=0.002))
    page.locator("#fields label").first.wait_for()
    page.evaluate(
        """() => {
            window.spoken = [];
            const places = "[role=status], [role=alert], [role=log], [aria-live]";
            for (const place of document.querySelectorAll(places)) {
                new MutationObserver(() => spoken.push(place.textContent)).observe(
                    place, { childList: true, characterData: true, subtree: true });
            }
        }"""
    )
    run(page, "chat", messages="hi")
    expect(page.locator("#tokens")).to_have_text("300")
    expect(page.locator("#status")).to_have_text("Done.")
    spoken = page.evaluate("spoken")
    assert spoken == ["Starting …", "Running …", "Done."]
    assert page.locator("#lanes [aria-live], #lanes [role=log]").count() == 0


def test_a_long_stream_is_drawn_by_the_frame(page: Page, provider: Provider) -> None:
    """However many tokens come, the page changes once a frame, and has them all at the end."""
    words = [f"w{number} " + "\n" * (number % 40 == 0) for number in range(5000)]
    provider.reply(Reply(tokens=words))
    page.locator("#fields label").first.wait_for()
    page.evaluate(
        """() => {
            window.frames_ = 0; window.changes = 0;
            const each = () => { frames_ += 1; requestAnimationFrame(each); };
            requestAnimationFrame(each);
            new MutationObserver((all) => { changes += all.length; }).observe(
                document.getElementById("lanes"), { characterData: true, subtree: true });
        }"""
    )
    run(page, "chat", messages="hi")
    expect(page.locator("#status")).to_have_text("Done.")
    frames, changes = page.evaluate("[frames_, changes]")
    assert 0 < changes <= frames + 2
    assert "".join(page.locator(".text").all_text_contents()) == "".join(words)
    expect(page.locator("#tokens")).to_have_text("5000")
    # Long text is in parts, so that no change makes the browser lay out all of it.
    lengths = page.locator(".text").evaluate_all("all => all.map((e) => e.textContent.length)")
    assert len(lengths) > 1
    assert max(lengths) < 5000


AT_ITS_END = """(body) => new Promise((done) => {
    const look = () => {
        const left = body.scrollHeight - body.scrollTop - body.clientHeight;
        if (left < 5) done(); else requestAnimationFrame(look);
    };
    look();
})"""


def test_a_page_laid_out_anew_shows_the_end(page: Page, provider: Provider) -> None:
    """A lane that becomes smaller follows its end all the same, now and later."""
    words = [f"line {number}\n" for number in range(200)]
    provider.reply(Reply(tokens=words, hold_after=150))
    run(page, "chat", messages="hi")
    body = page.locator(".lane .body")
    expect(page.locator("#tokens")).to_have_text("150")
    for height in (500, 900, 400):
        page.set_viewport_size({"width": 800, "height": height})
        body.evaluate(AT_ITS_END)
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    body.evaluate(AT_ITS_END)


def test_who_scrolls_back_stays_there(page: Page, provider: Provider) -> None:
    """A lane follows its end, unless somebody has scrolled back to read."""
    words = [f"line {number}\n" for number in range(200)]
    provider.reply(Reply(tokens=words, hold_after=150))
    run(page, "chat", messages="hi")
    body = page.locator(".lane .body")
    expect(page.locator("#tokens")).to_have_text("150")
    body.evaluate(AT_ITS_END)
    body.evaluate("b => new Promise((done) => { b.onscrollend = done; b.scrollTop = 100; })")
    provider.release()
    expect(page.locator("#tokens")).to_have_text("200")
    expect(page.locator("#status")).to_have_text("Done.")
    assert body.evaluate("b => b.scrollTop") == 100
