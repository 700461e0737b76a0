"""The code blocks of a Markdown page: found, and run as cells of a notebook are.

In order, in one namespace, with ``await`` allowed at the top, and what each printed is kept. A
block with a title (``python title="my_graph.py"``) is also written to that file. As a program,
``python blocks.py page.md results.json`` runs one page, with ``--first`` its first block. Servers
and their clients: ``served.py``.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.docs import served

__all__ = ["NO_BLOCK", "Block", "Command", "blocks_of", "commands_of", "run"]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block: its language, its title if it has one, its text, its line in the page.

    ``varies`` is true where ``<!-- varies -->`` stands before it: an output that a real model
    wrote, which differs from run to run.
    """

    language: str
    title: str
    text: str
    line: int
    varies: bool


NO_BLOCK = Block("", "", "", 0, False)


class Command(NamedTuple):
    """A ``$ ...`` line of a console block, and the lines that it is said to print."""

    line: int
    words: str
    printed: str
    varies: bool


def blocks_of(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in _FENCE.finditer(page):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        indent = len(match["indent"])
        text = "".join(line[indent:] or "\n" for line in match["body"].splitlines(keepends=True))
        line = page.count("\n", 0, match.start()) + 2
        varies = page[: match.start()].rstrip().endswith("<!-- varies -->")
        yield Block(language, title[1] if title else "", text, line, varies)


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a console block; none of any other."""
    if block.language != "console":
        return
    lines = block.text.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        words, at = lines[start][2:], start + 1
        while words.endswith("\\") and at < end:  # a command on several lines
            words, at = words[:-1] + lines[at].strip(), at + 1
        printed = "\n".join(lines[at:end])
        yield Command(block.line + start, words, printed, block.varies)


def given() -> dict[str, Any]:
    """What pages may speak of without making it, as they say: a graph, inputs for it, a client."""
    from openai import AsyncOpenAI

    from tokenweir import chat_model
    from tokenweir.graphs.joke_poem import build

    return {
        "__name__": "__main__",
        "graph": build("openai:gpt-4o-mini"),
        "inputs": {"topic": "cats"},
        "client": AsyncOpenAI(),
        "joke_model": chat_model("openai:gpt-4o-mini", tags=["joke"]),
    }


def run(page: Path, *, first: bool = False) -> list[dict[str, Any]]:
    """Run the Python blocks and the commands of a page; stops at the first that fails.

    With ``first`` it stops after the first Python block, which must make all that it speaks of.
    """
    with served.Servers() as servers:
        return _Run(page, servers, first=first).results()


class _Run:
    """The blocks of a page, one after the other."""

    def __init__(self, page: Path, servers: served.Servers, *, first: bool = False) -> None:
        self._page = page
        self._servers = servers
        self._names = {"__name__": "__main__"} if first else given()
        self._first = first
        self._results: list[dict[str, Any]] = []

    def results(self) -> list[dict[str, Any]]:
        for block in blocks_of(self._page.read_text(encoding="utf-8")):
            here = block._replace(text=self._servers.here(block.text))
            if block.title:
                Path(block.title).write_text(here.text, encoding="utf-8")
            is_test = block.title.startswith("test_")
            runs = block.language == "python" and not is_test
            if runs and not self._keep(block.line, partial(_run, here, self._page, self._names)):
                break
            if self._first and block.language == "python":
                break
            # Not those of "here": a server's port is known when it runs, maybe within this block.
            if not all(self._command(command) for command in commands_of(block)):
                break
        return self._results

    def _command(self, command: Command) -> bool:
        """Run a command; whether the page can go on."""
        from tokenweir.cli.main import execute

        if served.is_serve(command.words):
            return self._keep(command.line, lambda: print(self._servers.start(command.words)))
        if served.is_shell(command.words):
            words = self._servers.here(command.words)
            return self._keep(command.line, lambda: print(served.shell(words)))
        program, *words_after = shlex.split(command.words.removesuffix(" | cat"))
        return program != "tokenweir" or self._keep(command.line, partial(execute, words_after))

    def _keep(self, line: int, act: Callable[[], Any]) -> bool:
        out, err, error = io.StringIO(), io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = act()
            error = f"exit code {code}: {err.getvalue()}" if code else ""
        except BaseException:  # noqa: BLE001 - whatever ended the block is the test's to report
            error = traceback.format_exc()
        printed = self._servers.there(out.getvalue())
        self._results.append({"line": line, "out": printed, "error": error})
        return not error


def _run(block: Block, page: Path, names: dict[str, Any]) -> None:
    source = "\n" * (block.line - 1) + block.text  # so that tracebacks name the page's lines
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, str(page), "exec", flags=flags, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)


if __name__ == "__main__":
    results = run(Path(sys.argv[1]), first="--first" in sys.argv)
    Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")
