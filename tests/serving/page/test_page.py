"""Runs on the page, in a real browser at the real server: what is seen, and what can be done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.page.actions import Page, expect, run
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = pytest.mark.browser

LIT = re.compile("active")


def test_lanes_fill_side_by_side(page: Page, provider: Provider) -> None:
    """Each tag has a lane, which fills token by token while its node is lit; figures are shown."""
    provider.on("joke", Reply("Why did the cat", hold_after=2))
    provider.on("poem", Reply("Soft paws tread", hold_after=1))
    run(page, "joke_poem_parallel", topic="cats")
    joke, poem = page.locator("[data-lane=joke]"), page.locator("[data-lane=poem]")
    expect(joke.locator(".text")).to_have_text("Why did")
    expect(poem.locator(".text")).to_have_text("Soft")
    for node in ("write_joke", "write_poem"):
        expect(page.locator(f"[data-node={node}]")).to_have_class(LIT)
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
    expect(page.locator("[data-lane=joke] polyline")).to_have_attribute("points", re.compile(r"\d"))


def test_the_first_token_is_timed_from_its_call(page: Page, provider: Provider) -> None:
    """A poem that is asked for after the joke has been written did not take as long as the joke."""
    provider.on("joke", Reply(tokens=[f"w{n} " for n in range(51)], every=0.02))
    provider.on("poem", "Soft paws tread")
    run(page, "joke_poem", topic="cats")
    expect(page.locator("#status")).to_have_text("Done.")
    first = seconds(page.locator("[data-lane=poem] dd").first)
    assert first + 0.9 < seconds(page.locator("#time"))  # the joke takes a second


def seconds(figure: Any) -> float:
    """A time that is shown as ``12 ms`` or ``1.20 s``."""
    number, unit = figure.text_content().split()
    return float(number) / {"ms": 1000, "s": 1}[unit]


def test_figures_are_drawn_while_tokens_come(page: Page, provider: Provider) -> None:
    """Time, tokens and the line of their speed move on before the run is over."""
    provider.reply(Reply(tokens=[f"w{n} " for n in range(200)], every=0.02, hold_after=100))
    run(page, "chat", messages="go")
    points = page.locator(".lane polyline")
    expect(points).to_have_attribute("points", re.compile(r"^\S+ \S+ \S+"))
    expect(page.locator("#tokens")).to_have_text("100")
    expect(page.locator("#rate")).to_have_text(re.compile(r"\d"))
    time = page.locator("#time").text_content()
    expect(page.locator("#time")).not_to_have_text(time)
    expect(page.locator("#status")).to_have_text("Running …")
    provider.release()
    expect(page.locator("#tokens")).to_have_text("200")


def test_whoever_types_at_once_loses_no_enter(page: Page, provider: Provider) -> None:
    """A run can begin before the graph's picture is there, which then shows the node at work."""
    provider.reply(Reply("One two", hold_after=1))
    held: list[Any] = []
    page.route("**/picture.svg", lambda route: held.append(route))
    run(page, "chat", messages="hi")
    expect(page.locator(".text")).to_have_text("One")
    expect(page.locator("#status")).to_have_text("Running …")
    assert page.locator("#picture svg").count() == 0
    held[0].continue_()
    expect(page.locator("[data-node=respond]")).to_have_class(LIT)
    expect(page.locator("[data-node=__start__]")).to_have_class(re.compile("done"))
    expect(page.locator("#status")).to_have_text("Running …")
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")


def test_a_picture_that_comes_too_late_is_not_shown(page: Page) -> None:
    """Of graphs picked one after the other, the last one's picture stays, whichever comes last."""
    held: list[Any] = []
    page.route("**/chat/picture.svg", lambda route: held.append(route))
    page.select_option("#graph", "chat")
    page.select_option("#graph", "agent")
    page.locator("[data-node=tools]").wait_for()
    with page.expect_response("**/chat/picture.svg"):
        held[0].continue_()
    page.evaluate("new Promise(requestAnimationFrame)")
    assert page.locator("[data-node=respond]").count() == 0


