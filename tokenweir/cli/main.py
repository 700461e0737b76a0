"""The ``tokenweir`` command: its group, and how every command ends.

Every outcome becomes an exit code and at most one line on stderr; ``process.py`` ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from tokenweir._version import __version__
from tokenweir.cli.cluster import cluster
from tokenweir.cli.graphs import graphs
from tokenweir.cli.models import models
from tokenweir.cli.probe import probe
from tokenweir.cli.problems import BROKEN_PIPE, describe
from tokenweir.cli.process import Stopped, leave
from tokenweir.cli.run import run
from tokenweir.cli.serve import serve
from tokenweir.cli.show import show
from tokenweir.errors import UnmatchedFilterWarning

__all__ = ["cli", "execute", "main"]


class _Commands(click.Group):
    """A group that takes broken pipes and Ctrl-C from click, which would end them its own way."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would exit with 1
            raise click.exceptions.Exit(BROKEN_PIPE) from None
        except KeyboardInterrupt:  # click would say "Aborted!"
            raise Stopped(signal.SIGINT) from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nShell completion (bash; or zsh_source, fish_source):\n"
    '  eval "$(_TOKENWEIR_COMPLETE=bash_source tokenweir)"',
)
@click.version_option(__version__, prog_name="tokenweir", message="%(prog)s %(version)s")
def cli() -> None:
    """Watch every token that a model writes inside a LangGraph graph.

    \b
    Examples:
      tokenweir graphs                                  what there is to run
      tokenweir run joke_poem topic=cats                watch a joke and a poem being written
      tokenweir run joke_poem topic=cats --only tag:joke
      tokenweir run my_graphs.py:graph question="Why?"
      tokenweir show joke_poem -o joke_poem.svg         a picture of the graph
      tokenweir models                                  which models can be used here
      tokenweir serve joke_poem chat                    graphs behind HTTP
      tokenweir probe qwen:qwen-plus                    does it stream?

    \b
    Exit codes:
      0    the run came to its end
      1    the graph or a model failed
      2    the command was not understood (a wrong graph, input, filter or option)
      130  interrupted (Ctrl-C)
      141  the reader of the output has gone (as in `| head -1`)
    """


cli.add_command(run)
cli.add_command(graphs)
cli.add_command(show)
cli.add_command(models)
cli.add_command(probe)
cli.add_command(cluster)
cli.add_command(serve)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process.

    Args:
        arguments: The words after ``tokenweir``; by default the process's own arguments.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: tokenweir ... >&-
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    leave(execute(arguments))


def _tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print a warning as one line, like every other message."""
    if category.__module__.startswith("tokenweir."):
        click.echo(f"tokenweir: {message}", err=True)
    else:
        _show_warning(message, category, *where, **more)


_show_warning = warnings.showwarning


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, report a failure on stderr, return the exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell
            warnings.simplefilter("always", UnmatchedFilterWarning)
            code = cli.main(arguments, prog_name="tokenweir", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - every ending becomes an exit code
        text, code = describe(error)
        if text:
            click.echo(text, file=sys.stderr)
    return code if isinstance(code, int) else 0
