"""What ``models/_openai`` assumes of LangChain, the openai SDK and aiohttp, one by one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from pydantic import SecretStr

from tests.bare_server import bare_server
from tokenweir.models._openai.probe import probe
from tokenweir.models._openai.push import probe_push
from tokenweir.models.chat import ChatModel


def model_of(base_url: str, **kwargs: Any) -> ChatModel:
    return ChatModel(model="gpt-4o-mini", base_url=base_url, api_key=SecretStr("test"), **kwargs)


class Listener(BaseCallbackHandler):
    """With it LangChain makes the call itself."""

    run_inline = True

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        """Its being here is enough."""


def test_the_probe_says_yes() -> None:
    """What is installed is as it is used here."""
    assert probe() is None
    assert probe_push() is None


@asynccontextmanager
async def saying(*events: str) -> AsyncIterator[str]:
    """A server that says just that, and closes the connection."""

    async def answer(
        head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"connection: close\r\n\r\n")
        writer.write("".join(f"data: {event}\n\n" for event in events).encode())
        await writer.drain()

    async with bare_server(answer) as base_url:
        yield base_url


HELLO = '{"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hello"}}]}'


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("listening", [False, True])
async def test_done_is_an_end(sync: bool, listening: bool) -> None:
    """``[DONE]`` without a finish reason is an end on both paths; without ``[DONE]`` on neither."""

    async def told(*events: str) -> str:
        async with saying(*events) as base_url:
            model = model_of(base_url, max_retries=0, streaming=True)
            config: Any = {"callbacks": [Listener()] if listening else []}
            if sync:
                answer = await asyncio.to_thread(model.invoke, "hi", config)
            else:
                answer = await model.ainvoke("hi", config)
            return str(answer.content)

    assert await told(HELLO, "[DONE]") == "hello"
    with pytest.raises(Exception, match="without a finish reason"):
        await told(HELLO)


OTHER_INSIDES = """
import asyncio, logging
import langchain_openai.chat_models.base as base
import langgraph.pregel._messages as messages
records = []
handler = logging.Handler(); handler.emit = records.append
logging.getLogger("tokenweir").addHandler(handler)
{change}
from tokenweir import astream, chat_model
from tokenweir.testing import Provider
from langgraph.graph import START, MessagesState, StateGraph
async def main():
    with Provider() as provider:
        model = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
        async def ask(state, config):
            return {{"messages": [await model.ainvoke(state["messages"], config)]}}
        graph = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
        for _ in range(2):
            found = [chunk async for chunk, _ in astream(graph, {{"messages": [("user", "hey")]}})]
            print("".join(chunk.content for chunk in found), len(found))
asyncio.run(main())
for record in records:
    print(record.levelname, record.getMessage())
"""

CHANGES = {
    "langgraph's handler": "messages.Other = messages.__dict__.pop('StreamMessagesHandler')",
    "a method of the model": (
        "import sys\n"
        "theirs = base.BaseChatOpenAI._use_responses_api\n"
        "def other(self, *args):\n"
        "    if sys._getframe(1).f_globals['__name__'].startswith('tokenweir'):\n"
        "        raise AttributeError('it has another name')\n"
        "    return theirs(self, *args)\n"
        "base.BaseChatOpenAI._use_responses_api = other"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_insides(change: str) -> None:
    """A dependency whose insides have changed costs the speed and one line; tokens still come."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_INSIDES.format(change=change)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    first, second, *said = done.stdout.splitlines() or [done.stderr, ""]
    assert first == second
    assert first.startswith("You said: hey")
    assert [line.split()[0] for line in said] == ["WARNING"], said
