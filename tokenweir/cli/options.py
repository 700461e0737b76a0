"""Options that several commands have."""

from __future__ import annotations

import os

import click

__all__ = ["model_option"]


def _use(context: click.Context, option: click.Parameter, name: str | None) -> None:
    if name:
        os.environ["TOKENWEIR_MODEL"] = name


model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    callback=_use,
    expose_value=False,
    help="The model of every graph that names none, as the ready graphs: see `tokenweir models`. "
    "Default: TOKENWEIR_MODEL, else OpenAI's if there is a key, else the embedded one.",
)
