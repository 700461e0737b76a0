"""``objects``: structured output as growing objects, of each kind of type."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Union

import msgspec
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from typing_extensions import TypedDict

from tokenweir import ObjectError, astream, chat_model, objects, stream
from tokenweir.testing import Provider, Reply, ToolCall


class Author(BaseModel):
    name: str
    age: int


class Joke(BaseModel):
    setup: str
    punchline: str
    stars: int = 1
    authors: list[Author] = Field(default_factory=list)


@dataclass
class AuthorData:
    name: str
    age: int


@dataclass
class JokeData:
    setup: str
    punchline: str
    stars: int = 1
    authors: list[AuthorData] = field(default_factory=list)


class AuthorDict(TypedDict):
    name: str
    age: int


class JokeDict(TypedDict):
    setup: str
    punchline: str
    stars: int
    authors: list[AuthorDict]


class AuthorStruct(msgspec.Struct):
    name: str
    age: int


class JokeStruct(msgspec.Struct):
    setup: str
    punchline: str
    stars: int = 1
    authors: list[AuthorStruct] = []


KINDS = [Joke, JokeData, JokeDict, JokeStruct]
VALUE: dict[str, Any] = {
    "setup": 'Why "did" the \u732b\nsit at 12?',
    "punchline": "It was 12\U0001f600.",
    "stars": 12,
    "authors": [{"name": "Ann 3", "age": 41}, {"name": "Bob", "age": 7}],
}
TEXT = json.dumps(VALUE)


def token(text: str, id: str = "1", step: int = 1, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    metadata = {"langgraph_node": "tell", "langgraph_step": step}
    return AIMessageChunk(content=text, id=id, **kwargs), metadata


def tokens(text: str, size: int = 1, **kwargs: Any) -> list[Any]:
    """A text in pieces of this size, the last of which is marked."""
    cut = [token(text[at : at + size], **kwargs) for at in range(0, len(text), size)]
    return [*cut, token("", chunk_position="last", **kwargs)]


def plain(made: Any) -> Any:
    """An object as plain data."""
    if isinstance(made, BaseModel):
        return made.model_dump()
    return asdict(made) if isinstance(made, JokeData) else msgspec.to_builtins(made)


def grows(part: Any, whole: Any) -> bool:
    """Whether a part is missing, the beginning of the whole, or the whole."""
    if isinstance(whole, dict):
        return all(grows(part.get(key), value) for key, value in whole.items())
    if isinstance(whole, list):
        return len(part or ()) <= len(whole) and all(map(grows, part or (), whole))
    if isinstance(whole, str):
        return part is None or whole.startswith(part)
    return part in (None, 1, whole)  # 1 is the default of the stars


@pytest.mark.parametrize("kind", KINDS)
def test_each_object_is_valid_and_the_beginning_of_the_last(kind: Any) -> None:
    """With a cut after any character, values grow to the whole and are never another's."""
    made = list(objects(tokens(TEXT), kind))
    assert plain(made[-1]) == VALUE
    assert {type(each) for each in made} == {dict if kind is JokeDict else kind}
    shown = [plain(each) for each in made]
    assert all(grows(part, VALUE) for part in shown)
    assert [part.get("setup") for part in shown[:3]] == ["", "W", "Wh"]
    assert {len(part.get("authors") or ()) for part in shown} == {0, 1, 2}
    assert {part["authors"][0].get("name") for part in shown if part.get("authors")} > {"An"}


def test_a_list_of_them() -> None:
    """A list at the top grows by its items."""
    text = json.dumps([{"name": "Ann", "age": 41}, {"name": "Bob", "age": 7}])
    kinds: Any = ((list[Author], Author), (list[AuthorStruct], AuthorStruct))
    for kind, author in kinds:
        made = list(objects(tokens(text), kind))
        assert [len(each) for each in made] == sorted(len(each) for each in made)
        assert made[-1] == [author(name="Ann", age=41), author(name="Bob", age=7)]


