"""Turns a client's conversation into a graph's input, for protocols that send all of it. No I/O.

A graph with ``messages`` gets the messages that its thread lacks. A graph over plain state gets the
user's last message, as its only text key or, if it is a JSON object, as all of its keys.
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
    """Whether a graph takes a conversation; True if its input is not known."""
    return keys is None or any(key["name"] == MESSAGES for key in keys)


def input_of(graph: str, keys: list[Key] | None, messages: list[Any]) -> Any:
    """A graph's input from a conversation.

    Raises:
        InvalidError: If the conversation does not give what the graph needs; it names the keys.
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
    """The messages of a client's conversation that its thread lacks.

    Messages of the assistant are left out: the thread has them, and clients show more of them
    than the state keeps. If the conversation ends with a user's message that the thread has, it
    is to be answered again: that message comes back, and later ones are removed.

    Args:
        messages: Messages in OpenAI's form, each with an ``id``.
        thread: The thread; if None, all messages are new.
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
    """The answers to a thread's interrupts, by interrupt id.

    Args:
        thread: The thread, if there is one.
        given: Answers by id; those to no waiting interrupt are left out. If an interrupt asks
            about several tool calls, the ids are the interrupt's, a colon, and a number.
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
    """The answer that refuses an interrupt: False, or the rejection of each of its tool calls."""
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
