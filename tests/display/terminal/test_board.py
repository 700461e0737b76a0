"""Which lane a token goes to."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, RemoveMessage
from langchain_core.messages.tool import tool_call_chunk

from tokenweir.display.terminal.board import IDLE, Board, lane_name


def feed(board: Board, tag: str, text: str, call: str, *, last: bool = False, **more: Any) -> Any:
    """Feed a token of a call; the title of the lane that it went to."""
    chunk = AIMessageChunk(content=text, id=call, chunk_position="last" if last else None)
    lane = board.feed(chunk, {"tags": [tag], **more})
    return lane and lane.title


def step(number: int, graph: str = "") -> dict[str, Any]:
    """The metadata that says at which step of which graph a call is made."""
    return {"langgraph_step": number, "langgraph_checkpoint_ns": f"{graph}node:{number}"}


def test_calls_of_one_tag_follow_one_another() -> None:
    """A call that begins after the last one ended goes on below it, after an empty line."""
    board = Board()
    assert feed(board, "joke", "Why", "1") == "joke"
    assert feed(board, "joke", " not", "1", last=True) == "joke"
    assert feed(board, "joke", "Who", "2") == "joke"
    assert [lane.text for lane in board.lanes] == ["Why not\n\nWho"]


def test_calls_at_the_same_time_never_mix() -> None:
    """A second call of a tag gets a lane of its own, numbered, until one is free again."""
    board = Board()
    assert feed(board, "section", "a1", "1") == "section"
    assert feed(board, "section", "b1", "2") == "section 2"
    assert feed(board, "section", "a2", "1", last=True) == "section"
    assert feed(board, "section", "b2", "2") == "section 2"
    assert feed(board, "section", "c1", "3") == "section"
    assert [lane.text for lane in board.lanes] == ["a1a2\n\nc1", "b1b2"]


def test_a_later_step_frees_the_lane() -> None:
    """A call whose end was not marked is over when the graph has gone on to a later step."""
    board = Board()
    assert feed(board, "answer", "a", "1", **step(1)) == "answer"
    assert feed(board, "answer", "b", "2", **step(1)) == "answer 2"
    assert feed(board, "answer", "c", "3", **step(2)) == "answer"
    assert feed(board, "answer", "d", "4", **step(3, "other:1|")) == "answer 3"


def test_a_void_message_goes() -> None:
    """What a retracted message has written goes, and what came before it in the lane stays."""
    board = Board()
    feed(board, "joke", "Why", "1", last=True)
    feed(board, "joke", "one", "2")
    assert board.lanes[0].text == "Why\n\none"
    board.feed(RemoveMessage(id="2"), {"tags": ["joke"]})
    assert board.lanes[0].text == "Why"
    feed(board, "joke", "two", "3")
    assert [lane.text for lane in board.lanes] == ["Why\n\ntwo"]
    assert board.lanes[0].wrapped(20).height == 3


def test_an_answer_that_was_cut_says_so() -> None:
    """An ellipsis ends an answer that the limit of its tokens cut off, and no other."""
    board = Board()
    for call, reason in (("1", "length"), ("2", "stop")):
        feed(board, "joke", "Why", call)
        end = AIMessageChunk(content="", id=call, response_metadata={"finish_reason": reason})
        board.feed(end, {"tags": ["joke"]})
        feed(board, "joke", "", call, last=True)
    assert [lane.text for lane in board.lanes] == ["Why…\n\nWhy"]


def test_chunks_that_say_nothing_make_no_lane() -> None:
    """A chunk with usage alone shows nothing, but may end its call."""
    board = Board()
    assert feed(board, "joke", "", "1") is None
    assert board.lanes == []
    feed(board, "joke", "Why", "1")
    assert feed(board, "joke", "", "1", last=True) is None
    assert feed(board, "joke", "Who", "2") == "joke"


def test_kinds_stand_on_lines_of_their_own() -> None:
    """Thoughts, text and each tool call begin on a new line; parts of one call do not."""
    board = Board()

    def say(content: str = "", **fields: Any) -> None:
        board.feed(AIMessageChunk(content=content, id="1", **fields), {"langgraph_node": "agent"})

    def part(name: str | None, args: str) -> None:
        say(tool_call_chunks=[tool_call_chunk(name=name, args=args, id=None, index=0)])

    say(additional_kwargs={"reasoning_content": "hm"})
    say("I will", additional_kwargs={"reasoning_content": "m"})
    say(" add")
    part("add", '{"a":')
    part(None, " 1}")
    part("add", "{}")
    board.feed(AIMessage("done", id="2"), {"langgraph_node": "agent"})
    [lane, other] = board.lanes
    assert lane.text == 'hmm\nI will add\nadd {"a": 1}\nadd {}'
    assert other.text == "done"


def test_a_lane_ends_its_own_lines() -> None:
    """Newlines that the text brought are not doubled between calls."""
    board = Board()
    feed(board, "joke", "Why?\n", "1", last=True)
    feed(board, "joke", "Who?\n\n", "2", last=True)
    feed(board, "joke", "What?", "3")
    assert board.lanes[0].text == "Why?\n\nWho?\n\nWhat?"


def test_a_new_width_wraps_everything_again() -> None:
    """The lines of a lane follow its width, with the text from before and after the change."""
    board = Board()
    feed(board, "joke", "Why did the cat", "1")
    lane = board.lanes[0]
    assert lane.wrapped(8).height == 2
    feed(board, "joke", " sit", "1")
    assert ["".join(text for _, text in line) for line in lane.wrapped(40).lines] == [lane.text]


def test_running_lanes_keep_their_places() -> None:
    """A new lane takes the place of one that ended; while all run, it waits."""
    board = Board()
    for name in "abc":
        feed(board, name, "x", name)
    assert [lane.name for lane in board.shown(2)] == ["a", "b"]
    feed(board, "a", "x", "a", last=True)
    feed(board, "c", "x", "c")
    assert [lane.name for lane in board.shown(2)] == ["b", "c"]
    assert [lane.name for lane in board.shown(9)] == ["a", "b", "c"]


def test_a_silent_lane_gives_its_place_away() -> None:
    """A lane that says nothing for long is hidden for one that speaks, and comes back."""
    board = Board()
    feed(board, "a", "x", "a")
    feed(board, "b", "x", "b")
    assert [lane.name for lane in board.shown(1)] == ["a"]
    for _ in range(IDLE + 1):
        feed(board, "b", "x", "b")
    assert [lane.name for lane in board.shown(1)] == ["b"]
    for _ in range(IDLE + 2):
        feed(board, "a", "x", "a")
    assert [lane.name for lane in board.shown(1)] == ["a"]


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"tags": ["joke"], "langgraph_node": "write"}, "joke"),
        ({"tags": ["joke", "draft"]}, "joke draft"),
        ({"tags": ["seq:step:1", "langsmith:hidden"], "langgraph_node": "write"}, "write"),
        ({"tags": None, "ls_model_name": "gpt"}, "gpt"),
        ({}, "tokens"),
    ],
)
def test_the_name_of_a_lane(metadata: dict[str, Any], name: str) -> None:
    """A person's tags, else the node, else the model."""
    assert lane_name(metadata) == name
