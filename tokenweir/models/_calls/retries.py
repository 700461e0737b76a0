"""Retries calls, async and sync. ``state.py`` decides whether and when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tokenweir.models._calls.state import CallState, Failure
from tokenweir.streaming.channel import ReaderLeft
from tokenweir.streaming.flow_control import current_flow_control

__all__ = ["sleep_sync", "with_retries", "with_retries_sync"]

T = TypeVar("T")
Classify = Callable[[BaseException, CallState], Failure]


async def with_retries(
    attempt: Callable[[], Awaitable[T]], state: CallState, classify_error: Classify
) -> T:
    """The result of ``attempt()``, retried as the state allows."""
    while True:
        try:
            return await attempt()
        except Exception as error:  # noqa: BLE001 - raised by retry_delay unless it is transient
            delay = state.retry_delay(error, classify_error)
        await asyncio.sleep(delay)


def with_retries_sync(attempt: Callable[[], T], state: CallState, classify_error: Classify) -> T:
    """Like ``with_retries``, but blocking."""
    while True:
        try:
            return attempt()
        except Exception as error:  # noqa: BLE001 - raised by retry_delay unless it is transient
            delay = state.retry_delay(error, classify_error)
        sleep_sync(delay)


def sleep_sync(seconds: float) -> None:
    """Sleep in this thread; raise ReaderLeft as soon as the reader of the call's run leaves."""
    flow = current_flow_control.get()
    if flow is None:
        time.sleep(seconds)
        return
    left = threading.Event()
    flow.channel.add_close_callback(left, left.set)
    try:
        if left.wait(seconds):
            raise ReaderLeft
    finally:
        flow.channel.remove_close_callback(left)
