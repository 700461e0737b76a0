"""The newest events of a run that another server writes, in memory, as they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.postgres.live_parts import LivePart
from tokenweir.serving.postgres.wakeup import Wakeup

__all__ = ["Mirror"]

_ENVELOPES = 512
"""The number of envelopes remembered; if one is missing, its server is asked to send it again."""


class Mirror:
    """A tail that is fed from outside, for the readers of one run in this process.

    Attributes:
        tail: None until events arrive, and after some were missed; then readers read from
            Postgres, and look for a new tail.
    """

    def __init__(self) -> None:
        self.tail: Tail | None = None
        self._envelopes: dict[int, Envelope] = {}
        self._wakeups: WeakSet[Wakeup] = WeakSet()
        self._silent = False

    def add(self, wakeup: Wakeup) -> None:
        """Set this wakeup when there is a new tail."""
        self._wakeups.add(wakeup)

    def came(self, part: LivePart) -> bool:
        """Take the events of a part; return False if an envelope is missing."""
        envelopes = self._envelopes
        for each in part.envelopes:
            self._know(Envelope(each.head, each.tail, each.id))
        try:
            events = [
                Event(each.id, each.kind, each.body, envelopes[each.envelope])
                if each.envelope
                else Event(each.id, each.kind, each.body)
                for each in part.events
            ]
        except KeyError:
            self.forget()
            return False
        tail = self.tail
        if tail is None or part.before > tail.last:
            self.forget()
            tail = self.tail = Tail(part.before, part.before)
            for wakeup in self._wakeups:
                wakeup.set()
        self._silent = False
        if events:
            tail.extend(events)
            tail.show(tail.last)
            tail.trim(tail.last)
        return True

    def read(self, events: Sequence[Event]) -> None:
        """Learn the envelopes of events read from Postgres, as long ones are not sent."""
        for event in events:
            if event.envelope is not None:
                self._know(event.envelope)

    def _know(self, envelope: Envelope) -> None:
        self._envelopes[envelope.id] = envelope
        if len(self._envelopes) > _ENVELOPES:
            del self._envelopes[next(iter(self._envelopes))]

    def forget(self) -> None:
        """Make readers read from Postgres."""
        if self.tail is not None:
            self.tail.end()
            self.tail = None

    def tick(self) -> None:
        """Called in intervals: if no event came since the last call, readers read from Postgres."""
        if self._silent:
            self.forget()
        self._silent = True
