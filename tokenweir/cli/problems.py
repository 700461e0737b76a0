"""What went wrong, as one line and an exit code."""

from __future__ import annotations

import os
import re
import traceback

import click

from tokenweir.cli.process import Stopped

__all__ = ["BROKEN_PIPE", "FAILED", "USAGE", "describe"]

FAILED = 1
USAGE = 2
BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell reports for any other program whose reader has gone."""


def describe(error: BaseException) -> tuple[str, int]:
    """The text for stderr ("" for none) and the exit code that an exception ends in.

    With ``TOKENWEIR_DEBUG=1`` in the environment a failure's text is its traceback.
    """
    if isinstance(error, Stopped):
        return "", 128 + error.signal
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), USAGE
    if isinstance(error, click.ClickException):
        return f"tokenweir: {_with_help(error)}", error.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "", 130
    if isinstance(error, BrokenPipeError):
        return "", BROKEN_PIPE
    if isinstance(error, SystemExit):
        return "", error.code if isinstance(error.code, int) else FAILED
    code = USAGE if _is_usage(error) else FAILED
    if os.environ.get("TOKENWEIR_DEBUG", "") not in ("", "0"):
        return "".join(traceback.format_exception(error)), code
    if _is_ours(error):
        return _line(str(error)), code
    name = type(error).__name__
    reason = " ".join(str(error).split())
    said = f"{name}: {reason}" if reason else name
    return _line(f"{_node_of(error)}{said} (TOKENWEIR_DEBUG=1 shows where)"), code


def _line(text: str) -> str:
    from tokenweir.display.visible import visible

    return f"tokenweir: {visible(text)}"


def _with_help(error: click.ClickException) -> str:
    """The error's text; that of a wrong command line ends by naming the command's help."""
    text = error.format_message()
    if (context := getattr(error, "ctx", None)) is None:
        return text
    stop = "" if text.endswith((".", "?", ")")) else "."
    return f"{text}{stop} See: {context.command_path} --help"


def _is_ours(error: BaseException) -> bool:
    from tokenweir.errors import TokenweirError

    return isinstance(error, TokenweirError)


def _is_usage(error: BaseException) -> bool:
    """Whether the command named something that is not there, rather than something that failed."""
    from tokenweir.cli.inputs import InputError
    from tokenweir.errors import FilterError, GraphLoadError

    return isinstance(error, (FilterError, GraphLoadError, InputError))


def _node_of(error: BaseException) -> str:
    """The node that raised, from the note that LangGraph leaves on exceptions."""
    for note in getattr(error, "__notes__", ()):
        if match := re.search(r"task with name '([^']+)'", str(note)):
            return f"node {match[1]!r} raised "
    return ""
