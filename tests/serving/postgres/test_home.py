"""The home in Postgres keeps what every home promises, between two servers."""

from __future__ import annotations

import pytest

from tokenweir.serving.running.home import Home
from tokenweir.testing.homes import HomeChecks


class TestPostgresHome(HomeChecks):
    """``home`` and ``other`` are fixtures of all tests here."""

    @pytest.fixture
    def other(self, home: Home, other: Home) -> Home:
        """In place of the checks' own, which is the same home."""
        assert other.store is not home.store
        return other
