"""Readers of AG-UI and of the AI SDK's stream that are cut at random, and meet a kill -9."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests import http_client
from tests.serving.conftest import Server
from tokenweir.testing import Provider, Reply

WORDS = " ".join(f"word{number}" for number in range(80))
GRAPHS = ("joke_poem_parallel", "chat")


class Page:
    """What a page has of one answer: texts by message, as its client adds them up."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.over = False

    def agui(self, event: dict[str, Any]) -> None:
        """Take an event of AG-UI."""
        kind = event["type"]
        if kind == "RUN_STARTED":
            self.texts.clear()  # of a page that is loaded again
        elif kind == "MESSAGES_SNAPSHOT":
            said = [each for each in event["messages"] if each["role"] == "assistant"]
            self.texts = {each["id"]: each["content"] for each in said}
        elif kind == "TEXT_MESSAGE_START":
            self.texts.setdefault(event["messageId"], "")
        elif kind == "TEXT_MESSAGE_CONTENT":
            self.texts[event["messageId"]] += event["delta"]
        self.over = kind == "RUN_FINISHED"

    def ai_sdk(self, event: dict[str, Any]) -> None:
        """Take an event of the AI SDK."""
        kind = event["type"]
        if kind in ("start", "reset-step"):
            self.texts.clear()
        elif kind == "text-start":
            self.texts[event["id"]] = ""
        elif kind == "text-delta":
            self.texts[event["id"]] += event["delta"]
        self.over = kind == "finish"

    def read(self, take: Callable[[Any], None], most: int | None, *asked: Any, **more: Any) -> bool:
        """Read so many events at most, fewer if the server is gone; whether there is a stream.

        Raises httpx.HTTPStatusError if it refuses.
        """
        try:
            with http_client.stream(*asked, **more) as answer:
                if answer.raise_for_status().status_code == 204:
                    return False
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        take(json.loads(line[6:]))
                        most = None if most is None else most - 1
                    if most is not None and most <= 0:
                        return True
        except httpx.TransportError:
            pass
        return True


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("protocol", ["agui", "ai_sdk"])
def test_cuts_and_a_kill(
    serve: Callable[..., Server], provider: Provider, tmp_path: Path, protocol: str, graph: str
) -> None:
    """However often a page loses its connection, and though the server is killed: the exact text.

    The model's second answer is another one, so that what the first one said must be gone.
    """
    chance = random.Random(f"{protocol} {graph}")
    first = Reply(WORDS, hold_after=40)
    # A page that is sent the end, and reads no further, is not sent it again: the end comes last.
    last = Reply(WORDS.replace("word", "new"), every=0.005, hold_after=70)
    provider.on("cats", *([first, first, last, last] if graph != "chat" else [first, last]))
    words = [graph, "--data", str(tmp_path / "data")]
    server = serve(*words)
    page = Page()
    take = getattr(page, protocol)
    path = f"{server.url}/{protocol.partition('_')[0]}/{graph}"
    if protocol == "agui":
        asked = {"id": "u1", "role": "user", "content": "cats"}
        body: dict[str, Any] = {"threadId": "t", "messages": [asked]}
        again = ("POST", f"{path}/connect?on_disconnect=continue")
        how: dict[str, Any] = {"json": body}
    else:
        part = {"type": "text", "text": "cats"}
        body = {"id": "t", "messages": [{"id": "u1", "role": "user", "parts": [part]}]}
        again, how = ("GET", f"{path}/t/stream?on_disconnect=continue"), {}
    start = ("POST", f"{path}?on_disconnect=continue")
    page.read(take, chance.randrange(3, 30), *start, json=body)
    for _ in range(5):
        page.read(take, chance.randrange(1, 40), *again, **how)
    assert any(text.startswith("word0") for text in page.texts.values())
    server.kill()
    serve(*words, "--port", str(urlsplit(server.url).port))
    for _ in range(5):
        page.read(take, chance.randrange(1, 60), *again, **how)
    provider.wait_for_requests(2 if graph == "chat" else 4)
    provider.release()
    page.read(take, None, *again, **how)
    assert page.over
    assert set(page.texts.values()) == {last.text}
    assert len(page.texts) == (1 if graph == "chat" else 2)
