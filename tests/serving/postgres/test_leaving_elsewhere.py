"""A page that is loaded again may come to another server than the one that it left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests import http_client
from tests.serving.conftest import Server
from tests.waiting import wait_until
from tokenweir.testing import Provider, Reply


def asked(thread: str, text: str) -> dict[str, Any]:
    said = {"id": f"{thread}-1", "role": "user", "content": text}
    return {"threadId": thread, "runId": f"{thread}-run", "messages": [said]}


def test_who_comes_back_to_another_server_is_waited_for(
    serve: Callable[..., Server], provider: Provider, database_url: str
) -> None:
    """The run goes on, also after the time in which a reader could come back to the first one; one
    to which nobody comes back is stopped."""
    provider.on("kept", Reply("one two three", hold_after=1))
    provider.on("left", Reply("four five six", hold_after=1))
    first, second = (serve("chat", "--data", database_url).url for _ in range(2))

    def begin(thread: str, text: str) -> None:
        with http_client.stream("POST", f"{first}/agui/chat", json=asked(thread, text)) as response:
            assert response.status_code == 200
            next(line for line in response.iter_lines() if "TEXT_MESSAGE_CONTENT" in line)

    def status(thread: str) -> str:
        [run] = http_client.get(f"{second}/threads/{thread}/runs").json()
        return str(run["status"])

    begin("kept", "kept")
    address = f"{second}/agui/chat/connect"
    with http_client.stream("POST", address, json=asked("kept", "kept")) as response:
        lines = response.iter_lines()
        next(line for line in lines if "TEXT_MESSAGE_CONTENT" in line)
        begin("left", "left")
        wait_until(lambda: status("left") == "interrupted")  # its time ends after the first one's
        assert status("kept") == "running"
        provider.release()
        assert any("RUN_FINISHED" in line for line in lines)
    assert status("kept") == "success"
