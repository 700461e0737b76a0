"""Promise 8: one model, made at module level, works in every event loop and thread.

The plain ``ChatOpenAI`` shares one HTTP client between loops, and its second one finds connections
that belong to a loop that is gone.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.language_models import BaseChatModel

from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.testing import Provider, Reply

SAID = "You said: hello"


@pytest.fixture
def own(provider: Provider) -> Iterator[ChatModel]:
    """A model whose provider is this test's alone."""
    made = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
    assert isinstance(made, ChatModel)
    yield made
    made.root_client.close()


async def say(model: BaseChatModel) -> str:
    return str((await model.ainvoke("hello")).content)


async def stream(model: ChatModel) -> str:
    return "".join([str(chunk.content) async for chunk in model.astream("hello")])


def eventually(true: Callable[[], bool]) -> None:
    """Wait for what the provider's thread is about to see."""
    for _ in range(500):
        if true():
            return
        threading.Event().wait(0.01)
    raise TimeoutError


def test_several_runs_one_after_the_other(provider: Provider, own: ChatModel) -> None:
    """Each ``asyncio.run`` works, and its connections are closed when it ends."""
    for _ in range(3):
        assert asyncio.run(stream(own)) == SAID
        assert asyncio.run(say(own)) == SAID
        eventually(lambda: provider.open_connections == 0)
    assert [request.connection for request in provider.requests] == list(range(6))


async def test_within_a_loop_connections_are_kept(provider: Provider, own: ChatModel) -> None:
    """Calls that follow each other go by one connection; calls at once each have their own."""
    for _ in range(3):
        assert await say(own) == SAID
        assert await stream(own) == SAID
    assert {request.connection for request in provider.requests} == {0}
    provider.default = Reply("held", hold_after=0)
    calls = [asyncio.create_task(stream(own)) for _ in range(5)]
    await asyncio.to_thread(provider.wait_for_requests, 11)
    assert provider.open_connections == 5
    provider.release()
    assert await asyncio.gather(*calls) == ["held"] * 5


def test_threads_with_loops_of_their_own(provider: Provider, own: ChatModel) -> None:
    """Loops that run at the same time in several threads do not meet."""
    provider.default = Reply("together", hold_after=0)

    def work(number: int) -> str:
        return asyncio.run(stream(own)) if number % 2 else own.invoke("hello").text

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(work, number) for number in range(8)]
        provider.wait_for_requests(8)
        provider.release()
        assert [answer.result() for answer in answers] == ["together"] * 8
    own.root_client.close()
    eventually(lambda: provider.open_connections == 0)


async def test_sync_and_async_at_once(provider: Provider, own: ChatModel) -> None:
    """Sync calls in threads, async calls and a second loop beside them share the model."""
    provider.default = Reply("at once", hold_after=0)
    streams = [stream(own) for _ in range(3)]
    threads = [asyncio.to_thread(lambda: own.invoke("hello").text) for _ in range(3)]
    other = asyncio.to_thread(lambda: asyncio.run(stream(own)))
    everything = asyncio.gather(*streams, other, *threads)
    await asyncio.to_thread(provider.wait_for_requests, 7)
    provider.release()
    assert await everything == ["at once"] * 7


def test_a_loop_that_goes_on_while_others_come_and_go(provider: Provider, own: ChatModel) -> None:
    """As in a notebook: its loop keeps its connection through ``asyncio.run`` elsewhere."""
    notebook = asyncio.new_event_loop()
    try:
        assert notebook.run_until_complete(say(own)) == SAID
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(asyncio.run, say(own)).result() == SAID
        assert notebook.run_until_complete(say(own)) == SAID
        assert [request.connection for request in provider.requests] == [0, 1, 0]
    finally:
        notebook.run_until_complete(notebook.shutdown_asyncgens())
        notebook.close()
    eventually(lambda: provider.open_connections == 0)


def test_a_loop_that_is_gone_is_forgotten(own: ChatModel) -> None:
    """Loops are let go of, though a model lives as long as the process."""
    gone = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        gone.append(weakref.ref(loop))
        loop.run_until_complete(say(own))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        del loop
    asyncio.run(say(own))
    gc.collect()
    assert [loop() for loop in gone] == [None] * 3


async def test_a_model_that_is_let_go_of_closes_its_connections(provider: Provider) -> None:
    """A model made per request leaves nothing behind in a loop that goes on."""
    model = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
    assert await say(model) == SAID
    assert provider.open_connections == 1
    del model

    def closed() -> bool:
        gc.collect()  # again and again: what still runs may hold the model for a moment
        return provider.open_connections == 0

    await asyncio.to_thread(eventually, closed)


async def test_closed_by_hand_it_opens_anew(provider: Provider, own: ChatModel) -> None:
    """``root_async_client.close()`` closes this loop's connections; the next call opens others."""
    assert await say(own) == SAID
    await own.root_async_client.close()
    await asyncio.to_thread(eventually, lambda: provider.open_connections == 0)
    assert await say(own) == SAID
    assert [request.connection for request in provider.requests] == [0, 1]


async def test_a_call_that_is_left_closes_its_connection(
    provider: Provider, own: ChatModel
) -> None:
    """Leaving one stream early ends that request, and no other call of the same loop."""
    provider.on("endless", Reply(tokens=100_000, every=0.02))
    provider.on("held", Reply("held", hold_after=0))
    other = asyncio.create_task(own.ainvoke("held"))
    await asyncio.to_thread(provider.wait_for_requests, 1)
    tokens = own.astream("endless")
    await anext(aiter(tokens))
    await tokens.aclose()  # type: ignore[attr-defined]
    left = next(request for request in provider.requests if request.prompt == "endless")
    await left.aclosed(60)
    assert left.state == "client_left"
    provider.release()
    assert (await other).content == "held"


SCRIPT = """
import asyncio, sys, threading
from tokenweir import chat_model

model = chat_model("openai:gpt-4o-mini", base_url=sys.argv[1], api_key="test")

async def both():
    async for chunk in model.astream("hello"):
        pass
    async for chunk in model.astream("hello"):
        break
    return (await model.ainvoke("hello")).content

for _ in range(2):
    print(asyncio.run(both()))
thread = threading.Thread(target=lambda: print(asyncio.run(both()), model.invoke("hello").content))
thread.start()
thread.join()
for chunk in model.stream("hello"):
    break
print(model.invoke("hello").content)
"""


def test_a_script_ends_without_a_word(provider: Provider) -> None:
    """With every warning shown, a process that used a model in all these ways ends silently."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, provider.base_url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [SAID, SAID, f"{SAID} {SAID}", SAID]
    assert done.returncode == 0
