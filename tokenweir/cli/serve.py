"""``tokenweir serve``: put graphs behind HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from tokenweir.cli.homes import home_of, live_option
from tokenweir.cli.listening import listen_at, port_kept, url_of
from tokenweir.cli.options import guard_option, model_option
from tokenweir.cli.workers import NUMBER, end_with_parent, serve_with_workers

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from tokenweir.serving.http.room import Room
    from tokenweir.streaming.guard import Guard

__all__ = ["serve"]

_SWITCH = 0.0005
"""How long a thread may hold the GIL while others wait, in seconds. Under load, Python's own 5 ms
make the threads that write to the disk wait too long for each of their turns, several per commit,
and the loop too long for its own."""

_COLLECT = (2_000, 5, 20)
"""Thresholds of the garbage collector: a full collection after 200,000 new objects, some 30 MB. A
run holds thousands of objects, and with Python's own thresholds a few new runs caused a full
collection over all of them, in pauses of up to 0.2 s with 600 runs."""


@click.command(short_help="Put graphs behind HTTP.")
@click.argument("graphs", nargs=-1, metavar="[NAME=]GRAPH...")
@model_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=2024,
    show_default=True,
    help="The port; 0 for any free one.",
)
@click.option(
    "--data",
    default=".tokenweir",
    show_default=True,
    metavar="FOLDER|URL",
    help="The folder for runs, threads and checkpoints; or postgresql://..., which several servers "
    "share as one service.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that serve at this port, each on its own core. They start a Postgres in the "
    "data folder, unless --data names one.",
)
@click.option("--memory", is_flag=True, help="Keep everything in memory, until the server stops.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    help="An API key that requests must carry; with several, each sees only its own runs and "
    "threads. Other users here can read it: prefer TOKENWEIR_API_KEYS, joined by commas.",
)
@click.option("--cors", multiple=True, metavar="ORIGIN", help="An origin whose web pages may call.")
@guard_option
@click.option("--reload", is_flag=True, help="Restart when a Python file here changes.")
@click.option(
    "--log-level",
    type=click.Choice(["error", "warning", "info", "debug"]),
    default="warning",
    show_default=True,
    help="How much to log on stderr; info logs every request.",
)
@click.option("--max-runs", default=1000, show_default=True, help="Concurrent runs; more wait.")
@click.option(
    "--max-per-address",
    type=click.IntRange(1),
    show_default="half of all",
    help="Connections from one address; raise it behind a proxy.",
)
@click.option("--max-queue", default=1000, show_default=True, help="Runs of one key that may wait.")
@click.option("--max-body", default=4 << 20, show_default=True, help="Bytes of a request's body.")
@click.option("--run-seconds", default=3600.0, show_default=True, help="How long a run may take.")
@click.option(
    "--drain-seconds",
    default=20.0,
    show_default=True,
    help="How long runs may continue after the server is told to stop.",
)
@click.option(
    "--lease-seconds",
    type=click.FloatRange(1),
    default=10.0,
    show_default=True,
    help="With several servers: take over the runs of a server that has been silent for this long. "
    "The runs of a killed one are taken over at once.",
)
@live_option
@click.option(
    "--slow-seconds",
    default=30.0,
    show_default=True,
    help="Drop the connection of a client that reads nothing, or leaves a request unfinished, "
    "for this long.",
)
@click.option(
    "--heartbeat-seconds",
    default=5.0,
    show_default=True,
    help="Send a comment on streams that have been silent for this long.",
)
@click.option(
    "--keep-days", default=7.0, show_default=True, help="Delete finished runs after this many days."
)
@click.option(
    "--keep-mb",
    default=4096,
    show_default=True,
    help="Delete the oldest finished runs when all runs together take more megabytes than this.",
)
def serve(
    graphs: tuple[str, ...],
    host: str,
    port: int,
    data: str,
    workers: int,
    memory: bool,
    keys: tuple[str, ...],
    cors: tuple[str, ...],
    guards: list[Guard],
    max_per_address: int | None,
    reload: bool,
    log_level: str,
    live: str | None,
    **limits: float,
) -> int:
    """Put graphs behind HTTP: LangGraph's API, OpenAI's, AG-UI, the AI SDK, server-sent events.

    A GRAPH is whatever `tokenweir run` takes; without one, all graphs of ./langgraph.json. The
    server's URL is the first line on standard output.

    \b
    Examples:
      tokenweir serve joke_poem chat
      tokenweir serve mine=my_graphs.py:graph --port 8000 --reload
      TOKENWEIR_API_KEYS=secret tokenweir serve chat --host 0.0.0.0

    On SIGTERM or Ctrl-C the server takes no new runs and lets the running ones finish. It stops
    those that take too long; they continue from their last checkpoint at the next start. A second
    signal ends the server at once.
    """
    if workers > 1:
        return _with_workers(workers, host, port, data, alone=memory or reload)
    if reload:
        _reload(host, port)
    worker = int(os.environ.get(NUMBER, 0))
    loaded = _loaded(graphs)
    given = os.environ.get("TOKENWEIR_API_KEYS", "")
    all_keys = [*keys, *filter(None, map(str.strip, given.split(",")))]
    if not all_keys and not _is_loopback(host):
        _tell(
            f"{host} can be reached from other machines, and no API key is set "
            "(TOKENWEIR_API_KEYS): anybody may run these graphs"
        )
    try:
        from tokenweir.serving.app import create_app
        from tokenweir.serving.http.open_files import Shares, raise_limit
        from tokenweir.serving.http.room import Room
        from tokenweir.serving.problems import GraphNameError, Limits
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"serving needs {error.name}: pip install 'tokenweir[serve]'"
        ) from None
    files = raise_limit()
    shares = Shares.of(files)
    if shares.runs < limits["max_runs"]:
        _tell(
            f"this process may have {files} open files (ulimit -Hn), so it takes at most "
            f"{shares.connections} connections and {shares.runs} runs at once"
        )
    room = Room(shares, max_per_address or shares.connections // 2 or 1)
    try:
        app = create_app(
            loaded,
            home=home_of(None if memory else data, loaded, limits["lease_seconds"], live),
            keys=all_keys,
            cors=cors,
            local=_is_loopback(host),
            guards=guards,
            limits=Limits(
                body=int(limits["max_body"]),
                runs=min(int(limits["max_runs"]), shares.runs),
                queue=int(limits["max_queue"]),
                run_seconds=limits["run_seconds"],
                drain_seconds=limits["drain_seconds"],
                slow_seconds=limits["slow_seconds"],
                heartbeat_seconds=limits["heartbeat_seconds"],
                keep_seconds=limits["keep_days"] * 86400,
                keep_bytes=int(limits["keep_mb"]) << 20,
            ),
        )
    except GraphNameError as error:
        raise click.UsageError(str(error)) from None
    if worker:
        end_with_parent()
    with listen_at(host, port, shared=bool(worker)) as listening:
        return _serve(app, listening, host, list(loaded), limits, room, log_level)


def _tell(text: str) -> None:
    """Print a startup message, once for all workers."""
    if os.environ.get(NUMBER, "1") == "1":
        click.echo(f"tokenweir: {text}", err=True)


def _reload(host: str, port: int) -> None:
    """Serve from a child process, restarted at each change, always at the same port."""
    from tokenweir.cli.reload import serve_again

    with listen_at(host, port) as listening:
        port = listening.getsockname()[1]
    words = sys.argv[sys.argv.index("serve") + 1 :]
    given = [word for word in words if word != "--reload"]
    serve_again([*given, f"--port={port}", "--drain-seconds=0"], Path())


def _with_workers(count: int, host: str, port: int, data: str, *, alone: bool) -> int:
    """Serve from ``count`` processes at one port."""
    if alone:
        raise click.UsageError("--workers cannot be combined with --memory or --reload")
    with port_kept(host, port) as port:
        words = sys.argv[sys.argv.index("serve") + 1 :]
        return serve_with_workers(count, words, url_of(host, port), data)


def _loaded(specs: tuple[str, ...]) -> dict[str, Any]:
    """The graphs by name."""
    from tokenweir.graphs.loader import configured_graphs, load

    configured = configured_graphs()
    specs = specs or tuple(configured)
    if not specs:
        raise click.UsageError("say which graphs to serve, such as joke_poem")
    found: dict[str, Any] = {}
    for spec in specs:
        name, given, place = spec.partition("=")
        if spec in configured:
            name, given = spec, ""
        graph = load(place if given else spec)
        if not given and spec not in configured:
            name = spec
            if ":" in spec or spec.endswith(".py"):
                own = getattr(graph, "name", None)
                name = own if own and own != "LangGraph" else Path(spec.rpartition(":")[0]).stem
        if name in found:
            raise click.UsageError(f"two graphs are called {name}: name one, other={spec}")
        found[name] = graph
    return found


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _serve(
    app: Starlette,
    listening: socket.socket,
    host: str,
    names: list[str],
    limits: dict[str, Any],
    room: Room,
    log_level: str,
) -> int:
    """Serve until told to stop; the exit code."""
    import uvicorn

    from tokenweir.serving.http.abortable import abortable
    from tokenweir.serving.http.connections import protocol, socket_protocol
    from tokenweir.serving.http.log_limit import LogLimit

    class Server(uvicorn.Server):
        """Prints its URL once it accepts connections, and lets runs finish before it stops."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # These objects live as long as the process: scanning them again would delay tokens.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_COLLECT)
            if self.started:
                click.echo(url_of(host, listening.getsockname()[1]))
                _tell(f"serving {', '.join(names)}")
                sys.stdout.flush()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if (runs := app.state.service.started) is not None:
                draining = asyncio.ensure_future(runs.worker.drain())
                while not draining.done() and not self.force_exit:
                    await asyncio.wait({draining}, timeout=0.1)
                draining.cancel()
            await super().shutdown(sockets)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own version raises the signals again at the end, so the exit is not clean.
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {
                number: signal.signal(number, self._on_signal)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        def _on_signal(self, number: int, frame: FrameType | None) -> None:
            if self.should_exit:
                os._exit(128 + number)
            self.should_exit = True

    served = abortable(app)
    failure: list[Exception] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await served(scope, receive, send)
        except Exception as error:
            if scope["type"] == "lifespan":
                failure.append(error)
            raise

    def is_ours(record: logging.LogRecord) -> bool:
        """Whether uvicorn may log it; the command itself reports why a start failed."""
        return server.started

    logging.basicConfig(format="tokenweir: %(message)s", level=log_level.upper())
    logger = logging.getLogger("uvicorn.error")
    limit = LogLimit(logger)
    logger.addFilter(is_ours)
    logger.addFilter(limit)
    config = uvicorn.Config(
        watched,
        http=protocol(limits["slow_seconds"], room),
        log_config=None,
        lifespan="on",
        log_level=log_level,
        access_log=log_level in ("info", "debug"),
        server_header=False,
        ws=socket_protocol() or "none",
        ws_max_size=int(limits["max_body"]),
        ws_per_message_deflate=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
    )
    server = Server(config)
    loop = (config.get_loop_factory() or asyncio.new_event_loop)()
    sys.setswitchinterval(_SWITCH)
    serving = loop.create_task(server.serve([listening]))
    try:
        while not serving.done():
            # A node that calls sys.exit() stops the loop that it runs in; its run fails, no more.
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                loop.run_until_complete(serving)
    finally:
        limit.tell()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    if failure:
        raise failure[0]
    return 0 if server.started else 1
