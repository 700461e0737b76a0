"""The notebook display: what stands below a cell while tokens come, and afterwards."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import pairwise
from typing import Any

import nbformat
import pytest
from langchain_core.messages import AIMessageChunk
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tokenweir import show
from tokenweir.display.notebook import TAIL, Bundle, NotebookDisplay
from tokenweir.testing import Provider, Reply

CHROMIUM = shutil.which("chromium")


class Page:
    """Keeps what a display puts below a cell."""

    def __init__(self) -> None:
        self.outputs: list[Bundle] = []
        self.times: list[float] = []
        self._news = threading.Condition()

    def show(self, bundle: Bundle) -> Callable[[Bundle], None]:
        assert not self.outputs, "one output is displayed, and then replaced"
        self.replace(bundle)
        return self.replace

    def replace(self, bundle: Bundle) -> None:
        with self._news:
            self.outputs.append(bundle)
            self.times.append(time.monotonic())
            self._news.notify_all()

    def wait_for(self, text: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.outputs and text in self.html, 60), self.outputs

    @property
    def html(self) -> str:
        return self.outputs[-1]["text/html"]

    @property
    def lanes(self) -> dict[str, str]:
        """The text in each lane, as it stands in the HTML."""
        return dict(
            re.findall(r"<b [^>]*>(.*?)</b>.*?<pre [^>]*>(.*?)</pre>", self.html, re.DOTALL)
        )


def chunk(tag: str, text: str, **kwargs: Any) -> tuple[AIMessageChunk, dict[str, Any]]:
    """One token of a call."""
    return AIMessageChunk(content=text, id=f"run-{tag}", **kwargs), {"tags": [tag]}


def test_a_lane_for_each_tag() -> None:
    """Each tag's text stands in a lane under its name, and the meter's report below them."""
    page = Page()
    with NotebookDisplay(page.show) as display:
        for token in (chunk("joke", "Why"), chunk("poem", "In"), chunk("joke", " not?")):
            display.feed(*token)
    assert page.lanes == {"joke": "Why not?", "poem": "In"}
    plain = page.outputs[-1]["text/plain"]
    assert plain.startswith("joke\nWhy not?\n\npoem\nIn\n\n")
    assert re.search(r"all +2 +3 +[\d.]+ m?s", plain)
    assert re.search(r"all +2 +3 +[\d.]+ m?s", page.html)


def test_tokens_are_shown_while_they_come() -> None:
    """A token is on the page before the next one comes, without a report."""
    page = Page()
    with NotebookDisplay(page.show) as display:
        display.feed(*chunk("joke", "Why"))
        page.wait_for("Why")
        assert "tokens/s" not in page.html
        display.feed(*chunk("joke", " not?"))
        page.wait_for("Why not?")
    assert "tokens/s" in page.html


def test_nothing_is_shown_of_a_stream_without_tokens() -> None:
    """Where nothing came the cell has no output."""
    page = Page()
    with NotebookDisplay(page.show):
        pass
    assert page.outputs == []


def test_a_long_stream_is_painted_in_part() -> None:
    """Of 5,000 tokens each paint shows the newest text, and the last one all of it."""
    page = Page()
    with NotebookDisplay(page.show) as display:
        display.feed(*chunk("joke", "begin"))
        page.wait_for("begin")
        for number in range(5_000):
            display.feed(*chunk("joke", f" t{number}"))
        page.wait_for("t4999")
        assert len(page.lanes["joke"]) < TAIL + 50
        assert page.lanes["joke"].startswith("…")
    assert page.lanes["joke"] == "begin" + "".join(f" t{number}" for number in range(5_000))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_full_lane_shows_its_newest_lines() -> None:
    """While it fills, the end of a lane is what is seen, where a page lets <pre> scroll too."""
    from playwright.sync_api import sync_playwright

    page = Page()
    with NotebookDisplay(page.show) as display:
        display.feed(*chunk("joke", "line\n" * 300))
        display.feed(*chunk("joke", "the end"))
        page.wait_for("the end")
        live = page.html
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = browser.new_page()
        shown.set_content(f"<style>pre {{overflow: auto}}</style>{live}")
        hidden = shown.evaluate(
            """() => {
                const pre = document.querySelector("pre").getBoundingClientRect();
                const box = document.querySelector("pre").parentElement.getBoundingClientRect();
                return [pre.height > box.height, Math.round(pre.bottom - box.bottom)];
            }"""
        )
        browser.close()
    assert hidden == [True, 0]


def test_it_is_painted_at_most_20_times_a_second() -> None:
    """Between two paints at least a twentieth of a second passes, however soon tokens come."""
    page = Page()
    with NotebookDisplay(page.show) as display:
        for number in range(5):
            display.feed(*chunk("joke", f" t{number}"))
            page.wait_for(f" t{number}")
        times = list(page.times)
    assert min(after - before for before, after in pairwise(times)) > 0.045  # clocks are coarse


def test_what_a_model_writes_is_text() -> None:
    """Markup and control characters in tokens and tags are shown, not obeyed."""
    page = Page()
    with NotebookDisplay(page.show) as display:
        display.feed(*chunk("<i>", "<script>1 & 2</script>\x1b[2J"))
    assert page.lanes == {"&lt;i&gt;": "&lt;script&gt;1 &amp; 2&lt;/script&gt;␛[2J"}


def test_reasoning_looks_different() -> None:
    """What a model thinks is set apart from what it answers."""
    page = Page()
    with NotebookDisplay(page.show) as display:
        for word in ("Two", " and two"):
            display.feed(*chunk("sum", "", additional_kwargs={"reasoning_content": word}))
        display.feed(*chunk("sum", "Four"))
    assert re.fullmatch(r"<i [^>]*>Two and two\n</i>Four", page.lanes["sum"])


def test_an_error_leaves_what_came() -> None:
    """Where the stream breaks, the lanes keep their text and the error passes through."""
    page = Page()
    with pytest.raises(ConnectionError), NotebookDisplay(page.show) as display:
        display.feed(*chunk("joke", "Why"))
        raise ConnectionError
    assert page.lanes == {"joke": "Why"}
    assert "tokens/s" in page.html
    assert "max-height" not in page.html


# show: notebook or not, async or not, any shape of stream


class Stream:
    """A sync stream that knows whether it was closed."""

    def __init__(self, *parts: Any) -> None:
        self.parts = iter(parts)
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        return self.parts

    def close(self) -> None:
        self.closed = True


def test_outside_of_a_notebook_plain_tokens() -> None:
    """Into a file ``show`` writes plain tokens, whatever namespaces and modes stand around them."""
    token = chunk("joke", "Why")
    note: dict[str, Any] = {"call_model": {"tags": []}}
    stream = Stream(
        token,
        (("sub:1",), token),
        ("messages", token),
        ("updates", note),
        (("sub:1",), "messages", token),
        ((), "updates", note),
        ("word", {"tags": ["joke"], "langgraph_node": "call_model"}),
    )
    with redirect_stdout(io.StringIO()) as out:
        show(stream)
    assert out.getvalue() == "Why|Why|Why|Why|\nword|\n"
    assert stream.closed


async def test_an_async_stream_is_awaited_and_closed() -> None:
    """``await show`` reads an async stream to its end, or to its error, and closes it."""
    closed = asyncio.Event()

    async def broken() -> Any:
        try:
            yield chunk("joke", "Why")
            raise ConnectionError
        finally:
            closed.set()

    with redirect_stdout(io.StringIO()) as out, pytest.raises(ConnectionError):
        await show(broken())
    assert out.getvalue() == "Why|\n"
    assert closed.is_set()


def test_what_is_no_stream_is_refused() -> None:
    """``show(graph)`` says what it takes."""
    with pytest.raises(TypeError, match=r"takes a stream of \(chunk, metadata\), not 3"):
        show(3)  # type: ignore[call-overload]


def test_show_needs_no_ipython() -> None:
    """Outside of a notebook IPython is not imported, nor needed."""
    code = (
        "import sys; sys.modules['IPython.display'] = None; from tokenweir import show; show([]);"
        "assert 'IPython' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


SETUP = """
from langgraph.graph import START, MessagesState, StateGraph
from tokenweir import astream, chat_model, show, stream

