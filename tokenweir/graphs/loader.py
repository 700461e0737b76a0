"""Finds a graph by a ready name, ``module:attr``, ``path/to/file.py:attr``, or a name from the
``langgraph.json`` of the current folder."""

from __future__ import annotations

import ast
import asyncio
import difflib
import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tokenweir.errors import GraphLoadError

__all__ = ["configured_graphs", "load", "ready_graphs"]

CONFIG = "langgraph.json"


def load(spec: str) -> Any:
    """Load a compiled graph by its name or place.

    Args:
        spec: A name from ``./langgraph.json`` or of a ready graph, ``module:attr`` or
            ``path/to/file.py:attr``. The attribute may be a compiled graph, a ``StateGraph``, or a
            function that makes one, taking nothing or a config, sync or async. The attribute may be
            left out if the module has only one graph.

    Raises:
        GraphLoadError: If there is no such graph. If the module itself fails, its exception is the
            cause.
    """
    own = configured_graphs()
    if spec in own:
        _prepare(_config())
        spec = own[spec]
    elif spec in ready_graphs():
        return importlib.import_module(f"tokenweir.graphs.{spec}").graph
    place, _, attribute = spec.rpartition(":") if _has_attribute(spec) else (spec, "", "")
    if not attribute and not place.endswith(".py") and "." not in place:
        raise GraphLoadError(_unknown(spec, own))
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    return _graph_in(module, place, attribute)


def ready_graphs() -> dict[str, str]:
    """The names of the ready graphs, each with a line about it. This imports none of them."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        if any(isinstance(part, ast.FunctionDef) and part.name == "build" for part in tree.body):
            first_line = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[path.stem] = first_line.replace("``", "")
    return found


def configured_graphs() -> dict[str, str]:
    """The places of the graphs in ``./langgraph.json``, by name; empty if there is no such file."""
    graphs = _config().get("graphs", {})
    if not isinstance(graphs, Mapping):
        raise GraphLoadError(f'{CONFIG}: "graphs" must be an object of names and places')
    places = {}
    for name, value in graphs.items():
        place = value.get("path") if isinstance(value, Mapping) else value
        if not isinstance(place, str):
            raise GraphLoadError(f'{CONFIG}: graph {name!r} needs a place, "./file.py:attr"')
        places[name] = place
    return places


def _config() -> dict[str, Any]:
    path = Path(CONFIG)
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise GraphLoadError(f"{path.resolve()} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise GraphLoadError(f"{path.resolve()} must be a JSON object")
    return config


def _prepare(config: dict[str, Any]) -> None:
    """Set the environment variables that a ``langgraph.json`` names, unless they are set."""
    env = config.get("env")
    if isinstance(env, str):
        from dotenv import dotenv_values

        if not Path(env).is_file():
            raise GraphLoadError(f"{CONFIG}: there is no file {env!r}, which its env names")
        env = dotenv_values(env)
    for name, value in (env or {}).items():
        if value is not None:
            os.environ.setdefault(name, str(value))
    for dependency in config.get("dependencies", ()):
        if str(dependency).startswith("."):
            _add_to_path(Path(dependency))


def _has_attribute(spec: str) -> bool:
    """Whether the last colon begins an attribute; Windows drives have one too."""
    _, colon, attribute = spec.rpartition(":")
    return bool(colon) and not any(mark in attribute for mark in "/\\.")


def _add_to_path(folder: Path) -> None:
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        there = sorted(found.name for found in path.parent.glob("*.py"))
        raise GraphLoadError(f"there is no file {path}; {_listed('beside it', there)}")
    _add_to_path(path.parent)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if known is None:
        sys.modules[path.stem] = module  # dataclasses and pickle look up their module here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
        raise
    return module


def _from_module(name: str) -> ModuleType:
    _add_to_path(Path())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it exists, but something that it imports is missing
        raise GraphLoadError(
            f"there is no module {error.name!r}: run this where it can be imported, "
            "or give a file, path/to/file.py:graph"
        ) from None


def _graph_in(module: ModuleType, place: str, attribute: str) -> Any:
    # Not with the module: the graphs can be listed without LangGraph, which takes long to import.
    from langgraph.graph import StateGraph
    from langgraph.pregel.protocol import PregelProtocol

    graphs = [name for name, value in vars(module).items() if _is_graph(value)]
    if not attribute:
        if len(graphs) != 1:
            raise GraphLoadError(
                f"say which graph of {place}: {place}:NAME; {_listed('it has', graphs)}"
            )
        [attribute] = graphs
    if not hasattr(module, attribute):
        raise GraphLoadError(f"{place} has no {attribute!r}; {_listed('graphs there', graphs)}")
    value = getattr(module, attribute)
    made = value
    if not _is_graph(value) and callable(value):
        made = _called(value, f"{place}:{attribute}")
    if isinstance(made, StateGraph):
        made = made.compile()
    if not isinstance(made, PregelProtocol):
        what = "gave" if made is not value else "is"
        raise GraphLoadError(
            f"{place}:{attribute} {what} no graph but {type(made).__name__}; "
            f"{_listed('graphs there', graphs)}"
        )
    return made


def _is_graph(value: Any) -> bool:
    from langgraph.graph import StateGraph
    from langgraph.pregel.protocol import PregelProtocol

    return isinstance(value, (PregelProtocol, StateGraph))


def _called(factory: Any, name: str) -> Any:
    """Call a factory. It may take a config, as with LangGraph's own server."""
    try:
        needed = [
            parameter
            for parameter in inspect.signature(factory).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        needed = []
    if len(needed) > 1:
        names = ", ".join(parameter.name for parameter in needed)
        raise GraphLoadError(f"{name} takes {names}: a factory takes nothing, or a config")
    made = factory({"configurable": {}}) if needed else factory()
    return asyncio.run(_awaited(made)) if inspect.isawaitable(made) else made


async def _awaited(made: Any) -> Any:
    return await made


def _unknown(name: str, own: dict[str, str]) -> str:
    ready = ready_graphs()
    near = difflib.get_close_matches(name, [*own, *ready], 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    known = f"ready graphs: {', '.join(ready)}"
    if own:
        known = f"in {CONFIG}: {', '.join(own)}; {known}"
    return f"there is no graph {name!r}{meant}. {known}; or give module:attr, path/to/file.py:attr"


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names) or 'none'}"