class Careful(BaseModel):
    mood: Literal["dry", "wry"]
    title: str = Field(min_length=3)
    sums: dict[str, Literal["one", "two"]] = Field(default_factory=dict)
    length: int | None = None

    @field_validator("title")
    @classmethod
    def shout(cls, title: str) -> str:
        return title.upper()

    @model_validator(mode="after")
    def is_whole(self) -> Careful:
        assert self.mood
        assert self.title
        self.length = len(self.title)
        return self


def test_what_is_not_valid_yet_is_left_out() -> None:
    """Validators of fields decide what is shown, those of the model are for the last object."""
    text = '{"title": "Cats", "mood": "dry", "sums": {"a": "one", "b": "two"}}'
    made = list(objects(tokens(text), Careful))
    assert [each.title for each in made[:2]] == ["CAT", "CATS"]
    assert [each.mood for each in made] == [None, None, *["dry"] * (len(made) - 2)]
    assert next(each.sums for each in made if each.sums) == {"a": "one"}
    assert [each.length for each in made] == [*[None] * (len(made) - 1), 4]


def test_a_type_that_fails_on_parts() -> None:
    """A __post_init__ that needs all fields is not run into the reader: objects begin later."""

    @dataclass
    class Name:
        first: str
        last: str

        def __post_init__(self) -> None:
            self.full = self.first + " " + self.last

    made = list(objects(tokens('{"first": "Ann", "last": "Lee"}'), Name))
    assert [each.full for each in made] == ["Ann ", "Ann L", "Ann Le", "Ann Lee", "Ann Lee"]


def test_a_long_answer_is_parsed_at_steps() -> None:
    """Each token makes an object at first; beyond 1,000 characters each percent does."""
    text = json.dumps({"name": "x" * 100_000, "age": 1})
    made = list(objects(tokens(text, 10), Author))
    assert 500 < len(made) < 700
    lengths = [len(each.name or "") for each in made]
    assert lengths == sorted(lengths)
    assert made[-1] == Author(name="x" * 100_000, age=1)


def pieces_of_call(name: str, text: str, index: int = 0, size: int = 5) -> list[Any]:
    """A tool call's pieces, as LangChain gives them."""
    first = tool_call_chunk(name=name, args="", id=f"call-{index}", index=index)
    cut = [
        tool_call_chunk(name=None, args=text[at : at + size], id=None, index=index)
        for at in range(0, len(text), size)
    ]
    return [token("", tool_call_chunks=[piece]) for piece in [first, *cut]]


AUTHOR = '{"name": "Ann", "age": 41}'


def test_arguments_of_tool_calls() -> None:
    """The calls that are named as the type are read, or those of the tool that is asked for."""
    said = [token("Let me see. "), *pieces_of_call("Author", AUTHOR)]
    said += [*pieces_of_call("search", '{"name": "cats", "age": 9}', 1)]
    assert [each.name for each in objects(said, Author)] == ["", *["Ann"] * 3]
    assert list(objects(said, Author, tool="search"))[-1] == Author(name="cats", age=9)
    assert list(objects(said, Author, tool="none")) == []


def test_several_calls_at_once() -> None:
    """Calls of one message, and answers of models that speak at once, are objects of their own."""
    calls = zip(pieces_of_call("Author", AUTHOR), pieces_of_call("Author", AUTHOR, 1), strict=True)
    mixed = [each for pair in calls for each in pair]
    assert list(objects(mixed, Author)).count(Author(name="Ann", age=41)) == 4  # grown, and whole
    texts = zip(tokens(AUTHOR, 6), tokens(AUTHOR.replace("Ann", "Bob"), 6, id="2"), strict=True)
    made = list(objects([each for pair in texts for each in pair], Author))
    assert made[-2:] == [Author(name="Ann", age=41), Author(name="Bob", age=41)]


