"""``model.astream``, without a graph: what LangChain gives, of the answer that is read here."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from pydantic import SecretStr

from tests.models.alike import REPLIES, ByLangChain
from tests.waiting import await_steady
from tokenweir.models.chat import ChatModel
from tokenweir.testing import Provider, Reply, without_run_ids

TOKENS = ["One", " two", " three", " four"]
AT_ONCE = {"retry-after": "0.01"}


class Heard(BaseCallbackHandler):
    """Everything that a handler is told of a call's tokens and end."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.told.append((token, chunk, chunk.model_fields_set, chunk.message.model_fields_set))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.told.append(response)

    def on_llm_error(self, error: BaseException, *, response: Any = None, **kwargs: Any) -> None:
        self.told.append((type(error), str(error), response))


def model_of(kind: type[ChatModel], provider: Provider, **kwargs: Any) -> ChatModel:
    key = SecretStr("test")
    return kind(model="gpt-4o-mini", base_url=provider.base_url, api_key=key, **kwargs)


async def streamed(model: ChatModel, **kwargs: Any) -> Any:
    """The chunks, the error, and what a handler heard."""
    heard, chunks, failed = Heard(), [], None
    config: Any = {"callbacks": [heard], "run_id": None}
    try:
        async for chunk in model.astream([HumanMessage("count")], config, **kwargs):
            chunks.append((type(chunk), chunk, chunk.model_fields_set))
    except Exception as error:  # noqa: BLE001 - it is compared
        failed = (type(error), str(error))
    return without_run_ids([chunks, failed, heard.told])


FAULTS = {
    "503, then well": [Reply(status=503, headers=AT_ONCE), Reply(tokens=TOKENS)],
    "reset, then well": [Reply(tokens=TOKENS, cut_after=0, cut="reset"), Reply(tokens=TOKENS)],
    "400": [Reply(status=400)],
    "429 for ever": [Reply(status=429, headers=AT_ONCE)] * 3,
    "error event": [Reply(tokens=TOKENS, error_after=2)],
    "garbage": [Reply(tokens=TOKENS, garbage_after=2)],
    **{
        f"cut: {kind}": [Reply(tokens=TOKENS, cut_after=2, cut=kind)]
        for kind in ("event", "eof", "reset")
    },
    "silence": [Reply(tokens=TOKENS, stall_after=2)],
    "silence at once": [Reply(tokens=TOKENS, stall_after=0)],
    "comments between": [Reply(tokens=TOKENS, comments=True, newline="\r\n")],
    "one byte at a time": [Reply(tokens=TOKENS, split=1)],
}


@pytest.mark.parametrize("replies", [[reply] for reply in REPLIES.values()] + list(FAULTS.values()))
async def test_chunks_and_ends_are_langchains(provider: Provider, replies: list[Reply]) -> None:
    """Equal to the field: chunks, errors, what handlers are told, and the number of requests."""
    found = []
    silent = replies[0].stall_after is not None
    limits: Any = {"first_token_timeout": 1, "token_gap_timeout": 1} if silent else {}
    for kind in (ChatModel, ByLangChain):
        provider.requests.clear()
        provider.reply(*replies)
        model = model_of(kind, provider, logprobs=replies[0].logprobs or None, **limits)
        found.append((await streamed(model), len(provider.requests)))
    assert found[0] == found[1]


async def test_the_chunks_are_read_here(provider: Provider) -> None:
    """The SDK makes no event of them, and LangChain converts none of the texts."""
    converted = []

    class Watched(ChatModel):
        def _convert_chunk_to_generation_chunk(self, chunk: Any, *args: Any) -> Any:
            converted.append(chunk)
            return super()._convert_chunk_to_generation_chunk(chunk, *args)

    provider.default = Reply(tokens=100)
    model = model_of(Watched, provider)
    assert len([chunk async for chunk in model.astream("count")]) > 100
    assert len(converted) < 10


async def test_a_caller_that_leaves(provider: Provider) -> None:
    """Whoever breaks off, or is cancelled, closes the connection."""
    provider.default = Reply(tokens=TOKENS, stall_after=2)
    model = model_of(ChatModel, provider)
    async with aclosing(model.astream("count")) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    assert provider.requests[0].state in ("running", "client_left")
    await provider.requests[0].aclosed(10)

    async def read() -> None:
        async for chunk in model.astream("count"):
            if chunk.content == " two":
                asyncio.get_running_loop().call_soon(reading.cancel)

    reading = asyncio.ensure_future(read())
    with pytest.raises(asyncio.CancelledError):
        await reading
    await provider.requests[1].aclosed(10)
    assert [request.state for request in provider.requests] == ["client_left"] * 2


async def test_a_slow_caller_holds_the_provider_back(provider: Provider) -> None:
    """While nobody takes chunks, no more than the buffers' worth is read."""
    provider.default = Reply(tokens=50_000)
    model = model_of(ChatModel, provider)
    count = 0
    async for chunk in model.astream("count"):
        if count == 1:
            await await_steady(lambda: provider.requests[0].tokens_written)  # it is stuck
            assert provider.requests[0].tokens_written < 40_000
        count += bool(chunk.content)
    assert count == 50_000
