"""What a terminal is given to see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.display.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ntext, 詩 é", "plain\ntext, 詩 é"),
        ("\x1b[31m\x07\x00\x7f", "␛[31m␇␀␡"),
        ("a\r\nb\rc", "a\nbc"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202ecba\u2066", "abc\\u202ecba\\u2066"),
        ("half \ud83d", "half \\ud83d"),
        ("a\tb\u2028c", "a    b\nc"),
    ],
)
def test_what_a_terminal_would_obey_is_made_visible(text: str, shown: str) -> None:
    """Control characters become pictures or escapes; lines, letters and marks stay."""
    assert visible(text) == shown


@given(st.text())
def test_nothing_gets_through_to_a_terminal(text: str) -> None:
    """Whatever a model writes, no control character but the newline is left, in any encoding."""
    for encoding in ("utf-8", "ascii", "latin-1", "no-such-encoding"):
        shown = visible(text, encoding)
        assert not any((ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in shown)
        shown.encode("utf-8")
    visible(text, "ascii").encode("ascii")
