"""A pytest plugin: ChatOpenAI and OpenAI are ours, wherever a test imports them from."""

from __future__ import annotations

from typing import Any

import langchain_openai
import langchain_openai.chat_models
import langchain_openai.chat_models.base
import langchain_openai.llms
from langchain_core.load.load import DEFAULT_NAMESPACES

from tokenweir.models.chat import ChatModel
from tokenweir.models.completion import CompletionModel

chat: tuple[Any, ...] = (
    langchain_openai,
    langchain_openai.chat_models,
    langchain_openai.chat_models.base,
)
for module in chat:
    module.ChatOpenAI = ChatModel
completions: tuple[Any, ...] = (langchain_openai, langchain_openai.llms)
for module in completions:
    module.OpenAI = CompletionModel
# Classes outside of LangChain are loaded by `valid_namespaces`, which these tests do not pass.
DEFAULT_NAMESPACES.append("tokenweir")
