"""``tokenweir show``: draw a graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tokenweir.graphs.picture import Kind

__all__ = ["show"]

_FORMATS: dict[str, Kind] = {
    ".txt": "text",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".svg": "svg",
    ".png": "png",
}


@click.command(short_help="Draw a graph.")
@click.argument("graph")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file; its suffix chooses the format: .png, .svg, .mmd (mermaid), .txt.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "mermaid", "svg", "png"]),
    help="The format, whatever the file's suffix.",
)
def show(graph: str, output: Path | None, kind: Kind | None) -> None:
    """Draw GRAPH's nodes and edges, on the terminal or into a file.

    Dashed edges are conditional. Subgraphs are drawn inside their node. No web service is used;
    .png needs matplotlib, which the extra `draw` installs.

    \b
    Examples:
      tokenweir show agent
      tokenweir show story -o story.svg
      tokenweir show my_graphs.py:graph --format mermaid
    """
    from tokenweir.graphs.loader import load
    from tokenweir.graphs.picture import draw, in_ascii

    if kind is None:
        kind = _FORMATS.get(output.suffix.lower()) if output else "text"
    if kind is None:
        raise click.UsageError(
            f"cannot tell what to write from {output}: use {', '.join(_FORMATS)}, or --format"
        )
    if kind == "png" and output is None and sys.stdout.isatty():
        raise click.UsageError("a PNG cannot be shown on a terminal: use -o graph.png")
    picture = draw(load(graph), kind)
    data = picture if isinstance(picture, bytes) else picture.encode()
    if output is not None and str(output) != "-":
        try:
            output.write_bytes(data)
        except OSError as error:
            raise click.UsageError(f"cannot write {output}: {error.strerror}") from None
    elif isinstance(picture, bytes):
        sys.stdout.buffer.write(picture)
    else:
        try:
            picture.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            picture = in_ascii(picture)
        click.echo(picture, nl=not picture.endswith("\n"))
