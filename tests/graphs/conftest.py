"""Ready graphs on a scripted provider."""

from __future__ import annotations

import json

import pytest

from tokenweir.testing import Provider, Reply, ToolCall


@pytest.fixture
def scripted(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider with an answer for each prompt of the ready graphs, named by the environment."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENWEIR_MODEL", "openai:gpt-4o-mini")
    provider.on("joke", Reply("Why did the cat sit down? It was tired."))
    provider.on("poem", Reply("In sunlit patches, sleek and sly."))
    provider.on(
        "List 3 things", Reply("1. A storm comes.\n2. **The lamp fails.**\n- A boat returns.")
    )
    provider.on("This is part", Reply("It was a dark night."))
    provider.on("one last sentence", Reply("And all was well."))
    provider.on("a title", Reply('"The Lamp"'))
    call = ToolCall("calculate", json.dumps({"expression": "12 * 7"}))
    provider.on("What is 12 * 7?", Reply(tool_calls=[call]))
    provider.default = Reply("It is 84.")
    return provider
