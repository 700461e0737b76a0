"""Names of models: which client they make, which URL and key it uses, and what errors say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from tokenweir.errors import ModelNameError
from tokenweir.models.chat import ChatModel, chat_model
from tokenweir.models.completion import completion_model
from tokenweir.models.providers import PACKAGES, dashscope_arguments, parse_model_name
from tokenweir.testing import Provider, Reply

KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DASHSCOPE_API_KEY", "DASHSCOPE_BASE_URL")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without keys and URLs of its own."""
    for name in (*KEYS, "DASHSCOPE_HTTP_BASE_URL", "TOKENWEIR_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("region", "url"),
    [
        (None, "https://dashscope.aliyuncs.com/compatible-mode/v1/"),
        ("cn", "https://dashscope.aliyuncs.com/compatible-mode/v1/"),
        ("intl", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/"),
    ],
)
def test_qwen_by_region(monkeypatch: pytest.MonkeyPatch, region: Any, url: str) -> None:
    """``qwen:`` takes DashScope's key, and the endpoint of the region."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-dash")
    model = chat_model("qwen:qwen-plus", **({"region": region} if region else {}))
    assert isinstance(model, ChatModel)
    assert str(model.root_async_client.base_url) == url
    assert model.root_async_client.api_key == "sk-dash"
    completing = completion_model("qwen:qwen-coder-plus", **({"region": region} if region else {}))
    assert str(completing._base_url) == url


def test_qwen_at_a_url_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """``base_url`` goes before ``region``, and ``DASHSCOPE_BASE_URL`` stands in for neither."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-dash")
    monkeypatch.setenv("DASHSCOPE_BASE_URL", "https://example.org/v1")
    made: Any = chat_model("qwen:qwen-plus")
    assert str(made.root_async_client.base_url) == "https://example.org/v1/"
    made = chat_model("qwen:qwen-plus", region="intl")
    assert "dashscope-intl" in str(made.root_async_client.base_url)
    made = chat_model("qwen:qwen-plus", base_url="https://other.example/v1")
    assert str(made.root_async_client.base_url) == "https://other.example/v1/"


async def test_qwen_streams_text_reasoning_and_usage(provider: Provider) -> None:
    """Qwen's tokens come with its reasoning and usage, under its own provider's name."""
    provider.default = Reply(tokens=["I", " am", " Qwen"], reasoning=["Who", "?"])
    model = chat_model("qwen:qwen-plus", base_url=provider.base_url, api_key="k", tags=["who"])
    chunks = [chunk async for chunk in model.astream("Who are you?")]
    whole = chunks[0]
    for chunk in chunks[1:]:
        assert isinstance(chunk, AIMessageChunk)
        whole += chunk
    assert whole.content == "I am Qwen"
    assert whole.content_blocks[0] == {"type": "reasoning", "reasoning": "Who?"}
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] == 5
    events = [event async for event in model.astream_events("hi", version="v2")]
    assert events[0]["metadata"]["ls_provider"] == "qwen"
    assert provider.requests[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("name", ["qwen:qwen-plus", "openai:gpt-4o-mini"])
def test_a_missing_key_is_told(name: str) -> None:
    """Without a key the error names the variable to set."""
    variable = {"qwen": "DASHSCOPE_API_KEY", "openai": "OPENAI_API_KEY"}[name.partition(":")[0]]
    with pytest.raises(ModelNameError, match=f"no API key for {name}: set {variable}"):
        chat_model(name)


def test_a_server_on_this_machine_needs_no_key(provider: Provider) -> None:
    """Ollama, vLLM and llama.cpp on loopback answer to a model without a key."""
    for name in ("openai:llama3", "qwen:qwen3"):
        assert chat_model(name, base_url=provider.base_url).invoke("hi").content == "You said: hi"


def test_an_unknown_region_is_refused() -> None:
    """A region that DashScope does not have is an error that names those it has."""
    for make in (chat_model, lambda name, **kwargs: dashscope_arguments(name, kwargs)):
        with pytest.raises(ModelNameError, match='no region \'eu\' here: give "cn", "intl"'):
            make("qwen:qwen-plus", region="eu", api_key="k")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("opnai:gpt-4o", "there is no provider 'opnai' (did you mean openai?)"),
        ("mystery:m", "deepseek (langchain-deepseek)"),
        ("mystery:m", "Known: openai:MODEL, local:MODEL, qwen:MODEL, dashscope:MODEL"),
        ("openai:", "names no model: write openai:MODEL"),
    ],
)
def test_an_unknown_name_lists_the_known(name: str, said: str) -> None:
    """An unknown provider is refused with the known ones, and the package that each needs."""
    with pytest.raises(ModelNameError) as caught:
        chat_model(name)
    assert said in str(caught.value)


def test_names_are_taken_apart_at_the_first_colon() -> None:
    """Models may have colons in their names; providers may be written with a hyphen."""
    assert str(parse_model_name("ollama:llama3:8b")) == "ollama:llama3:8b"
    assert parse_model_name("ollama:llama3:8b").provider == "ollama"
    assert parse_model_name("azure-openai:gpt").provider == "azure_openai"
    assert parse_model_name("gpt-4o").provider == "openai"


def test_the_list_of_packages_is_langchains() -> None:
    """The providers that errors tell of are those that LangChain's ``init_chat_model`` has."""
    base: Any = pytest.importorskip("langchain.chat_models.base")
    modules = {name: made[0] for name, made in base._BUILTIN_PROVIDERS.items()}
    modules.pop("openai")
    theirs = {name: made.partition(".")[0].replace("_", "-") for name, made in modules.items()}
    assert theirs == {**PACKAGES}


def test_any_other_name_by_langchain(provider: Provider) -> None:
    """A provider that is not ours is made by its own integration, with its arguments and tags."""
    deepseek: Any = pytest.importorskip("langchain_deepseek")
    provider.default = Reply(tokens=["Four"], reasoning=["Two"])
    model = chat_model("deepseek:chat", base_url=provider.base_url, api_key="k", tags=["sum"])
    assert isinstance(model, deepseek.ChatDeepSeek)
    assert model.tags == ["sum"]
    chunks = list(model.stream("2 + 2?"))
    assert [chunk.content for chunk in chunks if chunk.content] == ["Four"]


def test_a_package_that_is_missing_is_named() -> None:
    """Where an integration is not installed, the error says what to install."""
    pytest.importorskip("langchain")
    with pytest.raises(ModelNameError, match="pip install langchain-upstage"):
        chat_model("upstage:solar")


def test_without_langchain_the_extra_is_named() -> None:
    """Where LangChain itself is missing, the error names the extra; our own names still work."""
    code = (
        "import sys; sys.modules['langchain'] = None\n"
        "from tokenweir import ModelNameError, chat_model\n"
        "chat_model('openai:m', base_url='http://127.0.0.1:1/v1')\n"
        "try: chat_model('groq:llama')\n"
        "except ModelNameError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert "pip install 'tokenweir[langchain]' langchain-groq" in said
