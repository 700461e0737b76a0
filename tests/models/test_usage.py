"""Token usage is asked for, and no more where an endpoint refuses that."""

from __future__ import annotations

import logging
from typing import Any

import openai
import pytest
from langchain_core.runnables import RunnableConfig

from tokenweir import Meter, astream, chat_model, collect, completion_model
from tokenweir.testing import Provider, Reply

WORDS = ["one", " two"]
FORMS: dict[str, Any] = {
    "chat": (chat_model, {}),
    "structured": (chat_model, {"model_kwargs": {"response_format": {"type": "json_object"}}}),
    "completion": (completion_model, {}),
}
"""The fast path, LangChain's own, and that of completions."""


def refuse(provider: Provider, status: int = 400) -> None:
    """Have it refuse requests that ask for usage."""
    message = "Unrecognized request argument supplied: stream_options"
    provider.on(
        lambda request: "stream_options" in request.body, Reply(status=status, message=message)
    )
    provider.default = Reply(tokens=WORDS)


def model_of(form: str, provider: Provider, **kwargs: Any) -> Any:
    make, more = FORMS[form]
    return make("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", **more, **kwargs)


@pytest.mark.parametrize("form", FORMS)
async def test_usage_comes_from_any_endpoint(provider: Provider, form: str) -> None:
    """With a base_url as without one, the provider's count arrives, async and sync."""
    provider.default = Reply(tokens=WORDS)
    model = model_of(form, provider)
    heard = [event async for event in model.astream_events("count", version="v2")]
    list(model.stream("count"))
    asked = [request.body["stream_options"] for request in provider.requests]
    assert asked == [{"include_usage": True}] * 2
    assert "'output_tokens': 2" in str(heard[-1])


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("form", FORMS)
async def test_an_endpoint_that_refuses_is_asked_once(
    provider: Provider, form: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The call is made again without, the reader notices nothing; the log says so, in one line.

    Other models of the same endpoint do not ask any more.
    """
    refuse(provider, status)
    with caplog.at_level(logging.WARNING, logger="tokenweir"):
        model = model_of(form, provider)
        for _ in range(2):
            text = [getattr(each, "content", each) async for each in model.astream("count")]
            assert "".join(text) == "one two"
        text = [getattr(each, "content", each) for each in model_of(form, provider).stream("more")]
    assert "".join(text) == "one two"
    asked = ["stream_options" in (request.body or {}) for request in provider.requests]
    assert asked == [True, False, False, False]
    [record] = caplog.records
    assert "rejects stream_options" in record.getMessage()


def test_a_sync_call_is_made_again_too(provider: Provider) -> None:
    """Without an event loop as with one."""
    refuse(provider)
    text = "".join(chunk.text for chunk in model_of("chat", provider).stream("count"))
    assert text == "one two"


async def test_other_refusals_are_errors(provider: Provider) -> None:
    """What a provider refuses for another reason is raised at once, and nothing is learned."""
    provider.default = Reply(status=400, message="no such model")
    with pytest.raises(openai.BadRequestError, match="no such model"):
        await model_of("chat", provider).ainvoke("count", stream=True)
    provider.default = Reply(tokens=WORDS)
    await model_of("chat", provider).ainvoke("count", stream=True)
    assert ["stream_options" in request.body for request in provider.requests] == [True, True]


async def test_in_a_graph(one_node: Any, provider: Provider) -> None:
    """Nothing is sent twice, and the meter has the counts where there are any."""
    for output_tokens, prepare in ((2, None), (None, refuse)):
        provider.default = Reply(tokens=WORDS)
        if prepare is not None:
            prepare(provider)
        model = model_of("chat", provider)

        async def ask(state: Any, config: RunnableConfig, model: Any = model) -> Any:
            await model.ainvoke("count", config)
            return {}

        meter = Meter()
        graph = one_node(ask)
        [(message, _)] = await collect(meter.watch(astream(graph, {"messages": []})))
        assert message.text == "one two"
        counts = meter.report().by_model["gpt-4o-mini"]
        assert (counts.calls, counts.output_tokens) == (1, output_tokens)
