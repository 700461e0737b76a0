"""Filters decide which model calls pass, and which of their chunks.

Most filters look at a call's metadata and nothing else, so they are decided once per model call
and cost nothing per token. Two look at the chunk: ``text`` and ``reasoning``. Filters combine with
``&``, ``|`` and ``~``::

    only = tag("joke") | (from_node("write") & ~tag("draft"))
    only = tag("joke") & text

The same filters can be written as text, for a command line or a URL: ``parse_filter``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from langchain_core.messages import RemoveMessage, ToolMessage

from tokenweir.errors import FilterError
from tokenweir.streaming.content import reasoning_of, text_of
from tokenweir.types import ReadOnlyMetadata

__all__ = [
    "Filter",
    "FilterLike",
    "as_filter",
    "from_agent",
    "from_model",
    "from_node",
    "from_tool",
    "in_namespace",
    "parse_filter",
    "reasoning",
    "tag",
    "text",
]


class Filter:
    """A decision about a model call, made from its metadata; or about a chunk, made from both.

    Call it with a metadata dict to ask whether that call passes, or with the metadata and a chunk
    to ask whether that chunk does. Any function of a metadata dict can become one:
    ``Filter(lambda metadata: metadata["langgraph_step"] > 1)``.
    """

    __slots__ = ("_accepts", "_binds", "_decide", "_text")

    def __init__(
        self, accepts: Callable[[ReadOnlyMetadata], object], text: str | None = None
    ) -> None:
        if iscoroutinefunction(accepts) or iscoroutinefunction(type(accepts).__call__):
            raise FilterError(
                f"a filter is a plain function of a metadata dict, not async: {accepts!r}"
            )
        self._decide: _Decide = lambda metadata: bool(accepts(metadata))
        self._accepts: _Accepts | None = None
        self._text = text or f"<{getattr(accepts, '__name__', 'filter')}>"
        self._binds = 3  # 1 for |, 2 for &, 3 for what needs no brackets

    def __call__(self, metadata: ReadOnlyMetadata, chunk: Any = None) -> bool:
        """Whether this chunk of a call with this metadata passes.

        The chunk may be left out for filters that look at metadata only; FilterError if it is
        needed.
        """
        decided = self._decide(metadata)
        if decided is not None:
            return decided
        if chunk is None:
            raise FilterError(f"{self} looks at chunks: call it with (metadata, chunk)")
        if isinstance(chunk, RemoveMessage):
            return True  # some chunks of the message may have passed
        assert self._accepts is not None
        return self._accepts(metadata, chunk)

    def decide(self, metadata: ReadOnlyMetadata) -> bool | None:
        """Decide from the metadata alone whether a call passes; None if each chunk decides."""
        return self._decide(metadata)

    @property
    def looks_at_chunks(self) -> bool:
        """Whether some chunks of a call may pass and others not."""
        return self._accepts is not None

    def __and__(self, other: object) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        left, right = self._decide, other._decide

        def decide(metadata: ReadOnlyMetadata) -> bool | None:
            first = left(metadata)
            if first is False:
                return False
            second = right(metadata)
            return second if first or second is False else None

        return _joined(decide, self, "&", other)

    def __or__(self, other: object) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        left, right = self._decide, other._decide

        def decide(metadata: ReadOnlyMetadata) -> bool | None:
            first = left(metadata)
            if first:
                return True
            second = right(metadata)
            return second if first is False or second else None

        return _joined(decide, self, "|", other)

    def __invert__(self) -> Filter:
        decide = self._decide

        def negated(metadata: ReadOnlyMetadata) -> bool | None:
            decided = decide(metadata)
            return None if decided is None else not decided

        accepts = None
        if self.looks_at_chunks:
            accepts = lambda metadata, chunk: not self(metadata, chunk)  # noqa: E731
        return _made(negated, accepts, f"~{_bracketed(self, 3)}")

    def __bool__(self) -> bool:
        raise FilterError(
            f"{self} was used as a truth value: combine filters with &, | and ~, "
            "not with `and`, `or`, `not`"
        )

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Filter {self._text}>"


def _bracketed(part: Filter, binds: int) -> str:
    return f"({part})" if part._binds < binds else str(part)


_Decide = Callable[[ReadOnlyMetadata], "bool | None"]
_Accepts = Callable[[ReadOnlyMetadata, Any], bool]


def _made(decide: _Decide, accepts: _Accepts | None, text: str, binds: int = 3) -> Filter:
    made = Filter(decide, text)
    made._decide, made._accepts, made._binds = decide, accepts, binds
    return made


def _joined(decide: _Decide, left: Filter, operator: str, right: Filter) -> Filter:
    binds = 2 if operator == "&" else 1
    text = f"{_bracketed(left, binds)} {operator} {_bracketed(right, binds)}"
    accepts: _Accepts | None = None
    if left.looks_at_chunks or right.looks_at_chunks:
        if operator == "&":
            accepts = lambda metadata, chunk: left(metadata, chunk) and right(metadata, chunk)  # noqa: E731
        else:
            accepts = lambda metadata, chunk: left(metadata, chunk) or right(metadata, chunk)  # noqa: E731
    return _made(decide, accepts, text, binds)


def _of_chunks(held: Callable[[Any], object], name: str) -> Filter:
    return _made(lambda metadata: None, lambda metadata, chunk: bool(held(chunk)), name)


text: Filter = _of_chunks(text_of, "text")
"""Pass the chunks that hold text of the answer: no reasoning, no tool calls, no bare usage."""

reasoning: Filter = _of_chunks(reasoning_of, "reasoning")
"""Pass the chunks that hold reasoning, which some models show before their answer."""


def _name(kind: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise FilterError(f"{kind} takes a name, not {value!r}")
    return value


def _written(kind: str, value: str) -> str:
    if re.fullmatch(_BARE, value):
        return f"{kind}:{value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{kind}:"{escaped}"'


def tag(name: str) -> Filter:
    """Pass the calls of models that carry this tag (``ChatOpenAI(..., tags=["joke"])``)."""
    name = _name("tag", name)
    return Filter(lambda metadata: name in (metadata.get("tags") or ()), _written("tag", name))


def from_node(name: str) -> Filter:
    """Pass what nodes of this name wrote, in the graph and in its subgraphs."""
    name = _name("from_node", name)
    return Filter(lambda metadata: metadata.get("langgraph_node") == name, _written("node", name))


def from_model(name: str) -> Filter:
    """Pass the calls of one model: ``"gpt-4o-mini"``, or ``"openai:gpt-4o-mini"``.

    The name is compared with ``ls_model_name``, the provider with ``ls_provider``.
    """
    name = _name("from_model", name)

    def accepts(metadata: ReadOnlyMetadata) -> bool:
        model = metadata.get("ls_model_name")
        return model is not None and name in (model, f"{metadata.get('ls_provider')}:{model}")

    return Filter(accepts, _written("model", name))


def in_namespace(*path: str) -> Filter:
    """Pass what was written inside a subgraph: ``in_namespace("editor")``.

    ``path`` names the nodes that hold the subgraphs, from the outermost in; deeper subgraphs pass
    too. A segment may carry its task's id (``"editor:6dd…"``) to mean just that task. The stream
    must be asked for subgraphs (``subgraphs=True``), as in LangGraph.
    """
    if not path:
        raise FilterError("in_namespace takes the names of nodes: in_namespace('editor')")
    path = tuple(_name("in_namespace", segment) for segment in path)

    def accepts(metadata: ReadOnlyMetadata) -> bool:
        # The last segment is the calling node's own task, the ones before it are the graph's.
        namespace = str(metadata.get("langgraph_checkpoint_ns") or "").split("|")[:-1]
        return len(namespace) >= len(path) and all(
            wanted in (segment, segment.partition(":")[0])
            for wanted, segment in zip(path, namespace, strict=False)
        )

    return Filter(accepts, _written("namespace", "|".join(path)))


def from_agent(name: str) -> Filter:
    """Pass the calls that an agent of this name makes: ``create_agent(..., name="researcher")``.

    Deep agents and swarms name their agents the same way, as ``lc_agent_name`` in the metadata. An
    agent of ``create_react_agent``, such as a supervisor, has no name of its own there, so it has
    that of its node. Agents in the nodes and tools of a graph are subgraphs: stream with
    ``subgraphs=True``.
    """
    name = _name("from_agent", name)

    def accepts(metadata: ReadOnlyMetadata) -> bool:
        said = metadata.get("lc_agent_name")
        return said == name or (not said and _holder(metadata) == name)

    return Filter(accepts, _written("agent", name))


def _holder(metadata: ReadOnlyMetadata) -> str:
    """The node that holds the subgraph in which a call is made; "" for a call in no subgraph."""
    path = str(metadata.get("langgraph_checkpoint_ns") or "").split("|")
    return path[-2].partition(":")[0] if len(path) > 1 else ""


def from_tool(name: str) -> Filter:
    """Pass the results of the tool of this name (``ToolMessage``)."""
    name = _name("from_tool", name)
    return _of_chunks(lambda chunk: _is_result_of(name, chunk), _written("tool", name))


def _is_result_of(name: str, chunk: Any) -> bool:
    if isinstance(chunk, dict):
        return chunk.get("type") == "tool" and chunk.get("name") == name
    return isinstance(chunk, ToolMessage) and chunk.name == name


FilterLike: TypeAlias = Filter | str | Callable[[ReadOnlyMetadata], object]
"""What ``only=`` takes: a filter, its text (``"tag:joke"``), or a function of a metadata dict."""


def as_filter(only: FilterLike | None) -> Filter | None:
    """The filter that an ``only=`` argument means; None, which every call passes, stays None."""
    if only is None or isinstance(only, Filter):
        return only
    if isinstance(only, str):
        return parse_filter(only)
    if callable(only):
        return Filter(only)
    raise FilterError(
        f"only= takes a filter such as tag('joke'), its text such as 'tag:joke', "
        f"or a function of a metadata dict; not {only!r}"
    )


_BARE = r"[^\s()&|~\"']+"
_KINDS: dict[str, Callable[[str], Filter]] = {
    "tag": tag,
    "node": from_node,
    "model": from_model,
    "agent": from_agent,
    "tool": from_tool,
    "namespace": lambda path: in_namespace(*path.split("|")),
}
_CONTENTS = {"text": text, "reasoning": reasoning}
_TOKEN = re.compile(
    rf'\s*(?:([()&|~])|(\w+):(?:"((?:[^"\\]|\\.)*)"|({_BARE}))|(text|reasoning)(?![^\s()&|~]))'
)
_MOST_OPERATORS = 100
"""Limit for a filter as text: each operator is a nested call, for every chunk."""
_MOST_CHARACTERS = 10_000
_FORMS = (
    "tag:joke, node:write, agent:researcher, tool:search, model:gpt-4o-mini, namespace:editor, "
    "text, reasoning, joined by & | ~ and brackets; "
    'quote what is not one word: tag:"two words"'
)


def parse_filter(text: str) -> Filter:
    """Read a filter from text: ``tag:joke | (node:write & ~tag:draft)``.

    ``str(filter)`` writes this form back. Raises FilterError with the forms that are understood.
    A text has at most 10,000 characters, and at most 100 operators and brackets.
    """
    if len(text) > _MOST_CHARACTERS:
        raise FilterError(f"a filter has at most {_MOST_CHARACTERS} characters, not {len(text)}")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over ``or -> and -> not -> term``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.operators = 0
        self.operator: str | None = None
        self.term: Filter | None = None
        self.advance()

    def fail(self, what: str) -> FilterError:
        return FilterError(f"{what} in the filter {self.text!r}. A filter is {_FORMS}")

    def advance(self) -> None:
        self.operator = self.term = None
        if not self.text[self.at :].strip():
            self.at = len(self.text)
            return
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            rest = self.text[self.at :].strip()
            word = re.match(_BARE, rest)
            meant = f" (did you mean tag:{word[0]}?)" if word and ":" not in word[0] else ""
            raise self.fail(f"cannot read {rest!r}{meant}")
        self.at = match.end()
        operator, kind, quoted, bare, content = match.groups()
        if operator:
            self.operator = operator
            self.operators += 1
            if self.operators > _MOST_OPERATORS:
                raise FilterError(f"a filter has at most {_MOST_OPERATORS} of & | ~ ( and )")
        elif content:
            self.term = _CONTENTS[content]
        elif kind in _KINDS:
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
            self.term = _KINDS[kind](value)
        else:
            raise self.fail(f"unknown kind {kind!r} (known: {', '.join(_KINDS)})")

    def whole(self) -> Filter:
        parsed = self.either()
        if self.operator is not None or self.term is not None:
            raise self.fail(f"nothing was expected after {parsed}")
        return parsed

    def either(self) -> Filter:
        left = self.both()
        while self.operator == "|":
            self.advance()
            left = left | self.both()
        return left

    def both(self) -> Filter:
        left = self.negated()
        while self.operator == "&":
            self.advance()
            left = left & self.negated()
        return left

    def negated(self) -> Filter:
        if self.operator == "~":
            self.advance()
            return ~self.negated()
        if self.operator == "(":
            self.advance()
            inner = self.either()
            if self.operator != ")":
                raise self.fail("a bracket is not closed")
            self.advance()
            return inner
        if self.term is None:
            raise self.fail(f"a filter was expected, not {self.operator or 'the end'!r}")
        term = self.term
        self.advance()
        return term
