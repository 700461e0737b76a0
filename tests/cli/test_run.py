"""``tokenweir run``: what it prints, and what it says when it cannot."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenweir.testing import Provider, RecordedRequest, Reply, ToolCall

Run = Callable[..., Any]

JOKE, POEM = "Why did the cat sit?", "In sunlit\npatches"


@pytest.fixture(autouse=True)
def script(provider: Provider) -> None:
    """The scripted provider knows a joke and a poem about anything but birds."""

    def about(tag: str) -> Callable[[RecordedRequest], bool]:
        return lambda asked: f"a {tag} about" in asked.prompt and "birds" not in asked.prompt

    provider.on(about("joke"), JOKE)
    provider.on(about("poem"), POEM)


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_plain_tokens(tokenweir: Run) -> None:
    """Into a pipe go both streams token by token, and nothing goes to stderr."""
    assert tokenweir("run", "sample:in_turn", "topic=cats") == (
        0,
        "Why| did| the| cat| sit?|\nIn| sunlit\npatches|\n",
        "",
    )


def test_only_the_joke(tokenweir: Run, provider: Provider) -> None:
    """A filter lets the joke's tokens through and no others; the poem is still written."""
    ended = tokenweir("run", "sample:in_turn", "topic=cats", "--only", "tag:joke")
    assert ended == (0, "Why| did| the| cat| sit?|\n", "")
    assert [request.prompt for request in provider.requests] == [
        "a joke about cats",
        "a poem about cats",
    ]


@pytest.mark.parametrize(
    "only",
    [["node:joking"], ["~tag:poem"], ["tag:none", "tag:joke"], ["model:gpt-4o-mini & tag:joke"]],
)
def test_filters_can_be_joined(tokenweir: Run, only: list[str]) -> None:
    """Any filter's text is understood, and several are joined by "or"."""
    options = [word for text in only for word in ("--only", text)]
    ended = tokenweir("run", "sample:in_turn", "topic=cats", *options)
    assert ended.out == "Why| did| the| cat| sit?|\n"


def test_a_filter_that_passes_nothing_says_so(tokenweir: Run) -> None:
    """Where no call passed, stderr names what there was, as it would be written."""
    ended = tokenweir("run", "sample:in_turn", "topic=cats", "--only", "tag:jok")
    assert ended == (
        0,
        "",
        "tokenweir: nothing passed the filter tag:jok; there were tag:joke, node:joking, "
        "model:gpt-4o-mini, tag:poem, node:rhyming\n",
    )


def test_tokens_of_subgraphs(tokenweir: Run) -> None:
    """What a subgraph's model writes is shown, and its namespace is a filter and in the JSON."""
    words = ("run", "sample:nested", "topic=cats", "--only", "namespace:editor")
    assert tokenweir(*words).out == "Why| did| the| cat| sit?|\n"
    [namespace] = {tuple(r["namespace"]) for r in records(tokenweir(*words, "--json").out)[:-1]}
    assert re.fullmatch(r"editor:[0-9a-f-]{36}", *namespace)


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 an async node does not know its config by itself",
)
def test_tokens_of_an_agent(tokenweir: Run, provider: Provider) -> None:
    """An agent is a filter by its name, also where it is a node of the graph."""
    provider.on("cats", "They sleep.")
    provider.on("hello", "Hi.")
    only = ("--only", "agent:researcher & text")
    assert tokenweir("run", "sample:with_agent", "cats?", *only).out == "They| sleep.|\n"


