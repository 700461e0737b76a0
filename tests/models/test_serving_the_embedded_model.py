"""The embedded model for any client of OpenAI: by a function, and by ``tokenweir models serve``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tokenweir import chat_model, completion_model, start_model

pytest.importorskip("xllamacpp", reason="needs tokenweir[local]")

ASYNC_OPENAI = """
from openai import AsyncOpenAI

openai_client = AsyncOpenAI()
model_name = "gpt-4o-mini"


async def stream_tokens(model_name: str, messages: list[dict]):
    response = await openai_client.chat.completions.create(
        messages=messages, model=model_name, stream=True
    )
    role = None
    async for chunk in response:
        delta = chunk.choices[0].delta
        if delta.role is not None:
            role = delta.role

        if delta.content:
            yield {"role": role, "content": delta.content}


async def main():
    messages = [{"role": "user", "content": "Write a joke about cats"}]
    async for message in stream_tokens(model_name, messages):
        print(message["content"], end="|", flush=True)


import asyncio
asyncio.run(main())
"""
"""From LangGraph's how-to on streaming tokens without LangChain, as it stands there."""

LANGCHAINS_OPENAI = """
from langchain_openai import OpenAI

llm = OpenAI(model="gpt-3.5-turbo-instruct", temperature=0, max_tokens=512)
for chunk in llm.stream("Write me a 1 verse song about sparkling water."):
    print(chunk, end="|", flush=True)
"""
"""The first example of LangChain's how-to on streaming, as it stands there."""


def said(script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.local
@pytest.mark.parametrize(("script", "chunks"), [(ASYNC_OPENAI, 5), (LANGCHAINS_OPENAI, 1)])
def test_other_clients_find_it_by_the_environment(script: str, chunks: int) -> None:
    """Code that was written for OpenAI runs against it as it is.

    At temperature 0 this small model has nothing to add to the prompt of a completion.
    """
    endpoint = start_model("local:smollm2")
    assert endpoint.environment["OPENAI_BASE_URL"] == endpoint.base_url
    assert said(script, endpoint.environment).count("|") >= chunks


@pytest.mark.local
def test_it_is_served_by_the_command_line() -> None:
    """``models serve`` prints what to export, and stays until Ctrl-C."""
    command = [sys.executable, "-m", "tokenweir", "models", "serve", "smollm2", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(2)]
        url = re.fullmatch(r"export OPENAI_BASE_URL=(http://127\.0\.0\.1:\d+/v1)\n", told[0])
        assert url
        assert told[1] == "export OPENAI_API_KEY=none\n"
        environment = {"OPENAI_BASE_URL": url[1], "OPENAI_API_KEY": "none"}
        assert said(ASYNC_OPENAI, environment).count("|") > 5
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, complaint) == (0, "Ctrl-C ends it.\n")


@pytest.mark.local
async def test_the_public_field_is_its_address() -> None:
    """``openai_api_base`` of both kinds of model is where it answers, once it has started."""
    chat = chat_model("local:smollm2", max_tokens=2)
    completion = completion_model("local:smollm2", max_tokens=2)
    await chat.ainvoke("Hi")
    await completion.ainvoke("Hi")
    url = start_model().base_url
    assert [getattr(model, "openai_api_base", None) for model in (chat, completion)] == [url] * 2
