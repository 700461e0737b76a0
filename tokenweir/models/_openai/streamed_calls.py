"""Streamed calls of a chat model, past what costs most.

Request, keys, retries and errors are the openai SDK's, and which call is streamed under which id is
LangChain's. What is left out is an object of the SDK per event, and LangChain's dispatch of each
chunk. A call that cannot be given exactly as LangChain gives it is left to LangChain.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, closing
from contextvars import copy_context
from typing import Any

import openai
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from tokenweir.models._openai import requests
from tokenweir.models._openai.answer import Answer
from tokenweir.models._openai.byte_source import AsyncBatches, Batches, QuietBatches
from tokenweir.models._openai.chunk_template import Pattern
from tokenweir.models._openai.parser import Batch
from tokenweir.streaming.route import Receivers, receivers_of

__all__ = ["FastCalls"]

logger = logging.getLogger(__name__)


class FastCalls(ChatOpenAI):
    """A chat model whose streamed calls are read here, where that gives the same."""

    _pattern: Pattern | str | None = PrivateAttr(default=None)
    """How chunks are made; or why LangChain must make them."""

    _told: bool = PrivateAttr(default=False)
    """Whether it has been said that LangChain has other insides."""

    async def _aready(self) -> None:
        """Called before each call; may start what is to be called."""

    def _ready(self) -> None:
        """As ``_aready``, blocking."""

    async def _agenerate_with_cache(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        call = self._fast_call(messages, stop, run_manager, kwargs, True)
        if call is None:
            return await super()._agenerate_with_cache(
                messages, stop=stop, run_manager=run_manager, **kwargs
            )
        request, answer, receivers = call
        await self._aready()
        try:
            kind = AsyncBatches if receivers.wanted else QuietBatches
            stream = await requests.ask(self.root_async_client, request, kind)
            async with aclosing(stream):
                pushed = _Pushed(answer, receivers)
                if receivers.wanted:
                    stream.push(pushed.take)
                async for batch in stream:
                    if pushed.failed is not None:
                        raise pushed.failed
                    for items in receivers.portions(batch.items):
                        await receivers.admit(len(items), answer.take(items))
        except openai.APIError as error:
            requests.raise_langchains(error)
        result: ChatResult = answer.result()
        await receivers.admit(1, 0)
        return result

    def _generate_with_cache(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        call = self._fast_call(messages, stop, run_manager, kwargs, False)
        if call is None:
            return super()._generate_with_cache(
                messages, stop=stop, run_manager=run_manager, **kwargs
            )
        request, answer, receivers = call
        self._ready()
        try:
            stream = requests.ask(self.root_client, request, Batches)
            with closing(stream):
                for batch in stream:
                    for items in receivers.portions(batch.items):
                        receivers.admit_sync(len(items), answer.take(items))
        except openai.APIError as error:
            requests.raise_langchains(error)
        result: ChatResult = answer.result()
        receivers.admit_sync(1, 0)
        return result

    def _fast_call(
        self, messages: Any, stop: Any, run_manager: Any, kwargs: dict[str, Any], is_async: bool
    ) -> tuple[dict[str, Any], Answer, Receivers] | None:
        """What the call needs; None if LangChain must make it."""
        try:
            return self._prepared(messages, stop, run_manager, kwargs, is_async)
        except _LeaveItError as reason:
            logger.debug("LangChain makes this call itself: %s", reason)
        except (AttributeError, TypeError) as error:
            # Its insides have changed; or it will stumble over the same, and say so itself.
            if not self._told:
                self._told = True
                logger.warning("tokens take the slow path with this LangChain: %s", error)
        return None

    def _prepared(
        self, messages: Any, stop: Any, run_manager: Any, kwargs: dict[str, Any], is_async: bool
    ) -> tuple[dict[str, Any], Answer, Receivers]:
        if reason := requests.step_aside(self, run_manager, kwargs, is_async):
            raise _LeaveItError(reason)
        client = self.root_async_client if is_async else self.root_client
        if (self.async_client if is_async else self.client) is not client.chat.completions:
            raise _LeaveItError("the client is the caller's own")
        pattern = self._known_pattern()
        message_id = f"lc_run--{run_manager.run_id}"
        receivers = receivers_of(run_manager.handlers, run_manager.run_id, message_id)
        if receivers is None:
            raise _LeaveItError("a callback handler wants every token from LangChain")
        request = requests.events_request(self, messages, stop, kwargs)
        if isinstance(request, str):
            raise _LeaveItError(request)
        answer = Answer(requests.converter(self), pattern, receivers, message_id)
        return request, answer, receivers

    def _known_pattern(self) -> Pattern:
        if self._pattern is None:
            try:
                self._pattern = Pattern(requests.converter(self))
            except Exception as error:  # noqa: BLE001 - whatever a new LangChain may raise
                self._pattern = str(error)
                logger.warning("tokens take the slow path with this LangChain: %s", error)
        if isinstance(self._pattern, str):
            raise _LeaveItError(self._pattern)
        return self._pattern


class _Pushed:
    """Takes what arrives while the call's task sleeps, in its context.

    Attributes:
        failed: What was raised; to be raised again in the task.
    """

    def __init__(self, answer: Answer, receivers: Receivers) -> None:
        self._answer = answer
        self._receivers = receivers
        self._context = copy_context()
        self.failed: BaseException | None = None

    def take(self, batch: Batch) -> bool:
        """Hand a batch on, unless somebody must be waited for."""
        items = batch.items
        try:
            if len(items) == 1 and self._answer.take_text(items[0]):
                characters = batch.characters
            elif self._receivers.takes(len(items)):
                characters = self._context.run(self._answer.take, items)
            else:
                return False
        except BaseException as error:  # noqa: BLE001 - it is the call's, not the connection's
            self.failed = error
            return False
        self._receivers.count(len(items), characters)
        return True


class _LeaveItError(Exception):
    """Why LangChain must make a call itself."""
