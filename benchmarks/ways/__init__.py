"""The ways to read a reply, by name; each is made in the process that is measured."""

from __future__ import annotations

from benchmarks.ways.base import SyncWay, Task, Way

__all__ = ["MEANINGS", "PEERS", "make"]

MEANINGS = {
    "raw": "aiohttp, a loop over lines, msgspec",
    "sdk": "openai SDK",
    "chatopenai": "ChatOpenAI.astream",
    "chat_model": "our chat_model.astream",
    "plain": "graph.astream, ChatOpenAI",
    "plain+model": "graph.astream, our chat_model",
    "ours": "our astream, our chat_model",
    "ours+chatopenai": "our astream, ChatOpenAI",
    "ours-after": "ours, filtered after the stream",
    "ours-collect": "ours, through collect",
    "ours-lanes": "ours, through two lanes",
    "ours-objects": "ours, through objects",
    "plain-events": "graph.astream_events, v3, ChatOpenAI",
    "ours-events": "our astream_events, our chat_model",
    "ours-guard": "ours, through a guard with a regular expression",
    "sdk-sync": "openai SDK, sync",
    "plain-sync": "graph.stream, ChatOpenAI",
    "plain+model-sync": "graph.stream, our chat_model",
    "ours-sync": "our stream, our chat_model",
    "pydantic-ai": "pydantic-ai, Agent.run_stream",
    "openai-agents": "openai-agents, Runner.run_streamed",
    "litellm": "litellm.acompletion",
    "agno": "agno, Agent.arun",
}

PEERS = ("pydantic-ai", "openai-agents", "litellm", "agno")
"""Each has an environment of its own."""


def make(name: str, task: Task) -> Way | SyncWay:
    """The way of that name, ready to read; imports what that way needs and no more."""
    from benchmarks.ways import clients

    if name == "raw":
        return clients.RawWay(task)
    if name == "sdk":
        return clients.SDKWay(task)
    if name == "sdk-sync":
        return clients.SDKSyncWay(task)
    if name == "chatopenai":
        return clients.ChatModelWay(task, own_model=False)
    if name == "chat_model":
        return clients.ChatModelWay(task, own_model=True)
    if name in PEERS:
        from benchmarks.ways import peers

        return peers.make(name, task)
    from benchmarks.ways import graphs

    return graphs.make(name, task)
