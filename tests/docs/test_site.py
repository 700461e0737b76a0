"""The documentation's site: built from what is here, and read without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.docs
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the menu and every link leads somewhere; no page loads things from afar."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    assert "not included in the" not in built.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    loaded = (
        r'<(?:script|img|iframe)[^>]* src="(https?:[^"]*)|<link[^>]*stylesheet[^>]*(https?:[^"]*)'
    )
    for path, text in pages.items():
        assert not re.search(loaded, text), path
    assert "stream_mode" in pages[tmp_path / "reference" / "streams" / "index.html"]
