"""Carries live events from one server to others: Postgres' NOTIFY, or NATS.

Both may lose messages: readers notice gaps, and read the missing events from Postgres.
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

from tokenweir.serving.postgres.database import NOTIFY, Connection, Database, store_errors
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.problems import StoreError

__all__ = ["NOTIFIED", "NatsCarrier", "NotifyCarrier"]

NOTIFIED = "notified"
"""The address of servers that are reached by NOTIFY, as all are."""

_PACE = 0.005
"""Minimum seconds between two statements."""

_OF_EACH = 20e-6
"""The same, per pair of servers. A statement wakes all n servers, and all n servers send. To keep
the cost constant, the pace grows with the square of n; this takes effect from 16 servers on."""

_NATS_PACE = 0.001
"""Minimum seconds between two messages to a server."""

_RETRY = 0.2
"""Seconds until a broken connection is opened again."""

_logger = logging.getLogger("tokenweir.serving")


class NotifyCarrier:
    """Sends to every server of the database, on its own connection.

    A connection of the pool would not be free while many runs save their checkpoints. Sending is a
    transaction that writes nothing.
    """

    def __init__(self, database: Database, session: Session) -> None:
        self._database = database
        self._session = session
        self._connection: Connection | None = None

    @property
    def pace(self) -> float:
        """Minimum seconds between two calls of ``send``."""
        return max(_PACE, _OF_EACH * self._session.servers**2)

    async def send(self, words: list[bytes]) -> None:
        """Send words of at most ``LONGEST`` bytes each."""
        number = self._session.number
        said = [f"{number} live {base64.b64encode(word).decode()}" for word in words]
        try:
            with store_errors():
                if self._connection is None:
                    self._connection = await self._database.connect()
                await self._connection.execute(NOTIFY, (said,))
        except StoreError:
            await self.close()
            await asyncio.sleep(_RETRY)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None


class NatsCarrier:
    """Sends by NATS, only to the servers that read a run.

    A server that is not connected to NATS is reached by NOTIFY until it is connected.

    Args:
        url: A NATS server, or several joined by commas.

    Attributes:
        pace: Minimum seconds between two rounds of sending.
        on_word: Called with each word received.
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
        """The address at which this server is reached at the moment."""
        return self._inbox if self._client.is_connected else NOTIFIED

    def reaches(self, address: str) -> bool:
        """Whether a server with this address is reached by NATS at the moment."""
        return address != NOTIFIED and self._client.is_connected

    def open(self) -> None:
        """Connect in the background."""
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
                "NATS is unreachable; tokens go through Postgres until it is back: %s",
                self._problem,
            )

    async def _lost(self) -> None:
        self.on_change()

    async def _back(self) -> None:
        if self._problem is not None:
            _logger.warning("NATS is reachable again")
        self._problem = None
        self.on_change()
