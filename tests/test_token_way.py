"""The way of one token through the package is as short as the documentation says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_way_of_a_token() -> None:
    """A token makes at most 25 calls of ours, in 6 files, which how-it-works names as its way."""
    command = [sys.executable, "-m", "benchmarks.trace"]
    traced = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    first, *files = traced.stdout.splitlines() or [traced.stderr]
    counted = re.fullmatch(r"calls \d+, ours (\d+), in (\d+) files, crossings \d+", first)
    assert counted, traced.stdout + traced.stderr
    assert int(counted[1]) <= 25
    assert int(counted[2]) <= 6
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:models|streaming)/[\w/]+\.py)`", page))
    assert {line.split()[1] for line in files} <= named
    assert all((ROOT / "tokenweir" / file).is_file() for file in named)
