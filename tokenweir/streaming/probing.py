"""Runs the probes, which check that the insides of other packages work as Tokenweir expects."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

from langsmith import tracing_context

__all__ = ["differences"]

_Try = Callable[[], Awaitable[str | None]]


def differences(logger: logging.Logger, warning: str, *tries: _Try) -> list[str | None]:
    """The difference that each of these finds, or None. An exception counts as a difference.

    If there are differences, the warning is logged once, with all of them in place of its ``%s``.
    """
    found: list[str | None] = []

    async def try_all() -> None:
        with tracing_context(enabled=False):
            for each in tries:
                try:
                    found.append(await each())
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
                    found.append(f"{type(error).__name__}: {error}")

    # A separate thread has no context of the caller's run and no running event loop.
    thread = threading.Thread(target=lambda: asyncio.run(try_all()), name="tokenweir-probe")
    thread.start()
    thread.join()
    if reasons := [reason for reason in found if reason is not None]:
        logger.warning(warning, "; ".join(reasons))
    return found
