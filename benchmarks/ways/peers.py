"""Other libraries, each as its documentation says to stream text; tracing and telemetry are off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.ways.base import MODEL, Task, Way, optional

__all__ = ["make"]


class PydanticAI(Way):
    """pydantic-ai: ``Agent.run_stream``, its text by deltas, none held back to be joined."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        provider = optional("pydantic_ai.providers.openai").OpenAIProvider(
            base_url=task.base_url, api_key="none"
        )
        model = optional("pydantic_ai.models.openai").OpenAIChatModel(MODEL, provider=provider)
        self._agent = optional("pydantic_ai").Agent(model)

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        async with self._agent.run_stream(prompt) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                if text:
                    count += 1
                    if count == 1:
                        first()
        return count


class OpenAIAgents(Way):
    """openai-agents on chat completions: ``Runner.run_streamed`` and its raw events."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._agents = agents = optional("agents")
        agents.set_tracing_disabled(True)
        client = optional("openai").AsyncOpenAI(base_url=task.base_url, api_key="none")
        model = agents.OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
        self._agent = agents.Agent(name="say", model=model)

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        async for event in self._agents.Runner.run_streamed(self._agent, prompt).stream_events():
            if (
                event.type == "raw_response_event"
                and event.data.type == "response.output_text.delta"
            ):
                count += 1
                if count == 1:
                    first()
        return count


class LiteLLM(Way):
    """litellm: ``acompletion`` with ``stream=True``."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._litellm = optional("litellm")

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        stream: Any = await self._litellm.acompletion(
            model=f"openai/{MODEL}",
            api_base=self.task.base_url,
            api_key="none",
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for event in stream:
            if event.choices and event.choices[0].delta.content:
                count += 1
                if count == 1:
                    first()
        return count


class Agno(Way):
    """agno: ``Agent.arun`` with ``stream=True``."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        model = optional("agno.models.openai").OpenAIChat(
            id=MODEL, base_url=task.base_url, api_key="none"
        )
        self._agent = optional("agno.agent").Agent(model=model, telemetry=False)

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        async for event in self._agent.arun(prompt, stream=True):
            if event.event == "RunContent" and event.content:
                count += 1
                if count == 1:
                    first()
        return count


_WAYS: dict[str, type[Way]] = {
    "pydantic-ai": PydanticAI,
    "openai-agents": OpenAIAgents,
    "litellm": LiteLLM,
    "agno": Agno,
}


def make(name: str, task: Task) -> Way:
    """The way of that peer."""
    return _WAYS[name](task)
