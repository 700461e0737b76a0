"""OpenAI's protocol, as the ``openai`` SDK speaks it to the real server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tokenweir.serving.openai.answer import Answer
from tokenweir.testing import Provider, Reply, ToolCall


@pytest.fixture
def client(server: str) -> Iterator[openai.OpenAI]:
    """The SDK's client, which tries nothing twice."""
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        yield client


def user(text: str) -> list[Any]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def streamed(client: openai.OpenAI, model: str, text: str, **more: Any) -> list[Any]:
    """The chunks of an answer."""
    with client.chat.completions.create(
        model=model, messages=user(text), stream=True, **more
    ) as stream:
        return list(stream)


def text_of(chunks: list[Any]) -> str:
    """The text of an answer."""
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_models_are_graphs(client: openai.OpenAI) -> None:
    """Every graph is listed, and with the tags of its models; any other tag may be asked for."""
    listed = [model.id for model in client.models.list()]
    assert {"chat", "repeat", "tagged_agent:talk", "story:outline"} <= set(listed)
    assert listed[:3] == ["joke_poem", "joke_poem:joke", "joke_poem:poem"]
    assert len(listed) == len(set(listed))
    assert client.models.retrieve("chat:unknown").id == "chat:unknown"
    assert client.models.retrieve("joke_poem:joke").id == "joke_poem:joke"
    with pytest.raises(openai.NotFoundError, match="models here are graphs"):
        client.models.retrieve("gpt-4o")


@pytest.mark.parametrize("model", ["chat", "tagged_agent"])
def test_content_can_be_added_up_unseen(client: openai.OpenAI, model: str) -> None:
    """The loop of Qwen's documentation, which adds up ``delta.content`` of each chunk, runs."""
    completion = client.chat.completions.create(model=model, messages=user("hi"), stream=True)
    full_content = ""
    for chunk in completion:
        if chunk.choices:
            full_content += chunk.choices[0].delta.content  # type: ignore[operator]
    assert full_content


