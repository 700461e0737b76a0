"""For tests of streaming graphs: a scripted provider, and matchers for what it streams."""

from __future__ import annotations

from tokenweir.testing.matchers import by_call, without_run_ids
from tokenweir.testing.provider import Provider, RecordedRequest
from tokenweir.testing.reply import Reply, ToolCall

__all__ = ["Provider", "RecordedRequest", "Reply", "ToolCall", "by_call", "without_run_ids"]
