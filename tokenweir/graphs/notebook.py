"""Compiled graphs draw themselves in notebooks, on this machine: ``%load_ext tokenweir``.

LangGraph's own display of a graph fetches the picture from a web service.
"""

from __future__ import annotations

from typing import Any

from tokenweir.graphs.picture import draw

__all__ = ["load_ipython_extension"]


def load_ipython_extension(shell: Any) -> None:
    """Show a compiled graph as a picture if it is the result of a cell. IPython calls this."""
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type_by_name("langgraph.pregel.main", "Pregel", _bundle)


def _bundle(graph: Any, **kwargs: Any) -> dict[str, Any]:
    return {"text/plain": draw(graph, "text"), "image/svg+xml": draw(graph, "svg")}
