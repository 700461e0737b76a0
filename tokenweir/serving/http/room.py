"""Who may be connected: so many connections, so many of one address, idle ones only while there
is room. No I/O.
"""

from __future__ import annotations

import ipaddress
import time
from typing import Any, Protocol

from tokenweir.serving.http.open_files import Shares

__all__ = ["Connection", "Room", "address_of"]

_GRACE = 2.0
"""Seconds for which a connection may be idle whatever comes: its request may be on its way."""


class Connection(Protocol):
    """What is connected."""

    def drop(self) -> None:
        """Close it at once."""
        ...


class Room:
    """Counts connections, and says which of them has to go for another one.

    Args:
        shares: How many connections at once, and how many that are about to be refused.
        of_one: Connections of one address at once.
    """

    def __init__(self, shares: Shares, of_one: int) -> None:
        self._most = shares.connections
        self._refusals = shares.refusals
        self._of_one = of_one
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._address: dict[Connection, str] = {}
        self._idle: dict[Connection, float] = {}
        """Since when; who has been idle longest comes first."""
        self._refused: set[Connection] = set()

    def enter(self, connection: Connection, address: str) -> bool:
        """Take a connection in; or return False, if it has to be refused.

        An idle one may be dropped for it. So is this one, if too many are being refused already.
        """
        same = self._by_address.get(address, {})
        full = len(self._address) >= self._most
        if full or len(same) >= self._of_one:
            # Of an address that has too many one of its own goes, and nobody else's.
            crowd = self._idle if len(same) < self._of_one else same
            leaving = next((each for each in crowd if each in self._idle), None)
            if leaving is None or time.monotonic() - self._idle[leaving] < _GRACE:
                if len(self._refused) >= self._refusals:
                    connection.drop()
                self._refused.add(connection)
                return False
            self.leave(leaving)
            leaving.drop()
        self._by_address.setdefault(address, {})[connection] = None
        self._address[connection] = address
        self.rest(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """A connection is closed; or is about to be, and does not count any more."""
        self._refused.discard(connection)
        self._idle.pop(connection, None)
        address = self._address.pop(connection, None)
        if address is not None:
            same = self._by_address[address]
            del same[connection]
            if not same:
                del self._by_address[address]

    def work(self, connection: Connection) -> None:
        """A connection has a request to be answered."""
        self._idle.pop(connection, None)

    def rest(self, connection: Connection) -> None:
        """A connection has none."""
        if connection in self._address:
            self._idle[connection] = time.monotonic()


def address_of(transport: Any) -> str:
    """Whose a connection is: an address, or of IPv6 the network of one, which is one house's."""
    peer = transport.get_extra_info("peername")
    host = str(peer[0]) if isinstance(peer, (tuple, list)) and peer else ""
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False).network_address)
