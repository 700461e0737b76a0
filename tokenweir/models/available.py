"""The models that can be used on this machine, and what the others need."""

from __future__ import annotations

import importlib.util
import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tokenweir.models.providers import EMBEDDED, PACKAGES

__all__ = ["SERVERS", "Available", "available"]

SERVERS: Mapping[str, str] = {
    "Ollama": "http://127.0.0.1:11434/v1",
    "vLLM": "http://127.0.0.1:8000/v1",
    "llama.cpp": "http://127.0.0.1:8080/v1",
    "LM Studio": "http://127.0.0.1:1234/v1",
}
"""Servers of OpenAI's protocol, with their default addresses."""

_KEYS: Mapping[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "cohere": "COHERE_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "google_genai": "GOOGLE_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistralai": "MISTRAL_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "perplexity": "PPLX_API_KEY",
    "together": "TOGETHER_API_KEY",
    "xai": "XAI_API_KEY",
}


@dataclass(frozen=True)
class Available:
    """One way to name a model.

    Attributes:
        name: The model's name, such as ``openai:MODEL``.
        ready: Whether it can be used now.
        note: A description, or what is missing.
    """

    name: str
    ready: bool
    note: str


def available(servers: Mapping[str, str] = SERVERS) -> list[Available]:
    """Every way to name a model, the usable ones first.

    Checks the installed packages, the keys in the environment, and which of ``servers`` (on this
    machine) answer. Nothing leaves the machine.
    """
    found = [*_ours(), *_running(servers), *_of_langchain()]
    return sorted(found, key=lambda one: not one.ready)


def _ours() -> Iterator[Available]:
    if _installed("xllamacpp"):
        yield Available(EMBEDDED, True, "embedded: llama.cpp on this machine")
    else:
        yield Available(EMBEDDED, False, "pip install 'tokenweir[local]'")
    yield _with_key("openai:MODEL", "OPENAI_API_KEY", "OpenAI; any server with base_url")
    yield _with_key("qwen:MODEL", "DASHSCOPE_API_KEY", "Qwen, by OpenAI's protocol")
    if _installed("dashscope"):
        yield _with_key("dashscope:MODEL", "DASHSCOPE_API_KEY", "Qwen, by DashScope's own")
    else:
        yield Available("dashscope:MODEL", False, "pip install 'tokenweir[dashscope]'")


def _with_key(name: str, variable: str, note: str) -> Available:
    if os.environ.get(variable):
        return Available(name, True, note)
    return Available(name, False, f"{note}: set {variable}")


def _of_langchain() -> Iterator[Available]:
    langchain = _installed("langchain")
    for provider, package in PACKAGES.items():
        missing = [] if langchain else ["'tokenweir[langchain]'"]
        if not _installed(package.replace("-", "_")):
            missing.append(package)
        name = f"{provider}:MODEL"
        if missing:
            yield Available(name, False, f"pip install {' '.join(missing)}")
        elif provider in _KEYS:
            yield _with_key(name, _KEYS[provider], f"by {package}")
        else:
            yield Available(name, True, f"by {package}, if it finds its own key")


def _running(servers: Mapping[str, str]) -> Iterator[Available]:
    if not servers:
        return
    with ThreadPoolExecutor(len(servers)) as threads:
        for (server, url), models in zip(
            servers.items(), threads.map(_models_at, servers.values()), strict=True
        ):
            for model in models:
                yield Available(f"openai:{model}", True, f"{server}, with base_url={url}")


def _models_at(url: str) -> list[str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/models", timeout=0.5) as answer:
            listed = json.load(answer)["data"]
            return [str(model["id"]) for model in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
