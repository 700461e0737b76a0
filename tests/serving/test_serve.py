"""The command ``tokenweir serve``: that it starts, says where it is, and ends well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests import fork_server, http_client


def test_it_says_its_url_and_answers(serve: Callable[..., Any], http: httpx.Client) -> None:
    """The first line is a loopback URL, where the server answers; SIGTERM ends it with 0."""
    server = serve("joke_poem", "chat")
    assert server.url.startswith("http://127.0.0.1:")
    assert http.get(f"{server.url}/ok").json() == {"ok": True}
    assert http.get(f"{server.url}/info").json()["graphs"] == ["joke_poem", "chat"]
    metrics = http.get(f"{server.url}/metrics").text
    assert "\ntokenweir_runs_running 0.0\n" in metrics
    assert http.get(f"{server.url}/nothing").status_code == 404
    http.close()  # an idle connection that is kept alive does not hold the server up
    assert server.terminate() == 0
    assert server.stderr().endswith("tokenweir: serving joke_poem, chat\n")


def test_graphs_have_names(serve: Callable[..., Any], http: httpx.Client) -> None:
    """A graph is named by name=, else by its own name, else by its file's."""
    server = serve("--memory", "mine=sample:talk", "sample:named", "sample:talk")
    graphs = http.get(f"{server.url}/info").json()["graphs"]
    assert graphs == ["mine", "own_name", "served_graphs"]


def test_wrong_words_are_told(tmp_path: Path) -> None:
    """No graph, an unknown one, or two of one name: exit code 2 and what to do."""
    for words, said in [
        ([], "say which graphs to serve, such as joke_poem. See: tokenweir serve --help"),
        (["jke_poem"], "did you mean joke_poem"),
        (["joke_poem", "--port", "65536"], "65536 is not in the range"),
        (["joke_poem", "joke_poem"], "two graphs are called joke_poem"),
    ]:
        ended = fork_server.run(["serve", *words], tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr


def test_one_server_per_folder(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A second server on the same folder says so and ends; nothing of the first is touched."""
    server = serve("joke_poem")
    ended = fork_server.run(["serve", "joke_poem", "--port", "0"], tmp_path)
    assert ended.returncode == 1
    assert "another server uses .tokenweir" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert http_client.get(f"{server.url}/ok").json() == {"ok": True}


def test_data_that_is_no_folder_is_told(tmp_path: Path) -> None:
    """A file where --data wants a folder, alone or with workers: what it is, and what to do."""
    (tmp_path / "notes").write_text("mine")
    for data in ("notes", "notes/inside"):
        for more in ([], ["--workers", "2"]):
            words = ["serve", "joke_poem", "--port", "0", "--data", data, *more]
            ended = fork_server.run(words, tmp_path)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr.endswith(
                "tokenweir: notes is not a folder; give --data a folder, which is created if it is "
                "missing\n"
            )
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_port_in_use_is_told(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A port that is taken ends the command with 1 and one line."""
    server = serve("joke_poem", "--memory")
    port = server.url.rpartition(":")[2]
    ended = fork_server.run(["serve", "joke_poem", "--memory", "--port", port], tmp_path)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last == (
        f"tokenweir: cannot listen at 127.0.0.1:{port}: the port is in use; "
        "choose another with --port (0 takes any free one)"
    )


def test_reload_serves_the_code_as_it_is_now(serve: Callable[..., Any], tmp_path: Path) -> None:
    """With --reload a changed file is served at the same address, also after one that is broken."""
    code = "from tokenweir.graphs.chat import build\ngraph = build('openai:gpt-4o-mini')\n"
    file = tmp_path / "mine.py"
    file.write_text(code)
    server = serve("mine.py:graph", "--memory", "--reload")
    assert http_client.get(f"{server.url}/info").json()["graphs"] == ["chat"]
    file.write_text("no Python")
    server.wait_for("tokenweir: mine.py changed")
    server.wait_for("SyntaxError")
    file.write_text(code + "graph.name = 'again'\n")
    assert server.process.stdout.readline().strip() == server.url
    assert http_client.get(f"{server.url}/info").json()["graphs"] == ["again"]
    assert server.terminate() == 130


def test_requests_are_told_at_the_level_info(serve: Callable[..., Any]) -> None:
    """--log-level info tells every request on stderr; unless asked, none is."""
    for level, told in [("info", True), ("warning", False)]:
        server = serve("joke_poem", "--memory", "--log-level", level)
        http_client.get(f"{server.url}/ok")
        assert server.terminate() == 0
        assert ("GET /ok" in server.stderr()) is told


def test_the_data_folder_is_its_users_alone(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Nobody else may enter the folder, or read one of its files."""
    server = serve("joke_poem")
    folder = tmp_path / ".tokenweir"
    http_client.get(f"{server.url}/graphs/joke_poem/events", params={"topic": "cats"})
    modes = {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.iterdir()]}
    assert modes.pop(".tokenweir") == 0o700
    assert set(modes.values()) == {0o600}, modes
