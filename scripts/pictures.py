"""The moving pictures of README.md, made anew from real runs of the embedded model: make pictures.

``docs/images/terminal.svg`` is a recording of ``tokenweir run`` in a terminal of 88 columns, and
``docs/images/page.gif`` the server's page in Chromium.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import io
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyte
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
ENVIRONMENT = {**os.environ, "TOKENWEIR_MODEL": "local:smollm2", "TERM": "xterm-256color"}
COMMAND = ["tokenweir", "run", "joke_poem_parallel", "topic=cats"]
COLUMNS, ROWS = 88, 16
PER_SECOND = 8
STAYS = 3.0
"""Seconds for which the last frame is shown."""

COLOURS = {
    "cyan": "#22d3ee",
    "magenta": "#e879f9",
    "green": "#4ade80",
    "brown": "#facc15",
    "blue": "#60a5fa",
    "red": "#f87171",
    "default": "#e2e8f0",
}


class Frame(NamedTuple):
    """A picture of SVG lines or pixels, and when it appeared, in seconds."""

    at: float
    picture: Any


def recorded() -> Iterator[Frame]:
    """The screens of the command, as they change."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {' '.join(COMMAND)}\r\n".encode())
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(sys.executable, [sys.executable, "-m", *COMMAND], ENVIRONMENT)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began, before = time.monotonic(), None
    with contextlib.suppress(OSError):  # the terminal is gone when the command has ended
        while True:
            if select.select([terminal], [], [], 1 / PER_SECOND)[0]:
                stream.feed(os.read(terminal, 65536))
                ends = time.monotonic() + 1 / PER_SECOND
                while (left := ends - time.monotonic()) > 0:
                    if select.select([terminal], [], [], left)[0]:
                        stream.feed(os.read(terminal, 65536))
            now = lines_of(screen)
            if now != before:
                yield Frame(time.monotonic() - began, now)
                before = now
    os.waitpid(process, 0)
    yield Frame(time.monotonic() - began, lines_of(screen))


def lines_of(screen: pyte.Screen) -> list[str]:
    """The lines of a screen, as the inside of SVG ``text`` elements."""
    lines = []
    for row in range(ROWS):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        parts = []
        for colour, group in groupby(cells, key=lambda cell: cell.fg):
            text = html.escape("".join(cell.data for cell in group))
            fill = COLOURS.get(colour, COLOURS["default"])
            parts.append(f'<tspan fill="{fill}">{text}</tspan>' if text.strip() else text)
        lines.append("".join(parts).rstrip())
    return lines


def svg(frames: list[Frame]) -> str:
    """An SVG that shows the frames one after the other, for ever; the first at its start."""
    width, height, line = COLUMNS * 8.4 + 24, ROWS * 18 + 24, 18
    began = frames[0].at
    lasts = frames[-1].at - began + STAYS
    keys, shown = [], []
    for number, frame in enumerate(frames):
        percent = 100 * (frame.at - began) / lasts
        keys.append(f"{percent:.2f}%{{transform:translateX({-number * width:.0f}px)}}")
        rows = "".join(
            f'<text y="{12 + line * (row + 0.75):.0f}">{text}</text>'
            for row, text in enumerate(frame.picture)
            if text
        )
        shown.append(f'<g transform="translate({number * width + 12:.0f})">{rows}</g>')
    last = f"100%{{transform:translateX({-(len(frames) - 1) * width:.0f}px)}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}">'
        f"<style>@keyframes play{{{''.join(keys)}{last}}}"
        f"#film{{animation:play {lasts:.1f}s step-end infinite}}"
        "text{font:14px ui-monospace,Menlo,Consolas,monospace;white-space:pre}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#0f172a"/><g id="film">{"".join(shown)}</g>'
        "</svg>\n"
    )


def page() -> list[Frame]:
    """The page while a joke and a poem are being written."""
    command = [sys.executable, "-m", "tokenweir", "serve", "joke_poem_parallel"]
    with subprocess.Popen(
        [*command, "--memory", "--port", "0"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            return list(watched(server.stdout.readline().strip()))
        finally:
            server.terminate()


def watched(url: str) -> Iterator[Frame]:
    """Screenshots of a run on the page at this address."""
    with sync_playwright() as driver:
        program = shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 520})
        # The model is started first: how long that takes says nothing about a stream.
        with urllib.request.urlopen(f"{url}/graphs/joke_poem_parallel/events?topic=dogs") as first:
            first.read()
        shown.goto(url)
        shown.locator("#fields label").first.wait_for()
        shown.fill("#field-topic", "cats")
        shown.locator(".node").first.wait_for()
        began = time.monotonic()
        yield Frame(0, shown.screenshot())
        shown.keyboard.press("Enter")
        running = True
        while running:
            running = not shown.evaluate(OVER)
            animations: Any = "allow" if running else "disabled"
            yield Frame(time.monotonic() - began, shown.screenshot(animations=animations))
        browser.close()


OVER = "/^(Done|Failed|Stopped)/.test(document.querySelector('#status').textContent)"


def gif(frames: list[Frame]) -> bytes:
    """A GIF of screenshots, each shown as long as it was there."""
    # The last of every quarter of a second: more would make the file large.
    spaced = {int(frame.at * PER_SECOND / 2): frame for frame in frames}
    frames = [*spaced.values()]
    pictures = [
        Image.open(io.BytesIO(frame.picture)).convert("RGB").resize((900, 390)) for frame in frames
    ]
    palette = pictures[-1].quantize(32)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    times = [frame.at for frame in frames]
    lasts = [round(1000 * (b - a)) for a, b in pairwise(times)]
    file = io.BytesIO()
    small[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=small[1:],
        duration=[*lasts, round(1000 * STAYS)],
        loop=0,
        optimize=True,
    )
    return file.getvalue()


def main() -> None:
    """Write both pictures."""
    frames = [frame for frame in recorded() if sum(map(bool, frame.picture)) > 2]
    written = {"terminal.svg": svg(frames).encode(), "page.gif": gif(page())}
    for name, data in written.items():
        (IMAGES / name).write_bytes(data)
        print(f"{name}: {len(data) / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
