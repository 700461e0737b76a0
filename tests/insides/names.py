"""The private names of other packages that one of the two private rooms uses, by its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FOREIGN", "PACKAGE", "private_names"]

PACKAGE = Path(__file__).parents[2] / "tokenweir"

FOREIGN = (
    "aiohttp",
    "httpx",
    "httpx2",
    "langchain_core",
    "langchain_openai",
    "langgraph",
    "openai",
    "pydantic",
)

_PRIVATE = re.compile(r"_(?!_)\w+")
_KEY = re.compile(r"__pregel_\w+")


def private_names(room: str, inside: frozenset[str] = frozenset()) -> set[str]:
    """The names, each once.

    Args:
        room: The folder in the package: ``"streaming/_langgraph"``.
        inside: Attributes of a private class, which are private without looking so.
    """
    trees = [ast.parse(path.read_text("utf-8")) for path in (PACKAGE / room).glob("*.py")]
    own = {name for tree in trees for name in _defined(tree)}
    return {name for tree in trees for name in _used(tree, own, inside)}


def _defined(tree: ast.AST) -> Iterator[str]:
    """The private names that our own modules, classes and instances define."""
    declared = {  # of somebody else's, to be read or added to
        each.target
        for each in ast.walk(tree)
        if isinstance(each, ast.AugAssign) or (isinstance(each, ast.AnnAssign) and not each.value)
    }
    for each in ast.walk(tree):
        if each in declared:
            continue
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield each.name
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif (
            isinstance(each, ast.Attribute)
            and isinstance(each.ctx, ast.Store)
            and ast.unparse(each.value) == "self"
        ):
            yield each.attr
        elif isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__slots__":
            yield from ast.literal_eval(each.value)


def _used(tree: ast.AST, own: set[str], inside: frozenset[str]) -> Iterator[str]:
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom):
            source = (each.module or "").split(".")
            if source[0] in FOREIGN:
                names = [alias.name for alias in each.names]
                private = any(map(_PRIVATE.fullmatch, source))
                yield from (name for name in names if private or _PRIVATE.fullmatch(name))
        elif isinstance(each, ast.Attribute):
            if each.attr in inside or (
                _PRIVATE.fullmatch(each.attr)
                and each.attr != "_getframe"
                and (each.attr not in own or ast.unparse(each.value) == "super()")
            ):
                yield each.attr
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name in inside:
            yield each.name
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            if _KEY.fullmatch(each.value):
                yield each.value
        elif (
            isinstance(each, ast.Call)
            and ast.unparse(each.func) in ("getattr", "hasattr", "setattr")
            and isinstance(name := each.args[1], ast.Constant)
            and _PRIVATE.fullmatch(str(name.value))
        ):
            yield str(name.value)
