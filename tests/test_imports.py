"""Which room may import which, that imports form no circle, and where private names may stand.

The modules are read, not imported, so an import inside a function or under ``TYPE_CHECKING`` counts
for the directions as well. The checks themselves are tried on bad samples below.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

PACKAGE = Path(__file__).parent.parent / "tokenweir"

MAY_IMPORT = {
    "streaming": set[str](),
    "encoders": {"streaming"},
    "display": {"streaming"},
    "models": {"streaming"},
    "nodes": {"models", "streaming"},
    "graphs": {"models", "nodes", "streaming"},
    "serving": {"encoders", "graphs", "streaming"},
    "testing": {"models", "serving", "streaming"},
    "cli": {"display", "graphs", "models", "nodes", "serving", "streaming", "testing"},
}
"""Of our own rooms, besides itself. The facade ``tokenweir`` is for users: no room imports it."""

VOCABULARY = {"errors", "types"}
"""One module each, which every room may import; they import no room."""

BESIDE_THE_ROOMS = {"", "__main__", "_version"}
"""The facade, ``python -m tokenweir`` and the version: these may import what they like."""

CLIENTS = {"langchain_openai", "openai", "xllamacpp"}
"""Not for ``streaming``, which carries the tokens of any provider."""

FOREIGN = {
    "aiohttp",
    "httpx",
    "httpx2",
    "langchain",
    "langchain_core",
    "langchain_openai",
    "langgraph",
    "openai",
    "pydantic",
}
"""Packages whose private names are touched in ``PRIVATE_ROOMS`` and nowhere else."""

OF_PYTHON = {"_asdict", "_fields", "_make", "_replace"}
"""Attributes of named tuples, which are public."""

PRIVATE_ROOMS = ("tokenweir.streaming._langgraph", "tokenweir.models._openai")

Check: TypeAlias = "Callable[[dict[str, Module]], Iterator[str]]"


@dataclass(frozen=True)
class Import:
    """One imported module, and the names taken from it."""

    module: str
    names: tuple[str, ...]
    line: int
    at_load: bool
    """Whether it runs when the module is imported: not in a function, not for types only."""


@dataclass
class Module:
    """What a module's source says of its imports."""

    name: str
    path: Path
    imports: list[Import] = field(default_factory=list)
    attributes: list[tuple[str, int]] = field(default_factory=list)
    """Dotted names read from imported foreign modules and classes, with their lines."""
    private: list[tuple[str, str | None, int]] = field(default_factory=list)
    """Private attributes of objects, the class of ``super()`` if that is the object, and lines."""
    defined: set[tuple[str, str | None]] = field(default_factory=set)
    """Private names that the module defines, and the class that each is defined in."""

    def room(self) -> str:
        """The folder or file in the package that the module is part of; "" for the facade."""
        return [*self.name.split("."), ""][1]

    def at(self, line: int) -> str:
        """The place of an offence, as editors and terminals link it."""
        return f"{self.path}:{line}"


class Reader(ast.NodeVisitor):
    """Collects the imports of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.at_load = True
        self.bound: dict[str, str] = {}
        self.within: str | None = None
        is_package = module.path.name == "__init__.py"
        self.package = module.name if is_package else module.name.rpartition(".")[0]

    def add(self, module: str, names: tuple[str, ...], node: ast.AST) -> None:
        line = getattr(node, "lineno", 1)
        self.module.imports.append(Import(module, names, line, self.at_load))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name, (), node)
            first = alias.name.partition(".")[0]
            self.bound[alias.asname or first] = alias.name if alias.asname else first

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            above = self.package.split(".")[: -(node.level - 1) or None]
            source = ".".join([*above, source] if source else above)
        self.add(source, tuple(alias.name for alias in node.names), node)
        for alias in node.names:
            self.bound[alias.asname or alias.name] = f"{source}.{alias.name}"

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        called = called.id if isinstance(called, ast.Name) else called
        if called in {"getattr", "hasattr", "setattr"} and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant) and _is_private(str(name.value)):
                self.module.private.append((str(name.value), None, node.lineno))
        if called in {"import_module", "__import__"} and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                self.add(target.value, (), node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in self.bound:
            dotted = ".".join([self.bound[inner.id], *names])
            self.module.attributes.append((dotted, node.lineno))
        else:
            if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) in {"self", "cls"}:
                self.define(node.attr)
            elif _is_private(node.attr):
                of_super = self.within if ast.unparse(node.value) == "super()" else None
                self.module.private.append((node.attr, of_super, node.lineno))
            self.generic_visit(node)

    def define(self, name: str) -> None:
        if _is_private(name):
            self.module.defined.add((name, self.within))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.define(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        if ast.unparse(node.targets[0]) == "__slots__":
            for name in ast.literal_eval(node.value):
                self.define(name)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.define(node.name)
        before, self.within = self.within, node.name
        self.generic_visit(node)
        self.within = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.define(node.name)
        self.not_at_load(ast.iter_child_nodes(node))

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.not_at_load(ast.iter_child_nodes(node))

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            self.not_at_load(node.body)
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def not_at_load(self, nodes: Iterable[ast.AST]) -> None:
        before, self.at_load = self.at_load, False
        for node in nodes:
            self.visit(node)
        self.at_load = before


def read(package: Path) -> dict[str, Module]:
    """Every module of a package, by its full name."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = modules[name] = Module(name, path)
        Reader(module).visit(ast.parse(path.read_text(encoding="utf-8")))
    return modules


