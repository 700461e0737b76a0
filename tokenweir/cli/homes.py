"""The home that the command line chooses for a server's data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["home_of", "live_option"]

_SCHEMES = ("nats://", "tls://", "ws://", "wss://")


def _live(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    if given and not all(each.startswith(_SCHEMES) for each in given.split(",")):
        raise click.UsageError(
            f"--live {given}: give the URL of a NATS server, as nats://host:4222; join several "
            "with commas"
        )
    return given


live_option = click.option(
    "--live",
    metavar="nats://HOST:PORT",
    callback=_live,
    help="Send tokens that are read on a different server than the one executing the run over NATS "
    "instead of Postgres; this pays off from about 16 servers on. Runs are recorded in Postgres "
    "either way.",
)


def home_of(data: str | None, graphs: dict[str, Any], lease: float, live: str | None) -> Any:
    """A home for ``create_app``: in memory (None), in Postgres, or in a folder."""
    if data is not None and data.startswith(("postgresql://", "postgres://")):
        try:
            from tokenweir.serving.postgres.home import postgres_home
        except ImportError as error:  # psycopg without libpq raises it, too
            raise click.ClickException(
                f"--data {data.partition(':')[0]}://... needs psycopg ({error}): "
                "pip install 'tokenweir[cluster]'"
            ) from None
        return postgres_home(data, graphs, lease=lease, live=live)
    if live is not None:
        raise click.UsageError(
            "--live is for several servers: it needs --data postgresql://... or --workers"
        )
    if data is None:
        from tokenweir.serving.running.home import in_memory

        return in_memory
    from tokenweir.serving.running.data_folder import data_folder

    return data_folder(Path(data), graphs)
