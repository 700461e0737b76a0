"""Providers: the part before the colon in ``openai:gpt-4o-mini``, and what each one needs.

Turns a name into the arguments of a client: URL and key. No connection is made, and no client is
imported.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tokenweir.errors import ModelNameError

__all__ = [
    "DASHSCOPE_URLS",
    "EMBEDDED",
    "HOSTED",
    "PACKAGES",
    "QWEN_URLS",
    "ModelName",
    "dashscope_arguments",
    "default_model_name",
    "on_this_machine",
    "openai_arguments",
    "parse_model_name",
    "qwen_arguments",
    "unknown_provider",
]

EMBEDDED = "local:smollm2"
HOSTED = "openai:gpt-4o-mini"

OURS = ("openai", "local", "qwen", "dashscope")

QWEN_URLS: Mapping[str, str] = {
    "cn": "https://dashscope.aliyuncs.com/compatible-mode/v1",
    "intl": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
}
"""DashScope's endpoints for OpenAI's protocol, by region. A key belongs to one region."""

DASHSCOPE_URLS: Mapping[str, str] = {
    "cn": "https://dashscope.aliyuncs.com/api/v1",
    "intl": "https://dashscope-intl.aliyuncs.com/api/v1",
}
"""DashScope's endpoints for its own protocol, by region."""

PACKAGES: Mapping[str, str] = {
    "anthropic": "langchain-anthropic",
    "anthropic_bedrock": "langchain-aws",
    "azure_ai": "langchain-azure-ai",
    "azure_openai": "langchain-openai",
    "baseten": "langchain-baseten",
    "bedrock": "langchain-aws",
    "bedrock_converse": "langchain-aws",
    "bedrock_mantle_anthropic": "langchain-aws",
    "bedrock_mantle_openai": "langchain-aws",
    "cohere": "langchain-cohere",
    "deepseek": "langchain-deepseek",
    "fireworks": "langchain-fireworks",
    "google_anthropic_vertex": "langchain-google-vertexai",
    "google_genai": "langchain-google-genai",
    "google_vertexai": "langchain-google-vertexai",
    "groq": "langchain-groq",
    "huggingface": "langchain-huggingface",
    "ibm": "langchain-ibm",
    "langsmith": "langchain-openai",
    "litellm": "langchain-litellm",
    "meta": "langchain-meta",
    "mistralai": "langchain-mistralai",
    "nvidia": "langchain-nvidia-ai-endpoints",
    "ollama": "langchain-ollama",
    "openrouter": "langchain-openrouter",
    "perplexity": "langchain-perplexity",
    "together": "langchain-together",
    "upstage": "langchain-upstage",
    "xai": "langchain-xai",
}
"""The other providers that LangChain's ``init_chat_model`` knows, and their packages."""


