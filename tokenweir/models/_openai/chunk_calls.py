"""Calls whose caller takes the chunks one by one: ``async for chunk in model.astream(...)``.

Like ``streamed_calls``, this skips the objects of the SDK and LangChain's conversion of each event.
It keeps LangChain's dispatch of each chunk to the callback handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2
import openai
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from tokenweir.models._calls.deadlines import Deadline
from tokenweir.models._calls.state import CallState
from tokenweir.models._openai import requests
from tokenweir.models._openai.answer import Answer
from tokenweir.models._openai.byte_source import open_source
from tokenweir.models._openai.chunk_template import ChunkTemplate
from tokenweir.models._openai.parser import EventError
from tokenweir.streaming.route import Route

__all__ = ["ChunkCall", "ChunksAnswer"]


class ChunksAnswer(Answer):
    """The answer of such a call. LangChain sets the id of its messages, and merges them."""

    def __init__(
        self, convert: Any, template: ChunkTemplate, state: CallState, deadline: Deadline
    ) -> None:
        super().__init__(convert, template, _Taken(), state, deadline, None)
        self._made: list[ChatGenerationChunk] = []

    def _send(self, message: AIMessageChunk, info: dict[str, Any] | None = None) -> None:
        self._made.append(ChatGenerationChunk(message=message, generation_info=info))

    def take(self) -> list[ChatGenerationChunk]:
        """The chunks since the last call; then raises a failure, if there was one."""
        items, self.pending = self.pending, []
        try:
            self.deliver(items)
        except Exception as error:  # noqa: BLE001 - whatever LangChain raises of an odd event
            self.failed = error
        made, self._made = self._made, []
        return made


class _Taken(Route):
    """The route of messages that are taken from the answer."""

    wanted = True

    def has_room(self, messages: int) -> bool:
        return False  # everything fed stays pending


class ChunkCall:
    """One call. While its caller takes no chunks, the connection is not read."""

    def __init__(
        self,
        client: Any,
        request: dict[str, Any],
        state: CallState,
        deadline: Deadline,
        answer: ChunksAnswer,
    ) -> None:
        self._client = client
        self._request = request
        self._state = state
        self._deadline = deadline
        self._answer = answer

    async def chunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """The chunks. Before the first token, a failed call is retried if the state allows it."""
        await self._client.prepare()
        classify_error = self._client.rules.adapter.classify_error
        try:
            while True:
                try:
                    async with aclosing(self._attempt()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                except Exception as error:  # noqa: BLE001 - raised unless it is transient
                    delay = self._state.retry_delay(error, classify_error)
                await asyncio.sleep(delay)
        except openai.APIError as error:
            requests.raise_langchains(error)
        finally:
            self._deadline.cancel()

    async def _attempt(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        deadline, answer, received = self._deadline, self._answer, self._state.received
        answer.begin_attempt()
        deadline.restart()
        response = await deadline.wait_for(requests.send(self._client, self._request))
        try:
            async with aclosing(open_source(response, coalesce=False)) as source:
                while not answer.parser.done:
                    data = await deadline.wait_for(source.receive())
                    if not data:
                        answer.check_end()
                        return
                    tokens = received.tokens
                    answer.feed(data)
                    for chunk in answer.take():
                        yield chunk
                    answer.raise_failure()
                    if received.tokens > tokens:
                        deadline.restart()
                await source.drain()
        except (httpx2.RequestError, EventError) as error:
            requests.raise_as_sdk(error, response)
