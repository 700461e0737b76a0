"""The contract of a home's checkpoints, beyond LangGraph's own contract of a saver."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint

from tokenweir.serving.problems import LostError
from tokenweir.serving.running.configs import config_of
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.records import Assistant
from tokenweir.serving.running.store import Hold
from tokenweir.testing.homes.making import a_run, claimed, created

__all__ = ["CheckpointChecks"]

_NEWEST: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}


class CheckpointChecks:
    """Checkpoints are never ahead of the record, and only the holder of a run can save any.

    They are saved as a worker saves them: with the config with which it runs a graph.
    """

    @pytest.mark.parametrize("claims", [1, 2])
    async def test_nothing_is_saved_before_what_was_said(self, home: Home, claims: int) -> None:
        """A checkpoint and a node's writes wait for the record, in a first claim and later ones."""
        hold = await _held(home, claims)
        asked = asyncio.Queue[tuple[str, int]]()
        may = asyncio.Event()

        async def said(run_id: str, epoch: int) -> None:
            asked.put_nowait((run_id, epoch))
            await may.wait()

        saver = home.checkpoints.behind(said)
        for save in (_checkpoint(saver, hold), _writes(saver, hold)):
            may.clear()
            saving = asyncio.ensure_future(save)
            await asyncio.wait(
                [waiting := asyncio.ensure_future(asked.get()), saving],
                return_when=asyncio.FIRST_COMPLETED,
                timeout=20,
            )
            assert not saving.done()
            assert waiting.result() == (hold.run.id, claims)
            may.set()
            await asyncio.wait_for(saving, 20)
        found = await saver.aget_tuple(_NEWEST)
        assert found is not None
        assert found.pending_writes == [("task", "channel", 1)]

    @pytest.mark.parametrize("claims", [1, 2])
    async def test_a_zombie_saves_nothing(self, home: Home, other: Home, claims: int) -> None:
        """A server that was considered dead can save neither a checkpoint nor writes."""
        old = await _held(home, claims)
        zombie = await home.log.writer(old.run.id, old.epoch)

        async def said(run_id: str, epoch: int) -> None:
            assert (run_id, epoch) == (old.run.id, claims)
            await zombie.saved()

        saver = home.checkpoints.behind(said)
        await _checkpoint(saver, old)
        await home.store.leave("a")
        [new] = await claimed(other, "b")
        await other.log.writer(new.run.id, new.epoch)
        before = await saver.aget_tuple(_NEWEST)
        with pytest.raises(LostError):
            await _checkpoint(saver, old)
        with pytest.raises(LostError):
            await _writes(saver, old)
        assert await saver.aget_tuple(_NEWEST) == before


async def _held(home: Home, claims: int) -> Hold:
    """A run that server ``a`` has claimed this many times."""
    await created(home, a_run("thread"))
    [hold] = await claimed(home)
    for _ in range(1, claims):
        await home.store.release(hold)
        [hold] = await claimed(home)
    return hold


def _config(hold: Hold) -> dict[str, Any]:
    config = config_of(hold.run, Assistant(id="assistant", graph="graph"))
    config["configurable"]["checkpoint_ns"] = ""
    return config


async def _checkpoint(saver: BaseCheckpointSaver[Any], hold: Hold) -> None:
    config: Any = _config(hold)
    metadata: Any = {"source": "loop", "step": 1, "parents": {}}
    await saver.aput(config, empty_checkpoint(), metadata, {})


async def _writes(saver: BaseCheckpointSaver[Any], hold: Hold) -> None:
    """Writes to the newest checkpoint."""
    newest = await saver.aget_tuple(_NEWEST)
    assert newest is not None
    config: Any = _config(hold)
    config["configurable"]["checkpoint_id"] = newest.checkpoint["id"]
    await saver.aput_writes(config, [("channel", 1)], "task")
