"""The socket of a server: at its own port, or at one that several processes share."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from errno import EADDRINUSE

import click

__all__ = ["listen_at", "port_kept", "url_of"]


@contextlib.contextmanager
def listen_at(host: str, port: int, *, shared: bool = False) -> Iterator[socket.socket]:
    """Listen; ``shared`` lets other processes do so too, and the kernel divides connections."""
    family = _family(host)
    try:
        listening = socket.create_server(
            (host, port), family=family, backlog=2048, reuse_port=shared
        )
    except OSError as error:
        # ``create_server`` appends the address, which the message begins with.
        reason = str(error.strerror or error).partition(" (while attempting")[0]
        if error.errno == EADDRINUSE:
            reason = "the port is in use; choose another with --port (0 takes any free one)"
        raise click.ClickException(f"cannot listen at {host}:{port}: {reason}") from None
    with listening:
        yield listening


@contextlib.contextmanager
def port_kept(host: str, port: int) -> Iterator[int]:
    """Reserve a port for processes that share it, without accepting connections."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise click.UsageError("on this system, several processes cannot share a port")
    with listen_at(host, port) as listening:  # fails if the port is in use
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
