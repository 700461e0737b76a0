"""The embedded model: one real child process, started once, that never outlives its parent.

Starting costs a second, so most tests share the one that the first of them starts.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from pydantic import BaseModel

from tests.waiting import wait_until
from tokenweir.errors import EmbeddedModelError
from tokenweir.graphs.agent import build as build_agent
from tokenweir.models.chat import chat_model
from tokenweir.models.embedded import weights
from tokenweir.models.embedded.model import Endpoint, start_model
from tokenweir.streaming.stream import astream

pytest.importorskip("xllamacpp", reason="needs tokenweir[local]")


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    """The running model."""
    return start_model()


@pytest.fixture(scope="module")
def few(endpoint: Endpoint) -> BaseChatModel:
    """A model of few words, always the same."""
    return chat_model("local:smollm2", max_tokens=12, temperature=0, tags=["small"])


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def wait_until_gone(pid: int) -> None:
    """Wait for another's child: nothing but looking tells."""
    wait_until(lambda: gone(pid))


# One process


@pytest.mark.local
def test_it_starts_once(endpoint: Endpoint) -> None:
    """Whoever asks, from whichever thread and by whichever name, gets the same process."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: start_model("smollm2"), range(8)))
    assert found == [endpoint] * 8
    assert start_model(weights.fetch()) == endpoint
    assert start_model(os.path.relpath(weights.fetch())) == endpoint
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert endpoint.base_url.endswith("/v1")
    assert endpoint.model == "SmolLM2-135M-Instruct.Q4_1"


@pytest.mark.local
async def test_it_streams_real_tokens(few: BaseChatModel) -> None:
    """Token by token, with usage and a reason at the end; sync and async say the same."""
    chunks = [chunk async for chunk in few.astream("Say hello.")]
    texts = [chunk.content for chunk in chunks if chunk.content]
    assert len(texts) > 5
    whole: Any = sum(chunks[1:], chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 12
    assert whole.response_metadata["finish_reason"] == "length"
    assert "".join(str(chunk.content) for chunk in few.stream("Say hello.")) == whole.content
    assert few.invoke("Say hello.").content == whole.content
    assert (await few.ainvoke("Say hello.")).content == whole.content


@pytest.mark.local
async def test_it_streams_in_a_graph(few: BaseChatModel, one_node: Any, streamed: Any) -> None:
    """In a node it is a model like any other, whose metadata says what it is."""

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await few.ainvoke(state["messages"], config)]}

    tokens = [token async for token in astream(one_node(ask), {"messages": [("user", "Hi")]})]
    assert len(streamed(tokens)) > 10
    for _, metadata in tokens:
        assert metadata["tags"] == ["small"]
        assert metadata["ls_provider"] == "llama.cpp"
        assert metadata["ls_model_name"] == "smollm2"


@pytest.mark.local
async def test_several_calls_at_once(few: BaseChatModel) -> None:
    """More calls than it has slots are all answered, each with its own answer."""
    questions = [f"Say the number {number}." for number in range(5)]
    alone = await few.ainvoke(questions[3])
    answers = await asyncio.gather(*(few.ainvoke(question) for question in questions))
    assert all(answer.content for answer in answers)
    assert len({answer.id for answer in answers}) == 5
    assert alone.content


@pytest.mark.local
async def test_leaving_stops_the_generation(few: BaseChatModel) -> None:
    """Calls that are left make room at once: long ones in all slots do not hold the next up."""
    long = chat_model("local:smollm2", max_tokens=4_000)
    streams = [long.astream("Tell me a very long story.") for _ in range(8)]
    for left in streams[:4]:
        await anext(aiter(left))
    for left in streams[:4]:
        await left.aclose()  # type: ignore[attr-defined]
    # 16,000 tokens would take two minutes.
    answer = await asyncio.wait_for(few.ainvoke("Say hello."), 60)
    assert answer.content


@pytest.mark.local
async def test_tools_and_structured_output(endpoint: Endpoint) -> None:
    """What must be called is called, and what must be an object is one: by llama.cpp's grammar."""

    class Cat(BaseModel):
        """A cat."""

        name: str
        legs: int

    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    model = chat_model("local:smollm2", temperature=0, max_tokens=70)
    asked = await model.bind_tools([add], tool_choice="any").ainvoke("What is 2 + 3?")
    assert asked.tool_calls
    for call in asked.tool_calls:
        assert (call["name"], set(call["args"])) == ("add", {"a", "b"})
    assert isinstance(await model.with_structured_output(Cat).ainvoke("A cat named Tom."), Cat)


