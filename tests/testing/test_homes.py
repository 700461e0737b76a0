"""The homes of this package pass the checks that every home has to pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.home import Home, in_memory
from tokenweir.testing.homes import HomeChecks


class TestMemory(HomeChecks):
    """A home in memory."""

    @pytest.fixture
    async def home(self) -> AsyncIterator[Home]:
        async with in_memory() as home:
            yield home


class TestFolder(HomeChecks):
    """A home in a folder."""

    @pytest.fixture
    async def home(self, tmp_path: Path) -> AsyncIterator[Home]:
        async with data_folder(tmp_path, {})() as home:
            yield home
