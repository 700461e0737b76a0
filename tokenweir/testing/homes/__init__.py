"""What every home of a server has to do: its store, event log, checkpoints and items.

One test for each promise. A home passes when a subclass does, in a suite with
``asyncio_mode = "auto"``::

    class TestMyHome(HomeChecks):
        @pytest.fixture
        async def home(self):
            async with my_home() as home:
                yield home

A home for several servers gives ``other``, too: a second one on the same data, as another server
has it. No test waits for time to pass, but those of runs that are due later.
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
        """The same data as another server has it; the same home, where one process has it all."""
        return home
