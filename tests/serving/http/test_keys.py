"""API keys: no operation works without one, and none shows what was made with another."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import ormsgpack
import pytest

from tests import fork_server
from tests.described import describe
from tokenweir.serving.app import create_app
from tokenweir.serving.problems import EmptyKeyError

SECRET = "ann-says-this"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of all that the server can do."""
    for path, found in describe(keys=True)["paths"].items():
        for method, operation in found.items():
            yield method.upper(), path, operation


def test_every_operation_needs_a_key(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Without a key, and with a wrong one, there is 401 in the protocol's own shape."""
    server = serve("sample:writes", "--memory", TOKENWEIR_API_KEYS=" ann-key , bob-key ")
    wrong: list[dict[str, str]] = [{}, {"x-api-key": ""}, {"authorization": "Bearer ann-ke"}]
    for method, path, operation in operations():
        place = server.url + re.sub(r"{\w+}", "writes", path)
        if operation.get("security") == []:
            assert http.request(method, place).status_code in (200, 404), path
            continue
        for headers in wrong:
            answer = http.request(method, place, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            body = answer.json()
            if path.startswith("/v1/"):
                assert body["error"]["code"] == "invalid_api_key"
            else:
                assert set(body) == {"detail"}
    assert http.get(f"{server.url}/info", headers={"x-api-key": "ann-key"}).status_code == 200


def test_the_openai_sdk_is_told(serve: Callable[..., Any]) -> None:
    """Its errors are those that it has for a wrong key and for a body that is too large."""
    server = serve("talk=sample:talk", "--memory", "--max-body", "2000", TOKENWEIR_API_KEYS="ann")
    said: Any = [{"role": "user", "content": "hi"}]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="bob", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="an API key is needed") as wrong:
            client.chat.completions.create(model="talk", messages=said)
        assert wrong.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="ann", max_retries=0) as client:
        done = client.chat.completions.create(model="talk", messages=said)
        assert done.choices[0].message.content == "You said: hi"
        long: Any = [{"role": "user", "content": "x" * 2000}]
        with pytest.raises(openai.APIStatusError, match="larger than 2000 bytes") as large:
            client.chat.completions.create(model="talk", messages=long)
        assert (large.value.status_code, large.value.code) == (413, "request_too_large")


def test_no_operation_shows_what_is_anothers(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Whatever bob asks for by ids of ann's is not there, and stays as it was."""
    server = serve("talk=sample:talk", "--heartbeat-seconds", "1", TOKENWEIR_API_KEYS="ann,bob")
    ann, bob = {"x-api-key": "ann"}, {"x-api-key": "bob"}
    http.base_url = httpx.URL(server.url)
    run_body = {"assistant_id": "talk", "input": {"messages": SECRET}, "stream_mode": "values"}
    made = {"graph_id": "talk", "name": SECRET, "metadata": {"of": SECRET}}
    assistant = http.post("/assistants", json=made, headers=ann).json()["assistant_id"]
    thread = http.post("/threads", json={"metadata": {"of": SECRET}}, headers=ann).json()[
        "thread_id"
    ]
    http.post(f"/threads/{thread}/runs/wait", json=run_body, headers=ann)
    [run] = http.get(f"/threads/{thread}/runs", headers=ann).json()
    state = http.get(f"/threads/{thread}/state", headers=ann).json()
    ids = {
        "assistant_id": assistant,
        "thread_id": thread,
        "run_id": run["run_id"],
        "id": run["run_id"],
        "checkpoint_id": state["checkpoint_id"],
    }
    tried = 0
    for method, path, _ in operations():
        if not re.search(r"{(assistant|thread|run|checkpoint)_id}|/runs/{id}", path):
            continue
        tried += 1
        place = re.sub(r"{(\w+)}", lambda found: ids.get(found[1], "talk"), path)
        sent: dict[str, Any] = {
            **run_body,
            "values": {"messages": "bob"},
            "if_not_exists": "create",
        }
        sent |= {"id": 1, "method": "state.get", "channels": ["values"]}
        given: dict[str, Any] = {"json": sent} if method in ("POST", "PATCH") else {}
        answer = http.request(method, place, headers=bob, **given)
        if path.endswith("/commands"):  # whose errors are answers
            assert answer.json()["error"] == "no_such_run"
        elif answer.status_code == 200:  # LangGraph's clients read errors of streams as events
            assert path.endswith("/runs/{run_id}/stream")
            assert "404: there is no run" in answer.text
        else:
            assert answer.status_code == 404, (method, path, answer.text)
        assert SECRET not in answer.text
    assert tried > 25
    last = {"last-event-id": f"{run['run_id']}:0"}
    others: list[tuple[str, str, Any, int]] = [
        ("POST", "/runs/wait", {**run_body, "assistant_id": assistant}, 422),
        ("POST", "/graphs/talk/events", {"input": {}, "thread_id": thread}, 404),
        ("GET", f"/graphs/talk/events?messages=x&thread_id={thread}", None, 404),
        ("POST", "/assistants", {**made, "assistant_id": assistant}, 409),
        ("POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"}, 409),
    ]
    for method, path, asked, status in others:
        answer = http.request(method, path, json=asked, headers=bob)
        assert answer.status_code == status, (method, path, answer.text)
        assert SECRET not in answer.text
    assert http.get("/graphs/talk/events?messages=x", headers={**bob, **last}).status_code == 404
    for what in ("threads", "assistants"):
        which = {"metadata": {"of": SECRET}}
        assert http.post(f"/{what}/search", json=which, headers=bob).json() == []
        assert http.post(f"/{what}/count", json=which, headers=bob).json() == 0
        assert http.post(f"/{what}/count", json=which, headers=ann).json() == 1
    # A run of bob's that names ann's thread in its config stays on his own.
    there = {"thread_id": thread, "checkpoint_id": state["checkpoint_id"], "checkpoint_ns": ""}
    sneaky = {
        "assistant_id": "talk",
        "input": {"messages": "bob"},
        "config": {"configurable": there},
        "checkpoint": there,
    }
    assert SECRET not in http.post("/runs/wait", json=sneaky, headers=bob).text
    assert http.get(f"/threads/{thread}/state", headers=ann).json() == state
    assert len(http.get(f"/threads/{thread}/runs", headers=ann).json()) == 1


