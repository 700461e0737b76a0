"""Chunks told block by block: as LangChain's own bridge tells them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models._compat_bridge import chunks_to_events
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from tokenweir.streaming.blocks import MessageBlocks

TEXTS = st.text(max_size=3)
USAGE = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
ABOUT = {"model_name": "m", "finish_reason": "stop"}


def block(kind: str, **fields: Any) -> dict[str, Any]:
    """A chunk whose content is one block."""
    return {"content": [{"type": kind, **fields}]}


def call(**fields: Any) -> dict[str, Any]:
    """A chunk with a piece of a tool call."""
    piece = {"id": None, "name": None, "args": "", "type": "tool_call_chunk", **fields}
    return {"content": "", "tool_call_chunks": [piece]}


PLAIN = st.one_of(
    TEXTS.map(lambda text: {"content": text}),
    st.text("ab", min_size=1, max_size=3).map(
        lambda text: {"content": "", "additional_kwargs": {"reasoning_content": text}}
    ),
    st.builds(lambda name: {"content": "", "additional_kwargs": {name: name}}, TEXTS),
    st.builds(
        lambda index, args, named: call(
            index=index, args=args, **({"id": f"c{index}", "name": f"f{index}"} if named else {})
        ),
        st.integers(0, 2),
        st.sampled_from(["", '{"a"', ": 1}", "{}", "x"]),
        st.booleans(),
    ),
    st.just({"content": "", "usage_metadata": USAGE}),
    st.just({"content": "a", "response_metadata": ABOUT}),
)
"""Chunks of a provider that writes text."""

BLOCKS = st.one_of(
    st.builds(lambda text: block("text", text=text, index=0, id="t"), TEXTS),
    st.builds(lambda text: block("text", text=text, index=1, annotations=[]), TEXTS),
    st.builds(lambda text: block("reasoning", reasoning=text, index=2), TEXTS),
    st.just(block("reasoning", reasoning="", index=2, extras={"signature": "s"})),
    st.just(block("image", url="u", mime_type="image/png", index=3)),
    st.just(block("non_standard", value={"a": 1}, index=4)),
    st.builds(
        lambda args: block("server_tool_call_chunk", id="s1", name="search", args=args, index=5),
        st.sampled_from(["", '{"q"', ": 1}"]),
    ),
    st.just(block("server_tool_result", tool_call_id="s1", status="success", output=1, index=6)),
    st.just({"content": "", "usage_metadata": USAGE}),
)
"""Chunks of a provider that writes blocks, each with its index."""


@given(st.one_of(st.lists(PLAIN, max_size=8), st.lists(BLOCKS, max_size=8)))
def test_as_langchains_bridge(fields: list[dict[str, Any]]) -> None:
    """Any chunks give the same events in the same order, with the same values."""
    chunks = [AIMessageChunk(**each) for each in fields]
    message = MessageBlocks("m")
    ours = [message.begin(vars(chunks[0]))] if chunks else []
    for chunk in chunks:
        ours += [data for _, data in message.feed(vars(chunk))]
    if chunks:
        ours += message.end()
    generated = (ChatGenerationChunk(message=chunk) for chunk in chunks)
    assert ours == list(chunks_to_events(generated, message_id="m"))
