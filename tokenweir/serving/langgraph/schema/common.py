"""Types that threads, assistants and runs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from tokenweir.serving.fields import said

__all__ = [
    "Limited",
    "Page",
    "Place",
    "only",
]

_MOST = 1000
"""The most items on one page, whatever a request asks for."""

_FAR = 2**63 - 1
"""Behind the last item of all: databases know no larger number."""

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Time: TypeAlias = Annotated[str, said("ISO 8601.")]
Metadata: TypeAlias = Annotated[dict[str, Any] | None, said("Kept with it; to be searched for.")]
Context: TypeAlias = Annotated[Any, said("For graphs with a context schema.")]
Selected: TypeAlias = Annotated[list[str] | None, said("Only these keys.")]
Order: TypeAlias = Literal["asc", "desc"]


PAGES = {
    "X-Pagination-Total": "How many there are.",
    "X-Pagination-Next": "The offset of the next page, if there is one.",
}
"""The headers of one page."""


def only(page: Sequence[Struct], names: list[str] | None) -> list[Any]:
    """The fields of these names of all items on a page; all fields if no name is given."""
    if not names:
        return list(page)
    return [{n: getattr(each, n) for n in names if n in each.__struct_fields__} for each in page]


class Limited(Struct, kw_only=True):
    limit: Annotated[Count | None, said("At most so many.")] = 10

    @property
    def most(self) -> int:
        """How many items at most."""
        return 10 if self.limit is None else min(self.limit, _MOST)


class Page(Limited, kw_only=True):
    """A part of what is found."""

    offset: Count | None = 0

    @property
    def start(self) -> int:
        """How many items come before this page."""
        return min(self.offset or 0, _FAR)

    def headers(self, total: int) -> dict[str, str]:
        """The headers that lead to the next page, of so many items on all pages."""
        end = self.start + self.most
        headers = {"X-Pagination-Total": str(total)}
        if end < total:
            headers["X-Pagination-Next"] = str(end)
        return headers


class Place(Struct, kw_only=True):
    """A place in a thread."""

    checkpoint_ns: str | None = None
    checkpoint_id: str | None = None
