"""What a run says that another server writes, as it comes: its newest events, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.postgres.live_parts import LivePart
from tokenweir.serving.postgres.place import Place

__all__ = ["Mirror"]

_ENVELOPES = 512
"""Envelopes that are known at once; who wrote one that is not sends it again."""


class Mirror:
    """A tail that is fed from outside, for the readers of one run in this process.

    Attributes:
        tail: None as long as nothing has come, or after something was missed: then readers look
            into Postgres, and for a new tail.
    """

    def __init__(self) -> None:
        self.tail: Tail | None = None
        self._envelopes: dict[int, Envelope] = {}
        self._places: WeakSet[Place] = WeakSet()
        self._silent = False

    def add(self, place: Place) -> None:
        """Have somebody know of new tails."""
        self._places.add(place)

    def came(self, part: LivePart) -> bool:
        """Take the events of a part; whether all of it was understood."""
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
            for place in self._places:
                place.look()
        self._silent = False
        if events:
            tail.extend(events)
            tail.show(tail.last)
            tail.trim(tail.last)
        return True

    def read(self, events: Sequence[Event]) -> None:
        """Some events were read from Postgres: envelopes that are too long to be sent are there."""
        for event in events:
            if event.envelope is not None:
                self._know(event.envelope)

    def _know(self, envelope: Envelope) -> None:
        self._envelopes[envelope.id] = envelope
        if len(self._envelopes) > _ENVELOPES:
            del self._envelopes[next(iter(self._envelopes))]

    def forget(self) -> None:
        """Have the readers look into Postgres."""
        if self.tail is not None:
            self.tail.end()
            self.tail = None

    def tick(self) -> None:
        """Called from time to time: if nothing has come since the last call, readers look."""
        if self._silent:
            self.forget()
        self._silent = True
