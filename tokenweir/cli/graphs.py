"""``tokenweir graphs``: what there is to run."""

from __future__ import annotations

import click

__all__ = ["graphs"]


@click.command(short_help="List the graphs that can be run by name.")
def graphs() -> None:
    """List the ready graphs, and those of ./langgraph.json, with a line on each.

    \b
    Examples:
      tokenweir graphs
      tokenweir graphs | cut -d' ' -f1
    """
    from tokenweir.graphs.loader import configured_graphs, ready_graphs

    found = ready_graphs()
    found |= {name: f"{place} (langgraph.json)" for name, place in configured_graphs().items()}
    width = max(map(len, found))
    for name, line in found.items():
        click.echo(f"{name:{width}}  {line}")
