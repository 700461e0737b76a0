"""The application below a path of somebody else's: as it is at the root, keys first of all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import langgraph_sdk
import openai
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from tests.described import describe
from tokenweir.serving.app import create_app
from tokenweir.testing import Provider, Reply

REPOSITORY = Path(__file__).parents[2]
ANN = {"x-api-key": "ann"}
OPEN = {"/", "/ok", "/docs", "/openapi.json", "/page/{name}"}
RUN: dict[str, Any] = {"assistant_id": "talk", "input": {"messages": "hi"}}


@pytest.fixture(scope="module", params=[("starlette", "/ai"), ("fastapi", "/of/ann/api")])
def mounted(request: pytest.FixtureRequest) -> Iterator[tuple[str, Provider]]:
    """The address of the mounted application, in a process of its own, and its provider."""
    name, prefix = request.param
    words = [sys.executable, "-m", "uvicorn", f"tests.hostile.mounted_apps:{name}", "--port", "0"]
    with Provider() as provider:
        process = subprocess.Popen(
            words,
            cwd=REPOSITORY,
            env={**os.environ, **provider.environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            found = (re.search(r"running on (http://\S+)", line) for line in lines)
            address = next(match[1] for match in found if match)
            yield address + prefix, provider
        finally:
            process.terminate()
            process.stderr.read()
            process.stderr.close()
            assert process.wait(60) in (0, -15)


def test_without_a_key_nothing_runs(mounted: tuple[str, Provider], http: httpx.Client) -> None:
    """Every operation that is not open answers 401, in its protocol's shape, and does nothing."""
    url, provider = mounted
    made = len(provider.requests)
    for path, found in describe(keys=True)["paths"].items():
        place = url + re.sub(r"{\w+}", "talk", path)
        for method in found:
            for sent in (place, f"{place}?messages=hi"):
                body = RUN if method in ("post", "patch") else None
                answer = http.request(method, sent, json=body)
                if path in OPEN:
                    assert answer.status_code == (404 if "{" in path else 200), (path, answer.text)
                    continue
                assert answer.status_code == 401, (method, sent)
                assert set(answer.json()) == {"error" if path.startswith("/v1/") else "detail"}
    for path in ("/ok/", "//ok", "/ok%2f", "/page/../runs/wait", "/page/%2e%2e/info", "/nothing"):
        assert http.post(url + path, json=RUN, follow_redirects=True).status_code in (401, 404, 405)
    assert len(provider.requests) == made
    assert "tokenweir_threads 0" in http.get(f"{url}/metrics", headers=ANN).text


async def test_every_protocol_is_as_at_the_root(mounted: tuple[str, Provider]) -> None:
    """LangGraph's client, OpenAI's, plain events, the page, the description all work."""
    url, _ = mounted
    async with langgraph_sdk.get_client(url=url, api_key="ann") as client:
        thread = await client.threads.create()
        begun: list[Any] = []
        parts = [
            part
            async for part in client.runs.stream(
                thread["thread_id"],
                "talk",
                input=RUN["input"],
                stream_mode="messages-tuple",
                on_run_created=begun.append,
            )
        ]
        text = "".join(part.data[0]["content"] for part in parts if part.event == "messages")
        assert "You said: hi" in text
        [run] = await client.runs.list(thread["thread_id"])
        assert begun == [{"run_id": run["run_id"], "thread_id": thread["thread_id"]}]
        again = client.runs.join_stream(thread["thread_id"], run["run_id"], last_event_id="-1")
        assert [part.event async for part in again] == [part.event for part in parts]
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="ann", max_retries=0) as models:
        said: Any = [{"role": "user", "content": "hi"}]
        done = await models.chat.completions.create(model="talk", messages=said)
        assert done.choices[0].message.content == "You said: hi"
        with pytest.raises(openai.NotFoundError) as wrong:
            await models.chat.completions.create(model="gpt", messages=said)
        assert wrong.value.code == "model_not_found"
    async with httpx.AsyncClient(headers=ANN, timeout=60) as http:
        streamed = await http.get(f"{url}/graphs/talk/events?input=%7B%22messages%22:%22hi%22%7D")
        place = urljoin(url, streamed.headers["content-location"])
        followed = await http.get(f"{place}/events?replay=full")
        assert followed.text.count("event: token") == streamed.text.count("event: token") > 0
        wrong_path = await http.get(f"{url}/v1/nothing")
        assert (wrong_path.status_code, set(wrong_path.json())) == (404, {"error"})
        document = (await http.get(f"{url}/openapi.json")).json()
        [served] = document["servers"]
        assert urljoin(url, served["url"]) == url
        assert {**document, "servers": [{"url": "/"}]} == describe(keys=True)
        for page in ("/", "/docs"):
            html = (await http.get(url + page)).text
            links = re.findall(r'(?:src|href)="([^"#]+)"', html)
            assert links
            for link in links:
                assert (await http.get(urljoin(url + page, link))).status_code == 200, link


async def test_a_reader_of_langgraphs_client_comes_back(mounted: tuple[str, Provider]) -> None:
    """The path in ``Location`` is one behind the address that the client has, as LangGraph's."""
    url, provider = mounted
    provider.on("held", Reply("a b c", hold_after=1))
    async with httpx.AsyncClient(base_url=url, headers=ANN, timeout=60) as http:
        body = {**RUN, "input": {"messages": "held"}, "stream_mode": "messages-tuple"}
        async with http.stream("POST", "/runs/stream", json=body) as answer:
            location = answer.headers["location"]
            last = [line async for line in _until(answer, "event: messages")]
        provider.release()
        assert last
        rest = await http.get(location, headers={"last-event-id": "-1"})
        assert rest.text.count("event: messages") >= 3


async def _until(answer: httpx.Response, wanted: str) -> Any:
    async for line in answer.aiter_lines():
        yield line
        if line == wanted:
            return


async def test_it_starts_twice() -> None:
    """One lifespan after the other, each has its own runs; outside of them nothing runs."""
    graph = StateGraph(MessagesState).add_node("one", lambda state: state).add_edge(START, "one")
    app = create_app({"talk": graph.compile()}, keys=["ann"])
    routes = len(app.routes)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=ANN
    ) as http:
        for _ in range(2):
            early = await http.post("/runs/wait", json=RUN)
            assert early.status_code == 503
            assert "must run its lifespan" in early.json()["detail"]
            assert (await http.get("/ok")).json()["ok"] is False
            async with app.router.lifespan_context(app):
                assert (await http.get("/ok")).json() == {"ok": True}
                made = await http.post("/threads", json={"thread_id": "mine"})
                assert made.status_code == 200
                assert len(app.routes) == routes
            assert (await http.get("/docs")).status_code == 200
