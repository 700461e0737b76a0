"""The pytest plugin that comes with Tokenweir: a scripted provider as a fixture.

pytest finds it once the package is installed; it imports nothing until a test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tokenweir.testing.provider import Provider

__all__ = ["provider"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A scripted provider on a loopback port, for one test."""
    from tokenweir.testing.provider import Provider

    with Provider() as running:
        yield running
