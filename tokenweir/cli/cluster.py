"""``tokenweir cluster``: the state of a service of several servers."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["cluster"]


@click.group(short_help="Show the state of several servers.")
def cluster() -> None:
    """Inspect a service of several servers."""


@cluster.command(short_help="List the servers, the runs and the queue.")
@click.option(
    "--data",
    default=".tokenweir",
    show_default=True,
    metavar="FOLDER|URL",
    help="The same as that of `tokenweir serve`.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(data: str, as_json: bool) -> int:
    """List the servers, their leases and runs, the queue, and the oldest run.

    The exit code is 1 if no server is alive.

    \b
    Examples:
      tokenweir cluster status --data postgresql://db.internal/tokenweir
      tokenweir cluster status                  for `tokenweir serve --workers 4` here
    """
    import dataclasses
    import json

    try:
        from tokenweir.serving.postgres.status import status_of
    except ImportError as error:
        raise click.ClickException(f"{error}: pip install 'tokenweir[cluster]'") from None
    found = status_of(data if "://" in data else _url_of(Path(data)))
    alive = [each for each in found.servers if each.alive]
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return 0 if alive else 1
    width = max((len(each.place) for each in found.servers), default=0)
    for each in found.servers:
        how = f"alive  lease {each.lease:4.1f} s" if each.alive else "dead              "
        click.echo(f"{each.place:{width}}  {how}  {each.runs} runs")
    running = found.runs.get("running", 0)
    click.echo(f"{len(alive)} servers live")
    click.echo(f"{running} runs run{_since(running, found.oldest_running)}")
    click.echo(f"{found.waiting} runs wait{_since(found.waiting, found.oldest_waiting)}")
    click.echo(f"{found.later} runs are not due")
    over = {name: n for name, n in found.runs.items() if name not in ("pending", "running")}
    told = ", ".join(f"{count} {name}" for name, count in sorted(over.items()))
    click.echo(f"{sum(over.values())} runs are over and kept{f': {told}' if told else ''}")
    click.echo(f"{found.threads} threads")
    return 0 if alive else 1


def _since(count: int, seconds: float) -> str:
    return f"; the oldest was due {seconds:.1f} s ago" if count else ""


def _url_of(folder: Path) -> str:
    """The URL of the Postgres that ``tokenweir serve --workers`` runs in a folder."""
    settings = folder / "postgres" / "data" / "tokenweir.conf"
    if not (folder / "postgres" / "data" / "postmaster.pid").exists():
        raise click.ClickException(
            f"no Postgres runs in {folder}: give the servers' own --data, a folder or "
            "postgresql://..."
        )
    for line in settings.read_text().splitlines():
        name, _, value = line.partition(" = ")
        if name == "unix_socket_directories":
            return f"postgresql://postgres@/postgres?host={value.strip(chr(39))}"
    raise click.ClickException(f"{settings} cannot be understood")
