"""The notifications between servers: a run has new events or has ended, or there is work.

They are hints: each may be lost, and all waiters poll as well. The same holds for events sent
from the server that writes a run to those that read it: missing ones are read from Postgres.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Collection
from weakref import WeakSet, WeakValueDictionary

from tokenweir.serving.postgres.carriers import NOTIFIED, NatsCarrier
from tokenweir.serving.postgres.database import Database
from tokenweir.serving.postgres.live_parts import unpack
from tokenweir.serving.postgres.mirror import Mirror
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.postgres.wakeup import Wakeup

__all__ = ["Notifications"]

_TICK = 1.0
"""Seconds without new events of a run after which its readers read from Postgres."""

_READS = 10.0
"""Seconds after which a server announces again that it reads a run."""

_IN_ONE_WORD = 100
"""Runs per notification, which has at most 8,000 bytes."""

_READ = 25.0
"""Seconds for which a run counts as read after such an announcement."""


class Notifications:
    """Notifications from and to all servers.

    Args:
        nats: Also receives live events.
    """

    def __init__(
        self, database: Database, session: Session, nats: NatsCarrier | None = None
    ) -> None:
        self._database = database
        self._session = session
        self._nats = nats
        self._loop = asyncio.get_running_loop()
        self._wakeups: dict[str, WeakSet[Wakeup]] = {}
        self._mirrors: WeakValueDictionary[str, Mirror] = WeakValueDictionary()
        self._read: dict[str, dict[str, float]] = {}
        """By run: the addresses of other servers that read it, and until when each counts."""
        self._new_readers: dict[str, float] = {}
        """By run: when it last got a reader at another server."""
        self._announced: dict[str, float] = {}
        """By run: when other servers were last told that it is read here."""
        self._asking: list[str] = []
        self._at_work: WeakSet[asyncio.Event] = WeakSet()
        self._notifying: set[asyncio.Task[None]] = set()
        self.on_reader: Callable[[str], None] = lambda run: None
        """Called with the id of a run when another server announces that it reads it."""
        session.hear(self._heard)
        if nats is not None:
            nats.on_word = self._came
            nats.on_change = self._ask_anew
        self._ticking = self._loop.create_task(self._tick())

    @property
    def problem(self) -> str | None:
        """Why no notifications arrive at the moment; None if they do."""
        return self._session.problem

    # Within this process

    def wakeup(self, run: str) -> Wakeup:
        """A wakeup for one waiter, set for what happens to the run as long as it is referenced."""
        made = Wakeup()
        if run not in self._wakeups:
            for empty in [each for each, wakeups in self._wakeups.items() if not wakeups]:
                del self._wakeups[empty]
            self._wakeups[run] = WeakSet()
        self._wakeups[run].add(made)
        return made

    def mirror(self, run: str, wakeup: Wakeup) -> Mirror:
        """The mirror of a run that another server writes; it lives as long as it is referenced."""
        found = self._mirrors.get(run)
        if found is None:
            found = self._mirrors[run] = Mirror()
        found.add(wakeup)
        return found

    def work(self) -> asyncio.Event:
        """An event that is set when there may be work."""
        made = asyncio.Event()
        made.set()
        self._at_work.add(made)
        return made

    def wake(self, run: str) -> None:
        """Wake all waiters for a run in this process."""
        if (mirror := self._mirrors.get(run)) is not None:
            mirror.forget()
        for wakeup in self._wakeups.get(run, ()):
            wakeup.set()

    def wake_all(self) -> None:
        """Wake all waiters in this process."""
        self._ask_anew()  # notifications may have been lost on either side
        for run in self._wakeups:
            self.wake(run)
        self.wake_workers()

    def wake_workers(self) -> None:
        """Wake the workers in this process."""
        for event in self._at_work:
            event.set()

    # To and from the others

    def reads(self, run: str) -> None:
        """Note that a run is read here, and ask its server to send live events."""
        now = self._loop.time()
        if self._announced.get(run, -_READS) + _READS <= now:
            self._announced = {
                each: at for each, at in self._announced.items() if at + _READS > now
            }
            self._announced[run] = now
            if not self._asking:
                self._loop.call_soon(self._ask)
            self._asking.append(run)

    def _ask(self) -> None:
        runs, self._asking = self._asking, []
        for start in range(0, len(runs), _IN_ONE_WORD):
            here = NOTIFIED if self._nats is None else self._nats.address
            self.notify_soon("reads", here, *runs[start : start + _IN_ONE_WORD])

    def _ask_anew(self) -> None:
        """Announce again what is read here, and at which address."""
        self._announced.clear()

    def readers(self, run: str) -> Collection[str]:
        """The addresses of the other servers that read a run."""
        return self._read.get(run, ())

    def has_reader_since(self, run: str, seconds: float) -> bool:
        """Whether a run got a reader at another server in the last so many seconds.

        This is remembered for ``_READ`` seconds.
        """
        return self._new_readers.get(run, float("-inf")) >= self._loop.time() - seconds

    async def notify(self, word: str, *more: str) -> None:
        """Notify all other servers.

        Words are ``work``; ``reads ADDRESS RUN...``; ``reader RUN``; ``ended RUN``. ``Live`` also
        sends ``live PARTS``.
        """
        await self._database.tell([" ".join((str(self._session.number), word, *more))])

    def notify_soon(self, word: str, *more: str) -> None:
        """Notify them in the background."""
        task = self._loop.create_task(self.notify(word, *more))
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)

    async def close(self) -> None:
        """Wait until all notifications are sent."""
        self._ticking.cancel()
        with contextlib.suppress(ValueError):
            await asyncio.wait(self._notifying)

    def _heard(self, said: str) -> None:
        sender, *words = said.split(" ")
        if sender == str(self._session.number):
            return
        match words:
            case []:
                self.wake_all()
            case ["work"]:
                self.wake_workers()
            case ["live", parts]:
                self._came(base64.b64decode(parts))
            case ["ended", run]:
                self._read.pop(run, None)
                self.wake(run)
            case ["reader", run]:
                now = self._loop.time()
                self._new_readers = {
                    each: at for each, at in self._new_readers.items() if at + _READ > now
                }
                self._new_readers[run] = now
            case ["reads", address, *runs]:
                until = self._loop.time() + _READ
                for run in runs:
                    self._read.setdefault(run, {})[address] = until
                    self.on_reader(run)

    def _came(self, parts: bytes) -> None:
        for run, part in unpack(parts, self._mirrors):
            mirror = self._mirrors.get(run)
            if mirror is not None and not mirror.came(part):
                self._announced.pop(run, None)  # ask its server again

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = self._loop.time()
            for readers in self._read.values():
                for address in [each for each, until in readers.items() if until <= now]:
                    del readers[address]
            self._read = {run: readers for run, readers in self._read.items() if readers}
            for run, mirror in list(self._mirrors.items()):
                mirror.tick()
                if mirror.tail is not None:
                    self.reads(run)
