"""What is kept of many runs and threads: not their inputs in memory, and not any number of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile.told_graphs import told
from tokenweir.serving.app import create_app
from tokenweir.serving.problems import ConflictError, Limits, NotFoundError
from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.home import Home, in_memory
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.retention import sweep
from tokenweir.serving.running.runs import Runs

LARGE = "x" * 400_000
BODY: dict[str, Any] = {"assistant_id": "writes", "input": {"topic": LARGE}, "metadata": {"a": "b"}}


@pytest.fixture(params=["memory", "disk"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    opened = in_memory if request.param == "memory" else data_folder(tmp_path, {"told": told})
    async with opened() as home:
        yield home


def resident(server: Any) -> int:
    """Bytes of memory that a server's process has."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def test_inputs_do_not_stay_in_memory(serve: Callable[..., Any], http: httpx.Client) -> None:
    """100 runs of 400 kB leave less than half of that; each is told whole, also after a kill."""
    server = serve("sample:writes", MALLOC_ARENA_MAX="1")

    def run() -> tuple[str, dict[str, Any]]:
        made = http.post(f"{server.url}/runs", json=BODY).json()
        assert made["kwargs"]["input"] == BODY["input"]
        place = f"/threads/{made['thread_id']}/runs/{made['run_id']}"
        assert http.get(f"{server.url}{place}/join").json()["answer"] == "done"
        return place, made

    for _ in range(20):
        run()
    before = resident(server)
    [*_, (place, made)] = [run() for _ in range(100)]
    assert resident(server) - before < 100 * len(LARGE) / 2
    server.kill()
    again = serve("sample:writes")
    found = http.get(f"{again.url}{place}").json()
    assert found["status"] == "success"
    assert found["metadata"] == BODY["metadata"]
    assert found["kwargs"] == made["kwargs"]


async def test_the_number_of_finished_runs(home: Home) -> None:
    """Beyond the limit the oldest go, and their records and inputs with them."""
    limits = Limits(keep_runs=5)
    made = []
    async with Runs({"told": told}, home, limits) as runs:
        for _ in range(8):
            made.append(await runs.start(RunRequest(graph="told", input={"topic": LARGE})))
            await runs.wait(made[-1].id)
    assert (await runs.get(made[0].id)).request.input == {"topic": LARGE}
    assert await sweep(runs) == 3
    assert [run.id for run in await runs.store.old_runs(9)] == [run.id for run in made[3:]]
    assert await sweep(runs) == 0
    for run in made[:3]:
        with pytest.raises(NotFoundError):
            await runs.get(run.id)
    assert home.log.size < 6 * (len(LARGE) + 10_000)


async def test_bytes_in_memory_count() -> None:
    """In memory, what runs were asked counts as what they said does."""
    limits = Limits(keep_bytes=3 * len(LARGE))
    async with in_memory() as kept:
        async with Runs({"told": told}, kept, limits) as runs:
            for _ in range(8):
                run = await runs.start(RunRequest(graph="told", input={"topic": LARGE}))
                await runs.wait(run.id)
        await sweep(runs)
        assert kept.log.size <= limits.keep_bytes
        assert len(await kept.store.old_runs(9)) == 2


async def test_the_number_of_threads(home: Home) -> None:
    """An owner has so many threads, by whatever route they are made; others have their own."""
    limits = Limits(threads=2)
    asked = RunRequest(graph="told", input={"topic": "x"})
    async with Runs({"told": told}, home, limits) as runs:
        for name in ("one", "two", "one"):
            await runs.wait((await runs.start(asked, thread_id=name, owner="ann")).id, "ann")
        with pytest.raises(ConflictError, match="already 2 threads"):
            await runs.start(asked, thread_id="three", owner="ann")
        with pytest.raises(ConflictError, match="already 2 threads"):
            await runs.copy_thread("one", "ann")
        await runs.wait((await runs.start(asked, owner="ann")).id, "ann")  # without a record
        await runs.start(asked, thread_id="three", owner="bob")
        await runs.forget_thread("two", "ann")
        await runs.copy_thread("one", "ann")


async def test_threads_that_are_made_by_hand() -> None:
    """POST /threads has the same limit, and a thread that is there already is no new one."""
    app = create_app({"told": told}, limits=Limits(threads=1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as http,
    ):
        again = {"thread_id": "one", "if_exists": "do_nothing"}
        assert (await http.post("/threads", json=again)).status_code == 200
        assert (await http.post("/threads", json=again)).status_code == 200
        answer = await http.post("/threads", json={})
        assert answer.status_code == 409
        assert "already 1 threads" in answer.json()["detail"]
