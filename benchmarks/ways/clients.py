"""Without a graph: a raw line loop, the openai SDK, and ChatOpenAI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.ways.base import MODEL, SyncWay, Task, Way, optional, write_tool

__all__ = ["ChatModelWay", "RawWay", "SDKSyncWay", "SDKWay"]


def request(task: Task, prompt: str) -> dict[str, Any]:
    """The body of a request, as ChatOpenAI would send it."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **({"tools": [write_tool()]} if task.tools else {}),
        **({"logprobs": True} if task.logprobs else {}),
    }


class RawWay(Way):
    """aiohttp, a loop over lines, and msgspec: the least that one would write by hand."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._aiohttp = optional("aiohttp")
        msgspec = optional("msgspec")
        struct = msgspec.defstruct
        call: Any = struct("Call", [("function", struct("Function", [("arguments", str, "")]))])
        delta = struct("Delta", [("content", str | None, None), ("tool_calls", list[call], [])])
        choice: Any = struct("Choice", [("delta", delta)])
        self._decode = msgspec.json.Decoder(struct("Event", [("choices", list[choice])])).decode
        self._session: Any = None

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        if self._session is None:
            connector = self._aiohttp.TCPConnector(limit=0)
            self._session = self._aiohttp.ClientSession(connector=connector)
        decode = self._decode
        count = 0
        url = f"{self.task.base_url}/chat/completions"
        async with self._session.post(url, json=request(self.task, prompt)) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    event = decode(line[6:])
                    if event.choices:
                        delta = event.choices[0].delta
                        if delta.content or delta.tool_calls:
                            count += 1
                            if count == 1:
                                first()
        return count


class SDKWay(Way):
    """The openai SDK."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(base_url=task.base_url, api_key="none")

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        stream: Any = await self._client.chat.completions.create(**request(self.task, prompt))
        async for event in stream:
            if event.choices:
                delta = event.choices[0].delta
                if delta.content or delta.tool_calls:
                    count += 1
                    if count == 1:
                        first()
        return count


class SDKSyncWay(SyncWay):
    """The openai SDK, sync."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from openai import OpenAI

        self._client = OpenAI(base_url=task.base_url, api_key="none")

    def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        for event in self._client.chat.completions.create(**request(self.task, prompt)):
            if event.choices:
                delta = event.choices[0].delta
                if delta.content or delta.tool_calls:
                    count += 1
                    if count == 1:
                        first()
        return count


class ChatModelWay(Way):
    """``astream`` of our chat model, or of ``ChatOpenAI``, without a graph."""

    def __init__(self, task: Task, *, own_model: bool) -> None:
        super().__init__(task)
        from benchmarks.ways.graphs import chat_openai, our_model

        self._model = our_model(task) if own_model else chat_openai(task)

    async def reply(self, prompt: str, first: Callable[[], object]) -> int:
        count = 0
        async for chunk in self._model.astream(prompt):
            if chunk.content or chunk.tool_call_chunks:
                count += 1
                if count == 1:
                    first()
        return count
