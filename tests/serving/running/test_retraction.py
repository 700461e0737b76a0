"""A node that is tried again says everything once, in every protocol."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest
from langgraph_sdk import get_client

from tests import http_client
from tests.serving.conftest import Shared
from tokenweir.testing import Reply

WHOLE = "one two three four five six"


@pytest.fixture
def conversation(shared: Shared, request: pytest.FixtureRequest) -> list[Any]:
    """One to which the model's first answer is cut after three tokens."""
    prompt = request.node.name
    # The model retries by itself only before the first token.
    shared.provider.on(prompt, Reply("one two three four", cut_after=3), WHOLE)
    return [{"role": "user", "content": prompt}]


def test_plain_events(shared: Shared, conversation: list[Any]) -> None:
    """``remove`` comes before the tokens of the next attempt."""
    text = http_client.post(
        f"{shared.url}/graphs/retries/events",
        json={"input": {"messages": conversation}},
    ).text
    records = [json.loads(data) for data in re.findall("^data: (.*)$", text, re.MULTILINE)]
    shown: dict[str, str] = {}
    for record in records:
        if record["type"] == "token":
            shown[record["id"]] = shown.get(record["id"], "") + record["text"]
        elif record["type"] == "remove":
            assert shown.pop(record["id"]) == "one two three"
    assert list(shown.values()) == [WHOLE]


@pytest.mark.parametrize("mode", ["messages-tuple", "messages"])
async def test_langgraphs_client(shared: Shared, conversation: list[Any], mode: Any) -> None:
    """A message of type ``remove`` names the void one; those that are left are the state's."""
    asked = {"messages": conversation}
    shown: dict[str, str] = {}
    async with get_client(url=shared.url) as client:
        async for part in client.runs.stream(None, "retries", input=asked, stream_mode=mode):
            if not part.event.startswith("messages") or part.event == "messages/metadata":
                continue
            message: Any = part.data[0]
            if message["type"] == "remove":
                assert shown.pop(message["id"]) == "one two three"
            elif mode == "messages":
                shown[message["id"]] = message["content"]
            else:
                shown[message["id"]] = shown.get(message["id"], "") + message["content"]
    assert list(shown.values()) == [WHOLE]


def test_openais_client(shared: Shared, conversation: list[Any]) -> None:
    """A whole answer holds the text that counts, and nothing of the failed attempt."""
    with openai.OpenAI(base_url=f"{shared.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="retries", messages=conversation)
    assert answer.choices[0].message.content == WHOLE


def test_openais_stream(shared: Shared, conversation: list[Any]) -> None:
    """A stream names the void message; the text that counts begins after an empty line."""
    text, removed, ids = "", [], set()
    client = openai.OpenAI(base_url=f"{shared.url}/v1", api_key="none", max_retries=0)
    with (
        client,
        client.chat.completions.create(
            model="retries", messages=conversation, stream=True
        ) as stream,
    ):
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            ours = (chunk.model_extra or {}).get("tokenweir") or {}
            removed += [ours["remove"]] if "remove" in ours else []
            ids |= {ours["id"]} if "id" in ours else set()
    assert text == f"one two three\n\n{WHOLE}"
    assert [len(removed), len(ids)] == [1, 2]
    assert removed[0] in ids
