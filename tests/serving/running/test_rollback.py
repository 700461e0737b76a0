"""Rollback: a thread is as it was before the run, or the run goes on; never half of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tokenweir.testing import Provider, Reply


class OnThread:
    """A client of one thread."""

    def __init__(self, url: str, thread: str | None = None) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self.id = thread or self._http.post("/threads", json={}).json()["thread_id"]

    def send(self, path: str, **body: Any) -> Any:
        answer = self._http.post(f"/threads/{self.id}{path}", json=body)
        assert answer.status_code in (200, 202), answer.text
        return answer.json() if answer.content else None

    def run(self, graph: str, wait: bool = False, **more: Any) -> Any:
        return self.send("/runs/wait" if wait else "/runs", assistant_id=graph, **more)

    def get(self, path: str = "") -> Any:
        return self._http.get(f"/threads/{self.id}{path}").json()

    def close(self) -> None:
        self._http.close()

    def held(self) -> Any:
        """All that the thread holds, but for times."""
        thread = self.get()
        return (
            self.send("/history", limit=100),
            self.get("/runs?limit=100"),
            {name: thread[name] for name in ("values", "status", "interrupts", "error")},
        )


@pytest.fixture
def script(provider: Provider) -> Provider:
    provider.on("first stuck", Reply("lost words", stall_after=1))
    provider.on("after stuck", Reply("lost words", stall_after=1))
    for name in ("first", "second", "after"):
        provider.on(name, f"the {name}")
    return provider


def before(url: str, how: str) -> tuple[OnThread, Any, dict[str, Any]]:
    """A thread that has a past, what it holds, and a run on it that gets stuck."""
    thread = OnThread(url)
    if how == "input":
        thread.run("two_steps", True, input={"topic": "x"})
        return thread, thread.held(), {"assistant_id": "two_steps", "input": {"topic": "stuck"}}
    thread.run("answers", True, input={"topic": "x"})
    return thread, thread.held(), {"assistant_id": "answers", "command": {"resume": "stuck"}}


GRAPHS = ("sample:two_steps", "sample:answers")


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_an_answer_is_taken_back(serve: Callable[..., Any], script: Provider, where: str) -> None:
    """Of a run that answered an interrupt nothing stays; the question can be answered anew."""
    server = serve(*GRAPHS, *(["--memory"] if where == "memory" else []))
    for _ in range(2):
        thread, held, stuck = before(server.url, "answer")
        asked = len(script.requests)
        run = thread.send("/runs", **stuck)
        script.wait_for_requests(asked + 1)
        thread.send(f"/runs/{run['run_id']}/cancel?wait=true&action=rollback")
        assert thread.held() == held
        values = thread.run("answers", True, command={"resume": "no"})
        assert (values["answer"], values["second"]) == ("no", "the after")
        thread.close()


@pytest.mark.parametrize(
    ("how", "asked_by"), [("answer", "cancel"), ("answer", "another run"), ("input", "another run")]
)
def test_killed_when_it_was_accepted(
    serve: Callable[..., Any], script: Provider, how: str, asked_by: str
) -> None:
    """What was told that it is rolled back is so after kill -9, whatever had been done of it."""
    server = serve(*GRAPHS)
    thread, held, stuck = before(server.url, how)
    asked, another = len(script.requests), {}
    run = thread.send("/runs", **stuck)["run_id"]
    script.wait_for_requests(asked + 1)
    if asked_by == "cancel":
        thread.send(f"/runs/{run}/cancel?action=rollback")
    else:
        other = {"input": {"topic": "y"}} if how == "input" else {"command": {"resume": "no"}}
        another = thread.send("/runs", **{**stuck, **other}, multitask_strategy="rollback")
    server.kill()
    thread.close()
    server = serve(*GRAPHS)
    thread = OnThread(server.url, thread.id)
    if asked_by == "cancel":
        assert thread.held() == held
    else:
        last = "the second" if how == "input" else "the after"
        assert thread.get(f"/runs/{another['run_id']}/join")["second"] == last
        history, runs, state = thread.held()
        older = held[0] if how == "input" else held[0][1:]  # the question has its answer now
        assert history[-len(older) :] == older
        assert runs[1:] == held[1]
        assert [each["run_id"] for each in runs[:1]] == [another["run_id"]]
        assert run not in [each["metadata"].get("run_id") for each in history]
        assert (state["values"].get("answer", "no"), state["status"]) == ("no", "idle")
    thread.close()
