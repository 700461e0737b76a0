# mypy: disable-error-code="misc"
"""LangChain's standard tests of chat models, for ours; ``test_standard.py`` runs them."""

from __future__ import annotations

import os
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import SecretStr

from tokenweir.models.chat import ChatModel
from tokenweir.models.dashscope.model import DashScopeChatModel

URL = os.environ["SCRIPTED_PROVIDER"]


class OpenAIs:
    """``chat_model("openai:...")``."""

    chat_model_class: type[BaseChatModel] = ChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o-mini", "base_url": URL, "api_key": SecretStr("test")}


class DashScopes:
    """``chat_model("dashscope:...")``."""

    chat_model_class: type[BaseChatModel] = DashScopeChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        base_url = URL.removesuffix("/v1") + "/api/v1"
        return {"model": "qwen-plus", "base_url": base_url, "api_key": SecretStr("test")}


class TestOpenAIUnits(OpenAIs, ChatModelUnitTests):
    """Without a server."""


class TestDashScopeUnits(DashScopes, ChatModelUnitTests):
    """Without a server."""


class _Scripted(ChatModelIntegrationTests):
    """With a server that says what it was asked, and cannot call tools or keep to a schema."""

    has_tool_calling = False
    has_structured_output = False


class TestOpenAI(OpenAIs, _Scripted):
    """With a server."""


class TestDashScope(DashScopes, _Scripted):
    """With a server."""