def test_json(tokenweir: Run) -> None:
    """Each line is an object with a type; the last one tells how the run ended."""
    ended = tokenweir("run", "sample:in_turn", "topic=cats", "--only", "tag:joke", "--json")
    assert ended.err == ""
    *tokens, end = records(ended.out)
    assert {record["type"] for record in tokens} == {"token"}
    assert "".join(record["text"] for record in tokens) == JOKE
    assert [t["finish_reason"] for t in tokens if "finish_reason" in t] == ["stop"]
    assert len({record["id"] for record in tokens}) == 1
    assert tokens[0] == {
        "type": "token",
        "text": "Why",
        "id": tokens[0]["id"],
        "node": "joking",
        "tags": ["joke"],
        "namespace": [],
        "model": "gpt-4o-mini",
    }
    assert end == {
        "type": "end",
        "thread": None,
        "tokens": 5,
        "seconds": end["seconds"],
        "interrupts": [],
    }


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_json_goes_into_jq(tokenweir: Run) -> None:
    """The example of --help: jq gives the text back."""
    out = tokenweir("run", "sample:in_turn", "topic=cats", "--json").out
    select = ["jq", "-j", 'select(.type == "token") | .text']
    text = subprocess.run(select, input=out, capture_output=True, text=True, check=True).stdout
    assert text == JOKE + POEM


def test_json_of_tool_calls_and_reasoning(tokenweir: Run, provider: Provider) -> None:
    """Thoughts, the parts of tool calls and usage are in the records that carried them."""
    call = ToolCall("add", '{"a": 2}', pieces=2)
    provider.on("sum", Reply("so", tool_calls=[call], usage="always"))
    tokens = records(tokenweir("run", "sample:chat", "a sum", "--json").out)[:-1]
    assert tokens[0]["text"] == "so"
    parts = [part for record in tokens for part in record.get("tool_calls", ())]
    assert (parts[0]["name"], parts[0]["id"]) == ("add", "call_1")
    assert "".join(part["args"] or "" for part in parts) == '{"a": 2}'
    [usage] = [record["usage"] for record in tokens if "usage" in record]
    assert usage["output_tokens"] == 1


def test_stats(tokenweir: Run, provider: Provider) -> None:
    """The meter's table goes to stderr, or with --json into a record."""
    ended = tokenweir("run", "sample:in_turn", "topic=cats", "--stats")
    assert ended.out.endswith("patches|\n")
    head, joke, poem, everything = ended.err.splitlines()
    assert head.split()[:2] == ["calls", "tokens"]
    assert joke.split()[:3] == ["joke", "1", "5"]
    assert poem.split()[:3] == ["poem", "1", "2"]
    assert everything.split()[:3] == ["all", "2", "7"]
    provider.on("birds", Reply(JOKE, first_after=0.2))
    *_, stats, end = records(
        tokenweir("run", "sample:in_turn", "topic=birds", "--stats", "--json").out
    )
    assert stats["type"] == "stats"
    assert stats["by_tag"]["joke"]["tokens"] == 5
    # From the start of the run: a clock that starts at the first token would see nothing.
    assert stats["total"]["time_to_first_token"] > 0.2
    assert end["type"] == "end"


def test_what_nodes_write_themselves(tokenweir: Run) -> None:
    """Tokens written by hand are tokens; other writes go to stderr, where they cannot do harm."""
    code, out, err = tokenweir("run", "sample:by_hand", "topic=cats")
    assert (code, out) == (0, "printed by a node\nby| hand|\n")
    assert err == '{"progress": 0.5}\nplain ␛[2J words\n'


def test_the_mode_chooses_the_writers(tokenweir: Run) -> None:
    """custom shows what nodes write themselves, messages what models say."""
    assert "by| hand" in tokenweir("run", "sample:by_hand", "topic=x", "--mode", "custom").out
    assert "by| hand" not in tokenweir("run", "sample:by_hand", "topic=x", "--mode", "messages").out
    assert "Why" in tokenweir("run", "sample:in_turn", "topic=x", "--mode", "messages").out
    assert "Why" not in tokenweir("run", "sample:in_turn", "topic=x", "--mode", "custom").out


