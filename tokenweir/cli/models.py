"""``tokenweir models``: list the models usable on this machine, and serve the embedded one."""

from __future__ import annotations

import contextlib

import click

__all__ = ["models"]


@click.group(
    invoke_without_command=True, short_help="List the models that can be used here; serve one."
)
@click.option(
    "--all", "everything", is_flag=True, help="Also list the others, with what each needs."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def models(context: click.Context, everything: bool, as_json: bool) -> None:
    """List the models that can be used on this machine as it is.

    Checks which packages are installed, which keys the environment has, and which servers (Ollama,
    vLLM, llama.cpp, LM Studio) run on their usual ports. No provider is contacted.

    \b
    Examples:
      tokenweir models
      tokenweir models --all
      tokenweir models serve smollm2
    """
    if context.invoked_subcommand is not None:
        return
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


@models.command(short_help="Serve the embedded model to any OpenAI client.")
@click.argument("model", default="smollm2")
@click.option(
    "--port", default=0, metavar="PORT", help="The loopback port; by default any free one."
)
def serve(model: str, port: int) -> None:
    """Run the embedded MODEL until Ctrl-C, and print the settings that OpenAI clients need.

    MODEL is smollm2 (the default) or the path of a GGUF file. Only this machine can reach it.

    \b
    Examples:
      tokenweir models serve --port 8080
      tokenweir models serve ~/models/qwen3.gguf
    """
    from tokenweir.models.embedded.model import start_model

    endpoint = start_model(model, port=port)
    for name, value in endpoint.environment.items():
        click.echo(f"export {name}={value}")
    click.echo("Ctrl-C ends it.", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        endpoint.wait()
        raise click.ClickException("the model's process has ended: TOKENWEIR_DEBUG=1 shows its log")
