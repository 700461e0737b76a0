"""Chats and threads of front ends are their owners'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from tests.serving.conftest import Server
from tokenweir.testing import Provider, Reply

SECRET = "ann-has-a-secret"


def test_what_is_anothers_is_not_there(
    serve: Callable[..., Server], provider: Provider, http: httpx.Client
) -> None:
    """Bob cannot read or go on with what is ann's, whatever id he names; without a key nobody."""
    provider.default = Reply(SECRET)
    server = serve("talk=sample:talk", TOKENWEIR_API_KEYS="ann,bob")
    http.base_url = httpx.URL(server.url)
    ann, bob = {"x-api-key": "ann"}, {"x-api-key": "bob"}
    part = {"type": "text", "text": "hi"}
    chat: Any = {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [part]}]}
    thread: Any = {"threadId": "t", "messages": [{"id": "1", "role": "user", "content": "hi"}]}
    for path, body in (("/ai/talk", chat), ("/agui/talk", thread)):
        assert http.post(path, json=body).status_code == 401
        assert SECRET in http.post(path, json=body, headers=ann).text
        refused = http.post(path, json=body, headers=bob)
        assert refused.status_code == 404
        assert SECRET not in refused.text
    assert http.get("/ai/talk/c/stream", headers=bob).status_code == 204
    connected = http.post("/agui/talk/connect", json=thread, headers=bob)
    assert SECRET not in connected.text
    assert SECRET in http.post("/agui/talk/connect", json=thread, headers=ann).text
