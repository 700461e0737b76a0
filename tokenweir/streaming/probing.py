"""Makes probes, which check once that the insides of other packages work as Tokenweir expects."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import cache, wraps

from langsmith import tracing_context

__all__ = ["probing"]

_Check = Callable[[], Awaitable[str | None]]


def probing(warning: str) -> Callable[[_Check], Callable[[], str | None]]:
    """Turn a check into a probe: its first call runs the check, and every call returns the result.

    The result is None, or the difference that was found; an exception counts as one. A difference
    is logged once, in place of the warning's ``%s``.
    """

    def probe_of(check: _Check) -> Callable[[], str | None]:
        lock = threading.Lock()

        @cache
        def result() -> str | None:
            found = _checked(check)
            if found is not None:
                logging.getLogger(check.__module__).warning(warning, found)
            return found

        @wraps(check)
        def probe() -> str | None:
            with lock:
                return result()

        return probe

    return probe_of


def _checked(check: _Check) -> str | None:
    found: list[str | None] = []

    async def run() -> None:
        with tracing_context(enabled=False):
            try:
                found.append(await check())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
                found.append(f"{type(error).__name__}: {error}")

    # A separate thread has no context of the caller's run and no running event loop.
    thread = threading.Thread(target=lambda: asyncio.run(run()), name="tokenweir-probe")
    thread.start()
    thread.join()
    return found[0]