def test_json_keeps_its_lines_clean(tokenweir: Run) -> None:
    """What a node prints goes to stderr, what it writes into records."""
    code, out, err = tokenweir("run", "sample:by_hand", "topic=cats", "--json")
    assert (code, err) == (0, "printed by a node\n")
    first, by, hand, plain, end = records(out)
    assert first == {"type": "custom", "namespace": [], "data": {"progress": 0.5}}
    assert [(r["type"], r["text"], r["tags"]) for r in (by, hand)] == [
        ("token", "by", ["own"]),
        ("token", " hand", ["own"]),
    ]
    assert plain["data"] == "plain \x1b[2J words"
    assert end["tokens"] == 2


def test_whole_messages(tokenweir: Run) -> None:
    """A message that a node returns without a model's stream is shown whole."""
    assert tokenweir("run", "sample:forgetful", "hello").out == "1 so far|\n"
    message = records(tokenweir("run", "sample:forgetful", "hello", "--json").out)[0]
    assert (message["type"], message["role"], message["id"]) == ("message", "ai", "1")


def test_several_messages_are_turns_of_a_conversation(tokenweir: Run, provider: Provider) -> None:
    """Each message is a turn on one thread, whose earlier turns the model is sent again."""
    provider.on("Ann", "Hello Ann")
    provider.on("my name", "It is Ann")
    ended = tokenweir("run", "sample:chat", "I am Ann", "What is my name?", "--thread", "t1")
    assert ended == (0, "Hello| Ann|\nIt| is| Ann|\n", "")
    assert [message["content"] for message in provider.requests[1].body["messages"]] == [
        "I am Ann",
        "Hello Ann",
        "What is my name?",
    ]
    end = records(tokenweir("run", "sample:chat", "I am Ann", "--thread", "t1", "--json").out)[-1]
    assert end["thread"] == "t1"


def test_an_interrupt_ends_the_run(tokenweir: Run) -> None:
    """A graph that waits for a person is told once, with what it asks; the run is no failure."""
    code, out, err = tokenweir("run", "sample:asking", "topic=cats")
    assert (code, out) == (0, "")
    assert err.count("May I write about cats?") == 1
    assert "Command(resume=...)" in err
    [end] = records(tokenweir("run", "sample:asking", "topic=cats", "--json").out)
    [interrupt] = end["interrupts"]
    assert interrupt["value"] == "May I write about cats?"
    assert interrupt["id"]


def test_no_turn_follows_an_interrupt(tokenweir: Run) -> None:
    """Where a turn waits for a person, the messages after it are not sent."""
    err = tokenweir("run", "sample:cautious", "one", "two").err
    assert "Answer one?" in err
    assert "two" not in err


