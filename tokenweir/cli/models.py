"""``tokenweir models``: what can be used on this machine."""

from __future__ import annotations

import click

__all__ = ["models"]


@click.command(short_help="List the models that can be used here.")
@click.option("--all", "everything", is_flag=True, help="Also what is missing for the rest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def models(everything: bool, as_json: bool) -> None:
    """List the names of models that can be used on this machine as it is.

    Looks at what is installed, which keys the environment has, and which servers (Ollama, vLLM,
    llama.cpp, LM Studio) run on their usual ports. Nothing is asked of any provider.

    \b
    Examples:
      tokenweir models
      tokenweir models --all
    """
    import dataclasses
    import json

    from tokenweir.models.available import available

    found = available()
    shown = [one for one in found if one.ready or everything]
    if as_json:
        for one in shown:
            click.echo(json.dumps(dataclasses.asdict(one)))
        return
    width = max(len(one.name) for one in shown) if shown else 0
    for one in shown:
        mark = "" if one.ready or not everything else "missing: "
        click.echo(f"{one.name:{width}}  {mark}{one.note}")
    hidden = len(found) - len(shown)
    if hidden:
        click.echo(f"{hidden} more need something: tokenweir models --all", err=True)
