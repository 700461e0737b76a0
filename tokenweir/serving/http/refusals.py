"""Tells clients about errors, in the format of their protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from starlette.types import Send

from tokenweir.serving.problems import InvalidError, ServingError

__all__ = [
    "OPENAI",
    "OpenAIError",
    "OpenAIProblem",
    "Problem",
    "answer",
    "body_of",
    "openai_body",
    "status_of",
]

OPENAI = "/v1/"
"""The prefix of paths of OpenAI's protocol."""


class Problem(TypedDict):
    """An error."""

    detail: str


class OpenAIError(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(TypedDict):
    """An error in the format of OpenAI's protocol."""

    error: OpenAIError


def status_of(path: str, error: ServingError) -> int:
    """The status for an error: OpenAI's clients expect 400 where others expect 422."""
    if path.startswith(OPENAI) and isinstance(error, InvalidError):
        return 400
    return error.status


def body_of(
    path: str, status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Problem | OpenAIProblem:
    """The body of an error: ``{"detail": ...}``, or ``openai_body`` on OpenAI's paths.

    Args:
        path: The request's path.
        status: The answer's status.
        message: The text for clients.
        code: A code for programs, for protocols that have a field for it.
        param: The invalid field, for protocols that have a field for it.
    """
    if path.startswith(OPENAI):
        return openai_body(status, message, code=code, param=param)
    return {"detail": message}


def openai_body(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> OpenAIProblem:
    """An error in the format of OpenAI's protocol."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def answer(
    send: Send, status: int, body: Mapping[str, Any], headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send a complete response with a JSON document."""
    data = json.dumps(body).encode()
    length = (b"content-length", str(len(data)).encode())
    head = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data})