joke_model, poem_model = chat_model(tags=["joke"]), chat_model(tags=["poem"])

def joke(state, config):
    return {"messages": [joke_model.invoke("a joke", config)]}

def poem(state, config):
    return {"messages": [poem_model.invoke("a poem", config)]}

builder = StateGraph(MessagesState).add_node(joke).add_node(poem)
graph = builder.add_edge(START, "joke").add_edge(START, "poem").compile()
"""


@pytest.fixture
def kernel(provider: Provider) -> Callable[..., list[Any]]:
    """Runs cells in a Jupyter kernel; gives the outputs of the last one."""

    def run(*cells: str) -> list[Any]:
        v4: Any = nbformat.v4
        book = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
        environment = {**os.environ, **provider.environ, "TOKENWEIR_MODEL": "openai:gpt-4o-mini"}
        client: Any = NotebookClient(book, timeout=60)
        client.create_kernel_manager()
        client.km.kernel_spec.argv[0] = sys.executable  # whatever kernels this machine has
        try:
            client.execute(env=environment)
        except CellExecutionError:
            assert book.cells[-1].outputs, "only the last cell may fail"
        outputs: list[Any] = book.cells[-1].outputs
        return outputs

    return run


@pytest.mark.parametrize(
    "cell",
    [
        'await show(astream(graph, {"messages": []}))',
        'show(stream(graph, {"messages": []}))',
    ],
    ids=["async", "sync"],
)
def test_in_a_kernel(kernel: Callable[..., list[Any]], provider: Provider, cell: str) -> None:
    """In a Jupyter kernel the cell keeps one output, with the final text of both lanes."""
    provider.on("joke", Reply(tokens=300, every=0.001))
    provider.on("poem", Reply("In sunlit patches"))
    [output] = kernel(SETUP, cell)
    assert output.output_type == "display_data"
    assert "In sunlit patches" in output.data["text/html"]
    assert " t299" in output.data["text/html"]
    assert "tokens/s" in output.data["text/html"]


def test_an_error_in_a_kernel(kernel: Callable[..., list[Any]], provider: Provider) -> None:
    """A stream that breaks leaves its text below the cell, and then the error."""
    provider.on("joke", Reply("Why did the cat", cut_after=2))
    provider.on("poem", Reply("In sunlit patches", hold_after=0))
    lanes, error = kernel(SETUP, 'await show(astream(graph, {"messages": []}))')
    assert "Why did" in lanes.data["text/html"]
    assert error.output_type == "error"