def test_input_as_json(tokenweir: Run, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is read from the word, a file or standard input; key=value goes over it."""
    whole = '{"topic": "dogs", "times": 2}'
    Path("question.json").write_text(whole)
    for number, where in enumerate((whole, "@question.json", "-")):
        monkeypatch.setattr("sys.stdin", io.StringIO(whole))
        assert tokenweir("run", "sample:in_turn", "--input", where).code == 0
        assert provider.requests[2 * number].prompt == "a joke about dogs"
    assert tokenweir("run", "sample:in_turn", "--input", whole, "topic=cats").code == 0
    assert provider.requests[-1].prompt == "a poem about cats"


def test_a_cut_stream(tokenweir: Run, provider: Provider) -> None:
    """The tokens before a failure are printed, then one line says who failed where; exit 1."""
    provider.on("birds", Reply(JOKE, cut_after=3))
    code, out, err = tokenweir("run", "sample:in_turn", "topic=birds")
    assert (code, out) == (1, "Why| did| the|\n")
    who = r"tokenweir: openai gpt-4o-mini in node 'joking' \(tags: joke\)"
    assert re.fullmatch(who + " failed after .+ characters: .+\n", err)


def test_a_cut_stream_as_json(tokenweir: Run, provider: Provider) -> None:
    """With --json the last line is the error, and stderr says the same."""
    provider.on("birds", Reply(JOKE, error_after=3, message="out of cats"))
    code, out, err = tokenweir("run", "sample:in_turn", "topic=birds", "--json")
    *tokens, error = records(out)
    assert code == 1
    assert [token["text"] for token in tokens] == ["Why", " did", " the"]
    assert (error["type"], error["error"]) == ("error", "StreamError")
    assert error["cause"]
    assert "out of cats" in error["message"]
    assert err == f"tokenweir: {error['message']}\n"


def test_a_refused_call(tokenweir: Run, provider: Provider) -> None:
    """A provider that answers with an error before any token ends in the same line."""
    provider.on("birds", Reply(status=401, message="wrong key"))
    code, out, err = tokenweir("run", "sample:in_turn", "topic=birds")
    assert (code, out) == (1, "")
    assert "failed before the first token" in err
    assert "wrong key" in err
    assert err.count("\n") == 1


def test_a_node_that_fails(tokenweir: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a node raises is one line with the node's name; TOKENWEIR_DEBUG shows the traceback."""
    # LangGraph leaves the name in the exception's notes, which came with Python 3.11.
    node = "node 'fails' raised " if sys.version_info >= (3, 11) else ""
    said = f"tokenweir: {node}ValueError: no cats ␛[2J here (TOKENWEIR_DEBUG=1 shows where)\n"
    assert tokenweir("run", "sample:failing", "hello") == (1, "", said)
    monkeypatch.setenv("TOKENWEIR_DEBUG", "1")
    ended = tokenweir("run", "sample:failing", "hello")
    assert ended.code == 1
    assert "sample_graphs.py" in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope", "topic=cats"], "there is no graph 'nope'"),
        (["joke_pome", "topic=cats"], "did you mean joke_poem?"),
        (["nowhere.py:graph", "topic=cats"], "there is no file nowhere.py"),
        (["sample:nothing", "topic=cats"], "has no 'nothing'"),
        (["sample:in_turn"], "needs input, as key=value. Its keys: topic (str)"),
        (["sample:in_turn", "topik=cats"], "did you mean topic?"),
        (["sample:in_turn", "cats"], "takes key=value, not 'cats'"),
        (["sample:in_turn", "topic=cats", "times=two"], "times takes int, not text: write JSON"),
        (["sample:in_turn", "topic:={"], "takes JSON"),
        (["sample:chat"], 'takes a message: tokenweir run'),
        (["sample:forgetful", "one", "two"], "no checkpointer"),
        (["sample:forgetful", "one", "--thread", "t"], "no checkpointer"),
        (["sample:in_turn", "topic=cats", "--only", "tga:joke"], "unknown kind 'tga'"),
        (["sample:in_turn", "topic=cats", "--only", "tag:joke &"], "a filter was expected"),
        (["sample:in_turn", "--input", "{"], "--input is not JSON"),
        (["sample:in_turn", "--input", "@nowhere.json"], "cannot read nowhere.json"),
        (["sample:in_turn", "--input", "[1]", "topic=cats"], "must be a JSON object"),
        (["sample:in_turn", "topic=cats", "--mode", "vlues"], "--mode"),
        (["sample:in_turn", "topic=cats", "--onyl", "tag:joke"], "--only"),
        ([], "Missing argument 'GRAPH'"),
    ],
)  # fmt: skip
def test_a_command_that_is_not_understood(
    tokenweir: Run, provider: Provider, words: list[str], said: str
) -> None:
    """Exit 2, one line that says what is wrong or what there is, no output, no model call."""
    code, out, err = tokenweir("run", *words)
    assert (code, out) == (2, "")
    assert err.startswith("tokenweir: ")
    assert said in err
    assert err.count("\n") == 1
    assert provider.requests == []


def test_a_model_by_name(
    tokenweir: Run, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-m names the model of a graph that names none."""
    monkeypatch.setenv("TOKENWEIR_MODEL", "openai:gpt-4o-mini")
    ended = tokenweir("run", "chat", "hello", "-m", "openai:gpt-9")
    assert (ended.code, ended.out) == (0, "You| said:| hello|\n")
    assert [request.body["model"] for request in provider.requests] == ["gpt-9"]