def test_enter_during_a_run_is_for_the_next(page: Page, provider: Provider) -> None:
    """What is sent while a run goes on runs after it; it can be taken back, and stop does so."""
    provider.reply(Reply("One two", hold_after=1), Reply("Three four", stall_after=1))
    run(page, "chat", messages="first")
    expect(page.locator(".text")).to_have_text("One")
    page.fill("#field-messages", "second")
    page.keyboard.press("Enter")
    expect(page.locator("#queued")).to_be_visible()
    page.click("#unqueue")
    expect(page.locator("#queued")).to_be_hidden()
    page.focus("#field-messages")
    page.keyboard.press("Enter")
    provider.release()
    expect(page.locator(".text").last).to_have_text("Three")
    expect(page.locator(".body .said")).to_have_text(["first", "second"])
    expect(page.locator("#field-messages")).to_have_value("")
    page.fill("#field-messages", "third")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.locator("#field-messages")).to_have_value("third")
    assert len(provider.requests) == 2


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stop_stops_the_model(page: Page, provider: Provider, way: str) -> None:
    """The stop button, or Escape, closes the provider's connection; what was written stays."""
    provider.reply(Reply("One two", stall_after=1))
    run(page, "chat", messages="hi")
    expect(page.locator(".text")).to_have_text("One")
    page.click("#stop") if way == "button" else page.keyboard.press(way)
    expect(page.locator("#status")).to_have_text("Stopped.")
    provider.requests[0].wait_closed(60)
    assert provider.requests[0].state == "client_left"
    expect(page.locator(".text")).to_have_text("One")
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#graph")).to_be_enabled()


def test_a_stop_before_the_run_has_begun_counts(page: Page, provider: Provider) -> None:
    """Stop that is pressed while the server has not yet answered stops the run once it has."""
    provider.reply(Reply("One two", stall_after=1))
    held: list[Any] = []
    page.route("**/events", lambda route: held.append(route))
    run(page, "chat", messages="hi")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Stopping …")
    held[0].continue_()
    expect(page.locator("#status")).to_have_text("Stopped.")


def test_nodes_of_subgraphs_are_lit(page: Page, provider: Provider) -> None:
    """A subgraph's node is lit within its frame, and what runs several times says how often."""
    provider.on("List 3 things", "1. One\n2. Two\n3. Three")
    provider.on("This is part", Reply("Once upon", hold_after=1))
    provider.on("last sentence", Reply("The end.", hold_after=1))
    run(page, "story", topic="cats")
    expect(page.locator("[data-node=write] .badge")).to_have_text("×3")
    expect(page.locator("[data-node=write]")).to_have_class(LIT)
    provider.wait_for_requests(4)
    provider.release()
    expect(page.locator("[data-node='edit:finish']")).to_have_class(LIT)
    expect(page.locator("[data-group=edit]")).to_have_class(LIT)
    expect(page.locator("[data-node=write] .badge")).to_have_count(0)
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".active")).to_have_count(0)


def test_a_node_at_work_is_in_sight(page: Page, provider: Provider) -> None:
    """Of a picture too wide for its place, the part with the node at work is shown."""
    provider.on(" 19", Reply("One two", hold_after=1))
    run(page, "many", name="cats")
    expect(page.locator("#tokens")).to_have_text(re.compile(r"\d"))
    lit = page.locator(".node.active")
    expect(lit).to_have_count(1)
    place, node = page.locator("#picture").bounding_box(), lit.bounding_box()
    assert node["height"] > 12
    assert page.locator("#picture").evaluate("all => all.scrollWidth > all.clientWidth")
    assert place["x"] <= node["x"] <= place["x"] + place["width"] - node["width"]
    provider.release()
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".lane")).to_have_count(20)


