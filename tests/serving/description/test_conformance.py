"""The served process does what its description says, whatever is asked: tried by schemathesis.

``TOKENWEIR_EXAMPLES=500`` tries more than the few requests for each operation that the suite does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.described import describe

pytestmark = pytest.mark.one_python

EXAMPLES = int(os.environ.get("TOKENWEIR_EXAMPLES", "2"))
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NAMES = ("own", "asks", "writes")


def known_ids(url: str) -> dict[str, Any]:
    """Threads and runs that are there, one of them with an interrupt, for paths to name."""
    with httpx.Client(base_url=url, timeout=60) as http:
        thread = http.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "asks", "input": {"topic": "cats"}}
        http.post(f"/threads/{thread}/runs/wait", json=body)
        [run] = http.get(f"/threads/{thread}/runs").json()
        state = http.get(f"/threads/{thread}/state").json()
        mine = http.post("/assistants", json={"graph_id": "own"}).json()
    return {
        "thread_id": thread,
        "run_id": run["run_id"],
        "checkpoint_id": state["checkpoint_id"],
        "assistant_id": mine["assistant_id"],
    }


def aim(case: Case[Any], known: dict[str, Any], graph: str) -> None:
    """Let a request name what is there, where it would name something made up."""
    paths = case.path_parameters or {}
    runs = "/runs/{id}" in case.path
    for name in paths:
        if name == "id":
            paths[name] = known["run_id"] if runs else graph
        elif name == "name":
            paths[name] = "client.js" if case.path.startswith("/page") else graph
        elif name in known:
            paths[name] = known[name]
    if isinstance(case.body, dict):
        for name in ("assistant_id", "graph_id", "model"):
            if name in case.body and not (name == "assistant_id" and "graph_id" in case.body):
                case.body[name] = graph


def operations() -> list[Any]:
    schema: Any = schemathesis.openapi.from_dict(describe(keys=False))
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.timeout(max(300, EXAMPLES * 20))
def test_what_is_described_is_done(serve: Callable[..., Any]) -> None:
    """Requests as described, and requests beside it, are answered as described; no 5xx."""
    server = serve("own=sample:talk", "sample:asks", "sample:writes")
    failures: list[str] = []
    with requests.Session() as session:
        for operation in operations():
            known = known_ids(server.url)
            modes = [GenerationMode.POSITIVE]
            if operation.body or operation.query or operation.headers:
                modes.append(GenerationMode.NEGATIVE)
            for mode in modes:
                attempt = attempts(operation, mode, known, server.url, session)
                try:
                    attempt()
                except (AssertionError, FailureGroup, requests.RequestException) as error:
                    failures.append(f"{operation.label} ({mode.value}): {error}")
        assert not failures, "\n\n".join(failures)  # all that is wrong is told at once
        assert requests.get(f"{server.url}/ok", timeout=60).json() == {"ok": True}


def attempts(
    operation: Any,
    mode: GenerationMode,
    known: dict[str, Any],
    url: str,
    session: requests.Session,
) -> Callable[[], None]:
    """Tries an operation with made-up requests, some of them aimed at what is there."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode), graph=st.sampled_from(NAMES), aimed=st.booleans())
    def attempt(case: Case[Any], graph: str, *, aimed: bool) -> None:
        if aimed:
            aim(case, known, graph)
        if isinstance(case.body, dict):
            case.body.pop("after_seconds", None)  # it may be a day
        answer = case.call(base_url=url, session=session, timeout=60)
        case.validate_response(answer, checks=CHECKS)

    return attempt
