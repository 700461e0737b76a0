"""Lanes on a terminal, as a terminal shows them: sizes, wide characters, colours, what it obeys."""

from __future__ import annotations

import re
from typing import Any

import pytest


def test_lanes_stand_side_by_side(watched: Any) -> None:
    """Two tags are two lanes, each with its title and its own text, and nothing else."""
    w = watched(60, 10)
    with w.display:
        w.say("joke", "Why", " not?")
        w.say("poem", "In", " sunlit", "\npatches")
    assert w.screen.lines == [
        "╭─ joke ─────────────────────╮╭─ poem ─────────────────────╮",
        "│ Why not?                   ││ In sunlit                  │",
        "│                            ││ patches                    │",
        "╰────────────────────────────╯╰────────────────────────────╯",
    ]


def test_tokens_are_shown_while_they_come(watched: Any) -> None:
    """A token is on the screen before the next one comes, with the cursor hidden meanwhile."""
    w = watched(60, 10)
    with w.display:
        w.say("joke", "Why", last=False)
        w.screen.wait_for("│ Why ")
        assert not w.screen.cursor_is_shown
        w.say("joke", " not", last=False)
        w.screen.wait_for("│ Why not ")
    assert w.screen.cursor_is_shown


def test_before_the_first_token_the_terminal_is_left_alone(watched: Any) -> None:
    """Nothing is written until there is something to show, so a progress bar has the screen."""
    w = watched(60, 10)
    with w.display:
        pass
    assert w.screen.raw == ""


@pytest.mark.parametrize("width", [1, 2, 5, 9, 20, 27])
def test_a_narrow_terminal_stacks_the_lanes(watched: Any, width: int) -> None:
    """However narrow the terminal, no line is wider than it, and every letter is there."""
    w = watched(width, 12)
    with w.display:
        w.say("joke", "Why did", " the cat")
        w.say("poem", "In sunlit 日本 patches")
    lines = w.screen.lines
    assert all("╭" not in line[1:] for line in lines)
    if width > 9:
        letters = re.sub(r"[\s│╭╮╰╯─]|joke|poem", "", w.screen.text)
        assert letters == "WhydidthecatInsunlit日本patches"


def test_a_long_lane_shows_its_tail_and_then_all(watched: Any) -> None:
    """While it runs a frame never exceeds the screen; at the end every line is printed once."""
    w = watched(40, 8)
    with w.display:
        w.say("poem", *(f"line {number}\n" for number in range(50)), last=False)
        w.screen.wait_for("line 49")
        assert "line 0 " not in w.screen.text
        assert len(w.screen.lines) <= 8
    numbers = [int(number) for number in re.findall(r"line (\d+)", w.screen.text)]
    assert numbers == list(range(50))


def test_more_lanes_than_the_screen_has_places(watched: Any) -> None:
    """What does not fit is counted, and printed at the end like the rest."""
    w = watched(60, 8)
    with w.display:
        for number in range(9):
            w.say(f"t{number}", f"said {number}", last=False)
        w.screen.wait_for("more lanes; all are printed at the end")
        assert len(w.screen.lines) <= 8
    assert [int(n) for n in re.findall(r"said (\d)", w.screen.text)] == list(range(9))
    assert "more lanes" not in w.screen.text


def test_wide_characters_keep_the_borders_straight(watched: Any) -> None:
    """Characters of two cells, combined ones and emoji move no border."""
    w = watched(30, 12)
    with w.display:
        w.say("詩", "春眠不覺曉,處處聞啼鳥。", "夜來風雨聲", " cafe\u0301 ", "👩 🐈", " é")
    assert len(w.screen.lines) == 4
    for row in range(len(w.screen.lines)):
        cells = w.screen.screen.buffer[row]
        assert cells[0].data in "│╭╰", w.screen.text
        assert cells[29].data in "│╮╯", w.screen.text


def test_a_model_cannot_command_the_terminal(watched: Any) -> None:
    """Escape sequences, bells and carriage returns of a model are shown, never obeyed."""
    w = watched(60, 8)
    with w.display:
        w.say("joke\x1b[2J", "a\x1b[31mred", "\x1b]0;title\x07", "b\rc\x08\x9b5A", "[bold]m[/]")
    assert w.screen.screen.title == ""
    assert "a␛[31mred␛]0;title␇bc␈\\x9b5A[bold]m[/]" in w.screen.text
    assert "joke␛[2J" in w.screen.text
    assert "\x07" not in w.screen.raw
    assert "\x9b" not in w.screen.raw
    assert "\x1b[31mred" not in w.screen.raw


def test_a_new_size_changes_the_grid(watched: Any) -> None:
    """Lanes that no longer fit side by side are stacked in the next frame, and back."""
    w = watched(60, 20)
    with w.display:
        w.say("joke", "Why", last=False)
        w.say("poem", "In", last=False)
        w.screen.wait_for("╮╭─ poem")
        w.console.size = (40, 20)
        w.say("joke", " not", last=False)
        w.screen.wait_for("╭─ joke ───────────────────────────────╮\n")
        w.console.size = (60, 20)
        w.say("joke", " again", last=False)
        w.screen.wait_for("Why not again              ││ In ")


def test_no_color_is_respected(watched: Any) -> None:
    """With NO_COLOR in the environment no colour is sent; without it each lane has its own."""

    def colours(**environment: str) -> set[str]:
        w = watched(60, 8, **environment)
        with w.display:
            w.say("joke", "Why")
            w.say("poem", "In")
        cells = w.screen.screen.buffer[0]
        return {cells[column].fg for column in range(60)}

    assert colours() == {"cyan", "magenta"}
    assert colours(NO_COLOR="1") == {"default"}


def test_an_error_leaves_what_came_before_and_the_cursor(watched: Any) -> None:
    """What a stream raises passes through, after its tokens are printed and the cursor is back."""
    w = watched(40, 8)
    with pytest.raises(KeyboardInterrupt), w.display:
        w.say("joke", "Why did", last=False)
        raise KeyboardInterrupt
    assert "│ Why did " in w.screen.text
    assert w.screen.cursor_is_shown
    assert w.screen.text.count("╭─ joke") == 1


def test_a_closed_display_can_be_closed_again(watched: Any) -> None:
    """Closing twice prints the lanes once."""
    w = watched(40, 8)
    with w.display:
        w.say("joke", "Why")
        w.display.close()
    assert w.screen.text.count("Why") == 1


def test_each_frame_is_shown_whole(watched: Any) -> None:
    """Frames are marked for the terminal (synchronized output), and every mark is taken back."""
    w = watched(40, 8)
    with w.display:
        w.say("joke", "Why", last=False)
        w.screen.wait_for("Why")
    begins, ends = (w.screen.raw.count(f"\x1b[?2026{letter}") for letter in "hl")
    assert begins == ends > 0
