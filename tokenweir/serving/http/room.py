"""Decides which connections are served: limits their number, in all and per address. No I/O.

If there is no room, an idle connection is closed for a new one.
"""

from __future__ import annotations

import ipaddress
import time
from typing import Any, Protocol

from tokenweir.serving.http.open_files import Shares

__all__ = ["Connection", "Room", "address_of"]

_GRACE = 2.0
"""Seconds for which an idle connection is kept in any case: its request may be on its way."""


class Connection(Protocol):
    """A connection of a client."""

    def drop(self) -> None:
        """Close it at once."""
        ...


class Room:
    """Counts connections, and decides which has to make room for another.

    Args:
        shares: How many connections may be served, and how many refused, at a time.
        of_one: Connections of one address at a time.
    """

    def __init__(self, shares: Shares, of_one: int) -> None:
        self._most = shares.connections
        self._refusals = shares.refusals
        self._of_one = of_one
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._address: dict[Connection, str] = {}
        self._idle: dict[Connection, float] = {}
        """Idle connections with the time since when; the longest idle first."""
        self._refused: set[Connection] = set()

    def enter(self, connection: Connection, address: str) -> bool:
        """Admit a connection; return False if it has to be refused.

        An idle connection may be dropped for it. If too many are being refused already, it is
        dropped at once.
        """
        same = self._by_address.get(address, {})
        full = len(self._address) >= self._most
        if full or len(same) >= self._of_one:
            # An address with too many connections must give up one of its own.
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
        """Note that a connection is closed, or is about to be, and no longer counts."""
        self._refused.discard(connection)
        self._idle.pop(connection, None)
        address = self._address.pop(connection, None)
        if address is not None:
            same = self._by_address[address]
            del same[connection]
            if not same:
                del self._by_address[address]

    def work(self, connection: Connection) -> None:
        """Note that a connection has a request in progress."""
        self._idle.pop(connection, None)

    def rest(self, connection: Connection) -> None:
        """Note that a connection is idle."""
        if connection in self._address:
            self._idle[connection] = time.monotonic()


def address_of(transport: Any) -> str:
    """The address of a connection; for IPv6 its /64 network, which usually is one customer's."""
    peer = transport.get_extra_info("peername")
    host = str(peer[0]) if isinstance(peer, (tuple, list)) and peer else ""
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False).network_address)