def targets(imported: Import, modules: dict[str, Module]) -> Iterator[str]:
    """The modules that an import names; ``from a import b`` may name the module ``a.b``."""
    submodules = [f"{imported.module}.{name}" for name in imported.names]
    yield from (name for name in submodules if name in modules)
    if not submodules or not all(name in modules for name in submodules):
        yield imported.module


def wrong_directions(modules: dict[str, Module]) -> Iterator[str]:
    """Imports of a room that the importing room may not know, or of the facade."""
    for module in modules.values():
        room = module.room()
        if room in BESIDE_THE_ROOMS:
            continue
        if room not in MAY_IMPORT and room not in VOCABULARY:
            yield f"{module.at(1)}: there is no room {room}"
            continue
        for imported in module.imports:
            for target in targets(imported, modules):
                first, second = [*target.split("."), ""][:2]
                if room == "streaming" and first in CLIENTS:
                    yield f"{module.at(imported.line)}: streaming imports the client {first}"
                elif first != "tokenweir" or second in {"_version"} | VOCABULARY:
                    continue
                elif second not in MAY_IMPORT.get(room, set()) | {room}:
                    yield f"{module.at(imported.line)}: {room} imports {target}"


def circles(modules: dict[str, Module]) -> Iterator[str]:
    """Circles of imports that run at load, each once, told at the import that closes it."""
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> Iterator[str]:
        for imported in modules[name].imports:
            for target in targets(imported, modules):
                if not imported.at_load or target not in modules or target in done:
                    continue
                if target in path:
                    way = " -> ".join([*path[path.index(target) :], target])
                    yield f"{modules[name].at(imported.line)}: circle {way}"
                else:
                    yield from follow(target, [*path, target])
        done.add(name)

    for name in modules:
        if name not in done:
            yield from follow(name, [name])


def stray_private_names(modules: dict[str, Module]) -> Iterator[str]:
    """Private names of foreign packages outside of the rooms that are made for them.

    A private attribute is foreign if no module of ours defines it; that of ``super()``, if no other
    class of ours does.
    """
    ours = {each for module in modules.values() for each in module.defined}
    for module in modules.values():
        if module.name.startswith(PRIVATE_ROOMS):
            continue
        for name, of_super, line in module.private:
            homes = {within for each, within in ours if each == name}
            if name not in OF_PYTHON and not homes - {of_super}:
                yield f"{module.at(line)}: .{name} belongs in {' or '.join(PRIVATE_ROOMS)}"
        found = [
            (f"{imported.module}.{name}" if name else imported.module, imported.line)
            for imported in module.imports
            for name in imported.names or ("",)
        ]
        for dotted, line in found + module.attributes:
            first, *rest = dotted.split(".")
            if first in FOREIGN and any(_is_private(part) for part in rest):
                yield f"{module.at(line)}: {dotted} belongs in {' or '.join(PRIVATE_ROOMS)}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


CHECKS = [wrong_directions, circles, stray_private_names]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package(check: Check) -> None:
    """No module of the package offends against the check."""
    modules = read(PACKAGE)
    assert {"tokenweir", "tokenweir.streaming.filters"} <= modules.keys()
    assert list(check(modules)) == []


WRONG_DIRECTIONS = [
    ("streaming/a.py", "from tokenweir.nodes.b import x  # here"),
    ("streaming/a.py", "def f():\n    import tokenweir.graphs.b  # here"),
    ("streaming/a.py", "if TYPE_CHECKING:\n    from ..nodes import b  # here\nx = 1"),
    ("streaming/a.py", "import importlib\nimportlib.import_module('tokenweir.cli')  # here"),
    ("streaming/a.py", "\nimport openai.types  # here"),
    ("nodes/a.py", "from tokenweir import astream  # here"),
    ("nodes/a.py", "from tokenweir import graphs, streaming  # here"),
    ("graphs/a.py", "from tokenweir.testing import Provider  # here"),
    ("testing/a.py", "from tokenweir.graphs import loader  # here"),
    ("helpers.py", "x = 1  # here"),
]