def test_an_answer_streams(client: openai.OpenAI, provider: Provider) -> None:
    """Role first, then tokens as they come, then the reason for the end; each with one id."""
    provider.reply(Reply("Hello you there", hold_after=2))
    with client.chat.completions.create(model="chat", messages=user("hi"), stream=True) as stream:
        start = list(itertools.islice(stream, 3))
        provider.release()
        chunks = start + list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.content for c in chunks[1:4]] == ["Hello", " you", " there"]
    assert [c.choices[0].finish_reason for c in chunks[3:]] == [None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {"chat"}
    assert (chunks[1].model_extra or {})["tokenweir"]["node"] == "respond"


def test_a_whole_answer(client: openai.OpenAI, provider: Provider) -> None:
    """Without ``stream`` the same answer comes whole, with usage, to the same conversation."""
    provider.reply(Reply("Hello you", usage="always"))
    done = client.chat.completions.create(
        model="chat",
        messages=[{"role": "system", "content": "Be kind."}, *user("hi")],
        temperature=0.5,
    )
    assert done.choices[0].message.content == "Hello you"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.completion_tokens == 2
    said = [message["content"] for message in provider.requests[0].body["messages"]]
    assert said[1:] == ["Be kind.", "hi"]


def test_usage_when_asked(client: openai.OpenAI, provider: Provider) -> None:
    """With ``include_usage`` the last chunk adds up all calls; without, no chunk has usage."""
    for _ in range(2):
        provider.reply(Reply("a b c", usage="always"), Reply("d e", usage="always"))
    chunks = streamed(client, "joke_poem", "cats", stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert all(not chunk.usage for chunk in streamed(client, "joke_poem", "cats"))


@pytest.mark.parametrize("stream", [True, False])
def test_a_tag_is_a_model(client: openai.OpenAI, provider: Provider, *, stream: bool) -> None:
    """``graph:tag`` answers with that tag's tokens only; the graph alone with all of them."""
    provider.on("joke", "Ha ha.")
    provider.on("poem", "Roses are")
    answers = {}
    for model in ("joke_poem:joke", "joke_poem:poem", "joke_poem"):
        if stream:
            answers[model] = text_of(streamed(client, model, "cats"))
        else:
            done = client.chat.completions.create(model=model, messages=user("cats"))
            answers[model] = done.choices[0].message.content or ""
    assert answers == {
        "joke_poem:joke": "Ha ha.",
        "joke_poem:poem": "Roses are",
        "joke_poem": "Ha ha.\n\nRoses are",
    }


def test_calls_at_once_are_not_mixed(client: openai.OpenAI, provider: Provider) -> None:
    """Of two calls side by side, one passes as it comes and the other follows whole."""
    provider.on("joke", Reply("a b c d", hold_after=2))
    provider.on("poem", Reply("e f g h", hold_after=2))
    with client.chat.completions.create(
        model="joke_poem_parallel", messages=user("cats"), stream=True
    ) as stream:
        start = list(itertools.islice(stream, 3))
        provider.wait_for_requests(2)
        provider.release()
        text = text_of(start + list(stream))
    assert sorted(text.split("\n\n")) == ["a b c d", "e f g h"]


def test_reasoning_comes_apart(client: openai.OpenAI, provider: Provider) -> None:
    """Reasoning is in ``reasoning_content``, as OpenAI-compatible endpoints have it."""
    provider.reply(Reply("Yes", reasoning=["Hm", " so"]), Reply("Yes", reasoning=["Hm", " so"]))
    chunks = streamed(client, "chat", "hi")
    thought = [getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks]
    assert "".join(thought) == "Hm so"
    assert text_of(chunks) == "Yes"
    done = client.chat.completions.create(model="chat", messages=user("hi"))
    assert done.choices[0].message.reasoning_content == "Hm so"  # type: ignore[attr-defined]


def test_tools_of_the_graph_stay_inside(client: openai.OpenAI, provider: Provider) -> None:
    """A tool that the graph calls and answers is no tool call of the answer, only told beside."""
    call = Reply(tool_calls=[ToolCall("calculate", '{"expression": "2+2"}')])
    for _ in range(3):
        provider.reply(call, "It is 4.")
    chunks = streamed(client, "agent", "2+2")
    assert text_of(chunks) == "It is 4."
    assert all(not c.choices[0].delta.tool_calls for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    beside = [c.tokenweir for c in chunks if hasattr(c, "tokenweir")]
    assert any(each.get("tool_calls") for each in beside)
    assert [each["result"] for each in beside if "result" in each] == ["2+2 = 4"]
    done = client.chat.completions.create(model="agent", messages=user("2+2"))
    assert (done.choices[0].message.content, done.choices[0].message.tool_calls) == (
        "It is 4.",
        None,
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_tag_that_no_call_has(
    serve: Callable[..., Any], provider: Provider, *, stream: bool
) -> None:
    """The answer is empty, as a graph need not call each of its models; the log says why."""
    server = serve("joke_poem", "--memory")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    provider.on("joke", "Ha ha.")
    with client:
        answer: Any = client.chat.completions.create(
            model="joke_poem:jok", messages=user("cats"), stream=stream
        )
        if stream:
            assert not "".join(each.choices[0].delta.content or "" for each in answer)
        else:
            assert not answer.choices[0].message.content
    server.wait_for(
        " of 'joke_poem:jok': 'nothing passed the filter tag:jok; there were tag:joke, "
    )


def test_tools_of_a_tag_stay_inside(client: openai.OpenAI, provider: Provider) -> None:
    """A tag's answer knows of tools' results, which carry no tag, that its calls are answered."""
    provider.reply(Reply(tool_calls=[ToolCall("calculate", '{"expression": "2+2"}')]), "It is 4.")
    done = client.chat.completions.create(model="tagged_agent:talk", messages=user("2+2"))
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("It is 4.", "stop")


def test_tools_of_the_client_are_called(client: openai.OpenAI) -> None:
    """A tool call that the graph leaves open is the client's to answer."""
    chunks = streamed(client, "unasked", "weather?")
    calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    [call] = calls
    assert (call.index, call.id, call.function.name) == (0, "call_9", "weather")
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    done = client.chat.completions.create(model="unasked", messages=user("weather?"))
    [whole] = done.choices[0].message.tool_calls or []
    assert json.loads(whole.function.arguments) == {"city": "Oslo"}  # type: ignore[union-attr]
    assert (done.choices[0].finish_reason, done.choices[0].message.content) == ("tool_calls", None)


@pytest.mark.parametrize("stream", [True, False])
def test_a_graph_without_a_model(client: openai.OpenAI, *, stream: bool) -> None:
    """Where no model speaks, what the graph gave is the answer; keys may come as JSON."""
    for text, expected in (('{"name": "Al", "count": 2}', "Al Al"), ('{"name": "Al"}', "Al")):
        if stream:
            assert text_of(streamed(client, "repeat", text)) == expected
        else:
            done = client.chat.completions.create(model="repeat", messages=user(text))
            assert done.choices[0].message.content == expected


def test_tokens_written_by_hand(client: openai.OpenAI) -> None:
    """Tokens that a node writes without LangChain are tokens of the answer."""
    chunks = streamed(client, "by_hand:hand", '{"name": "a"}')
    assert [c.choices[0].delta.content for c in chunks[1:3]] == ["by ", "hand"]


def test_a_failure_in_the_middle(client: openai.OpenAI, provider: Provider) -> None:
    """What fails mid-stream is raised by the SDK after the tokens before it."""
    provider.reply(Reply("one two", error_after=1, message="too much"))
    seen: list[Any] = []
    with (
        client.chat.completions.create(model="chat", messages=user("hi"), stream=True) as stream,
        pytest.raises(openai.APIError, match="too much"),
    ):
        seen.extend(stream)
    assert text_of(seen) == "one"
    provider.reply(Reply("one two", error_after=1, message="too much"))
    with pytest.raises(openai.InternalServerError, match="too much"):
        client.chat.completions.create(model="chat", messages=user("hi"))


def test_an_interrupt_cannot_be_answered_here(client: openai.OpenAI) -> None:
    """A graph that waits for a person ends with an error that says what to use instead."""
    with pytest.raises(openai.InternalServerError, match="use LangGraph's API"):
        client.chat.completions.create(model="asking", messages=user('{"name": "Al"}'))


def test_who_leaves_cancels(client: openai.OpenAI, provider: Provider) -> None:
    """Closing the stream, or giving up on a whole answer, closes the provider's connection."""
    provider.reply(Reply("one two", stall_after=1))
    with client.chat.completions.create(model="chat", messages=user("hi"), stream=True) as stream:
        list(itertools.islice(stream, 2))
    provider.requests[0].wait_closed(60)
    provider.reply(Reply("one two", stall_after=1))
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="chat", messages=user("hi"), timeout=1)
    provider.wait_for_requests(2)[1].wait_closed(60)
    assert [request.state for request in provider.requests] == ["client_left"] * 2


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages must be a list of objects, not empty"),
    ({"messages": [1]}, "messages must be a list of objects"),
    ({"n": 2}, "n must be 1"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "a graph has its own tools"),
    ({"model": "repeat"}, "write the user's message as JSON"),
    ({"model": "joke_poem", "messages": [{"role": "system", "content": "a"}]}, "takes topic"),
]


def test_wrong_requests_are_told_what_is_wrong(client: openai.OpenAI) -> None:
    """What cannot be done is refused with a sentence, and nothing is run."""
    for change, message in REFUSED:
        with pytest.raises(openai.BadRequestError, match=message):
            client.chat.completions.create(**{"model": "chat", "messages": user("hi"), **change})
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="none", messages=user("hi"))
    assert told.value.code == "model_not_found"


def test_keys_are_bearer_tokens(serve: Callable[..., Any]) -> None:
    """The SDK's ``api_key`` is the server's key."""
    base_url = f"{serve('chat', '--key', 'secret').url}/v1"
    with openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        assert [model.id for model in client.with_options(api_key="secret").models.list()]


def token(call: str, text: str, **more: Any) -> dict[str, Any]:
    """A token's record."""
    record = {"type": "token", "text": text, "id": call, "node": "n", "tags": [], "task": "t"}
    return {**record, "namespace": [], "model": None, **more}


def test_a_call_that_began_later_waits_for_the_first_only() -> None:
    """When the first of three calls ends, the second is said so far and goes on as it comes."""
    answer = Answer("id", "model", 0)

    def said(record: dict[str, Any]) -> str:
        return text_from(answer.feed(record))

    def text_from(chunks: Any) -> str:
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

    assert said(token("a", "a1")) == "a1"
    assert said(token("b", "b1")) == ""
    assert said(token("c", "c1", finish_reason="stop")) == ""
    assert said(token("a", "", finish_reason="stop")) == "\n\nb1"
    assert said(token("a", "", usage={"input_tokens": 1, "output_tokens": 1})) == ""
    assert said(token("b", "b2")) == "b2"
    assert text_from(answer.end()) == "\n\nc1"
    assert answer.whole().choices[0].message.content == "a1\n\nb1b2\n\nc1"


def test_a_message_that_was_streamed_is_not_said_again() -> None:
    """A whole message with the id of streamed tokens adds nothing; one without does."""
    answer = Answer("id", "model", 0)
    for record in (
        token("a", "hi", finish_reason="stop"),
        token("a", "hi", type="message", role="ai"),
        token("u", "question", type="message", role="human"),
        token("b", "ho", type="message", role="ai"),
    ):
        list(answer.feed(record))
    list(answer.end("unused"))
    assert answer.whole().choices[0].message.content == "hi\n\nho"


def test_a_node_that_ends_lets_the_next_speak() -> None:
    """Tokens without an end of their own end with their node's task."""
    answer = Answer("id", "model", 0)
    list(answer.feed(token("a", "hi")))
    assert list(answer.feed(token("b", "ho", task="t2"))) == []
    ended = {"type": "node", "node": "n", "namespace": [], "task": "t", "state": "finished"}
    [chunk] = answer.feed(ended)
    assert chunk["choices"][0]["delta"]["content"] == "\n\nho"
