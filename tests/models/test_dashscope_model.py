"""DashScope's own protocol through its SDK: both forms of output, faults, leaving, and keys."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.errors import (
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    StreamError,
    TokenGapTimeoutError,
)
from tokenweir.models.chat import chat_model
from tokenweir.streaming.collect import collect
from tokenweir.streaming.filters import tag, text
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import Provider, Reply, ToolCall

pytest.importorskip("dashscope")

from tokenweir.errors import DashScopeError

TOKENS = ["I", " am", " Qwen", "."]
FORMS = pytest.mark.parametrize("incremental", [True, False], ids=["incremental", "cumulative"])


def model_of(provider: Provider, **kwargs: Any) -> Any:
    made = {"base_url": provider.dashscope_url, "api_key": "test", **kwargs}
    return chat_model("dashscope:qwen-plus", **made)


def graph_of(model: Any) -> Any:
    async def answer(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile()


ASK: Any = {"messages": [("user", "Who are you?")]}


def held(chunks: list[Any]) -> list[Any]:
    """What the chunks hold, those that hold nothing aside."""
    shown = [
        (chunk.content, chunk.additional_kwargs.get("reasoning_content"), chunk.tool_call_chunks)
        for chunk in chunks
    ]
    return [each for each in shown if any(each)]


async def test_both_forms_give_the_same_chunks(provider: Provider) -> None:
    """Cumulative or incremental: the same chunks, with reasoning, tool calls and usage."""
    provider.default = Reply(
        tokens=TOKENS,
        reasoning=["Who", "?"],
        tool_calls=[ToolCall("look", '{"at": "me"}'), ToolCall("say", '{"x": 1}', id="call_2")],
    )
    made = []
    for incremental in (True, False):
        model = model_of(provider, incremental_output=incremental)
        made.append([chunk async for chunk in model.astream("Who are you?")])
    asked = [request.body["parameters"].get("incremental_output") for request in provider.requests]
    assert asked == [True, None]
    assert held(made[0]) == held(made[1])
    assert [chunk.content for chunk in made[0] if chunk.content] == TOKENS
    for chunks in made:
        whole: AIMessageChunk = chunks[0] + chunks[1:]
        assert whole.content == "I am Qwen."
        assert whole.content_blocks[0] == {"type": "reasoning", "reasoning": "Who?"}
        assert [(call["name"], call["args"]) for call in whole.tool_calls] == [
            ("look", {"at": "me"}),
            ("say", {"x": 1}),
        ]
        assert whole.usage_metadata == {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9}
        assert whole.response_metadata["finish_reason"] == "tool_calls"


@FORMS
async def test_every_way_to_call(provider: Provider, incremental: bool) -> None:
    """``stream``, ``invoke`` and ``ainvoke`` say what ``astream`` says."""
    provider.default = Reply(tokens=TOKENS)
    model = model_of(provider, incremental_output=incremental)
    assert [chunk.content for chunk in model.stream("hi") if chunk.content] == TOKENS
    assert model.invoke("hi").content == "I am Qwen."
    assert (await model.ainvoke("hi")).content == "I am Qwen."
    assert [chunk.content for chunk in model.stream("hi") if chunk.content] == TOKENS


@FORMS
async def test_in_a_graph(provider: Provider, incremental: bool) -> None:
    """Tokens come tagged and filtered, and add up to the node's message."""
    provider.default = Reply(tokens=TOKENS, reasoning=["Hm"])
    model = model_of(provider, incremental_output=incremental, tags=["who"])
    graph = graph_of(model)
    tokens = [token async for token in astream(graph, ASK, only=tag("who") & text)]
    assert [chunk.content for chunk, _ in tokens] == TOKENS
    assert tokens[0][1]["ls_provider"] == "dashscope"
    assert tokens[0][1]["ls_model_name"] == "qwen-plus"
    [(message, _)] = await collect(astream(graph, ASK))
    assert message.content == "I am Qwen."

    def answer(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    sync = list(stream(builder.compile(), ASK, only=text))
    assert [chunk.content for chunk, _ in sync] == TOKENS


@given(
    tokens=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=8),
    split=st.integers(1, 60),
    incremental=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
    comments=st.booleans(),
)
@settings(max_examples=40)
def test_byte_boundaries_change_nothing(
    provider: Provider,
    tokens: list[str],
    split: int,
    incremental: bool,
    newline: str,
    comments: bool,
) -> None:
    """Wherever packets are cut, in the middle of characters too, the chunks are the tokens."""
    provider.default = Reply(tokens=tokens, split=split, newline=newline, comments=comments)
    model = model_of(provider, incremental_output=incremental)
    assert [chunk.content for chunk in model.stream("hi") if chunk.content] == tokens


