"""The contract of a server's home: its store, event log, checkpoints and items.

There is one test for each guarantee. A home satisfies the contract if a subclass passes, in a suite
with ``asyncio_mode = "auto"``::

    class TestMyHome(HomeChecks):
        @pytest.fixture
        async def home(self):
            async with my_home() as home:
                yield home

A home for several servers also overrides ``other``: a second home on the same data, like that of
another server. No test waits for time to pass, except those of runs that are due later.
"""

from __future__ import annotations

import pytest

from tokenweir.serving.running.home import Home
from tokenweir.testing.homes.checkpoints import CheckpointChecks
from tokenweir.testing.homes.events import EventChecks
from tokenweir.testing.homes.items import ItemChecks
from tokenweir.testing.homes.runs import RunChecks
from tokenweir.testing.homes.threads import ThreadChecks

__all__ = ["HomeChecks"]


class HomeChecks(RunChecks, ThreadChecks, EventChecks, CheckpointChecks, ItemChecks):
    """The contract of ``Store``, ``EventLog``, ``Checkpoints``, ``Items``, and of all together."""

    @pytest.fixture
    async def other(self, home: Home) -> Home:
        """Another server's home on the same data; the same home if only one process can use it."""
        return home
