"""From a client's conversation to a graph's input: for protocols whose clients send all of it.

A graph with ``messages`` gets what its thread does not have yet; a graph over plain state gets the
last message of the user, as its one text key or, written as a JSON object, as all of its keys.
No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import convert_to_messages

from tokenweir.serving.graph_inputs import MESSAGES, Key
from tokenweir.serving.http.bodies import parse
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.encoding import scrubbed
from tokenweir.serving.running.records import Thread

__all__ = ["answers", "has_messages", "input_of", "refusal", "unseen"]


def has_messages(keys: list[Key] | None) -> bool:
    """Whether a graph takes a conversation; so it is taken if it does not say."""
    return keys is None or any(key["name"] == MESSAGES for key in keys)


def input_of(graph: str, keys: list[Key] | None, messages: list[Any]) -> Any:
    """A graph's input from a conversation.

    Raises:
        InvalidError: If the conversation does not say what the graph needs; with its keys.
    """
    if keys is None or has_messages(keys):
        try:
            convert_to_messages(messages)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            raise InvalidError(f"messages cannot be read: {scrubbed(str(error))}") from None
        return {MESSAGES: messages}
    said = next((_text(each) for each in reversed(messages) if each.get("role") == "user"), "")
    names = [key["name"] for key in keys]
    whole = _object(said)
    if whole is not None and set(whole) <= set(names):
        return whole
    texts = [key for key in keys if key["type"] in ("string", "any")]
    required = [key for key in keys if key["required"]]
    wanted = [key for key in texts if key["required"]] or texts
    if not said or len(required) > 1 or len(wanted) != 1 or (required and required != wanted):
        example = json.dumps(dict.fromkeys(names, "..."))
        raise InvalidError(
            f"{graph} takes {', '.join(names)}: write the user's message as JSON, {example}"
        )
    return {wanted[0]["name"]: said}


def unseen(messages: Sequence[Mapping[str, Any]], thread: Thread | None) -> list[dict[str, Any]]:
    """What of a client's conversation its thread does not have yet.

    What models said before is the thread's own matter: a client shows more of it than the state
    keeps. A conversation that ends with a message of the user that the thread has is asked for
    again: what came behind it goes.

    Args:
        messages: In OpenAI's form, each with an ``id``.
        thread: None if there is none yet; then all of the conversation is new.
    """
    values = thread.values if thread is not None else None
    there = values.get(MESSAGES) if isinstance(values, Mapping) else None
    if not isinstance(there, list) or not there:
        return [dict(message) for message in messages]
    places = {each["id"]: at for at, each in enumerate(there) if isinstance(each, Mapping)}
    last = messages[-1] if messages else {}
    if last.get("role") == "user" and last.get("id") in places:
        behind = there[places[last["id"]] + 1 :]
        gone = [{"role": "remove", "content": "", "id": each["id"]} for each in behind]
        return [dict(last), *gone]
    return [
        dict(message)
        for message in messages
        if message.get("id") not in places and message.get("role") != "assistant"
    ]


def answers(thread: Thread | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The answers to a thread's interrupts, by the interrupts' ids.

    Args:
        thread: The thread, if there is one.
        given: Answers by id; those to nothing that waits are left out. An approval of one of
            several tool calls has the id of its interrupt, a colon, and its number.
    """
    found: dict[str, Any] = {}
    for each in (thread.interrupts if thread is not None else {}).values():
        for interrupt in each:
            name = interrupt["id"]
            if name in given:
                found[name] = given[name]
                continue
            requests = _requests(interrupt)
            decisions = [given.get(f"{name}:{number}") for number in range(len(requests))]
            if decisions and all(decision is not None for decision in decisions):
                found[name] = {"decisions": decisions}
    return found


def refusal(thread: Thread | None, id: str) -> Any:
    """The answer that refuses what an interrupt asks for: False, or a refusal of each tool call."""
    for each in (thread.interrupts if thread is not None else {}).values():
        for interrupt in each:
            if interrupt["id"] == id and (requests := _requests(interrupt)):
                return {"decisions": [{"type": "reject"} for _ in requests]}
    return False


def _requests(interrupt: Mapping[str, Any]) -> list[Any]:
    """The tool calls that LangChain's human-in-the-loop middleware asks about."""
    value = interrupt.get("value")
    requests = value.get("action_requests") if isinstance(value, Mapping) else None
    return requests if isinstance(requests, list) else []


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = parse(text, "the message")
    except InvalidError:
        return None
    return found if isinstance(found, dict) else None
