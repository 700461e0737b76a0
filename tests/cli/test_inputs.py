"""From words to a graph's input."""

from __future__ import annotations

from typing import Annotated, Any, Optional, TypedDict

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from tokenweir.cli.inputs import InputError, Keys, Words, inputs_for, keys_of, read_words


class State(TypedDict, total=False):
    topic: str
    times: int
    names: list[str]
    maybe: Optional[float]  # noqa: UP045 - both spellings must be understood
    either: str | int
    marked: Annotated[bool, "a note"]


class Talk(MessagesState):
    mood: str


class Form(BaseModel):
    topic: str
    times: int = 1


def keys(schema: type) -> Keys:
    """The input keys of a graph with this state."""
    graph: Any = StateGraph(schema)
    return keys_of(graph.add_node("n", lambda state: {}).add_edge(START, "n").compile())


def inputs(schema: type, *words: str, whole: Any = None) -> list[Any]:
    return inputs_for("g", keys(schema), read_words(words), whole)


@pytest.mark.parametrize(
    ("words", "values", "messages"),
    [
        (["topic=cats"], {"topic": "cats"}, []),
        (["topic="], {"topic": ""}, []),
        (["topic=a=b\nc"], {"topic": "a=b\nc"}, []),
        (["n:=3", "names:=[1]"], {"n": 3, "names": [1]}, []),
        (["a=1", "a=2"], {"a": "2"}, []),
        (["hello", "what = this?"], {}, ["hello", "what = this?"]),
        (["2+2=4", "=x", ""], {}, ["2+2=4", "=x", ""]),
        (["topic=cats", "hello"], {"topic": "cats"}, ["hello"]),
    ],
)
def test_words(words: list[str], values: dict[str, Any], messages: list[str]) -> None:
    """key=value is text, key:=json is JSON, the last one counts, all else is a message."""
    assert read_words(words) == Words(values, messages)


def test_broken_json() -> None:
    """What is not JSON is refused, with the way to write text."""
    with pytest.raises(InputError, match=r"for text write topic=cats"):
        read_words(["topic:=cats"])


def test_the_keys_of_graphs() -> None:
    """Typed dicts and pydantic models tell their keys; what tells none lets all through."""
    assert str(keys(Form)) == "topic (str), times (int)"
    assert keys(Form).required == {"topic"}
    assert list(keys(State).types) == ["topic", "times", "names", "maybe", "either", "marked"]
    assert "names (list[str])" in str(keys(State))
    assert keys(dict).open
    assert keys_of(object()).open
    assert keys(MessagesState).takes_messages
    assert not keys(State).takes_messages


@pytest.mark.parametrize("word", ["topic=x", "either=x", "times:=2", "names:=[]", "maybe:=0.5"])
def test_what_a_key_takes(word: str) -> None:
    """A value of the key's type passes; in doubt, any."""
    assert inputs(State, word)


@pytest.mark.parametrize(
    ("word", "example"),
    [("times=2", "times:=3"), ("names=a", r"names:='\[1, 2\]'"), ("maybe=1", "maybe:=0.5")],
)
def test_text_for_what_cannot_be_text(word: str, example: str) -> None:
    """Text for a number or a list is refused, with an example of what would do."""
    with pytest.raises(InputError, match=f"not text: write JSON, {example}"):
        inputs(State, word)


def test_a_wrong_key() -> None:
    """A key that the graph lacks is refused with the nearest one and the list."""
    with pytest.raises(
        InputError, match=r"no input 'topci' \(did you mean topic\?\).*times \(int\)"
    ):
        inputs(State, "topci=cats")


def test_no_input() -> None:
    """Without any input the keys are listed; an empty object is an input."""
    with pytest.raises(InputError, match="g needs input, as key=value"):
        inputs(State)
    with pytest.raises(InputError, match='g takes a message: tokenweir run g "hello"'):
        inputs(MessagesState)
    with pytest.raises(InputError, match="g needs input"):
        inputs(Form, "times:=2")
    assert inputs(State, whole={}) == [{}]
    assert inputs(Form, "topic=x") == [{"topic": "x"}]


def test_words_go_over_the_whole() -> None:
    """key=value replaces what --input says, which keeps the rest."""
    whole = {"topic": "dogs", "times": 2}
    assert inputs(State, "topic=cats", whole=whole) == [{"topic": "cats", "times": 2}]
    assert inputs(State, whole="anything") == ["anything"]
    with pytest.raises(InputError, match="must be a JSON object"):
        inputs(State, "topic=cats", whole=[1])


def test_messages_become_turns() -> None:
    """Each message is a turn; what else is given goes with the first."""
    said = [{"role": "user", "content": text} for text in ("one", "two")]
    earlier = {"messages": [{"role": "system", "content": "be brief"}]}
    assert inputs(MessagesState, "one", "two", whole=earlier) == [
        {"messages": [*earlier["messages"], said[0]]},
        {"messages": [said[1]]},
    ]
    assert inputs(Talk, "mood=good", "one", "two") == [
        {"mood": "good", "messages": [said[0]]},
        {"messages": [said[1]]},
    ]
    assert inputs(MessagesState, "messages=one") == [{"messages": "one"}]
    with pytest.raises(InputError, match="takes key=value, not 'cats'"):
        inputs(State, "cats")
