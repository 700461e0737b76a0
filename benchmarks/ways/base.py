"""The base class of ways, and the task that they get."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["MODEL", "SyncWay", "Task", "Way", "optional", "write_tool"]

MODEL = "gpt-4o-mini"
"""The model's name in requests. The server does not look at it."""


@dataclass(frozen=True)
class Task:
    """How a scenario's replies are read.

    Args:
        base_url: The server's URL.
        tools: The model has a tool.
        logprobs: The model is asked for log probabilities.
        filtered: The reader selects a tag that no model has.
        agent: The graph is LangChain's ``create_agent`` with that tool.
    """

    base_url: str
    tools: bool = False
    logprobs: bool = False
    filtered: bool = False
    agent: bool = False


class Way(ABC):
    """A program that reads replies from its event loop."""

    exact = True
    """Whether it shows each token by itself, so that their number can be checked."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        """Read one reply to its end.

        Args:
            prompt: Carries the script.
            first: Called at the first token.

        Returns:
            The number of chunks with text or a piece of a tool call.
        """


class SyncWay(ABC):
    """A program that reads replies in a thread, or in several."""

    exact = True

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def reply(self, prompt: str, first: Callable[[], object]) -> int:
        """As ``Way.reply``."""


def optional(module: str) -> Any:
    """A module that is not in the project's own environment."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SystemExit(
            f"this needs {module.partition('.')[0]}, which `make bench` brings: {error}"
        ) from None


def write_tool() -> dict[str, Any]:
    """The tool that the server's tool calls name."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}}
    function = {"name": "write", "description": "Write a text.", "parameters": text}
    return {"type": "function", "function": function}