CIRCLES = [
    "from tokenweir.nodes import b",
    "try:\n    from . import b\nexcept ImportError:\n    pass",
    "class C:\n    import tokenweir.nodes.b",
]

PRIVATE_NAMES = [
    ("nodes/a.py", "from langgraph._internal._constants import NS_SEP  # here"),
    ("nodes/a.py", "\nfrom langchain_core.tracers import _streaming  # here"),
    ("nodes/a.py", "import langgraph.pregel as p\np._messages.Handler  # here"),
    ("nodes/a.py", "import langgraph.pregel\nlanggraph.pregel._messages.Handler()  # here"),
    ("nodes/a.py", "from openai import OpenAI as O\ndef f():\n    return O._client  # here"),
    ("nodes/a.py", "def f(client):\n    return client._mounts  # here"),
    ("nodes/a.py", "def f(client):\n    return getattr(client, '_mounts', None)  # here"),
    ("nodes/a.py", "def f(client):\n    client._mounts = {}  # here"),
    ("nodes/a.py", "class A(B):\n    def f(self):\n        return self._mounts  # here"),
    ("nodes/a.py", "class A(B):\n    def _f(self):\n        return super()._f()  # here"),
]

GOOD = [
    ("nodes/a.py", "class A:\n    def __init__(self):\n        self._b = 1\ndef f(a):\n    a._b"),
    ("nodes/a.py", "class A:\n    _f = 1\nclass B(A):\n    def _f(self):\n        super()._f"),
    ("nodes/a.py", "class A:\n    __slots__ = ('_b',)\ndef f(a):\n    return a._b"),
    ("nodes/a.py", "from tokenweir.streaming.filters import tag"),
    ("nodes/a.py", "def f():\n    from tokenweir.nodes import b"),
    ("nodes/a.py", "if TYPE_CHECKING:\n    from tokenweir.nodes.b import x"),
    ("nodes/a.py", "from tokenweir._version import __version__\nimport openai\nopenai.__version__"),
    ("streaming/_langgraph.py", "from langgraph._internal import _constants"),
    ("__main__.py", "from tokenweir.cli import main"),
    ("cli/a.py", "from tokenweir.testing import Provider\nfrom tokenweir.graphs import loader"),
]


def sample(folder: Path, path: str, source: str) -> dict[str, Module]:
    """A small package: the source at a path, beside ``nodes/b.py`` that imports ``nodes/a.py``."""
    package = folder / "tokenweir"
    for room in MAY_IMPORT:
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
    (package / "nodes" / "b.py").write_text("from tokenweir.nodes.a import x")
    (package / path).write_text(source)
    return read(package)


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [(wrong_directions, *case) for case in WRONG_DIRECTIONS]
    + [(stray_private_names, *case) for case in PRIVATE_NAMES],
)
def test_an_offence_is_found(check: Check, path: str, source: str, tmp_path: Path) -> None:
    """Each bad sample is found by its check, once, at its line, and by no other check."""
    modules = sample(tmp_path, path, source)
    [line] = [n for n, text in enumerate(source.splitlines(), 1) if "# here" in text]
    found = [(each, offence) for each in CHECKS for offence in each(modules)]
    assert [each for each, _ in found] == [check]
    assert found[0][1].startswith(f"{tmp_path / 'tokenweir' / path}:{line}: ")


@pytest.mark.parametrize("source", CIRCLES)
def test_a_circle_is_found(source: str, tmp_path: Path) -> None:
    """A circle is told once, with the modules it goes through and the import that closes it."""
    modules = sample(tmp_path, "nodes/a.py", source)
    [offence] = [offence for check in CHECKS for offence in check(modules)]
    place = f"{tmp_path / 'tokenweir' / 'nodes' / 'b.py'}:1: "
    assert offence == place + "circle tokenweir.nodes.a -> tokenweir.nodes.b -> tokenweir.nodes.a"


@pytest.mark.parametrize(("path", "source"), GOOD)
def test_no_offence_is_made_up(path: str, source: str, tmp_path: Path) -> None:
    """What is allowed passes every check."""
    modules = sample(tmp_path, path, source)
    assert [offence for check in CHECKS for offence in check(modules)] == []
