"""``tokenweir run`` on a terminal."""

from __future__ import annotations

import termios
from collections.abc import Callable
from typing import Any

from tokenweir.testing import Provider, Reply

Start = Callable[..., Any]


def test_the_joke_alone_on_a_terminal(start: Start, terminal: Any, provider: Provider) -> None:
    """One lane with the joke, complete, then the meter's table, and the cursor is back."""
    joke = Reply(tokens=["Why", " did", " the 猫", " \x1b[2J", " sit?"], every=0.02)
    provider.on("joke", joke)
    words = ("run", "joke_poem", "topic=cats", "--only", "tag:joke", "--stats")
    named = {"TOKENWEIR_MODEL": "openai:gpt-4o-mini", "TERM": "xterm-256color"}
    tty = {"stdin": terminal.device, "stdout": terminal.device, "stderr": terminal.device}
    process = start(*words, env=named, **tty)
    assert process.wait(60) == 0
    terminal.wait_for("joke      1       5")
    lines = [line.strip() for line in terminal.text.splitlines()]
    assert lines[0] == "model: openai:gpt-4o-mini (by --model or TOKENWEIR_MODEL)"
    assert lines[1] == f"╭─ joke {'─' * 71}╮"
    assert lines[2] == "│ Why did the 猫 ␛[2J sit?".ljust(78) + "│"
    assert lines[3] == f"╰{'─' * 78}╯"
    assert lines[4].startswith("calls")
    assert not terminal.screen.cursor.hidden


def test_ctrl_c_on_a_terminal(start: Start, terminal: Any, provider: Provider) -> None:
    """Lanes fill side by side, follow a new size, and Ctrl-C stops the model and tidies up."""
    provider.default = Reply(tokens=100_000, every=0.1)
    before = termios.tcgetattr(terminal.device)
    process = start(
        "run",
        "sample:at_once",
        "topic=cats",
        env={"TERM": "xterm-256color"},
        stdin=terminal.device,
        stdout=terminal.device,
        stderr=terminal.device,
        # As a shell does: a session whose terminal this is, so that the kernel sends the signal.
        start_new_session=True,
        preexec_fn=terminal.own,
    )
    terminal.wait_for("t9 t10")
    [title] = [line for line in terminal.text.splitlines() if "joke" in line]
    assert "rhyme" not in title
    assert title.count("╮") == 2
    terminal.resize(50, 20)
    terminal.wait_for(f"╭─ joke {'─' * 41}╮")
    assert terminal.screen.cursor.hidden
    terminal.type(b"\x03")
    assert process.wait(60) == 130
    for request in provider.requests:
        request.wait_closed(60)
        assert request.state == "client_left"
    assert not terminal.screen.cursor.hidden
    assert termios.tcgetattr(terminal.device) == before
    assert "Traceback" not in terminal.text
    # Every token is there, once, when all is printed.
    for tag in ("joke", "poem"):
        whole = terminal.text.rpartition(f"╭─ {tag} ")[2].partition("╰")[0]
        numbers = [word for word in whole.replace("│", " ").split() if word.startswith("t")]
        assert numbers == [f"t{number}" for number in range(len(numbers))]
        assert len(numbers) > 10
