"""Wrapping text while it arrives."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from tokenweir.display.terminal.wrap import Line, Wrap


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for _, text in line) for line in lines]


def wrapped(text: str, width: int) -> list[str]:
    wrap = Wrap(width)
    wrap.write(text)
    return texts(wrap.lines)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("a b", ["a b"]),
        ("the cat sat", ["the cat ", "sat"]),
        ("the cat\nsat", ["the cat", "sat"]),
        ("the cat  sat", ["the cat ", "sat"]),
        ("12345678", ["12345678"]),
        ("12345678 9", ["12345678", "9"]),
        ("123456789", ["12345678", "9"]),
        ("a 123456789", ["a ", "12345678", "9"]),
        ("\n\na\n", ["", "", "a", ""]),
        ("日本語日本語", ["日本語日", "本語"]),
        ("a日本語日b", ["a日本語", "日b"]),
        ("1234567日", ["1234567", "日"]),
        ("ab cdefg日", ["ab cdefg", "日"]),
    ],
)
def test_where_lines_end(text: str, lines: list[str]) -> None:
    """Eight cells: between words, inside a word that is too long, between wide characters."""
    assert wrapped(text, 8) == lines


ALPHABET = st.sampled_from("ab \n日e\u0301👩\u200d\ufe0f❤")


@given(st.lists(st.text(ALPHABET, max_size=12)), st.integers(1, 12))
@example(["❤\ufe0f" * 9], 5)
def test_pieces_make_no_difference(pieces: list[str], width: int) -> None:
    """However the text is cut into tokens, the lines are the same, and none is too wide."""
    wrap = Wrap(width)
    for piece in pieces:
        wrap.write(piece)
    text = "".join(pieces)
    assert texts(wrap.lines) == wrapped(text, width)
    assert wrap.height == len(wrap.lines)
    assert all(cell_len(line) <= max(width, 2) for line in texts(wrap.lines))
    # Only blanks at the ends of lines are dropped.
    assert "".join("".join(texts(wrap.lines)).split()) == "".join(text.split())


@given(st.text(ALPHABET, max_size=60), st.integers(1, 20))
def test_a_full_line_never_changes(text: str, width: int) -> None:
    """What stands on the screen stays: only the last line of a prefix may look different later."""
    wrap, before = Wrap(width), [""]
    for character in text:
        wrap.write(character)
        lines = texts(wrap.lines)
        assert lines[: len(before) - 1] == before[:-1]
        before = lines


@given(st.text(ALPHABET, max_size=60), st.integers(1, 30))
def test_the_tail_is_the_end_of_the_lines(text: str, count: int) -> None:
    """``tail`` gives what the last lines of ``lines`` are."""
    wrap = Wrap(7)
    wrap.write(text)
    assert wrap.tail(count) == wrap.lines[-count:]


def test_styles_stay_with_their_text() -> None:
    """A word that moves to the next line takes its styles along."""
    wrap = Wrap(8)
    wrap.write("the ca", "text")
    wrap.write("t's", "call")
    assert wrap.lines == [[("text", "the ")], [("text", "ca"), ("call", "t's")]]
