"""Which events a client subscribes to, by channel and namespace. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from tokenweir.serving.problems import InvalidError

__all__ = ["CHANNELS", "Subscription"]

CHANNELS = (
    "values",
    "updates",
    "messages",
    "tools",
    "lifecycle",
    "input",
    "checkpoints",
    "tasks",
    "custom",
)
_WATCHED = frozenset({"lifecycle", "input"})


class Subscription:
    """Decides which events one reader is sent.

    Args:
        channels: Names of channels; ``custom:NAME`` for what nodes write under a name.
        namespaces: Only events of these subgraphs and those below; all if None. A segment
            without an id (``child`` for ``child:1f3a``) matches all tasks of that node.
        depth: How many levels below; no limit if None.

    Raises:
        InvalidError: If a channel is unknown, or none is named.
    """

    def __init__(
        self,
        channels: Sequence[str],
        namespaces: Sequence[Sequence[str]] | None = None,
        depth: int | None = None,
    ) -> None:
        unknown = [c for c in channels if c not in CHANNELS and not c.startswith("custom:")]
        if unknown or not channels:
            raise InvalidError(
                f"channels are any of {', '.join(CHANNELS)} and custom:NAME; got {list(channels)}"
            )
        self._channels = frozenset(channels)
        self._namespaces = [tuple(each) for each in namespaces] if namespaces else None
        self._depth = depth
        self._known: dict[tuple[str, ...], bool] = {}

    @property
    def only_watches(self) -> bool:
        """Whether only ``lifecycle`` and ``input`` are subscribed to."""
        return self._channels == _WATCHED

    def wants(self, channel: str, namespace: tuple[str, ...], name: str | None = None) -> bool:
        """Whether an event is sent.

        Args:
            channel: The channel.
            namespace: The path of the subgraph that it comes from.
            name: The name that a node has given a custom event.
        """
        if channel not in self._channels and f"{channel}:{name}" not in self._channels:
            return False
        if self._namespaces is None:
            return True
        wanted = self._known.get(namespace)
        if wanted is None:
            covers = (self._covers(above, namespace) for above in self._namespaces)
            wanted = self._known[namespace] = any(covers)
        return wanted

    def _covers(self, above: tuple[str, ...], namespace: tuple[str, ...]) -> bool:
        deeper = len(namespace) - len(above)
        near = deeper >= 0 and (self._depth is None or deeper <= self._depth)
        return near and all(map(_same, above, namespace))


def _same(asked: str, segment: str) -> bool:
    return segment == asked or (":" not in asked and segment.partition(":")[0] == asked)
