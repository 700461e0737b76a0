"""Names of graphs: any that can be part of a URL works everywhere, the others are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_sync_client

from tests import fork_server
from tokenweir.serving.app import create_app
from tokenweir.serving.problems import GraphNameError
from tokenweir.testing import Provider

GRAPHS = Path(__file__).parent / "served_graphs.py"
NAMES = [
    "a=b&c+d;e@f!",
    "weather bot",
    "Größe 天気 🌦",
    'it\'s <b>"this"<b> {0} [x] ~$,^|`*',
    "é.py",
]


def test_any_name_is_served_on_every_route(
    serve: Callable[..., Any], provider: Provider, tmp_path: Path
) -> None:
    """Blanks, marks and letters of any script: each protocol finds the graph by its name."""
    names, place = NAMES, f"{GRAPHS}:talk"
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {names[0]: place}}))
    words = [names[0], *(f"{name}={place}" for name in names[1:])]
    server = serve("--memory", *words)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        described = http.get("/graphs").json()["graphs"]
        assert [each["name"] for each in described] == names
        assert http.get("/info").json()["graphs"] == names
        for each in described:
            name = each["name"]
            assert http.get(f"/graphs/{quote(name, safe='')}").json() == each
            assert http.get(each["picture"]).text.startswith("<svg")
            assert "talk" in http.get(each["picture"].replace("svg", "mermaid")).text
            answer = http.get(each["events"], params={"messages": "hi"})
            assert f'"graph":{json.dumps(name, ensure_ascii=False)}' in answer.text
            run = answer.headers["content-location"].removeprefix("/runs/")
            again = http.get(each["events"], headers={"last-event-id": f"{run}:3"})
            for text in (answer.text, again.text, http.get(f"/runs/{run}/events").text):
                assert text.count("event: end") == 1
            posted = http.post(each["events"], json={"input": {"messages": "hi"}})
            assert posted.text.count("event: end") == 1
    with get_sync_client(url=server.url) as client:
        for name in names:
            [found] = client.assistants.search(graph_id=name)
            assert client.assistants.get(name) == found
            assert client.assistants.get_graph(name) == client.assistants.get_graph(
                found["assistant_id"]
            )
            assert client.assistants.get_schemas(name)["graph_id"] == name
            values: Any = client.runs.wait(None, name, input={"messages": "hi"})
            assert values["messages"][-1]["content"] == "You said: hi"
            graph = RemoteGraph(name, sync_client=client)
            assert graph.invoke({"messages": "hi"})["messages"][-1]["content"] == "You said: hi"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as models:
        assert [each.id for each in models.models.list()] == names
        for name in names:
            assert models.models.retrieve(name).id == name
            for model in (name, f"{name}:tag"):
                said = models.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "hi"}]
                )
                assert said.model == model
                content = said.choices[0].message.content
                assert content == ("You said: hi" if model == name else "")


REFUSED = ["a/b", "a\\b", "a:b", "a?b", "a#b", "50%", "", ".", "..", "a\nb", "a\x00b", "a\u200bb"]


def test_what_cannot_be_in_a_url_is_refused(provider: Provider, tmp_path: Path) -> None:
    """At start, by one line that says what to do; wherever the name comes from."""
    for name in [*REFUSED, "\udc80"]:
        with pytest.raises(GraphNameError, match="cannot be called"):
            create_app({"fine": None, name: None})
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"a/b": f"{GRAPHS}:talk"}}))
    ended = fork_server.run(["serve", "--port", "0"], tmp_path, **provider.environ)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert [each.name for each in tmp_path.iterdir()] == ["langgraph.json"]
    assert ended.stderr.startswith("tokenweir: a graph cannot be called 'a/b', as names ")
    assert "name=my_graph.py:graph, or another key in langgraph.json" in ended.stderr
    assert ended.stderr.count("\n") == 1
