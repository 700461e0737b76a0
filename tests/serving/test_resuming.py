"""What is found of a run whose process was killed, at moments that no signal hits reliably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.nodes.chat_model import chat_model
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.running.checkpoints import SqliteCheckpoints
from tokenweir.serving.running.configs import config_of
from tokenweir.serving.running.execution import Executor
from tokenweir.serving.running.records import Assistant, Run, RunRequest
from tokenweir.serving.running.resuming import left_of
from tokenweir.testing import Provider


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_of_which_only_the_end_is_missing(
    durability: str, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its last checkpoint and its end, it is over, and all that it said stands."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    model = chat_model("openai:gpt-4o-mini")

    async def say(state: MessagesState, config: RunnableConfig) -> dict[str, list[AIMessage]]:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    graph: Any = StateGraph(MessagesState).add_sequence([("one", say), ("two", say)])
    graph = graph.add_edge(START, "one").compile()
    request = RunRequest(
        graph="talk", input={"messages": [{"role": "user", "content": "x"}]}, durability=durability
    )
    run = Run(id="run", thread_id="thread", request=request, assistant_id="a", status="running")
    assistant = Assistant(id="a", graph="talk")
    log = SqliteLog(tmp_path / "events.sqlite")
    async with aiosqlite.connect(tmp_path / "checkpoints.sqlite") as connection:
        saver = SqliteCheckpoints(connection, log.saved, lambda pages: None)
        executor = Executor({"talk": graph}, log, saver)
        log.open(run.id)
        outcome = await executor.execute(run, assistant)
        assert outcome.status == "success"
        await log.close()
        log = SqliteLog(tmp_path / "events.sqlite")
        kept = await log.reopen(run.id)
        run.attempt = 2
        left = await left_of(run, executor.graphs["talk"], config_of(run, assistant), log, kept)
        await log.close()
    assert kept > 2
    assert left.over
    assert left.void == []
