"""Checks once whether streamed calls can be read without LangChain."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import httpx2
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from pydantic import SecretStr

from tokenweir.models._openai.managed import ManagedModel
from tokenweir.models._openai.reasoning import KeepsReasoning
from tokenweir.models._openai.requests import missing_names
from tokenweir.models._openai.streamed_calls import StreamedCalls
from tokenweir.streaming.probing import probing

__all__ = ["probe"]


@probing(
    "installed packages differ from those that Tokenweir knows (%s): tokens are the same, but take "
    "the slow path"
)
async def probe() -> str | None:
    """None if streamed calls may be read without LangChain; otherwise the reason why not.

    The first call streams a scripted answer both ways, and compares the chunks. If they differ, or
    if this fails, LangChain makes every call, which gives the same chunks more slowly; the log says
    so once.
    """
    if missing := missing_names():
        return f"langchain-openai has no {', '.join(missing)}"
    for is_async in (True, False):
        theirs = await _answer(_ReadByLangChain, is_async, _ByLangChain())
        ours = await _answer(_ReadHere, is_async, _ByRoute())
        if ours != theirs or await _answer(_ReadHere, is_async, _ByLangChain()) != theirs:
            return "other chunks"
        if "reasoning_content" not in ours[-1][1].additional_kwargs:
            return "no reasoning"
    return None


class _Model(ManagedModel, StreamedCalls, KeepsReasoning):
    """``ChatModel`` without what does not matter for the chunks of an answer."""


class _ReadHere(_Model):
    def _difference(self) -> None:
        return None


class _ReadByLangChain(_Model):
    def _difference(self) -> str:
        return "LangChain makes the calls"


def _event(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, **fields}
    event = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _call(**piece: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": None, "function": {"name": None, **piece}}]}


_LOGPROBS = {"content": [{"token": "c", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
_RUN_ID = uuid4()
_ANSWER = [
    _event({"role": "assistant", "content": ""}),
    _event({"reasoning_content": "why"}),
    _event({"content": "a"}),
    _event({"content": "b"}),
    _event({"content": "c"}, logprobs=_LOGPROBS),
    _event({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]}),
    _event(_call(arguments='{"a"')),
    _event(_call(arguments=": 1}")),
    _event({}, "tool_calls"),
    b'data: {"id": "x", "choices": [], "model": "m", "usage": '
    b'{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}\n\n',
    b"data: [DONE]\n\n",
]


class _Body(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    def __iter__(self) -> Any:
        return iter(_ANSWER)

    async def __aiter__(self) -> Any:
        for data in _ANSWER:
            yield data


class _ByLangChain(BaseCallbackHandler):
    """Receives the chunks of a call that LangChain makes."""

    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[BaseMessage] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.chunks.append(chunk.message)


class _ByRoute(BaseCallbackHandler):
    """Receives the chunks of a call that is read without LangChain."""

    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[BaseMessage] = []

    def receiver(self, run_id: UUID) -> Any:
        return self.chunks.append


async def _answer(kind: type[_Model], is_async: bool, handler: Any) -> Any:
    """The chunks and the whole message of a scripted answer, with their types and fields."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        head = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=head, stream=_Body())

    transport = httpx2.MockTransport(respond)
    with httpx2.Client(transport=transport) as http:
        async with httpx2.AsyncClient(transport=transport) as http_async:
            model = kind(
                model="m",
                base_url="http://127.0.0.1/v1",
                api_key=SecretStr("none"),
                streaming=True,
                http_client=http,
                http_async_client=http_async,
            )
            config: Any = {"callbacks": [handler], "run_id": _RUN_ID}
            whole = await model.ainvoke("", config) if is_async else model.invoke("", config)
    return [(type(each), each, each.model_fields_set) for each in (*handler.chunks, whole)]
