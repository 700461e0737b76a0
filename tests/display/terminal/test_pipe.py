"""Plain tokens, and which display suits a file."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, RemoveMessage, ToolMessage

from tokenweir.display.show import display_for, show
from tokenweir.display.terminal.live import TerminalDisplay
from tokenweir.display.terminal.pipe import PipeDisplay

JOKE, POEM = {"tags": ["joke"]}, {"tags": ["poem"]}


async def tokens(*chunks: tuple[str, dict[str, Any]]) -> AsyncIterator[tuple[Any, Any]]:
    for text, metadata in chunks:
        yield AIMessageChunk(content=text, id=metadata["tags"][0]), metadata


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_tokens_are_separated() -> None:
    """Each token is followed by a bar, and a new line begins where the model call changes."""
    file = io.StringIO()
    with redirect_stdout(file):
        await show(tokens(("Why", JOKE), (" not?", JOKE), ("", JOKE), ("In", POEM)))
    assert file.getvalue() == "Why| not?|\nIn|\n"


async def test_a_void_message_is_marked() -> None:
    """A retracted message cannot be taken back from a pipe: its line says so."""

    async def repeated() -> AsyncIterator[tuple[Any, Any]]:
        yield AIMessageChunk(content="Why", id="1"), JOKE
        yield RemoveMessage(id="1"), JOKE
        yield AIMessageChunk(content="Who", id="2"), JOKE
        yield AIMessageChunk(content="In", id="3"), POEM
        yield RemoveMessage(id="2"), JOKE

    file = io.StringIO()
    with redirect_stdout(file):
        await show(repeated())
    assert file.getvalue() == "Why|[void]\nWho|\nIn|\njoke [void]\n"


async def test_an_answer_that_was_cut_says_so() -> None:
    """Where the limit of tokens ended an answer, its line ends with an ellipsis."""

    async def cut() -> AsyncIterator[tuple[Any, Any]]:
        at_limit = {"finish_reason": "length"}
        yield AIMessageChunk(content="Why", id="1"), JOKE
        yield AIMessageChunk(content="", id="1", response_metadata=at_limit), JOKE
        yield AIMessageChunk(content="In", id="2"), POEM
        yield AIMessageChunk(content="", id="2", response_metadata={"finish_reason": "stop"}), POEM
        yield AIMessageChunk(content="Who", id="3"), JOKE
        yield AIMessageChunk(content="sun", id="4"), POEM
        yield AIMessageChunk(content="", id="3", response_metadata=at_limit), JOKE

    file = io.StringIO()
    with redirect_stdout(file):
        await show(cut())
    assert file.getvalue() == "Why|…\nIn|\nWho|\nsun|\njoke …\n"


async def test_what_failed_comes_after_what_was_said() -> None:
    """An error of the stream passes through, and the line is ended."""

    async def failing() -> AsyncIterator[tuple[Any, Any]]:
        yield AIMessageChunk(content="Why", id="1"), JOKE
        raise ConnectionError("cut")

    file = io.StringIO()
    with pytest.raises(ConnectionError), redirect_stdout(file):
        await show(failing())
    assert file.getvalue() == "Why|\n"


async def test_nothing_is_nothing() -> None:
    """A stream without tokens writes nothing, not even a newline."""
    file = io.StringIO()
    with redirect_stdout(file):
        await show(tokens())
    assert file.getvalue() == ""


def test_only_the_answer_is_written() -> None:
    """Thoughts, tool calls and tool results are left out."""
    file = io.StringIO()
    with PipeDisplay(file) as display:
        thought = {"reasoning_content": "hm"}
        display.feed(AIMessageChunk(content="so", id="1", additional_kwargs=thought), JOKE)
        display.feed(ToolMessage("5", tool_call_id="1"), JOKE)
        display.feed({"content": "", "tool_calls": [{"name": "add", "args": {}}]}, JOKE)
    assert file.getvalue() == "so|\n"


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    """A character that the file cannot hold, or half of one, does not end the run."""
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as file, PipeDisplay(file, separator="/") as display:
        display.feed(AIMessageChunk(content="詩 \ud83d", id="1"), POEM)
    assert path.read_text() == "\\u8a69 \\ud83d/\n"


def test_a_file_gets_the_text_and_a_terminal_what_it_may_obey() -> None:
    """Control characters go into a pipe as they are, and visibly to a terminal without lanes."""
    for file, written in ((io.StringIO(), "\x1b[2J|\n"), (Terminal(), "␛[2J|\n")):
        with PipeDisplay(file) as display:
            display.feed(AIMessageChunk(content="\x1b[2J", id="1"), JOKE)
        assert file.getvalue() == written


@pytest.mark.parametrize(
    ("file", "term", "display"),
    [
        (io.StringIO(), "xterm", PipeDisplay),
        (Terminal(), "xterm", TerminalDisplay),
        (Terminal(), "dumb", PipeDisplay),
        (Terminal(), None, PipeDisplay),
    ],
)
def test_the_display_suits_the_file(
    file: io.StringIO, term: str | None, display: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes on a terminal that can move its cursor, plain tokens anywhere else."""
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert type(display_for(file)) is display