def test_a_reload_in_the_middle_goes_on(page: Page, provider: Provider) -> None:
    """After a reload all that was written is there, figures too, and the run goes on."""
    provider.reply(Reply("One two three four", hold_after=2))
    run(page, "chat", messages="count")
    expect(page.locator(".text")).to_have_text("One two")
    expect(page.locator("#first")).to_have_text(re.compile(r"\d"))
    first = page.locator("#first").text_content()
    page.reload()
    expect(page.locator("#graph")).to_have_value("chat")
    expect(page.locator(".text")).to_have_text("One two")
    expect(page.locator(".body .said")).to_have_text("count")
    expect(page.locator("[data-node=respond]")).to_have_class(LIT)
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


def test_every_runs_tokens_are_counted(page: Page, provider: Provider) -> None:
    """A second run's figures are its own, whatever the first one wrote."""
    provider.reply("One two three four five six", "One two")
    run(page, "chat", messages="first")
    expect(page.locator("#tokens")).to_have_text("6")
    page.fill("#field-messages", "second")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_have_count(2)
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator("#tokens")).to_have_text("2")
    expect(page.locator("#first")).to_have_text(re.compile(r"\d"))


def test_another_window_follows_by_address(page: Page, provider: Provider, window: Any) -> None:
    """The page's address names the run: elsewhere it shows the same text."""
    provider.reply(Reply("One two three", hold_after=2))
    run(page, "chat", messages="count")
    expect(page.locator(".text")).to_have_text("One two")
    other = window(page.evaluate("location.href"))
    expect(other.locator(".text")).to_have_text("One two")
    provider.release()
    expect(other.locator(".text")).to_have_text("One two three")
    expect(other.locator("#status")).to_have_text("Done.")


