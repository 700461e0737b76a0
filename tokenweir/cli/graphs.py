"""``tokenweir graphs``: the graphs that can be run by name."""

from __future__ import annotations

import click

__all__ = ["graphs"]


@click.command(short_help="List the graphs that can be run by name.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: name, description, place."
)
def graphs(as_json: bool) -> None:
    """List the ready graphs and those of ./langgraph.json, one line each.

    \b
    Examples:
      tokenweir graphs
      tokenweir graphs --json | jq -r .name
    """
    import json

    from tokenweir.graphs.loader import configured_graphs, ready_graphs

    configured = configured_graphs()
    found = ready_graphs() | {name: f"{at} (langgraph.json)" for name, at in configured.items()}
    width = max(map(len, found))
    for name, line in found.items():
        if as_json:
            place = configured.get(name, f"tokenweir.graphs.{name}:graph")
            click.echo(json.dumps({"name": name, "description": line, "place": place}))
        else:
            click.echo(f"{name:{width}}  {line}")
