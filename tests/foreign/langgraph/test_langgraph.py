"""LangGraph's own tests, in which what is streamed of a graph comes by Tokenweir."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.foreign.sdist import failures, unpacked

EXTRA = [
    "langgraph-checkpoint-postgres",
    "psycopg",
    "psycopg-binary",
    "psycopg-pool",
    "pycryptodome",
    "pytest-mock",
    "pytest-repeat",
    "redis",
    "syrupy",
]

PATCHED = "KwargsPassthrough or KwargsDefaults"
"""Tests that put a function that calls ``astream`` in the place of a graph's own."""

OPTIONS = [
    "-k",
    f"not (sqlite or postgres or redis or {PATCHED})",
    "--timeout=120",
    "-p",
    "no:schemathesis",
]

DIFFERENT = {
    "tests/test_pregel_async.py::test_astream_waiter_cleanup_on_cancel": (
        "counts the waits of LangGraph's own queue, which messages do not take"
    ),
}
"""The tests that do not pass, without their parameters, each with the reason."""


@pytest.mark.foreign
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("modes", ["messages", "every"])
def test_langgraphs_own_tests(modes: str) -> None:
    """They pass as they do by LangGraph itself, but for those that are listed with a reason."""
    folder = unpacked("langgraph", *EXTRA)
    path = f"{folder / 'extra'}{os.pathsep}{Path(__file__).parent}"
    environ = {**os.environ, "NO_DOCKER": "true", "PYTHONPATH": path}
    replaced = {**environ, "STREAMED_BY_TOKENWEIR": modes}
    failed = failures(folder, replaced, [*OPTIONS, "-n2", "-p", "replaced"], ["tests"])
    if failed:
        failed -= failures(folder, environ, [*OPTIONS, "-n0"], sorted(failed))
    assert {each.partition("[")[0] for each in failed} - DIFFERENT.keys() == set()
