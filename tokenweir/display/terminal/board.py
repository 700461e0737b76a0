"""Assigns tokens to lanes, and holds the content of each lane. No terminal, no I/O.

Calls with the same name (their tags, else their node) follow each other in one lane. If a call
begins while another of its name still runs, it gets a separate, numbered lane.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from langchain_core.messages import RemoveMessage

from tokenweir.display.terminal.wrap import Wrap
from tokenweir.display.visible import visible
from tokenweir.streaming.content import Kind, Piece, call_of, is_cut, is_last, pieces, tags_of

__all__ = ["Board", "Lane", "lane_name"]

IDLE = 100
"""A lane gives up its place on the screen after this many tokens of other lanes."""


class _Turn(NamedTuple):
    """The place of a call in the run: the graph or subgraph, and the step."""

    graph: str
    step: int | None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> _Turn:
        graph = str(metadata.get("langgraph_checkpoint_ns") or "").rpartition("|")[0]
        step = metadata.get("langgraph_step")
        return cls(graph, step if isinstance(step, int) else None)

    def follows(self, other: _Turn) -> bool:
        """Whether the other's node is done: a step begins when the previous one is over."""
        if self.graph != other.graph or self.step is None or other.step is None:
            return False
        return self.step > other.step


class Lane:
    """One column of the display: the calls of one name, one after another."""

    def __init__(self, name: str, number: int, order: int, encoding: str) -> None:
        self.title = visible(name, encoding) + (f" {number}" if number > 1 else "")
        self.name = name
        self.order = order
        self.tokens = 0
        self.touched = 0
        """When the lane last grew, counted in tokens of the whole board."""
        self._encoding = encoding
        self.ended = True
        self._call: Hashable = None
        self._turn = _Turn("", None)
        self._kind: Kind | None = None
        self._written: list[tuple[str, str]] = []
        self._writers: list[Hashable] = []
        """The call that wrote each of them."""
        self._wrap: Wrap | None = None

    def takes(self, call: Hashable, turn: _Turn) -> bool:
        """Whether a call may write here: it already does, or the call before it is over."""
        return call == self._call or self.ended or turn.follows(self._turn)

    def write(self, piece: Piece, call: Hashable, turn: _Turn) -> None:
        """Add a piece of a call for which ``takes`` is true."""
        if call != self._call:
            self._call, self._turn, self.ended = call, turn, False
            self._separate("\n\n")
        elif self._kind != piece.kind or piece.starts:
            self._separate("\n")
        self._kind = piece.kind
        self._add(visible(piece.text, self._encoding))
        self.tokens += 1

    def cut(self, call: Hashable) -> None:
        """Mark the answer of a call as cut off, with ``…``."""
        if call == self._call:
            self._add(visible("…", self._encoding))

    def end(self, call: Hashable) -> None:
        """End a call, so that the next one of this name may follow here."""
        if call == self._call:
            self.ended = True

    def remove(self, call: Hashable) -> None:
        """Remove everything that a call wrote, because it is void."""
        kept = [at for at, writer in enumerate(self._writers) if writer != call]
        self._written = [self._written[at] for at in kept]
        self._writers = [self._writers[at] for at in kept]
        self._wrap = None
        self.end(call)

    def wrapped(self, width: int) -> Wrap:
        """The lane's text in lines of ``width`` cells."""
        if self._wrap is None or self._wrap.width != width:
            self._wrap = Wrap(width)
            for kind, text in self._written:
                self._wrap.write(text, kind)
        return self._wrap

    @property
    def text(self) -> str:
        """Everything in the lane, as it is shown."""
        return "".join(text for _, text in self._written)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Everything in the lane, as stretches of ``(kind, text)``. Do not change it."""
        return self._written

    def _separate(self, by: str) -> None:
        if self._written and self._kind is not None:
            last = self._written[-1][1]
            self._add(by[len(last) - len(last.rstrip("\n")) :])

    def _add(self, text: str) -> None:
        kind = self._kind or "text"
        if text:
            self._written.append((kind, text))
            self._writers.append(self._call)
            if self._wrap is not None:
                self._wrap.write(text, kind)


def lane_name(metadata: Mapping[str, Any]) -> str:
    """What to call the lane of a model call: its tags, else its node, else its model."""
    name = metadata.get("langgraph_node") or metadata.get("ls_model_name") or "tokens"
    return " ".join(tags_of(metadata)) or str(name)


class Board:
    """All lanes of a run, in order of first appearance."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.lanes: list[Lane] = []
        self._encoding = encoding
        self._calls: dict[Hashable, Lane] = {}
        self._tokens = 0
        self._shown: list[Lane] = []

    def feed(self, chunk: Any, metadata: Mapping[str, Any]) -> Lane | None:
        """Put a token into its lane. Returns the lane, or None if there was nothing to see."""
        call, found = call_of(chunk, metadata), pieces(chunk)
        lane = self._calls.get(call)
        if isinstance(chunk, RemoveMessage):
            if lane is not None:
                lane.remove(call)
            return lane
        if found:
            turn = _Turn.of(metadata)
            if lane is None:
                lane = self._calls[call] = self._lane(lane_name(metadata), call, turn)
            self._tokens += 1
            lane.touched = self._tokens
            for piece in found:
                lane.write(piece, call, turn)
        if lane is None:
            return None
        cut = is_cut(chunk)
        if cut:
            lane.cut(call)
        if is_last(chunk):
            lane.end(call)
        return lane if found or cut else None

    def shown(self, places: int) -> list[Lane]:
        """The lanes to show if there is room for ``places``. A running lane keeps its place."""
        del self._shown[places:]
        hidden = [lane for lane in self.lanes if lane not in self._shown]
        free = places - len(self._shown)
        self._shown += hidden[:free]
        for lane in hidden[free:]:
            idle = [other for other in self._shown if self._gives_way(other, lane)]
            if idle and not lane.ended:
                self._shown.remove(min(idle, key=lambda other: other.touched))
                self._shown.append(lane)
        return sorted(self._shown, key=lambda lane: lane.order)

    def _gives_way(self, lane: Lane, newer: Lane) -> bool:
        silent = lane.ended or self._tokens - lane.touched > IDLE
        return silent and lane.touched < newer.touched

    def _lane(self, name: str, call: Hashable, turn: _Turn) -> Lane:
        namesakes = [lane for lane in self.lanes if lane.name == name]
        for lane in namesakes:
            if lane.takes(call, turn):
                return lane
        lane = Lane(name, len(namesakes) + 1, len(self.lanes), self._encoding)
        self.lanes.append(lane)
        return lane
