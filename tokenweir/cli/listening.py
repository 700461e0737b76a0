"""Where a server listens: a port of its own, or one that several processes share."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from errno import EADDRINUSE

import click

__all__ = ["listen_at", "port_kept", "url_of"]


@contextlib.contextmanager
def listen_at(host: str, port: int, *, shared: bool = False) -> Iterator[socket.socket]:
    """Listen; ``shared`` with other processes, each of which gets some of the connections."""
    family = _family(host)
    try:
        listening = socket.create_server(
            (host, port), family=family, backlog=2048, reuse_port=shared
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        other = " (--port 0 takes any free one)" if getattr(error, "errno", 0) == EADDRINUSE else ""
        raise click.ClickException(f"cannot listen at {host}:{port}: {reason}{other}") from None
    with listening:
        yield listening


@contextlib.contextmanager
def port_kept(host: str, port: int) -> Iterator[int]:
    """Keep a port, for processes that share it; it takes no connections itself."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise click.UsageError("this system cannot have several processes share a port")
    with listen_at(host, port) as listening:  # as long as nobody else does
        port = listening.getsockname()[1]
    with socket.socket(_family(host)) as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((host, port))
        yield port


def url_of(host: str, port: int) -> str:
    """The URL of a server there."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
