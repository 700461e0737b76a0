"""The checkpoints of one process keep LangGraph's contract; for Postgres see its own room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.home import in_memory


@pytest.mark.parametrize("kind", ["memory", "folder"])
async def test_langgraphs_contract(kind: str, tmp_path: Path) -> None:
    """LangGraph's own conformance suite passes. Its savers of this kind cannot prune, nor can
    these."""

    async with (in_memory if kind == "memory" else data_folder(tmp_path, {}))() as home:

        @checkpointer_test(name=kind)
        async def saver() -> AsyncIterator[BaseCheckpointSaver[str]]:
            assert isinstance(home.checkpoints, BaseCheckpointSaver)
            yield home.checkpoints

        report = await validate(saver)
    passed = {name: result.passed for name, result in report.results.items()}
    assert {name for name, is_passed in passed.items() if not is_passed} <= {"prune"}
    assert report.conformance_level() == "FULL"
