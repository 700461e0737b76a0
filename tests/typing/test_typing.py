"""The public types, as the type checkers of users see them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

API = Path(__file__).with_name("api.py")
MISTAKES = Path(__file__).with_name("mistakes.py")
ROOT = Path(__file__).parents[2]


def run(checker: str, *options: str) -> str:
    """What a type checker prints."""
    pytest.importorskip(checker, reason=f"{checker} is not installed: make types")
    command = [checker, *options]
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110
    ).stdout


def mypy(file: Path) -> set[int]:
    """The lines in which mypy reports errors; it reports unknown keywords twice."""
    printed = run("mypy", "--output=json", str(file))
    reports = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert {Path(report["file"]) for report in reports} <= {file.relative_to(ROOT)}
    return {report["line"] for report in reports if report["severity"] == "error"}


def pyright(file: Path) -> set[int]:
    """The lines in which pyright reports errors."""
    options = ["--outputjson", "--level", "error", "--pythonpath", sys.executable]
    report = json.loads(run("basedpyright", *options, str(file)))
    assert report["summary"]["filesAnalyzed"] == 1
    return {found["range"]["start"]["line"] + 1 for found in report["generalDiagnostics"]}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_typical_calls_have_the_documented_types(checker: object) -> None:
    """No call in ``api.py`` needs a cast, and each ``assert_type`` there holds."""
    assert callable(checker)
    assert checker(API) == set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_are_type_errors(checker: object) -> None:
    """Each marked line of ``mistakes.py`` is an error, and no other line is."""
    lines = MISTAKES.read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert callable(checker)
    assert checker(MISTAKES) == marked
