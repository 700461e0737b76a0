"""An agent whose tool calls a person approves: LangChain's own, with its middleware."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware

from tokenweir.models.chat import chat_model


def delete_file(name: str) -> str:
    """Delete a file."""
    return f"{name} is gone"


approves = create_agent(
    chat_model("openai:gpt-4o-mini"),
    tools=[delete_file],
    middleware=[HumanInTheLoopMiddleware(interrupt_on={"delete_file": True})],
)
