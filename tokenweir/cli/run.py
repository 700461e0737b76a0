"""``tokenweir run``: run a graph and watch its tokens."""

from __future__ import annotations

import functools
import json
import operator
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from tokenweir.cli.options import model_option

if TYPE_CHECKING:
    from tokenweir.cli.outputs import Output
    from tokenweir.streaming.filters import Filter
    from tokenweir.streaming.meter import Meter
    from tokenweir.streaming.token_stream import TokenStream

__all__ = ["run"]


@click.command(short_help="Run a graph and watch its tokens.")
@click.argument("graph")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE | MESSAGE]...")
@model_option
@click.option(
    "--only",
    multiple=True,
    metavar="FILTER",
    help="Show only these model calls: tag:joke, node:write, model:gpt-4o-mini, namespace:editor, "
    'joined by & | ~ and brackets. Several --only are joined by "|".',
)
@click.option(
    "--input",
    "whole",
    metavar="JSON|@FILE|-",
    help="The input as a JSON object: as text, from a file, or from standard input. "
    "KEY=VALUE overrides its keys.",
)
@click.option(
    "--mode",
    type=click.Choice(["messages", "custom"]),
    help="Show only the tokens of LangChain models (messages), or only those that nodes write "
    "themselves (custom). Default: both.",
)
@click.option(
    "--thread",
    metavar="ID",
    help="The thread to continue, for a graph whose checkpointer outlives this process. "
    "Default: a new one.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (see below).")
@click.option(
    "--stats",
    is_flag=True,
    help="Print on stderr the time to the first token and the tokens per second.",
)
def run(
    graph: str,
    words: tuple[str, ...],
    only: tuple[str, ...],
    whole: str | None,
    mode: str | None,
    thread: str | None,
    as_json: bool,
    stats: bool,
) -> None:
    """Run GRAPH and show every token as it comes, from subgraphs too.

    GRAPH is a ready graph (`tokenweir graphs`), a name from ./langgraph.json, module:attribute, or
    path/to/file.py:attribute.

    On a terminal each tag has its own lane. A pipe or a file gets only the tokens, each followed
    by "|"; a new line begins where the model call changes.

    \b
    Input:
      key=value     a string
      key:=json     JSON: n:=3, names:='["Ann", "Bo"]'
      "a message"   for graphs with messages: what the user says; several messages are turns
                    of one conversation, if the graph has a checkpointer

    \b
    Examples:
      tokenweir run joke_poem topic=cats
      tokenweir run joke_poem topic=cats --only tag:joke -m openai:gpt-4o-mini
      tokenweir run story topic="a lighthouse" --only 'namespace:edit | tag:outline'
      tokenweir run chat "My name is Ann." "What is my name?"
      tokenweir run my_graphs.py:graph --input @question.json --stats
      tokenweir run joke_poem topic=cats --json | jq -r 'select(.type == "token") | .text'

    \b
    --json: every line has a "type".
      token    text, id (of the message), node, tags, namespace (of the subgraph), model;
               if present: reasoning, tool_calls, usage, finish_reason
      message  a whole message that a node returned: a token's keys, role, name, tool_call_id
      custom   namespace, data: what a node wrote that is not a token
      stats    with --stats: the meter's report
      end      thread, tokens, seconds, interrupts (id, value): the last line
      error    error (the exception's name), message, cause: the last line instead of end
    These keys are stable; later versions may add more.
    """
    from tokenweir.cli.inputs import inputs_for, keys_of, read_words

    said = read_words(words)
    given = _read_whole(whole)
    wanted = _any_of(only)

    # These imports take seconds, so errors in the arguments are reported before them.
    from tokenweir.cli.outputs import JsonOutput, ScreenOutput
    from tokenweir.cli.process import run_to_end
    from tokenweir.graphs.loader import load
    from tokenweir.streaming.meter import Meter
    from tokenweir.streaming.stream import astream

    compiled = load(graph)
    turns = inputs_for(graph, keys_of(compiled), said, given)
    thread = _thread_of(graph, compiled, thread, len(turns))
    output: Output = JsonOutput() if as_json else ScreenOutput()
    meter = Meter() if stats else None
    start = functools.partial(
        astream,
        compiled,
        config={"configurable": {"thread_id": thread}} if thread else None,
        only=wanted,
        # Updates are needed only for the interrupts in them.
        stream_mode=[*([mode] if mode else ["messages", "custom"]), "updates"],
        subgraphs=True,
    )
    interrupts = run_to_end(_watch(start, turns, output, meter))
    output.end(thread, interrupts, meter.report() if meter else None)


def _any_of(texts: tuple[str, ...]) -> Filter | None:
    """The filter that passes what any ``--only`` passes; FilterError if one cannot be parsed."""
    from tokenweir.streaming.filters import parse_filter

    return functools.reduce(operator.or_, map(parse_filter, texts)) if texts else None


def _thread_of(name: str, graph: Any, thread: str | None, turns: int) -> str | None:
    """The thread to run on, or None for a graph that keeps none."""
    if getattr(graph, "checkpointer", None):
        return thread or str(uuid4())
    if turns > 1:
        raise click.UsageError(
            f"{name} has no checkpointer, so it would forget each turn: give one message, quoted"
        )
    if thread is not None and hasattr(graph, "checkpointer"):
        raise click.UsageError(f"{name} has no checkpointer, so there are no threads to go on with")
    return thread


async def _watch(
    start: Callable[[Any], TokenStream[Any]], turns: list[Any], output: Output, meter: Meter | None
) -> list[Any]:
    """Run the turns one after the other, give their parts to the output, return the interrupts."""
    interrupts: dict[Any, Any] = {}
    with output.open():
        if meter is not None:
            meter.start()
        for turn in turns:
            async with start(turn) as parts:
                async for namespace, mode, part in parts:
                    if mode == "updates":
                        interrupts |= _interrupts(part)
                    elif _is_token(part):
                        if meter is not None:
                            meter.feed(*part)
                        output.token(namespace, *part)
                    else:
                        output.custom(namespace, part)
            if interrupts:
                break
    return list(interrupts.values())


def _is_token(part: Any) -> bool:
    """Whether a part is ``(chunk, metadata)``; in custom mode nodes may write anything."""
    return isinstance(part, (tuple, list)) and len(part) == 2 and isinstance(part[1], Mapping)


def _interrupts(update: Any) -> dict[Any, Any]:
    """The interrupts in an update, by id: a subgraph's is reported by its parents too."""
    waiting = update.get("__interrupt__", ()) if isinstance(update, Mapping) else ()
    return {getattr(interrupt, "id", number): interrupt for number, interrupt in enumerate(waiting)}


def _read_whole(text: str | None) -> Any:
    """What ``--input`` gives: JSON text, a file's, or standard input's."""
    if text is None:
        return None
    source = "--input"
    if text == "-":
        source, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        source = text[1:]
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"cannot read {source}: {error}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{source} is not JSON: {error}") from None
