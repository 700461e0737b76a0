"""Options that several commands share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tokenweir.streaming.guard import Guard

__all__ = ["guard_option", "model_option"]


def _use(context: click.Context, option: click.Parameter, name: str | None) -> None:
    if name:
        os.environ["TOKENWEIR_MODEL"] = name


model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    callback=_use,
    expose_value=False,
    help="The model for graphs that name none, such as the ready ones; see `tokenweir models`. "
    "Default: TOKENWEIR_MODEL, else OpenAI's if there is a key, else the embedded one.",
)


def _guards(
    context: click.Context, option: click.Parameter, given: tuple[tuple[str, str], ...]
) -> list[Guard]:
    if not given:
        return []
    from tokenweir.streaming.guard import guard

    try:
        return [guard(None if only == "all" else only, regex) for only, regex in given]
    except ValueError as error:  # FilterError is one
        raise click.UsageError(f"--guard: {error}") from None


guard_option = click.option(
    "--guard",
    "guards",
    multiple=True,
    nargs=2,
    metavar="FILTER REGEX",
    callback=_guards,
    help="Text that no reader gets: whatever REGEX matches in the model calls that FILTER passes "
    "(tag:answer; all for every call). A match ends the run with an error.",
)
