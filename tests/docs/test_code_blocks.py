"""README.md and docs/: every Python block runs, and every command prints what the page says.

Models are the scripted provider, named by the environment; pages that name the embedded model use
that one. A block of output after a Python block is compared, with ``...`` for what is left out.
"""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.docs import blocks, cli_page
from tokenweir.testing import Provider, Reply, ToolCall

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OURS = ("tokenweir ", "python ", "pytest", "curl ")
"""Commands that are run. Installing and ``make`` are tried by continuous integration itself."""

_PYTEST = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
"""What the pages tell users to set for async tests."""

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def marked(pages: list[Path]) -> list[Any]:
    """The pages that have something to run; those that need the embedded model are marked."""
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        run = [b for b in blocks.blocks_of(text) if b.language in ("python", "console")]
        if run:
            local = any("local:smollm2" in block.text for block in run)
            marks = [pytest.mark.local] if local else []
            if page.name != "README.md":
                marks.append(pytest.mark.docs)
            found.append(pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks))
    return found


def with_python(pages: list[Path]) -> list[Path]:
    """The pages that have a Python block to run."""
    return [
        page
        for page in pages
        if any(
            block.language == "python" and not block.title.startswith("test_")
            for block in blocks.blocks_of(page.read_text(encoding="utf-8"))
        )
    ]


@pytest.fixture
def environment(provider: Provider) -> dict[str, str]:
    """The environment in which pages run: OpenAI and DashScope are the scripted provider."""
    provider.on("joke", Reply("Why did the cat sit down? It was tired."))
    provider.on("poem", Reply("In sunlit patches, sleek and sly."))
    call = ToolCall("calculate", json.dumps({"expression": "12 * 7"}))
    provider.on("What is 12 * 7?", Reply(tool_calls=[call]))
    provider.on("Invent", json.dumps({"setup": "Why did the cat sit?", "punchline": "Tired."}))
    provider.on("Think", Reply("Four.", reasoning=["Two", " and", " two"]))
    return {
        **os.environ,
        **provider.environ,
        "DASHSCOPE_API_KEY": "test",
        "DASHSCOPE_BASE_URL": provider.base_url,
        "DASHSCOPE_HTTP_BASE_URL": provider.dashscope_url,
        "TOKENWEIR_MODEL": "openai:gpt-4o-mini",
        "LANGSMITH_TRACING": "false",
        "PYTHONPATH": str(ROOT),
    }


def test_pages_install_from_the_repository() -> None:
    """No page has a package index asked for Tokenweir, which is on none."""
    for page in PAGES:
        for block in blocks.blocks_of(page.read_text(encoding="utf-8")):
            for line in block.text.splitlines():
                if "pip install" in line and "tokenweir" in line:
                    assert re.search(r"@ (git\+)?https://", line), f"{page.name}: {line}"


def complaint(wanted: str, got: str) -> str:
    """How the output differs from what the page says, or nothing."""
    if doctest.OutputChecker().check_output(f"{wanted.rstrip()}\n", f"{got.rstrip()}\n", _FLAGS):
        return ""
    return f"the page says:\n{wanted}\nbut it is:\n{got}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_this_python_understands_the_code(page: Path) -> None:
    """Each Python block compiles. The code runs on one Python, and this test on each."""
    for block in blocks.blocks_of(page.read_text(encoding="utf-8")):
        if block.language == "python":
            where = f"{page}:{block.line}"
            compile(block.text, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", marked(PAGES))
def test_a_page(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Every block and every command of the page runs as written, and prints what it says."""

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )

    results = tmp_path / "results.json"
    ended = python("-m", blocks.__name__, str(page), str(results))
    assert ended.returncode == 0, ended.stderr
    printed = {result["line"]: result for result in json.loads(results.read_text("utf-8"))}
    found = list(blocks.blocks_of(page.read_text(encoding="utf-8")))
    for block, after in pairwise([*found, blocks.NO_BLOCK]):
        if block.language == "python" and block.line in printed:
            result = printed[block.line]
            assert not result["error"], result["error"]
            if after.language == "text":
                assert result["out"].strip(), f"{page}:{block.line}: nothing was printed"
                if not after.varies:
                    assert not complaint(after.text, result["out"]), f"{page}:{after.line}"
        for command in blocks.commands_of(block):
            where = f"{page}:{command.line}: {command.words}"
            if command.line not in printed:
                assert not command.words.startswith(OURS), f"{where}: was not run"
                continue
            result = printed[command.line]
            assert not result["error"], f"{where}: {result['error']}"
            if command.printed and not command.varies:
                differs = complaint(command.printed, result["out"])
                if differs and page == cli_page.PAGE:
                    differs += "\npython -m tests.docs.cli_page --write makes the page anew"
                assert not differs, where
    if any(block.title.startswith("test_") for block in found):
        settings = tmp_path / "pytest.ini"
        if not settings.exists():  # the page has none of its own
            settings.write_text(_PYTEST, encoding="utf-8")
        ended = python("-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr


@pytest.mark.local
@pytest.mark.docs
@pytest.mark.parametrize("page", with_python(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_first_block_needs_nothing(page: Path, tmp_path: Path) -> None:
    """The first block of a page runs by itself: no key, no other names, the embedded model."""
    keys = ("_API_KEY", "_BASE_URL", "TOKENWEIR_MODEL")
    environment = {name: value for name, value in os.environ.items() if not name.endswith(keys)}
    environment |= {"PYTHONPATH": str(ROOT), "LANGSMITH_TRACING": "false"}
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", blocks.__name__, str(page), str(results), "--first"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    ran = json.loads(results.read_text("utf-8"))
    assert ran
    assert not ran[-1]["error"], ran[-1]["error"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_hides_from_the_test(page: Path) -> None:
    """Every block has a language, and commands stand in console blocks, each after a ``$``."""
    for block in blocks.blocks_of(page.read_text(encoding="utf-8")):
        where = f"{page}:{block.line}: "
        assert block.language, f"{where}a block without a language is not run: say which it is"
        if block.language in ("python", "text"):
            continue
        for line in block.text.splitlines():
            assert not line.startswith(OURS), f"{where}{line!r} is not run: write it after $"


@pytest.mark.docs
def test_the_command_lines_page_is_written_anew() -> None:
    """What the commands say takes the place of what the page says, and of nothing else."""
    page = cli_page.PAGE.read_text(encoding="utf-8")
    wrong = page.replace("Usage: tokenweir run", "Use: tokenweir run\nmore")
    assert wrong != page
    assert cli_page.renewed(wrong) == page
