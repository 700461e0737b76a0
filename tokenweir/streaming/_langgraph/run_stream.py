"""LangGraph's v3 run stream over Tokenweir's source, at a lower cost per event.

LangGraph pulls each event in a separate task, so that ``abort`` can cancel the wait, and under a
lock. Tokenweir's source needs neither: closing it wakes its waiting readers. The rest of the run
stream is LangGraph's; if a name used here is missing, all of it is.
"""

from __future__ import annotations

from typing import Any

from langgraph.stream import AsyncGraphRunStream

__all__ = ["pulling_directly"]

_event_of: Any
try:
    from langgraph.stream._convert import convert_to_protocol_event as _event_of
except ImportError:
    _event_of = None

_USED = (
    "_exhausted",
    "_graph_aiter",
    "_mux",
    "_observe_event",
    "_pump_cond",
    "_pumping",
)


class _RunStream(AsyncGraphRunStream):
    """A run stream whose source may be closed while it is being read."""

    _waiting = 0
    """The number of readers that wait for the one that pulls."""

    async def _apump_next(self) -> bool:
        """Pull one event, or wait until another reader has; False at the end of the run.

        There is no await between the check of ``_pumping`` and its change.
        """
        source: Any = self._graph_aiter
        if self._exhausted or source is None:
            return False
        if self._pumping:
            self._waiting += 1
            try:
                async with self._pump_cond:
                    await self._pump_cond.wait()
            finally:
                self._waiting -= 1
            return not self._exhausted
        self._pumping = True
        try:
            event = _event_of(await source.__anext__())
            self._observe_event(event)
            await self._mux.apush(event)
            return True
        except StopAsyncIteration:
            self._exhausted = True
            await self._mux.aclose()
            return False
        except Exception as error:  # noqa: BLE001 - the readers of the run are told
            self._exhausted = True
            await self._mux.afail(error)
            return False
        finally:
            self._pumping = False
            if self._waiting:
                async with self._pump_cond:
                    self._pump_cond.notify_all()


def pulling_directly(run: AsyncGraphRunStream) -> AsyncGraphRunStream:
    """Make a run stream that has not started pull from its source without a task.

    The source's ``aclose`` must end a waiting ``__anext__``.
    """
    if (
        _event_of is None
        or type(run) is not AsyncGraphRunStream
        or not all(hasattr(run, name) for name in _USED)
    ):
        return run
    return _RunStream(run._graph_aiter, run._mux)