def test_whole_messages() -> None:
    """An answer that was not streamed is one object; users' and tools' messages are none."""
    call = {"name": "Author", "args": json.loads(AUTHOR), "id": "1"}
    said: list[Any] = [
        (HumanMessage(AUTHOR, id="1"), {}),
        (AIMessage(AUTHOR, id="2"), {}),
        (AIMessage("", tool_calls=[call], id="3"), {}),
        (ToolMessage(AUTHOR, tool_call_id="1", id="4"), {}),
        (AIMessage("all done", id="5"), {}),
    ]
    assert list(objects(said, Author)) == [Author(name="Ann", age=41)] * 4


@pytest.mark.parametrize("text", [f"```json\n{AUTHOR}\n```", f"\n  {AUTHOR}\n"])
def test_what_models_write_around_their_json(text: str) -> None:
    """A block of Markdown around the JSON, and white space, are no part of it."""
    made = list(objects(tokens(text), Author))
    assert [each.name for each in made[:4]] == ["", "A", "An", "Ann"]
    assert made[-1] == Author(name="Ann", age=41)


def test_chunks_as_plain_data() -> None:
    """Chunks that came over HTTP, or that a node wrote by hand, are read as LangChain's are."""
    for said in (tokens(AUTHOR, 3), [*pieces_of_call("Author", AUTHOR), token("")]):
        plain = [(chunk.model_dump(), metadata) for chunk, metadata in said]
        assert list(objects(plain, Author)) == list(objects(said, Author))
    texts = [(AUTHOR[:12], {"tags": ["own"]}), (AUTHOR[12:], {"tags": ["own"]})]
    assert list(objects(texts, Author))[-1] == Author(name="Ann", age=41)  # type: ignore[arg-type]


def test_an_answer_that_is_void_is_forgotten() -> None:
    """What follows a retraction begins anew; that the void one was cut is no error."""
    void = token("")[1]
    said = [*tokens('{"name": "Al', 4)[:-1], (RemoveMessage(id="1"), void), *tokens(AUTHOR, 4)]
    made = list(objects(said, Author))
    assert [each.name for each in made][:3] == ["Al", "An", "Ann"]
    assert made[-1] == Author(name="Ann", age=41)
    ended = [*tokens('{"name": "Al"}', 4), (RemoveMessage(id="1"), void), *tokens(AUTHOR, 4)]
    assert list(objects(ended, Author))[-1] == Author(name="Ann", age=41)


def test_an_answer_that_is_not_valid() -> None:
    """It is an error at the end, which says what is wrong and holds the text."""
    made = objects(tokens('{"name": "Ann"}', 4), Author)
    shown: list[Author] = []
    with pytest.raises(ObjectError, match=r"node 'tell' is no Author: age: Field req") as caught:
        shown.extend(made)
    assert [each.name for each in shown] == ["An", "Ann"]
    assert isinstance(caught.value.__cause__, ValidationError)
    assert caught.value.text == '{"name": "Ann"}'
    ended = token("", response_metadata={"finish_reason": "length"}, chunk_position="last")
    with pytest.raises(ObjectError, match=r"EOF .* as the limit of tokens cut it$"):
        list(objects([token('{"name": "An'), ended], Author))
    with pytest.raises(ObjectError, match=r"is no AuthorStruct: .*missing required field `age`"):
        list(objects(tokens('{"name": "Ann"}', 4), AuthorStruct))


def test_a_later_valid_answer_makes_it_good() -> None:
    """An agent that had the answer written anew has no error; one of two at once has."""
    bad, good = tokens('{"name": "Ann"}'), tokens(AUTHOR, id="2")
    later = tokens(AUTHOR, id="2", step=2)
    assert list(objects([*bad, *later], Author))[-1] == Author(name="Ann", age=41)
    with pytest.raises(ObjectError):
        list(objects([*bad, *good], Author))
    with pytest.raises(ObjectError):
        list(objects([*good, *bad], Author))


def test_a_stream_without_any() -> None:
    """Prose where JSON was wanted is said to be so; an empty stream is no error."""
    said = [*tokens("Sure, here is one", 4), *pieces_of_call("search", "{}")]
    with pytest.raises(ObjectError, match=r"holds no Author: .*a call of 'search'; text of node"):
        list(objects([*said[:4], said[-2]], Author))
    assert list(objects([], Author)) == []


