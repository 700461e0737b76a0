"""A joke, then a poem, through the plain ``openai`` client: no LangChain model anywhere.

```mermaid
graph TD;
    __start__ --> call_model;
    call_model --> __end__;
```

Stream it with ``stream_mode="custom"``. Its tokens are tagged ``joke`` and ``poem``.
"""

from __future__ import annotations

import asyncio

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StreamWriter
from openai import AsyncOpenAI

from tokenweir.errors import ModelNameError
from tokenweir.graphs._ready import graph_on_demand
from tokenweir.graphs.joke_poem import Input, State
from tokenweir.models.chat import default_model_name
from tokenweir.models.embedded.model import start_model
from tokenweir.nodes.write_tokens import write_tokens

__all__ = ["build", "graph"]


def build(model: str | None = None) -> CompiledStateGraph[State, None, Input, State]:
    """The compiled graph.

    Args:
        model: ``openai:NAME`` or ``local:NAME``, as for ``chat_model``; its default if left out.

    Raises:
        ModelNameError: If the model is of another provider.
    """
    provider, _, name = (model or default_model_name()).rpartition(":")
    if provider not in ("", "openai", "local"):
        raise ModelNameError(f"the openai client reaches openai:NAME and local:NAME, not {model!r}")

    async def connect() -> tuple[AsyncOpenAI, str]:
        """A client, and the name of the model at its endpoint."""
        if provider != "local":
            return AsyncOpenAI(), name  # by OPENAI_API_KEY and OPENAI_BASE_URL
        endpoint = await asyncio.to_thread(start_model, name)
        return AsyncOpenAI(base_url=endpoint.base_url, api_key="none"), endpoint.model

    async def call_model(
        state: State, config: RunnableConfig, writer: StreamWriter
    ) -> dict[str, str]:
        client, model = await connect()

        async def ask(prompt: str, tag: str) -> str:
            response = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                stream=True,
            )
            message = await write_tokens(response, writer, config, tags=[tag])
            return str(message.text)

        async with client:
            joke = await ask(f"Write a joke about {state['topic']}", "joke")
            poem = await ask(f"Write a short poem about {state['topic']}", "poem")
        return {"joke": joke, "poem": poem}

    return (
        StateGraph(State, input_schema=Input)
        .add_node("call_model", call_model)
        .add_edge(START, "call_model")
        .compile(name="joke_poem_custom")
    )


graph: CompiledStateGraph[State, None, Input, State]
__getattr__ = graph_on_demand(__name__, build)
