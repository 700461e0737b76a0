"""A terminal: type a topic, see the joke and the poem in lanes of their own. Ctrl-D ends it.

``python terminal/chat.py``; nothing is served.
"""

from __future__ import annotations

import asyncio

from tokenweir import astream, show
from tokenweir.graphs.joke_poem_parallel import graph


async def write(topic: str) -> None:
    """Show what both models write."""
    await show(astream(graph, {"topic": topic}))


def main() -> None:
    """Ask for topics until there are no more."""
    while True:
        try:
            topic = input("topic> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        asyncio.run(write(topic))


if __name__ == "__main__":
    main()