def test_another_address_shows_another_run(page: Page, provider: Provider) -> None:
    """A run's address that is put in place of another's is gone to, and so is the one before."""
    provider.reply("One.", "Two.")
    run(page, "chat", messages="first")
    expect(page.locator("#status")).to_have_text("Done.")
    first = page.evaluate("location.hash")
    page.click("#fresh")
    run(page, "chat", messages="second")
    expect(page.locator(".text")).to_have_text("Two.")
    page.evaluate("(hash) => { location.hash = hash; }", first)
    expect(page.locator(".text")).to_have_text("One.")
    page.go_back()
    expect(page.locator(".text")).to_have_text("Two.")


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
            lanes.draw(0, true);
            return [...place.querySelectorAll("article")].map((each) => each.textContent);
        }"""
    )
    assert texts == ["one two", "whole"]


def test_reasoning_and_tools_stand_apart(page: Page, provider: Provider) -> None:
    """Reasoning is in a block of its own; a tool call shows its name, arguments and result."""
    provider.reply(
        Reply(
            reasoning=["I should", " calculate"],
            tool_calls=[ToolCall("calculate", '{"expression": "6*7"}')],
        ),
        "It is 42.",
    )
    run(page, "agent", messages="6*7?")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".reasoning div")).to_have_text("I should calculate")
    expect(page.locator(".call b")).to_have_text("calculate")
    expect(page.locator(".call code")).to_have_text('{"expression": "6*7"}')
    expect(page.locator(".call .result")).to_have_text("6*7 = 42")
    expect(page.locator(".text")).to_have_text("It is 42.")


def test_what_was_said_is_seen_at_once(page: Page, provider: Provider) -> None:
    """A message is shown while the model has not yet answered, and afterwards once, in its lane."""
    provider.reply(Reply("Hello you", hold_after=1), Reply("Again there", hold_after=1))
    held: list[Any] = []
    page.route("**/events", lambda route: held.append(route))
    run(page, "chat", messages="hi")
    for number, said in enumerate((["hi"], ["hi", "more"])):
        expect(page.locator(".said:visible")).to_have_text(said)
        held[number].continue_()
        expect(page.locator(".text")).to_have_count(number + 1)
        expect(page.locator(".body .said:visible")).to_have_text(said)
        expect(page.locator("#asked")).to_be_hidden()
        provider.release()
        expect(page.locator("#status")).to_have_text("Done.")
        page.fill("#field-messages", "more")
        page.keyboard.press("Enter")


def test_a_conversation_goes_on(page: Page, provider: Provider) -> None:
    """A second message is answered on the same thread, and a reload shows both turns."""
    provider.reply("Hello Ann.", "You are Ann.")
    run(page, "chat", messages="I am Ann")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".said:visible")).to_have_text("I am Ann")
    page.fill("#field-messages", "Who am I?")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_have_text(["Hello Ann.", "You are Ann."])
    expect(page.locator("#status")).to_have_text("Done.")
    said = [each["content"] for each in provider.requests[1].body["messages"]]
    assert said[1:] == ["I am Ann", "Hello Ann.", "Who am I?"]
    page.reload()
    expect(page.locator(".text")).to_have_text(["Hello Ann.", "You are Ann."])
    expect(page.locator(".body .said")).to_have_text(["I am Ann", "Who am I?"])
    page.click("#fresh")
    expect(page.locator(".lane")).to_have_count(0)


def test_an_interrupt_is_answered(page: Page) -> None:
    """The page shows what a graph waits for, and an answer lets it go on."""
    run(page, "asking", name="Al")
    expect(page.locator("#questions")).to_contain_text("how old?")
    expect(page.locator("[data-node=ask]")).to_have_class(re.compile("waiting"))
    page.reload()
    expect(page.locator("#questions")).to_contain_text("how old?")
    expect(page.locator("#answer-0")).to_be_focused()
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator("#answer")).to_be_hidden()


def test_several_questions_have_an_answer_each(page: Page) -> None:
    """Where several nodes wait at once, each question has its own field, and all are answered."""
    run(page, "two_questions", name="Al")
    expect(page.locator(".question")).to_have_count(2)
    page.fill("#answer-0", "7")
    page.fill("#answer-1", "at home")
    page.click("#answer button")
    expect(page.locator("#status")).to_have_text("Done.")


def test_a_filter_shows_one_lane(page: Page, provider: Provider) -> None:
    """The filter field is the server's ``only``; one that is wrong is told, and runs nothing."""
    page.locator("#fields label").first.wait_for()
    page.click("summary")
    page.fill("#only", "tag:poem")
    run(page, "joke_poem_parallel", topic="cats")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".lane")).to_have_count(1)
    page.fill("#only", "tag:poe")
    page.click("#run")
    expect(page.locator("#problem-text")).to_contain_text(
        "nothing passed the filter tag:poe; there were tag:"
    )
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator("#again")).to_be_hidden()
    asked = len(provider.requests)
    page.fill("#only", "tag")
    page.click("#run")
    expect(page.locator("#problem-text")).to_contain_text("cannot read 'tag'")
    expect(page.locator("#again")).to_be_hidden()
    assert len(provider.requests) == asked


def test_nothing_comes_from_elsewhere(page: Page, server: str, provider: Provider) -> None:
    """The page and a run need no request to any other place."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    run(page, "chat", messages="hi")
    expect(page.locator("#status")).to_have_text("Done.")
    assert len(asked) > 8
    assert {url for url in asked if not url.startswith(server)} == set()


def test_files_are_sent_as_what_they_are(server: str) -> None:
    """The page's files have their types and tags; nothing else of the folder is sent."""
    folder = Path(__file__).parents[3] / "tokenweir" / "serving" / "page"
    with httpx.Client(base_url=server, timeout=60) as client:
        answer = client.get("/page/client.js")
        assert answer.headers["content-type"].startswith("text/javascript")
        again = client.get("/page/client.js", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        assert "default-src 'self'" in client.get("/").headers["content-security-policy"]
        for path in folder.glob("*.*s"):
            assert client.get(f"/page/{path.name}").status_code == 200, path
        for name in ("__init__.py", "..%2frecords.py", "none.js"):
            assert client.get(f"/page/{name}").status_code == 404
