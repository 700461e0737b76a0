"""The names that users import: which there are, that they load late, that no list forgets one."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tokenweir
from tokenweir import errors

PACKAGE = Path(tokenweir.__file__).parent

PUBLIC = {
    "Filter",
    "Meter",
    "SyncTokenStream",
    "Token",
    "TokenStream",
    "__version__",
    "astream",
    "astream_events",
    "chat_model",
    "collect",
    "completion_model",
    "encode_agui",
    "encode_ai_sdk",
    "from_model",
    "from_agent",
    "from_node",
    "from_tool",
    "guard",
    "in_namespace",
    "lanes",
    "node",
    "objects",
    "reasoning",
    "show",
    "start_model",
    "stream",
    "stream_events",
    "tag",
    "text",
    "write_tokens",
    *errors.__all__,
}

VALUES = {"Token", "__version__", "reasoning", "text"}
"""Public names that are neither classes nor functions."""

HEAVY = {"langchain_core", "langchain_openai", "langgraph", "openai", "rich", "xllamacpp"}


def modules() -> list[str]:
    """The modules whose names no underscore hides, the command line aside.

    That is a program, not a library: its functions are found by click, not by importers.
    """
    paths = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    names = [".".join(p for p in path.parts if p != "__init__") for path in paths]
    return sorted(n for n in names if "._" not in n and not n.startswith("tokenweir.cli"))


def tree(module: str) -> ast.Module:
    """The source of a module, parsed."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def exported(source: ast.Module) -> list[str]:
    """What a module writes in ``__all__``."""
    for statement in source.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            names = ast.literal_eval(statement.value)
            assert isinstance(names, list)
            return names
    return []


def defined(source: ast.Module) -> set[str]:
    """The functions and classes at the top of a module that no underscore hides."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {statement.name for statement in source.body if isinstance(statement, definitions)}
    return {name for name in names if not name.startswith("_")}


def test_the_public_names() -> None:
    """The package exports these names, every exception among them, and ``dir`` shows no others."""
    assert set(tokenweir.__all__) == PUBLIC
    assert dir(tokenweir) == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC - VALUES))
def test_a_public_name_is_there_and_explained(name: str) -> None:
    """Each public class and function can be imported and has a docstring of its own."""
    value = getattr(tokenweir, name)
    assert value.__doc__
    assert value.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Asking the facade for what it does not have fails as with any module, naming both."""
    with pytest.raises(AttributeError, match=r"'tokenweir' has no attribute 'astreem'"):
        _ = tokenweir.astreem


def test_type_checkers_see_what_is_imported() -> None:
    """What the facade imports for type checkers is, name by name, what it gives at run time."""
    [block] = [part for part in tree("tokenweir").body if isinstance(part, ast.If)]
    shown = {
        alias.asname or alias.name: importlib.import_module(statement.module)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }
    assert shown.keys() == PUBLIC
    for name, home in shown.items():
        assert getattr(home, name) is getattr(tokenweir, name)


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import tokenweir`` imports neither LangGraph, LangChain, openai, rich nor llama.cpp."""
    code = "import sys, tokenweir; print(*{name.partition('.')[0] for name in sys.modules})"
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    loaded = set(printed.split())
    assert "tokenweir" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "module", ["tokenweir", "tokenweir.errors", "tokenweir.types", "tokenweir.testing"]
)
def test_the_reference_lists_every_public_name(module: str) -> None:
    """A page of ``docs/reference`` names each one, or its whole module."""
    pages = (PACKAGE.parent / "docs" / "reference").glob("*.md")
    shown = set(re.findall(r"^::: (\S+)", "\n".join(page.read_text() for page in pages), re.M))
    whole = {
        name
        for each in ("errors", "types")
        if f"tokenweir.{each}" in shown
        for name in importlib.import_module(f"tokenweir.{each}").__all__
    }
    loaded = importlib.import_module(module)
    missing = {name for name in loaded.__all__ if f"{module}.{name}" not in shown}
    assert missing - whole == {"__version__"} & missing


@pytest.mark.parametrize("module", modules())
def test_all_lists_what_a_module_defines(module: str) -> None:
    """``__all__`` forgets no public function or class, and every name in it exists."""
    source = tree(module)
    assert ast.get_docstring(source), "a file opens with its docstring"
    assert sorted(defined(source) - set(exported(source))) == []
    loaded = importlib.import_module(module)
    assert [name for name in exported(source) if not hasattr(loaded, name)] == []
