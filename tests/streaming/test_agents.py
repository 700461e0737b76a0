"""The agents of LangChain's packages are heard: by their names, in subgraphs and tools."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware
from langgraph.graph import START, MessagesState, StateGraph
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from tokenweir import astream, chat_model, collect, from_agent, from_tool, text
from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = [
    pytest.mark.skipif(
        sys.version_info < (3, 11),
        reason="before Python 3.11 an async node does not know its config by itself",
    ),
    # of what langgraph-supervisor imports
    pytest.mark.filterwarnings("ignore:create_react_agent has been moved"),
]

ASKED: Any = {"messages": [("user", "Do cats sleep?")]}


def search(query: str) -> str:
    """Search."""
    return f"found {query}"


def model_of(provider: Provider) -> Any:
    return chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")


def calling(name: str, arguments: str = "{}") -> Reply:
    return Reply(tool_calls=[ToolCall(name, arguments)])


class Watching(AgentMiddleware[Any, Any, Any]):
    """Wraps the model's calls and adds nodes to the agent."""

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)

    def before_model(self, state: Any, runtime: Any) -> None:
        return None


def supervised(provider: Provider) -> Any:
    provider.reply(calling("transfer_to_researcher"), "Cats sleep.", "He says they do.")
    researcher = create_agent(model_of(provider), [search], name="researcher")
    return create_supervisor([researcher], model=model_of(provider)).compile()


def swarming(provider: Provider) -> Any:
    provider.reply(calling("transfer_to_researcher"), "Cats sleep.")
    handoff = create_handoff_tool(agent_name="researcher")
    alice = create_agent(model_of(provider), [handoff], name="alice")
    researcher = create_agent(model_of(provider), [search], name="researcher")
    return create_swarm([alice, researcher], default_active_agent="alice").compile()


def deep(provider: Provider) -> Any:
    from deepagents import create_deep_agent

    task = '{"description": "Look at cats.", "subagent_type": "researcher"}'
    provider.reply(calling("task", task), "Cats sleep.", "They do.")
    researcher: Any = {
        "name": "researcher",
        "description": "Researches.",
        "system_prompt": "Research.",
        "tools": [search],
    }
    return create_deep_agent(model_of(provider), subagents=[researcher], name="boss")


def middled(provider: Provider) -> Any:
    provider.reply(calling("search", '{"query": "cats"}'), "Cats sleep.")
    middleware: Any = [Watching(), ModelCallLimitMiddleware(run_limit=5)]
    agent = create_agent(model_of(provider), [search], name="researcher", middleware=middleware)
    builder: Any = StateGraph(MessagesState).add_node("stage", agent).add_edge(START, "stage")
    return builder.compile()


KINDS = pytest.mark.parametrize("make", [supervised, swarming, deep, middled])


@KINDS
@pytest.mark.parametrize("stream_mode", ["messages", ["messages"]])
async def test_an_agent_by_its_name(
    provider: Provider, make: Callable[[Provider], Any], stream_mode: Any
) -> None:
    """``from_agent`` passes the tokens of the agent of that name, and of no other."""
    parts = astream(
        make(provider),
        ASKED,
        only=from_agent("researcher") & text & ~from_tool("search"),
        subgraphs=True,
        stream_mode=stream_mode,
    )
    tokens = [part[-1] async for part in parts]
    assert [chunk.content for chunk, _ in tokens] == ["Cats", " sleep."]
    assert {metadata["lc_agent_name"] for _, metadata in tokens} == {"researcher"}


@pytest.mark.parametrize(("make", "place"), [(deep, "tools"), (middled, "stage")])
@pytest.mark.parametrize("options", [{}, {"version": "v2", "stream_mode": ["messages", "tasks"]}])
async def test_an_agent_in_a_subgraph_that_is_not_streamed(
    provider: Provider, make: Callable[[Provider], Any], place: str, options: dict[str, Any]
) -> None:
    """The warning at the end names the subgraph where the agent has spoken, and what streams it."""
    only = from_agent("researcher") & ~from_tool("task")
    with pytest.warns(UnmatchedFilterWarning, match=f"subgraph {place} made .* subgraphs=True"):
        async for _ in astream(make(provider), ASKED, only=only, **options):
            pass


@pytest.mark.parametrize("make", [supervised, swarming])
async def test_what_an_agent_gives_to_the_graph(
    provider: Provider, make: Callable[[Provider], Any]
) -> None:
    """Without subgraphs an agent's node still gives its messages, whole."""
    parts = astream(make(provider), ASKED, only=from_agent("researcher") & text)
    assert "Cats sleep." in [chunk.content async for chunk, _ in parts]


async def test_a_supervisor_by_its_name(provider: Provider) -> None:
    """An agent that does not say its name has that of the node that holds it."""
    only = from_agent("supervisor") & text
    parts = astream(supervised(provider), ASKED, only=only, subgraphs=True)
    tokens = [token async for _, token in parts]
    assert "".join(str(chunk.content) for chunk, _ in tokens) == "He says they do."
    assert not any("lc_agent_name" in metadata for _, metadata in tokens)


@KINDS
async def test_all_that_agents_say(provider: Provider, make: Callable[[Provider], Any]) -> None:
    """``collect`` adds the tokens of all agents up, each message once."""
    messages = await collect(
        token async for _, token in astream(make(provider), ASKED, subgraphs=True)
    )
    said = [str(message.content) for message, _ in messages if message.type == "ai"]
    assert said.count("Cats sleep.") == 1
