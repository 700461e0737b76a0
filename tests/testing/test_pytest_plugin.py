"""The pytest plugin, in a user's own project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tokenweir.testing import Provider

CONFTEST = """
import sys

def pytest_collection_finish(session):
    loaded = [name for name in sys.modules if name.startswith(("tokenweir.testing.p", "langchain"))]
    assert loaded == ["tokenweir.testing.pytest_plugin"], loaded
"""
TESTS = """
import urllib.request

urls = []

def test_it_answers(provider):
    urls.append(provider.base_url)
    with urllib.request.urlopen(provider.base_url + "/models") as answer:
        assert answer.status == 200

def test_each_test_has_its_own(provider):
    assert provider.requests == []
    assert provider.base_url not in urls
"""


def test_it_is_found_by_being_installed(tmp_path: Path) -> None:
    """Without a word of configuration ``provider`` is there, and costs nothing until it is used."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_it_is_running(provider: Provider) -> None:
    """The fixture hands out a provider whose port is open."""
    assert provider.base_url.startswith("http://127.0.0.1:")
    assert provider.open_connections == 0
