"""Types that threads, assistants and runs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from tokenweir.serving.fields import said

__all__ = [
    "CheckpointConfig",
    "Limited",
    "Page",
    "only",
]

_MOST = 1000
"""The most items on one page, even if a request asks for more."""

_FAR = 2**63 - 1
"""The largest offset that databases accept."""

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Time: TypeAlias = Annotated[str, said("ISO 8601.")]
Metadata: TypeAlias = Annotated[dict[str, Any] | None, said("Kept with it, and searchable.")]
Context: TypeAlias = Annotated[Any, said("For graphs with a context schema.")]
Selected: TypeAlias = Annotated[list[str] | None, said("Only these keys.")]
Order: TypeAlias = Literal["asc", "desc"]


PAGES = {
    "X-Pagination-Total": "The number of items on all pages.",
    "X-Pagination-Next": "The offset of the next page, if there is one.",
}
"""The headers of a page."""


def only(page: Sequence[Struct], names: list[str] | None) -> list[Any]:
    """The named fields of all items on a page; all fields if none are named."""
    if not names:
        return list(page)
    return [{n: getattr(each, n) for n in names if n in each.__struct_fields__} for each in page]


class Limited(Struct, kw_only=True):
    limit: Annotated[Count | None, said("The most items to return.")] = 10

    @property
    def most(self) -> int:
        """The most items to return."""
        return 10 if self.limit is None else min(self.limit, _MOST)


class Page(Limited, kw_only=True):
    """A page of the results."""

    offset: Count | None = 0

    @property
    def start(self) -> int:
        """The number of items before this page."""
        return min(self.offset or 0, _FAR)

    def headers(self, total: int) -> dict[str, str]:
        """The headers of this page, for so many items on all pages."""
        end = self.start + self.most
        headers = {"X-Pagination-Total": str(total)}
        if end < total:
            headers["X-Pagination-Next"] = str(end)
        return headers


class CheckpointConfig(Struct, kw_only=True):
    """A checkpoint in a thread."""

    checkpoint_ns: str | None = None
    checkpoint_id: str | None = None
