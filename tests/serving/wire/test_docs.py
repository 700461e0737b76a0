"""The examples of docs/clients.md do what the page says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tokenweir.testing import Provider

DOCS = Path(__file__).parents[3] / "docs" / "clients.md"
TEXT = DOCS.read_text(encoding="utf-8")


def examples(language: str, server: str) -> list[str]:
    """The code blocks of one language, for a server at another address."""
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return [block.replace("http://127.0.0.1:2024", server) for block in blocks]


def output(words: list[str]) -> str:
    """What a program prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(server: str, provider: Provider) -> None:
    """Both lines show the joke; the second nothing else. Every event is in the table."""
    provider.on("joke", "Ha ha")
    provider.on("poem", "Roses are")
    [block] = examples("sh", server)
    shown = [output([*shlex.split(line), "-s"]) for line in block.splitlines()]
    assert ["Roses" in each for each in shown] == [True, False]
    assert all('"text":"Ha"' in each for each in shown)
    named = set(re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE))
    assert set(re.findall(r"^event: (\w+)", "".join(shown), re.MULTILINE)) <= named


def test_the_openai_sdk(server: str, provider: Provider) -> None:
    """The example prints the joke."""
    provider.on("joke", "Ha ha")
    [block] = examples("python", server)
    assert output([sys.executable, "-c", block]) == "Ha ha"


def test_the_client_module(server: str, provider: Provider, tmp_path: Path) -> None:
    """The example prints the joke's tokens and the time; its module comes from the server."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    provider.on("joke", "Ha ha")
    [block] = [block for block in examples("js", server) if "import" in block]
    # Node imports no modules over HTTP.
    module = output(["curl", "-s", f"{server}/page/client.js"])
    (tmp_path / "client.mjs").write_text(module, encoding="utf-8")
    (tmp_path / "example.mjs").write_text(
        block.replace(f"{server}/page/client.js", "./client.mjs"), encoding="utf-8"
    )
    assert re.fullmatch(
        r"Ha\n ha\n\ndone in [\d.]+\n", output([node, str(tmp_path / "example.mjs")])
    )


def test_pictures_are_there() -> None:
    """Every picture that the page shows is in the folder."""
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT):
        assert (DOCS.parent / name).is_file()