@dataclass(frozen=True)
class ModelName:
    """A parsed model name: ``provider`` as ``init_chat_model`` spells it, and ``model``."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"


def parse_model_name(name: str | None) -> ModelName:
    """Parse ``provider:model``; a name without a provider is OpenAI's.

    Without a name: ``default_model_name()``. Raises ModelNameError for an empty or unknown one.
    """
    full = name or default_model_name()
    provider, separator, model = full.partition(":")
    if not separator:
        provider, model = "openai", full
    provider = provider.replace("-", "_")
    if provider not in OURS and provider not in PACKAGES:
        raise unknown_provider(full, provider)
    if not model:
        raise ModelNameError(f"{full!r} names no model: write {provider}:MODEL")
    return ModelName(provider, model)


def unknown_provider(full: str, provider: str) -> ModelNameError:
    """The error for an unknown provider, which lists the known ones."""
    near = difflib.get_close_matches(provider, [*OURS, *PACKAGES], 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    known = ", ".join(f"{name}:MODEL" for name in OURS)
    others = ", ".join(f"{name} ({package})" for name, package in PACKAGES.items())
    return ModelNameError(
        f"{full!r} is not a known model: there is no provider {provider!r}{meant}. "
        f"Known: {known}; with `pip install 'tokenweir[langchain]'` and the package in brackets: "
        f"{others}. Any server that speaks OpenAI's protocol: openai:MODEL with base_url=..."
    )


_told = threading.Lock()


def default_model_name() -> str:
    """The model to use if none is named; printed on stderr once per process.

    ``TOKENWEIR_MODEL`` if it is set; else OpenAI's if there is an ``OPENAI_API_KEY``; else the
    embedded model.
    """
    if named := os.environ.get("TOKENWEIR_MODEL"):
        name, why = named, "by --model or TOKENWEIR_MODEL"
    elif os.environ.get("OPENAI_API_KEY"):
        name, why = HOSTED, "OPENAI_API_KEY is set"
    else:
        name, why = EMBEDDED, "embedded; set OPENAI_API_KEY or TOKENWEIR_MODEL for another"
    if _told.acquire(blocking=False):  # never released: once is enough
        print(f"model: {name} ({why})", file=sys.stderr)  # noqa: T201
    return name


def openai_arguments(model: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """``kwargs`` for OpenAI's clients, with a key; ModelNameError if a key is needed but missing.

    Servers on this machine need none.
    """
    made = dict(kwargs)
    base_url = made.get("base_url") or made.get("openai_api_base")
    base_url = base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    key = made.get("api_key") or made.get("openai_api_key") or os.environ.get("OPENAI_API_KEY")
    if not key and not made.get("client") and not made.get("async_client"):
        if not (base_url and on_this_machine(str(base_url))):
            raise ModelNameError(
                f"no API key for openai:{model}: set OPENAI_API_KEY, pass api_key=..., "
                f"or use {EMBEDDED}, which needs none"
            )
        made["api_key"] = "none"  # local servers need no key, but the client requires one
    return made


def qwen_arguments(model: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """``kwargs`` for OpenAI's clients to reach Qwen through DashScope's compatible endpoint.

    ``region="cn"`` (mainland, the default) or ``"intl"`` chooses the URL, unless ``base_url`` or
    ``DASHSCOPE_BASE_URL`` give one.
    """
    made = dict(kwargs)
    region = made.pop("region", None)
    if not made.get("base_url") and not made.get("openai_api_base"):
        own = os.environ.get("DASHSCOPE_BASE_URL") if region is None else None
        made["base_url"] = own or _of_region(region, QWEN_URLS)
    if not made.get("openai_api_key"):
        made["api_key"] = _dashscope_key(f"qwen:{model}", made.get("api_key"), made["base_url"])
    return made


def dashscope_arguments(model: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """``kwargs`` for DashScope's own protocol: ``region`` becomes ``base_url``, and a key is found.

    ``DASHSCOPE_HTTP_BASE_URL``, the SDK's own variable, is respected.
    """
    made = dict(kwargs)
    region = made.pop("region", None)
    if not made.get("base_url"):
        own = os.environ.get("DASHSCOPE_HTTP_BASE_URL") if region is None else None
        made["base_url"] = own or _of_region(region, DASHSCOPE_URLS)
    made["api_key"] = _dashscope_key(f"dashscope:{model}", made.get("api_key"), made["base_url"])
    return made


def _of_region(region: str | None, urls: Mapping[str, str]) -> str:
    try:
        return urls[region or "cn"]
    except KeyError:
        known = ", ".join(f'"{name}"' for name in urls)
        raise ModelNameError(
            f"DashScope has no region {region!r} here: give {known}, or a base_url"
        ) from None


def _dashscope_key(full: str, given: Any, base_url: Any) -> Any:
    key = given or os.environ.get("DASHSCOPE_API_KEY")
    if key:
        return key
    if on_this_machine(str(base_url)):
        return "none"
    raise ModelNameError(f"no API key for {full}: set DASHSCOPE_API_KEY, or pass api_key=...")


def on_this_machine(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(str(url)).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
