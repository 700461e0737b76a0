"""langchain-openai's own unit tests, in which ChatOpenAI and OpenAI are ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.foreign.sdist import failures, unpacked

EXTRA = [
    "freezegun",
    "langchain-tests",
    "py-cpuinfo",
    "pytest-benchmark",
    "pytest-mock",
    "pytest-recording",
    "pytest-socket",
    "syrupy",
    "vcrpy",
    "wrapt",
]

CHAT = "tests/unit_tests/chat_models"

DIFFERENT = {
    f"{CHAT}/test_base.py::test_openai_client_caching": "each of our models has clients of its own",
    f"{CHAT}/test_base.py::test_openai_stream": "usage is asked for with a `base_url`, too",
    f"{CHAT}/test_base_standard.py::TestOpenAIStandard::test_serdes": "our class has its own name",
    f"{CHAT}/test_responses_standard.py::TestOpenAIResponses::test_serdes": "the same",
}
"""The tests that do not pass, each with the reason."""


@pytest.mark.foreign
@pytest.mark.timeout(600)
def test_langchain_openais_own_tests() -> None:
    """They pass as they do by ChatOpenAI itself, but for those that are listed with a reason."""
    folder = unpacked("langchain-openai", *EXTRA)
    path = f"{folder / 'extra'}{os.pathsep}{Path(__file__).parent}{os.pathsep}{Path.cwd()}"
    environ = {**os.environ, "OPENAI_API_KEY": "test", "PYTHONPATH": path}
    environ.pop("OPENAI_BASE_URL", None)
    failed = failures(folder, environ, ["-n2", "-p", "replaced"], ["tests/unit_tests"])
    if failed:  # some need a network by themselves
        failed -= failures(folder, environ, ["-n0"], sorted(failed))
    assert failed == DIFFERENT.keys()
