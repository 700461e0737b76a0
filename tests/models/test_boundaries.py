"""Where packets and events are cut changes nothing, for OpenAI's protocol and for completions.

DashScope's own is tried in ``test_dashscope_model.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenweir.models.chat import chat_model
from tokenweir.models.completion import completion_model
from tokenweir.testing import Provider, Reply

texts = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=8)


@pytest.mark.parametrize("make", [chat_model, completion_model])
@given(
    tokens=texts,
    thoughts=st.lists(st.text(min_size=1, max_size=6), max_size=4),
    split=st.integers(1, 60) | st.tuples(st.just("random"), st.integers(0, 1000)),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    comments=st.booleans(),
    burst=st.booleans(),
)
@settings(max_examples=30)
def test_boundaries_change_nothing(
    provider: Provider,
    make: Any,
    tokens: list[str],
    thoughts: list[str],
    split: Any,
    newline: str,
    comments: bool,
    burst: bool,
) -> None:
    """In the middle of a line, an event or a character: the tokens are the tokens."""
    provider.default = Reply(
        tokens=tokens,
        reasoning=thoughts,
        split=split,
        newline=newline,
        comments=comments,
        burst=burst,
    )
    model = make("openai:any", base_url=provider.base_url, api_key="test")
    parts = list(model.stream("hi"))
    said = [part if isinstance(part, str) else part.content for part in parts]
    assert [text for text in said if text] == tokens
    if make is chat_model:
        thought = [part.additional_kwargs.get("reasoning_content") for part in parts]
        assert [text for text in thought if text] == thoughts
