"""How a client is told that something went wrong: in the shape of the protocol that it speaks."""

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
"""What the paths of OpenAI's protocol begin with."""


class Problem(TypedDict):
    """What went wrong."""

    detail: str


class OpenAIError(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(TypedDict):
    """What went wrong, as OpenAI's clients read it."""

    error: OpenAIError


def status_of(path: str, error: ServingError) -> int:
    """The status for an error: OpenAI's clients know 400 for what others call 422."""
    if path.startswith(OPENAI) and isinstance(error, InvalidError):
        return 400
    return error.status


def body_of(
    path: str, status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Problem | OpenAIProblem:
    """The body of an error: ``{"detail": ...}``, or as ``openai_body`` where OpenAI's clients ask.

    Args:
        path: Where the request went.
        status: The status that goes with it.
        message: What to do; fit for clients.
        code: A word for programs, where the protocol has a place for it.
        param: The field that is wrong, likewise.
    """
    if path.startswith(OPENAI):
        return openai_body(status, message, code=code, param=param)
    return {"detail": message}


def openai_body(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> OpenAIProblem:
    """An error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def answer(
    send: Send, status: int, body: Mapping[str, Any], headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole response with a JSON document."""
    data = json.dumps(body).encode()
    length = (b"content-length", str(len(data)).encode())
    head = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data})