@pytest.mark.one_python
@pytest.mark.local
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 12*7?", r"12\*7 = 84"),
        ("What is 144/12?", r"144/12 = 12"),
        ("What is 23+19?", r"23\+19 = 42"),
        ("What time is it in Tokyo?", r"\w+, \d\d \w+ \d{4}, \d\d:\d\d in Asia/Tokyo"),
    ],
)
async def test_the_ready_agent_answers(endpoint: Endpoint, question: str, answer: str) -> None:
    """The embedded model takes the right tool for sums and for the time, and repeats its result."""
    asking: Any = {"messages": [("user", question)]}
    result = await build_agent("local:smollm2").ainvoke(asking)
    asked, call, returned, said = result["messages"]
    assert (asked.type, call.type, returned.type) == ("human", "ai", "tool")
    assert re.fullmatch(answer, said.content)


# Other models, and what cannot be one


@pytest.mark.local
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="cannot wait for another's child")
def test_another_gguf_by_its_path(endpoint: Endpoint, tmp_path: Path) -> None:
    """Any GGUF file is a model, in a process of its own, beside the first one."""
    other = tmp_path / "other model.gguf"
    shutil.copyfile(weights.fetch(), other)
    model = chat_model(f"local:{other}", max_tokens=5)
    assert model.invoke("Hi").content
    second = start_model(other)
    assert second.model == "other model"
    assert second.pid != endpoint.pid
    # Killed from outside: the next call finds a new process, and the model is pointed at it.
    os.kill(second.pid, signal.SIGKILL)
    os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)  # it is left to be collected
    assert model.invoke("Hi").content
    assert start_model(other).pid != second.pid
    assert start_model() == endpoint
    os.kill(start_model(other).pid, signal.SIGKILL)


def refused(model: Any, *parts: str, port: int = 0) -> None:
    with pytest.raises(EmbeddedModelError) as caught:
        start_model(model, port=port)
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_missing_file(tmp_path: Path) -> None:
    """A path that is not there is said with the path and the reason, sync and async."""
    missing = tmp_path / "missing.gguf"
    refused(missing, f"cannot read {missing} (No such file or directory)")
    refused(tmp_path, f"cannot read {tmp_path} (Is a directory)")
    model = chat_model(f"local:{missing}")
    with pytest.raises(EmbeddedModelError, match=r"cannot read .*missing\.gguf"):
        model.invoke("Hi")
    with pytest.raises(EmbeddedModelError, match=r"cannot read .*missing\.gguf"):
        asyncio.run(model.ainvoke("Hi"))


def test_an_unknown_name() -> None:
    """A name that is neither the embedded model's nor a path says what may be given."""
    refused("llama3", "no embedded model 'llama3'", "local:smollm2", "path of a GGUF file")


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    """Weights of another format are told by their first bytes."""
    for name, data in (("model.safetensors", b"\x00" * 99), ("empty.gguf", b"")):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, f"{name} is not a GGUF file")


@pytest.mark.local
def test_a_damaged_gguf(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What llama.cpp cannot load is said in a line; its log is not poured out."""
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(weights.fetch().read_bytes()[:5_000_000])
    refused(damaged, f"llama.cpp could not load {damaged}", "damaged", "MB", "TOKENWEIR_DEBUG=1")
    assert capfd.readouterr() == ("", "")


@pytest.mark.local
def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """A port that was asked for by number and is in use is said as such."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(model, f"port {port} is in use", "0 for any free port", port=port)


# The end

SCRIPT = """
import sys
from tokenweir import chat_model
from tokenweir.models.embedded.model import start_model

model = chat_model("local:smollm2", max_tokens=4000)
tokens = model.stream("Tell me a very long story.")
while not next(tokens).content:
    pass
try:
    print(start_model().pid, flush=True)
    if "wait" in sys.argv:
        sys.stdin.read()
except KeyboardInterrupt:
    model.invoke("Say hello.", max_tokens=2)
    print(start_model().pid, flush=True)
"""


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Processes in the middle of a generation, started together: one ends, the others wait."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "wait" if name.startswith("SIG") else "end"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for name in ("end", "SIGKILL", "SIGINT")
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.local
def test_a_process_ends_cleanly_in_the_middle_of_a_generation(
    processes: dict[str, subprocess.Popen[str]],
) -> None:
    """No crash, no child left, and not a word of llama.cpp's on stdout or stderr."""
    out, err = processes["end"].communicate(timeout=60)
    (pid,) = out.split()
    assert err == ""
    assert processes["end"].returncode == 0
    assert gone(int(pid))


@pytest.mark.local
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_is_killed_leaves_no_child(
    processes: dict[str, subprocess.Popen[str]],
) -> None:
    """Killed outright, without a chance to clean up, it takes the model along."""
    process = processes["SIGKILL"]
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert not gone(pid)
    process.kill()
    process.wait(60)
    wait_until_gone(pid)


@pytest.mark.local
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_is_the_process_own(processes: dict[str, subprocess.Popen[str]]) -> None:
    """Ctrl-C in a terminal goes to all its processes: a script that survives it has its model."""
    process = processes["SIGINT"]
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    assert int(process.stdout.readline()) == pid  # before its stdin is closed, which ends it, too
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("", "", 0)
    assert gone(pid)