async def test_history_and_tools_are_sent(provider: Provider) -> None:
    """Messages, results of tools, tools and parameters go out in DashScope's form."""
    provider.default = Reply("fine")

    def look(at: str) -> str:
        """Look at something."""
        return at

    model = model_of(provider, temperature=0.5, enable_thinking=False, model_kwargs={"top_k": 3})
    call: Any = {"name": "look", "args": {"at": "me"}, "id": "1"}
    await model.bind_tools([look], tool_choice="any").ainvoke(
        [HumanMessage("hi"), AIMessage("", tool_calls=[call]), ToolMessage("ok", tool_call_id="1")]
    )
    body = provider.requests[0].body
    sent = body["input"]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["function"]["name"] == "look"
    assert sent[2]["tool_call_id"] == "1"
    parameters = body["parameters"]
    assert (parameters["temperature"], parameters["top_k"]) == (0.5, 3)
    assert parameters["enable_thinking"] is False
    assert parameters["tools"][0]["function"]["name"] == "look"
    assert parameters["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    with pytest.raises(ValueError, match="name one, or auto"):
        model.bind_tools([look, {**parameters["tools"][0]}], tool_choice="any")


FAULTS = {
    "429": Reply(status=429, headers={"retry-after": "0.01"}),
    "500": Reply(status=500, headers={"retry-after": "0.01"}),
    "reset": Reply(tokens=TOKENS, cut_after=0, cut="reset"),
    "clean end": Reply(tokens=TOKENS, cut_after=0, cut="eof"),
    "error event": Reply(tokens=TOKENS, error_after=0),
}


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_first_token_is_tried_again(
    provider: Provider, sync: bool, fault: str
) -> None:
    """429, 500, a reset and an early end are tried again."""
    provider.reply(FAULTS[fault], Reply(tokens=TOKENS))
    model = model_of(provider)
    message = await (asyncio.to_thread(model.invoke, "hi") if sync else model.ainvoke("hi"))
    assert message.content == "I am Qwen."
    assert len(provider.requests) == 2


@pytest.mark.parametrize("fault", ["reset", "event", "eof", "error"])
async def test_a_fault_after_the_first_token_is_raised_at_once(
    provider: Provider, fault: Any
) -> None:
    """Once a token has been handed on, nothing is asked again."""
    faulty = {"error_after": 2} if fault == "error" else {"cut_after": 2, "cut": fault}
    provider.default = Reply(tokens=TOKENS, **faulty)
    got = []
    with pytest.raises(StreamError) as caught:
        async for chunk, _ in astream(graph_of(model_of(provider)), ASK):
            got.append(chunk.content)
    assert got == TOKENS[: len(got)]
    assert caught.value.node == "answer"
    assert len(provider.requests) == 1
    if fault == "error":
        assert isinstance(caught.value.__cause__, DashScopeError)
        assert caught.value.__cause__.code == "InternalError"


async def test_a_refusal_tells_what_dashscope_said(provider: Provider) -> None:
    """The SDK gives refusals as values; here they are errors, with their code and request."""
    provider.default = Reply(status=400, message="model not found")
    with pytest.raises(
        DashScopeError, match="DashScope answered 400 InvalidParameter: model"
    ) as caught:
        await model_of(provider).ainvoke("hi")
    assert caught.value.status_code == 400
    assert caught.value.request_id
    assert len(provider.requests) == 1


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("stall", [0, 2])
async def test_limits(provider: Provider, sync: bool, stall: int) -> None:
    """A silent server ends in the limit's own error, and is left."""
    provider.default = Reply(tokens=TOKENS, stall_after=stall, stall_comments=0.02)
    model = model_of(provider, first_token_timeout=0.2, token_gap_timeout=0.2)
    expected = TokenGapTimeoutError if stall else FirstTokenTimeoutError
    with pytest.raises(expected) as caught:
        await (asyncio.to_thread(model.invoke, "hi") if sync else model.ainvoke("hi"))
    assert caught.value.chunks == stall
    await provider.requests[0].aclosed(60)


async def test_the_limit_for_connecting() -> None:
    """A port that takes no connection ends in the limit's own error."""
    import socket

    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api/v1"
        model = chat_model("dashscope:qwen-plus", base_url=url, connect_timeout=0.1, max_retries=0)
        with pytest.raises(ConnectTimeoutError):
            await model.ainvoke("hi")


@pytest.mark.parametrize("how", ["break", "cancel", "sync"])
async def test_leaving_closes_the_connection_at_once(provider: Provider, how: str) -> None:
    """A reader that goes takes the call with it: no connection, no task, no generator is left."""
    provider.default = Reply(tokens=TOKENS, stall_after=2)
    model = model_of(provider)

    async def reading() -> None:
        async with astream(graph_of(model), ASK) as tokens:
            async for _ in tokens:
                if how == "break":
                    break

    def reading_in_a_thread() -> None:
        with stream(graph_of_sync(model), ASK) as tokens:
            for _ in tokens:
                break

    if how == "sync":
        await asyncio.to_thread(reading_in_a_thread)
    else:
        task = asyncio.create_task(reading())
        if how == "cancel":
            await asyncio.to_thread(provider.wait_for_requests, 1)
            task.cancel()
        await asyncio.wait([task])
    [request] = provider.requests
    await request.aclosed(60)
    assert request.state == "client_left"
    assert asyncio.all_tasks() == {asyncio.current_task()}


def graph_of_sync(model: Any) -> Any:
    def answer(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile()


def test_connections_are_used_again(provider: Provider) -> None:
    """Calls that came to their end leave their connection to the next, in each loop."""
    provider.default = Reply(tokens=TOKENS)
    model = model_of(provider)

    async def twice() -> None:
        await model.ainvoke("hi")
        await model.ainvoke("hi")

    asyncio.run(twice())
    asyncio.run(twice())
    assert [request.connection for request in provider.requests] == [0, 0, 1, 1]


KEY = "sk-very-secret-0123456789"


async def test_the_key_is_shown_nowhere(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """What DashScope echoes of the key is in no error and in no log, the SDK's own included."""
    caplog.set_level(logging.DEBUG)
    model = model_of(provider, api_key=KEY, max_retries=0)
    shown = [repr(model), str(model)]
    for fault in (
        Reply(status=401, message=f"Invalid key {KEY}"),
        Reply(tokens=TOKENS, cut_after=1, cut="reset"),
    ):
        provider.reply(fault)
        with pytest.raises(Exception, match=r".") as caught:
            await model.ainvoke("hi")
        shown += traceback.format_exception(caught.value)
    assert KEY in provider.requests[0].headers["authorization"]
    logging.getLogger("dashscope").error("Request: %s failed, message: %s", "url", f"bad {KEY}")
    assert "Request failed" in caplog.text
    assert "url failed, message: bad ***" in caplog.text
    assert KEY not in "".join(shown)
    assert KEY not in caplog.text
    assert KEY not in repr([record.__dict__ for record in caplog.records])


def test_without_the_sdk_the_extra_is_named() -> None:
    """Where the SDK is missing the error says what to install, and what needs none."""
    code = (
        "import sys; sys.modules['dashscope'] = None\n"
        "from tokenweir import ModelNameError, chat_model\n"
        "try: chat_model('dashscope:qwen-plus', api_key='k')\n"
        "except ModelNameError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "pip install 'tokenweir[dashscope]' (qwen:MODEL reaches the same models" in said


def test_a_process_ends_quietly(provider: Provider) -> None:
    """A script that used sync and async calls, and left one half-way, ends without a word."""
    provider.default = Reply(tokens=TOKENS)
    code = (
        "import asyncio, logging\n"
        # Not that a callback took long, which is a slow machine's.
        "logging.getLogger('asyncio').setLevel(logging.ERROR)\n"
        "from tokenweir.models.chat import chat_model\n"
        f"model = chat_model('dashscope:qwen-plus', base_url={provider.dashscope_url!r})\n"
        "model.invoke('hi')\n"
        "async def main():\n"
        "    await model.ainvoke('hi')\n"
        "    async for chunk in model.astream('hi'): break\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
