"""``tokenweir probe``: whether and how an endpoint streams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tokenweir.models.probe import ProbeReport

__all__ = ["probe"]


@click.command(short_help="See whether and how a model streams.")
@click.argument("model")
@click.option("--base-url", metavar="URL", help="The server's URL, with /v1.")
@click.option(
    "--key-variable",
    metavar="NAME",
    help="The environment variable that holds the key, if it is not the provider's usual one.",
)
@click.option("--completions", is_flag=True, help="Ask for completions instead of chat.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The silence after which the endpoint counts as stalled.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def probe(
    model: str,
    base_url: str | None,
    key_variable: str | None,
    completions: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask MODEL two short questions and report how its answers arrived.

    MODEL is a name from `tokenweir models`. The answers cost a few hundred tokens.

    \b
    An answer may arrive:
      token by token   as the model makes them
      in lumps         many tokens at a time
      not at all       the whole answer at once (a proxy may hold it back)

    \b
    Examples:
      tokenweir probe local:smollm2
      tokenweir probe qwen:qwen-plus
      tokenweir probe openai:llama3.2 --base-url http://127.0.0.1:11434/v1
      tokenweir probe openai:gpt-3.5-turbo-instruct --completions --json
    """
    from tokenweir.cli.process import run_to_end
    from tokenweir.models.probe import probe as ask

    given: dict[str, Any] = {}
    if base_url is not None:
        given["base_url"] = base_url
    if key_variable is not None:
        key = os.environ.get(key_variable)
        if not key:
            raise click.UsageError(f"{key_variable} is not set")
        given["api_key"] = key

    async def asking() -> None:
        report = await ask(
            model,
            completions=completions,
            first_token_timeout=timeout,
            token_gap_timeout=timeout,
            **given,
        )
        click.echo(_as_json(report) if as_json else _as_text(report))

    run_to_end(asking())


def _as_json(report: ProbeReport) -> str:
    import dataclasses
    import json

    return json.dumps({**dataclasses.asdict(report), "reports_usage": report.reports_usage})


def _as_text(report: ProbeReport) -> str:
    streams: str = report.streams
    if report.stalled:
        streams = f"stalled: {report.stalled}"
        if report.chunks:
            streams += f"; until then {report.streams}"
    rate = report.chunks_per_second
    usage = "no" if report.output_tokens is None else f"yes ({report.output_tokens} tokens)"
    rows = [
        ("model", report.model),
        ("streams", streams),
        ("first token", _seconds(report.time_to_first_token)),
        ("chunks", f"{report.chunks}, {report.characters} characters"),
        ("chunks per second", "-" if rate is None else f"{rate:.1f}"),
        ("usage", usage),
        ("tool calls", report.tools),
        ("reasoning", "yes" if report.reasoning else "no"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"
