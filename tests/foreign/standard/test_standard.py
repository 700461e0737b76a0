"""LangChain's standard tests of chat models, on ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.foreign.langchain_openai.test_langchain_openai import EXTRA
from tests.foreign.sdist import failures, unpacked
from tokenweir.testing import Provider, Reply

DIFFERENT = {
    "TestDashScopeUnits::test_bind_tool_pydantic": "DashScope cannot require some tool of several",
    "TestOpenAIUnits::test_serdes": "compared with a snapshot, of which there is none for ours",
}
"""The tests that do not pass, each with the reason."""


@pytest.mark.foreign
@pytest.mark.timeout(300)
def test_the_standard_tests_of_chat_models() -> None:
    """They pass, but for those that are listed with a reason."""
    folder = unpacked("langchain-openai", *EXTRA)
    suites = Path(__file__).with_name("suites.py")
    with Provider() as provider:
        provider.default = Reply("You said it.", usage="always")
        path = f"{folder / 'extra'}{os.pathsep}{Path.cwd()}"
        environ = {**os.environ, "SCRIPTED_PROVIDER": provider.base_url, "PYTHONPATH": path}
        options = ["-n0", "-o", "asyncio_mode=auto", f"--rootdir={suites.parent}"]
        failed = failures(folder, environ, options, [str(suites)])
    assert {each.partition("::")[2] for each in failed} == DIFFERENT.keys()
