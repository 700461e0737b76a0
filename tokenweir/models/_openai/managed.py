"""The common base of the chat and completion models: clients, limits, and reprs without keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from langchain_core.language_models import BaseLanguageModel
from langchain_openai import ChatOpenAI
from pydantic import (
    PrivateAttr,
    SecretStr,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from tokenweir.models._calls.limits import Limits
from tokenweir.models._calls.policy import GAP, CallPolicy
from tokenweir.models._calls.state import CallState, ClientAdapter
from tokenweir.models._openai.adapter import adapter_of
from tokenweir.models._openai.clients import CallRules, make_clients
from tokenweir.models.providers import ModelName, openai_arguments, qwen_arguments
from tokenweir.models.secrets import hidden_headers, secrets_of

__all__ = ["EmbeddedModel", "ManagedModel", "make_model"]

M = TypeVar("M", bound="ManagedModel")

UNSTARTED = "http://127.0.0.1/v1"
"""The base URL of an embedded model until it has started."""


@lru_cache(maxsize=64)
def _is_openais(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


class ManagedModel(Limits, BaseLanguageModel[Any]):
    """A model of langchain-openai with Tokenweir's clients, for every event loop and thread.

    HTTP clients passed in by the user are used unchanged, with their own limits. Clients of the
    openai SDK that were passed in are not touched.
    """

    provider: str = "openai"
    """The provider, as ``ls_provider`` in a token's metadata."""

    _policy: CallPolicy = PrivateAttr(default_factory=CallPolicy)
    _adapter: ClientAdapter = PrivateAttr(default=None)  # type: ignore[assignment]
    _base_url: str = PrivateAttr(default="")
    """The base URL of the calls, from the arguments or the environment."""
    _clients: tuple[Any, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Check the fields as LangChain does, and make the clients."""
        model: Any = self
        given, given_async = model.client is not None, model.async_client is not None
        http_clients = model.http_client, model.http_async_client
        is_chat = isinstance(self, ChatOpenAI)
        if is_chat:
            super().validate_environment()  # type: ignore[misc] # finds the address and the key
        secrets = secrets_of(model.openai_api_key, *(model.default_headers or {}).values())
        self._policy = self._call_policy()
        self._adapter = adapter_of(secrets)
        rules = CallRules(self.new_call_state, self._adapter, self._starter)
        made, made_async = make_clients(self, rules, self.http_timeout(self._policy), *http_clients)
        self._base_url = str(made_async.base_url)
        self._clients = tuple(each for each in (made, made_async) if each is not None)
        if not given:
            self._use(made, "client")
        if not given_async:
            self._use(made_async, "async_client")
        if not is_chat:
            super().validate_environment()  # type: ignore[misc] # it makes those that are missing
        if model.stream_usage is None and not (given or given_async):
            model.stream_usage = True  # the clients stop asking an endpoint that rejects it
        return self

    def _use(self, client: Any, name: str) -> None:
        """Make the calls with this client, which is None if it has no key."""
        if not isinstance(self, ChatOpenAI):
            setattr(self, name, client.completions)
        elif client is not None:
            setattr(self, f"root_{name}", client)
            setattr(self, name, client.chat.completions)

    def _call_policy(self) -> CallPolicy:
        """The limits and retries that the fields set."""
        model: Any = self
        retries = 2 if model.max_retries is None else model.max_retries
        gap = self._default_gap
        return self.call_policy(timeout=model.request_timeout, gap=gap, retries=retries)

    @property
    def _default_gap(self) -> float:
        """The default limit for the gap between tokens, in seconds; 0 for none."""
        return GAP

    @property
    def _starter(self) -> Callable[[], None] | None:
        """Called before each call, and may block; None if there is nothing to start."""
        return None

    @property
    def _is_openais(self) -> bool:
        """Whether OpenAI itself answers, instead of a compatible server."""
        return _is_openais(self._base_url)

    def new_call_state(self) -> CallState:
        """The state of a new call of this model."""
        model: Any = self
        return CallState(self._policy, self.provider, model.model_name)

    @field_serializer("default_headers", check_fields=False)
    def _hide_headers(self, headers: Mapping[str, Any] | None) -> Any:
        """Hide headers as LangChain hides the key, because they may contain keys."""
        return headers and {name: SecretStr(str(value)) for name, value in headers.items()}

    @field_validator("default_headers", mode="before", check_fields=False)
    @classmethod
    def _show_headers(cls, headers: Any) -> Any:
        """Accept the output of ``model_dump``."""
        return headers and {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in headers.items()
        }

    def __repr_args__(self) -> Any:
        """As LangChain's, without the values of headers, which may contain keys."""
        for name, value in super().__repr_args__():
            yield name, hidden_headers(value) if name == "default_headers" else value

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        params = super()._get_ls_params(stop=stop, **kwargs)
        return {**params, "ls_provider": self.provider}

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """The namespace for ``langchain_core.load``: ``valid_namespaces=["tokenweir"]``."""
        return cls.__module__.split(".")

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Fields that ``langchain_core.load`` writes as names and reads from ``secrets_map``."""
        return {"default_headers": "default_headers"}

    def to_json(self) -> Any:
        """As LangChain's, with the name of the key's variable instead of the key."""
        made: Any = super().to_json()
        if self.provider == "qwen":
            made["kwargs"]["openai_api_key"]["id"] = ["DASHSCOPE_API_KEY"]
        return made


class EmbeddedModel(ManagedModel):
    """A model that llama.cpp runs on this machine, started by the first call.

    ``openai_api_base`` is its address as soon as it has started.
    """

    provider: str = "llama.cpp"

    gguf: str = "smollm2"
    """The model's name, or the path of its file."""

    @model_validator(mode="before")
    @classmethod
    def _needs_nothing(cls, values: Any) -> Any:
        """Set a key and an address, which the model does not have before it starts."""
        return {"base_url": UNSTARTED, "api_key": SecretStr("none"), **values}

    @property
    def _starter(self) -> Callable[[], None]:
        return self._start

    def _start(self) -> None:
        """Start the model; if its process has died, restart it at another address."""
        from tokenweir.models.embedded.model import start_model

        url = start_model(self.gguf).base_url
        if self._base_url != url:
            model: Any = self
            for client in self._clients:
                client.base_url = url
            self._base_url = model.openai_api_base = url


def make_model(
    name: ModelName,
    tags: Sequence[str] | None,
    kwargs: dict[str, Any],
    remote: type[M],
    embedded: type[M],
) -> M | None:
    """A model whose provider speaks OpenAI's protocol; None for other providers.

    Args:
        name: The model's name.
        tags: Put into ``kwargs``.
        kwargs: The arguments of the model's class.
        remote: The class for a server.
        embedded: The class for a model that runs on this machine.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags takes a list of names: tags=[{tags!r}]")
    if tags is not None:
        kwargs["tags"] = list(tags)
    if name.provider == "openai":
        return remote(**{"model": name.model, **openai_arguments(name.model, kwargs)})
    arguments: dict[str, Any]
    if name.provider == "qwen":
        arguments = {"model": name.model, "provider": "qwen"}
        return remote(**arguments | qwen_arguments(name.model, kwargs))
    if name.provider == "local":
        # The rest of a path is private.
        arguments = {"model": os.path.basename(name.model)}  # noqa: PTH119
        return embedded(**arguments | {"gguf": name.model} | kwargs)
    return None