def test_a_type_that_is_none() -> None:
    """A type that cannot be read from JSON fails at the call."""
    with pytest.raises(TypeError, match=r"objects cannot read .*Unknown.* from JSON"):
        objects([], type("Unknown", (), {}))


def teller(one_node: Any, provider: Provider, method: Any) -> Any:
    """A graph whose node has a joke made, and then says something."""
    model = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
    inventor = model.with_structured_output(Author, method=method)

    async def tell(state: Any, config: RunnableConfig) -> Any:
        made: Any = await inventor.ainvoke("invent", config)
        return {"messages": [await model.ainvoke(f"greet {made.name}", config)]}

    return one_node(tell)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the openai SDK's own
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_through_a_graph(one_node: Any, provider: Provider, method: Any) -> None:
    """However a model is asked for structured output, its JSON becomes objects and nothing else."""
    if method == "function_calling":
        provider.on("invent", Reply(tool_calls=[ToolCall("Author", AUTHOR, pieces=6)]))
    else:
        provider.on("invent", Reply(tokens=[AUTHOR[at : at + 4] for at in range(0, 26, 4)]))
    provider.on("greet Ann", Reply("Hello, Ann"))
    graph = teller(one_node, provider, method)
    made = [each async for each in objects(astream(graph, {"messages": []}), Author)]
    assert {type(each) for each in made} == {Author}
    assert len(made) > 3
    assert made[0].name in ("", "An")
    assert made[-1] == Author(name="Ann", age=41)


async def test_leaving_stops_the_run(one_node: Any, provider: Provider) -> None:
    """Who has seen enough leaves: the provider's connection is closed, as with any stream."""
    provider.on("invent", Reply(tokens=list(AUTHOR), stall_after=14))
    graph = teller(one_node, provider, "json_mode")
    async with objects(astream(graph, {"messages": []}), Author) as made:
        async for each in made:
            if each.name == "Ann":
                break
    [request] = provider.requests
    await request.aclosed(60)
    assert request.state == "client_left"


async def arriving(parts: list[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def test_an_async_stream_gives_what_a_sync_one_does() -> None:
    """Over any cut of the text."""
    chance = random.Random(7)
    for _ in range(20):
        said = tokens(TEXT, chance.randint(1, 9))
        assert [each async for each in objects(arriving(said), Joke)] == list(objects(said, Joke))


class Refusal(BaseModel):
    stars: int
    why: str


@pytest.mark.parametrize("kind", [Joke | Refusal, Union[Joke, Refusal], Joke | Refusal | None])  # noqa: UP007 - both forms of a union
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Joke", Joke(setup="why", punchline="so", stars=2)),
        ("Refusal", Refusal(stars=2, why="so")),
    ],
)
def test_a_union_is_read_by_the_name_of_the_tool(
    provider: Provider, kind: Any, name: str, expected: BaseModel
) -> None:
    """An agent may answer with one of several types; its objects are of that type throughout."""
    call = ToolCall(name, expected.model_dump_json(), pieces=9)
    provider.reply(Reply("", tool_calls=[call]))
    model = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
    agent: Any = create_agent(model, [], response_format=ToolStrategy(Joke | Refusal))
    # Not astream: on Python 3.10 an agent's async nodes stream nothing.
    got = list(objects(stream(agent, {"messages": [("user", "a joke")]}), kind))
    assert got[-1] == expected
    assert {type(each) for each in got} == {type(expected)}
    assert len(got) > 2


async def test_an_error_names_the_types_of_a_union() -> None:
    """Which tools would have been read is told, if there was none of them."""

    async def tokens() -> AsyncIterator[Any]:
        yield (
            AIMessageChunk(content="hello", id="1", chunk_position="last"),
            {"langgraph_node": "tell"},
        )

    with pytest.raises(ObjectError, match=r"holds no Joke or Refusal.* named 'Joke' or 'Refusal'"):
        [each async for each in objects(tokens(), Joke | Refusal)]
