"""Streamed calls of a chat model on the fast path, if that gives the same chunks as LangChain's.

The openai SDK makes the request, or ``sender`` a copy of it; LangChain decides which call is
streamed, and with which id. The body of the response is read here: byte source -> parser -> answer
-> route. This skips the SDK's object for each event, and LangChain's dispatch of each chunk. Calls
that cannot give exactly LangChain's chunks are left to LangChain.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from tokenweir.models._calls.deadlines import Alarm, Deadline
from tokenweir.models._calls.retries import with_retries, with_retries_sync
from tokenweir.models._calls.state import CallState
from tokenweir.models._openai import requests
from tokenweir.models._openai.answer import Answer
from tokenweir.models._openai.byte_source import (
    MAX_DELAY,
    CoalescingSource,
    SyncSource,
    open_source,
)
from tokenweir.models._openai.chunk_calls import ChunkCall, ChunksAnswer
from tokenweir.models._openai.chunk_template import ChunkTemplate
from tokenweir.models._openai.clients import AsyncOpenAI, OpenAI
from tokenweir.models._openai.parser import EventError
from tokenweir.streaming._langgraph.routes import route_of
from tokenweir.streaming.route import Route

__all__ = ["StreamedCalls"]

logger = logging.getLogger(__name__)


class StreamedCalls(ChatOpenAI):
    """A chat model whose streamed calls are read here, if that gives the same chunks."""

    _template: ChunkTemplate | str | None = PrivateAttr(default=None)
    """How chunks are made; or why LangChain must make them."""

    def model_post_init(self, context: Any, /) -> None:
        """Log at once if LangChain will not call the methods overridden here."""
        super().model_post_init(context)
        if requests.missing_names():
            self._difference()

    def _difference(self) -> str | None:
        """Why no call may be read here, which is logged once; None if they may."""
        raise NotImplementedError

    async def _agenerate_with_cache(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        call = self._streamed_call(messages, stop, run_manager, kwargs, is_async=True)
        if call is None:
            return await super()._agenerate_with_cache(
                messages, stop=stop, run_manager=run_manager, **kwargs
            )
        await call.client.prepare()
        try:
            await with_retries(call.attempt, call.state, call.classify_error)
        except openai.APIError as error:
            requests.raise_langchains(error)
        finally:
            call.deadline.cancel()
        result: ChatResult = call.answer.result()
        if call.route.record(1):
            await call.route.wait()
        return result

    def _generate_with_cache(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        call = self._streamed_call(messages, stop, run_manager, kwargs, is_async=False)
        if call is None:
            return super()._generate_with_cache(
                messages, stop=stop, run_manager=run_manager, **kwargs
            )
        call.client.prepare()
        try:
            with_retries_sync(call.attempt_sync, call.state, call.classify_error)
        except openai.APIError as error:
            requests.raise_langchains(error)
        result: ChatResult = call.answer.result()
        if call.route.record(1):
            call.route.wait_sync()
        return result

    def _streamed_call(
        self, messages: Any, stop: Any, run_manager: Any, kwargs: dict[str, Any], *, is_async: bool
    ) -> _StreamedCall | None:
        """The call, ready to be made; None if LangChain must make it."""
        if self._difference() is not None:
            return None
        try:
            return self._prepared(messages, stop, run_manager, kwargs, is_async)
        except _StepAsideError as reason:
            logger.debug("LangChain makes this call itself: %s", reason)
        return None

    def _prepared(
        self, messages: Any, stop: Any, run_manager: Any, kwargs: dict[str, Any], is_async: bool
    ) -> _StreamedCall:
        if reason := requests.step_aside(self, run_manager, kwargs, is_async):
            raise _StepAsideError(reason)
        client, template = self._known_client(is_async), self._known_template()
        message_id = f"lc_run--{run_manager.run_id}"
        route = route_of(run_manager.handlers, run_manager.run_id, message_id)
        if route is None:
            raise _StepAsideError("a callback handler wants every token from LangChain")
        request = self._request(messages, stop, kwargs)
        state = client.rules.new_state()
        deadline = Deadline(state, slack=0.0 if route.wanted else MAX_DELAY)
        convert = requests.converter(self)
        answer = Answer(convert, template, route, state, deadline, message_id)
        return _StreamedCall(client, request, state, deadline, route, answer)

    def _streamed_chunks(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk] | None:
        """The chunks of a call, as LangChain's ``_astream``; None if LangChain must make it."""
        if self._difference() is not None or run_manager is not None:
            return None
        try:
            if reason := requests.leave_stream(self, kwargs, is_async=True):
                raise _StepAsideError(reason)
            client, template = self._known_client(is_async=True), self._known_template()
            request = self._request(messages, stop, kwargs)
        except _StepAsideError as reason:
            logger.debug("LangChain reads this stream itself: %s", reason)
            return None
        state = client.rules.new_state()
        deadline = Deadline(state)
        answer = ChunksAnswer(requests.converter(self), template, state, deadline)
        return ChunkCall(client, request, state, deadline, answer).chunks()

    def _known_client(self, is_async: bool) -> Any:
        client = self.root_async_client if is_async else self.root_client
        if not isinstance(client, (AsyncOpenAI, OpenAI)) or client.rules is None:
            raise _StepAsideError("the client is the caller's own")
        resource = self.async_client if is_async else self.client
        if resource is not client.chat.completions or "create" in vars(resource):
            raise _StepAsideError("a method of the client has been replaced")
        return client

    def _request(self, messages: Any, stop: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        request = requests.events_request(self, messages, stop, kwargs)
        if isinstance(request, str):
            raise _StepAsideError(request)
        return request

    def _known_template(self) -> ChunkTemplate:
        template = self._template
        if template is None:
            try:
                template = ChunkTemplate(requests.converter(self))
            except Exception as error:  # noqa: BLE001 - whatever a new LangChain may raise
                template = str(error)
                logger.warning("tokens take the slow path with this LangChain: %s", error)
            self._template = template
        if isinstance(template, str):
            raise _StepAsideError(template)
        return template

    def _dict_for_compat(self) -> dict[str, Any]:
        """As LangChain, which turns warnings off and on again for it, twice in each call."""
        if type(self).dict is not BaseChatModel.dict:
            return super()._dict_for_compat()
        return self.asdict()


class _StreamedCall:
    """One call: how it is sent, and how its response is read."""

    def __init__(
        self,
        client: Any,
        request: dict[str, Any],
        state: CallState,
        deadline: Deadline,
        route: Route,
        answer: Answer,
    ) -> None:
        self.client = client
        self.classify_error = client.rules.adapter.classify_error
        self._request = request
        self.state = state
        self.deadline = deadline
        self.route = route
        self.answer = answer

    async def attempt(self) -> None:
        """Send the request, and read the response to its end."""
        deadline, answer = self.deadline, self.answer
        answer.begin_attempt()
        deadline.restart()
        response = await deadline.wait_for(requests.send(self.client, self._request))
        try:
            async with aclosing(open_source(response, coalesce=not self.route.wanted)) as source:
                while not answer.parser.done:
                    tokens = self.state.received.tokens
                    # Until the first token the call may be retried, so each event is checked.
                    if tokens and source.can_push:
                        await deadline.wait_for(source.push(answer.feed))
                    elif data := await deadline.wait_for(source.receive()):
                        answer.feed(data)
                    else:
                        answer.check_end()
                        return
                    await self._deliver_pending()
                    if self.state.received.tokens > tokens:
                        deadline.restart()
                    if isinstance(source, CoalescingSource):
                        source.ending = answer.parser.ended
                await source.drain()
        except (httpx2.RequestError, EventError) as error:
            requests.raise_as_sdk(error, response)

    async def _deliver_pending(self) -> None:
        """Deliver in portions for which there is room, and wait for readers after each."""
        for portion in self._portions():
            self.answer.deliver(portion)
            if self.route.record(len(portion)):
                await self.route.wait()
        self.answer.raise_failure()

    def attempt_sync(self) -> None:
        """Like ``attempt``, but blocking; a watchdog shuts the socket down at a limit."""
        answer = self.answer
        answer.begin_attempt()
        response = requests.send(self.client, self._request)
        source = SyncSource(response)
        alarm = Alarm(self.state, source.abort)
        try:
            while not answer.parser.done:
                tokens = self.state.received.tokens
                with alarm:
                    data = source.receive()
                if not data:
                    answer.check_end()
                    return
                answer.feed(data)
                for portion in self._portions():
                    answer.deliver(portion)
                    if self.route.record(len(portion)):
                        self.route.wait_sync()
                self.answer.raise_failure()
                if self.state.received.tokens > tokens:
                    alarm.restart()
        except (httpx2.RequestError, EventError) as error:
            requests.raise_as_sdk(error, response)
        finally:
            alarm.let_go()
            source.close()

    def _portions(self) -> Any:
        """The pending pieces, in portions for which there is room."""
        items, self.answer.pending = self.answer.pending, []
        at = 0
        while at < len(items):
            size = self.route.available
            yield items[at : at + size]
            at += size


class _StepAsideError(Exception):
    """Why LangChain must make a call itself."""
