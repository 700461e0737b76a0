"""What a late reader is given adds up to what a reader from the beginning was given."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.messages.tool import tool_call_chunk

from tokenweir.serving.log.events import Event
from tokenweir.serving.log.memory import MemoryLog
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.running.compaction import Compaction, LateReader
from tokenweir.serving.running.encoding import TokenEncoder, encode
from tokenweir.serving.sse.token_records import record_of
from tokenweir.streaming.filters import parse_filter

SEEDS = range(60)
FILTERS = [
    None,
    "text",
    "reasoning | tag:joke",
    "tag:joke & ~text",
    "tool:add | ~(text & reasoning)",
    "tag:poem",
]


def said(seed: int) -> list[tuple[str, bytes, Any]]:
    """The events of a generated run: kinds, bodies and envelopes."""
    chance, encoder = random.Random(seed), TokenEncoder(run_id="r")
    found: list[tuple[str, bytes, Any]] = [("metadata", b'{"attempt":1}', None)]
    places = [
        (f"m{number}", kind, {"langgraph_node": "write", "tags": [chance.choice(["joke", "poem"])]})
        for number, kind in enumerate(chance.choices(["messages", "messages|a:1", "custom"], k=4))
    ]
    for number in range(chance.randint(1, 80)):
        name, kind, metadata = chance.choice(places)
        way = chance.random()
        chunk: Any = AIMessageChunk(content=chance.choice(["a", "", ' "b"', "\\", "ä\n"]), id=name)
        if way < 0.1:
            chunk.additional_kwargs = {"reasoning_content": chance.choice("xyz")}
        elif way < 0.2:
            first = chance.random() < 0.5
            call = tool_call_chunk(
                name="add" if first else None,
                args='{"a"' if first else ": 1",
                id=f"call{number}" if first else None,
                index=chance.choice([0, 1]),
            )
            chunk.tool_call_chunks = [call]
        elif way < 0.24:
            counts: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
            chunk.usage_metadata = counts
        elif way < 0.28:
            chunk.response_metadata = {"finish_reason": "stop"}
            chunk.chunk_position = "last"
        elif way < 0.31:
            listed = [{"type": "text", "text": "l"}, {"type": "reasoning", "reasoning": "r"}]
            chunk.content = [
                chance.choice(listed),
                *chance.choices(listed, k=chance.choice([0, 2])),
            ]
        elif way < 0.34:
            chunk = AIMessage("whole", id=f"w{chance.randint(0, 1)}")
        elif way < 0.37:
            chunk = ToolMessage("4", id=f"t{number}", tool_call_id="call", name="add")
        elif way < 0.40:
            removed = {"type": "remove", "id": chance.choice([name, "w0", "none"])}
            found.append((kind, encode([removed, metadata]), None))
            continue
        elif way < 0.43:
            found.append(("tasks", encode({"id": f"{number}", "name": "write", "input": 1}), None))
            continue
        elif way < 0.46:
            found.append(("custom", encode(["hello", metadata]), None))
            continue
        found.append((kind, *encoder.encode(kind, chunk, metadata)))
    return found


def added_up(events: list[Event], only: Any) -> dict[str, Any]:
    """What a client has in the end: messages by id, and the rest in order."""
    messages: dict[Any, Any] = {}
    rest: list[Any] = []
    for event in events:
        record = record_of(event, None if event.part else only)
        if record is None:
            continue
        if record["type"] == "remove":
            messages = {key: value for key, value in messages.items() if key[1] != record["id"]}
        elif record["type"] != "token" or record["id"] is None:
            key = (event.kind, record.get("id"), "whole")
            if record.get("id") is None:
                rest.append(record)
            else:
                messages.setdefault(key, []).append(record)
        else:
            key = (event.kind, record["id"], "grown")
            whole = messages.setdefault(key, {"text": "", "reasoning": "", "calls": {}, "usage": 0})
            whole["text"] += record["text"]
            whole["reasoning"] += record.get("reasoning", "")
            for call in record.get("tool_calls", ()):
                _add_call(whole["calls"], call)
            whole["usage"] += (record.get("usage") or {}).get("total_tokens", 0)
            whole["finish"] = record.get("finish_reason") or whole.get("finish")
            whole["tags"] = record["tags"]
    return {"messages": messages, "rest": rest}


def _add_call(calls: dict[Any, Any], call: Any) -> None:
    """As LangChain joins them: by index, if the ids agree."""
    for before in calls.values():
        if before["index"] == call["index"] and (
            not before["id"] or not call["id"] or before["id"] == call["id"]
        ):
            before["args"] += call["args"] or ""
            before["name"] = (before["name"] or "") + (call["name"] or "")
            before["id"] = before["id"] or call["id"]
            return
    calls[len(calls)] = {**call, "args": call["args"] or "", "name": call["name"] or ""}


@pytest.mark.parametrize("written", FILTERS)
def test_the_sum_is_the_same(written: str | None) -> None:
    """Of generated runs, and of each beginning of one, through every kind of filter."""
    only = None if written is None else parse_filter(written)
    for seed in SEEDS:
        events = [Event(number, *each) for number, each in enumerate(said(seed), 1)]
        for cut in {len(events), len(events) // 2, 1}:
            compaction = Compaction(only)
            half = cut // 2
            compaction.take(events[:half])
            compaction.take(events[half:cut])
            given = compaction.events()
            assert added_up(given, only) == added_up(events[:cut], only), (seed, cut)
            assert [event.part for event in given] == list(range(1, len(given) + 1))
            assert {event.id for event in given} <= {cut}
            grown = [key for key in added_up(given, only)["messages"] if key[2] == "grown"]
            assert len(grown) == len(set(grown))


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made: Callable[[], Any] = (
        MemoryLog if request.param == "memory" else lambda: SqliteLog(tmp_path / "events.sqlite")
    )
    log = made()
    yield log
    await log.close()


async def test_a_late_reader(log: Any) -> None:
    """One event for each message that is there, then live events; the sum is that of all."""
    writer = await log.writer("run", 1)
    encoder = TokenEncoder()
    places = [("a", {"tags": ["joke"]}), ("b", {"tags": ["poem"]})]

    def write(number: int) -> None:
        name, metadata = places[number % 2]
        chunk = AIMessageChunk(content=f"{number} ", id=name)
        body, envelope = encoder.encode("messages", chunk, metadata)
        writer.append("messages", body, envelope=envelope)

    for number in range(3000):
        write(number)
    await writer.saved()
    late, all_of_it = LateReader(log, "run"), log.follow("run")
    first = await anext(late)
    assert [event.value[0]["id"] for event in first] == ["a", "b"]
    assert [event.part for event in first] == [1, 2]
    upto = first[0].id
    assert upto == 3000
    for number in range(3000, 3010):
        write(number)
    live = await _until(late, 3010)
    assert [event.id for event in live] == list(range(3001, 3011))
    whole = await _until(all_of_it, 3010)
    assert added_up(first + live, None) == added_up(whole, None)
    again = LateReader(log, "run", upto=upto)
    assert await anext(again) == first
    assert (await _until(again, 3010)) == live
    for reader in (late, all_of_it, again):
        await reader.aclose()


async def _until(reader: Any, last: int) -> list[Event]:
    found: list[Event] = []
    while not found or found[-1].id < last:
        found += await anext(reader)
    return found


def test_a_sum_is_json() -> None:
    """Texts with quotes at their ends are joined as texts."""
    texts = ['say "', '"', "\\", "x\\", '"']
    encoder, compaction = TokenEncoder(), Compaction()
    for number, text in enumerate(texts, 1):
        chunk = AIMessageChunk(content=text, id="a")
        compaction.take([Event(number, "messages", *encoder.encode("messages", chunk, {}))])
    [event] = compaction.events()
    assert msgspec.json.decode(event.data)[0]["content"] == "".join(texts)
