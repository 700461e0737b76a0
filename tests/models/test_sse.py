"""Server-sent events from bytes, cut anywhere and written in any way that the standard allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.models._openai.parser import MAX_EVENT, EventDecoder, EventTooLargeError


def decoded(data: bytes, cuts: list[int]) -> list[bytes]:
    """The events of ``data``, fed in parts of these sizes over and over."""
    decoder, found, at, turn = EventDecoder(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += decoder.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return found


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: {}\n\n", [b"{}"]),
        (b'data: {"a": "\xc3\xa9"}\n\ndata: [DONE]\n\n', [b'{"a": "\xc3\xa9"}', b"[DONE]"]),
        (b"data:{}\n\n", [b"{}"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data: {}\r\n\r\ndata: 2\r\n\r\n", [b"{}", b"2"]),
        (b"data: {}\r\rdata: 2\r\r\n", [b"{}", b"2"]),
        (b": ping\n\ndata: 1\n\n: ping\ndata: 2\n\n", [b"1", b"2"]),
        (b"event: token\nid: 7\nretry: 10\ndata: 1\n\n", [b"1"]),
        (b"data: {\ndata: }\n\n", [b"{\n}"]),
        (b"data\n\n", [b""]),
        (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"database: 1\n\nnothing\n\n", []),
        (b"data: not ended\n", []),
        (b"data: 1\n\ndata: not ended", [b"1"]),
    ],
)
def test_forms(data: bytes, events: list[bytes]) -> None:
    """Each form gives its events, whole and byte by byte."""
    assert decoded(data, [len(data)]) == events
    assert decoded(data, [1]) == events
    assert decoded(data, [2, 1, 5]) == events


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
def test_an_event_is_told_at_once(end: bytes) -> None:
    """An event is not held until the next byte comes, however lines end."""
    decoder = EventDecoder()
    for number in (b"1", b"2"):
        assert decoder.feed(b"data: " + number + end) == []
        assert decoder.feed(end) == [number]


LINES = st.sampled_from(
    [b"data: {}", b"data:1", b"data: a:b", b": hi", b"event: x", b"id: 1", b"", b"", b"data", b"x"]
)


@given(st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=20), st.data())
def test_the_cuts_do_not_matter(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """Whatever the lines and their ends, and wherever bytes are cut, the events are the same."""
    text = b"".join(line + end for line, end in lines)
    whole = decoded(text, [max(len(text), 1)])
    cuts = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    assert decoded(text, cuts) == whole


@pytest.mark.parametrize("start", [b"data: ", b":\r\ndata: ", b"data: x\ndata: "])
def test_an_event_has_a_bound(start: bytes) -> None:
    """An event that does not end is refused once it is larger than the bound; one below is read."""
    decoder, part = EventDecoder(), b"x" * 65536
    decoder.feed(start)
    for _ in range(MAX_EVENT // len(part) - 1):
        assert decoder.feed(part) == []
    [event] = decoder.feed(b"\n\n")
    assert len(event) > MAX_EVENT - 2 * len(part)
    decoder.feed(start)
    with pytest.raises(EventTooLargeError, match="more than 16 MiB"):
        for _ in range(MAX_EVENT // len(part) + 1):
            decoder.feed(part)