def test_an_empty_key_is_refused(tmp_path: Path) -> None:
    """It would be the key of everybody who sends none: the server does not start."""
    with pytest.raises(EmptyKeyError, match="an API key is empty"):
        create_app({}, keys=["ann", " "])
    words = ["serve", "joke_poem", "--port", "0", "--key", ""]
    ended = fork_server.run(words, tmp_path)
    assert ended.returncode == 1
    said = ended.stderr.splitlines()[-1]
    assert said == "tokenweir: an API key is empty; leave it out, or give its text"


def test_a_data_folder_does_not_tell_its_keys(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path
) -> None:
    """It has neither a key nor a plain hash of one; owners have 128 bits, and are found again."""
    keys = ["ann-key-in-words", "bob-key-in-words"]
    headers = [{"authorization": f"Bearer {key}"} for key in keys]
    server = serve("sample:writes", TOKENWEIR_API_KEYS=",".join(keys))
    threads = []
    for each in headers:
        made = http.post(f"{server.url}/threads", json={}, headers=each)
        threads.append(made.json()["thread_id"])
        place = f"{server.url}/threads/{threads[-1]}/runs/wait"
        body = {"assistant_id": "writes", "input": {}}
        assert http.post(place, json=body, headers=each).status_code == 200
    assert server.terminate() == 0
    server = serve("sample:writes", TOKENWEIR_API_KEYS=",".join(keys[::-1]))
    for mine, each in enumerate(headers):
        for number, thread in enumerate(threads):
            answer = http.get(f"{server.url}/threads/{thread}", headers=each)
            assert answer.status_code == (200 if number == mine else 404)
    assert server.terminate() == 0
    folder = tmp_path / ".tokenweir"
    with contextlib.closing(sqlite3.connect(folder / "events.sqlite")) as database:
        found = database.execute("SELECT data FROM records WHERE kind IN ('runs', 'threads')")
        owners = {json.loads(data)["owner"] for (data,) in found}
    assert len(owners) == 2
    assert all(re.fullmatch("[0-9a-f]{32,}", owner) for owner in owners)
    kept = b"".join(file.read_bytes() for file in folder.iterdir())
    for key in keys:
        data = key.encode()
        assert data not in kept
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            digest = hashlib.new(name, data)
            assert digest.digest()[:8] not in kept
            assert digest.hexdigest()[:10].encode() not in kept
            assert base64.b64encode(digest.digest())[:10] not in kept


def test_an_open_door_is_told(serve: Callable[..., Any]) -> None:
    """Listening beyond this machine without keys is warned about; with keys, or here, it is not."""
    doors: list[tuple[list[str], dict[str, str], bool]] = [
        (["--host", "0.0.0.0"], {}, True),
        (["--host", "0.0.0.0"], {"TOKENWEIR_API_KEYS": "ann"}, False),
        ([], {}, False),
    ]
    for words, environ, warned in doors:
        server = serve("sample:writes", "--memory", *words, **environ)
        assert server.terminate() == 0
        assert ("anybody may run these graphs" in server.stderr()) == warned


def test_a_database_revives_no_objects(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path
) -> None:
    """Checkpoints that name a function to call, or hold a pickle, call nothing when read."""
    mark = tmp_path / "called"
    command = f"touch {mark}"
    packed = ormsgpack.packb(("os", "system", command))
    evil = ormsgpack.packb({"messages": ormsgpack.Ext(0, packed)})
    pickled = b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."
    for kind, data in (("msgpack", evil), ("pickle", pickled)):
        server = serve("talk=sample:talk")
        thread = http.post(f"{server.url}/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "talk", "input": {"messages": "hi"}}
        place = f"{server.url}/threads/{thread}"
        assert http.post(f"{place}/runs/wait", json=body).status_code == 200
        assert server.terminate() == 0
        with sqlite3.connect(tmp_path / ".tokenweir" / "checkpoints.sqlite") as database:
            changed = database.execute(
                "UPDATE checkpoints SET type = ?, checkpoint = ?", (kind, data)
            )
            assert changed.rowcount > 0
            database.execute("UPDATE writes SET type = ?, value = ?", (kind, data))
        database.close()
        server = serve("talk=sample:talk")
        place = f"{server.url}/threads/{thread}"
        for path in ("/state", "/history"):
            assert "Traceback" not in http.get(f"{place}{path}").text
        assert not mark.exists()
        server.kill()
