"""What carries live events from one server to others: Postgres' NOTIFY, or NATS.

Each may lose anything: readers see what is missing, and read it from Postgres.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable
from uuid import uuid4

import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from tokenweir.serving.postgres.database import NOTIFY, Connection, Database, told
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.problems import StoreError

__all__ = ["NOTIFIED", "NatsCarrier", "NotifyCarrier"]

NOTIFIED = "notified"
"""The address of servers that hear by NOTIFY, as all do."""

_PACE = 0.005
"""Seconds between two statements, at least."""

_OF_EACH = 20e-6
"""The same for each pair of servers. With n servers n wake n times in that time, so that it grows
with the square of their number if the cost of that is to stay the same: more from 16 servers on."""

_NATS_PACE = 0.001
"""Seconds between two messages to a server, at least."""

_RETRY = 0.2
"""Seconds until a connection that broke is tried anew."""

_logger = logging.getLogger("tokenweir.serving")


class NotifyCarrier:
    """Tells every server of the database, on a connection of its own.

    One of the pool's would have to be waited for while many runs save their checkpoints. It is a
    transaction that writes nothing.
    """

    def __init__(self, database: Database, session: Session) -> None:
        self._database = database
        self._session = session
        self._connection: Connection | None = None

    @property
    def pace(self) -> float:
        """Seconds from one call of ``send`` to the next, at least."""
        return max(_PACE, _OF_EACH * self._session.servers**2)

    async def send(self, words: list[bytes]) -> None:
        """Send words of at most ``LONGEST`` bytes."""
        number = self._session.number
        said = [f"{number} live {base64.b64encode(word).decode()}" for word in words]
        try:
            with told():
                if self._connection is None:
                    self._connection = await self._database.connect()
                await self._connection.execute(NOTIFY, (said,))
        except StoreError:
            await self.close()
            await asyncio.sleep(_RETRY)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None


class NatsCarrier:
    """Tells the servers that read a run, and no others, by NATS.

    A server that has not reached NATS, or has lost it, is told by NOTIFY until it is there.

    Args:
        url: A server of NATS, or several joined by commas.

    Attributes:
        pace: Seconds from one turn of sending to the next, at least.
        on_word: Called with each word that comes.
        on_change: Called when ``address`` has changed.
    """

    pace = _NATS_PACE

    def __init__(self, url: str) -> None:
        self.on_word: Callable[[bytes], None] = lambda word: None
        self.on_change: Callable[[], None] = lambda: None
        self._url = url
        self._inbox = f"tokenweir.{uuid4().hex}"
        self._client = Client()
        self._opening: asyncio.Task[None] | None = None
        self._problem: str | None = None

    @property
    def address(self) -> str:
        """Where this server is reached just now."""
        return self._inbox if self._client.is_connected else NOTIFIED

    def reaches(self, address: str) -> bool:
        """Whether a server with this address is told by NATS just now."""
        return address != NOTIFIED and self._client.is_connected

    def open(self) -> None:
        """Begin to connect, for as long as that takes."""
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        await self._client.connect(
            self._url.split(","),
            name="tokenweir",
            connect_timeout=5,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=self._failed,
            disconnected_cb=self._lost,
            reconnected_cb=self._back,
        )
        await self._client.subscribe(self._inbox, cb=self._heard)
        await self._back()

    async def send(self, address: str, words: list[bytes]) -> None:
        """Send words to one server."""
        for word in words:
            with contextlib.suppress(Error):
                await self._client.publish(address, word)

    async def close(self) -> None:
        """Disconnect."""
        self.on_change = lambda: None
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._client.close()

    async def _heard(self, message: Msg) -> None:
        self.on_word(message.data)

    async def _failed(self, error: Exception) -> None:
        if self._client.is_connected:
            _logger.info("NATS: %s", error)
        elif self._problem is None:
            self._problem = str(error) or type(error).__name__
            _logger.error(
                "NATS cannot be reached, trying again; tokens go by Postgres meanwhile: %s",
                self._problem,
            )

    async def _lost(self) -> None:
        self.on_change()

    async def _back(self) -> None:
        if self._problem is not None:
            _logger.warning("NATS is reached")
        self._problem = None
        self.on_change()
