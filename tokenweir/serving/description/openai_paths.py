"""OpenAI's protocol in the description."""

from __future__ import annotations

from tokenweir.serving.description.parts import (
    ANY,
    EVENTS,
    Paths,
    Schema,
    answer,
    array,
    boolean,
    event,
    integer,
    mapping,
    operation,
    record,
    reference,
    string,
)

__all__ = ["paths", "schemas"]

_TAG = "OpenAI"


def paths() -> Paths:
    """The operations of OpenAI's protocol."""
    complete = answer("The answer; or, streamed, chunks of it and `[DONE]`.", reference("Answer"))
    complete["content"][EVENTS] = {"schema": event()}
    return {
        "/v1/models": {
            "get": operation(
                _TAG,
                "List the models: every graph, and every `graph:tag` that can be known.",
                {
                    200: answer(
                        "Models.",
                        record(
                            "", {"object": {"const": "list"}, "data": array(reference("Model"))}
                        ),
                    )
                },
                shape="OpenAI",
            )
        },
        "/v1/models/{id}": {
            "get": operation(
                _TAG,
                "Read a model: a graph, or `graph:tag`.",
                {200: answer("The model.", reference("Model"))},
                errors=(404,),
                shape="OpenAI",
            )
        },
        "/v1/chat/completions": {
            "post": operation(
                _TAG,
                "Run a graph, and answer with what its models say.\n\n"
                "A graph with `messages` gets the conversation; a graph over plain state gets the "
                "user's last message as its one text key or, written as a JSON object, as all of "
                "its keys. Sampling parameters are the graph's own matter, and are not passed on.",
                {200: complete},
                errors=(400, 404, 500, 503),
                body=reference("ChatRequest"),
                needs_body=True,
                example={
                    "model": "chat",
                    "messages": [{"role": "user", "content": "Hello"}],
                    "stream": True,
                },
                shape="OpenAI",
            )
        },
    }


def schemas() -> dict[str, Schema]:
    """The schemas by name."""
    call = record(
        "",
        {
            "id": string(),
            "type": {"const": "function"},
            "function": record("", {"name": string(), "arguments": string()}),
        },
    )
    parts = array(mapping("`{type: text, text}`, and what else the graph's models take."))
    content: Schema = {"anyOf": [string(), parts, {"type": "null"}]}
    said = {"content": content, "name": string(null=True)}
    role = {"type": "string"}
    count = integer(minimum=0)
    return {
        "Model": record(
            "A graph, or the tokens of one of its tags.",
            {
                "id": string(),
                "object": {"const": "model"},
                "created": integer("Seconds since 1970."),
                "owned_by": string(),
            },
        ),
        "ChatMessage": {
            "description": "A message of a conversation.",
            "anyOf": [
                record(
                    "What somebody says.",
                    {"role": role | {"enum": ["system", "developer", "user"]}, **said},
                    required=("role", "content"),
                ),
                record(
                    "What the model said.",
                    {
                        "role": role | {"const": "assistant"},
                        **said,
                        "tool_calls": array(call, null=True),
                    },
                    required=("role",),
                ),
                record(
                    "What a tool gave.",
                    {"role": role | {"const": "tool"}, **said, "tool_call_id": string()},
                    required=("role", "content", "tool_call_id"),
                ),
            ],
        },
        "ChatRequest": record(
            "A conversation to be gone on with.",
            {
                "model": string("A graph's name, or `graph:tag`."),
                "messages": array(reference("ChatMessage"), minItems=1),
                "stream": boolean(null=True, default=False),
                "stream_options": mapping(
                    null=True, properties={"include_usage": boolean(null=True)}
                ),
                "n": {"enum": [1, None], "description": "A graph gives one answer."},
            },
            required=("model", "messages"),
        ),
        "Answer": record(
            "An answer.",
            {
                "id": string(),
                "object": {"const": "chat.completion"},
                "created": integer(),
                "model": string(),
                "choices": array(
                    record(
                        "",
                        {
                            "index": {"const": 0},
                            "message": record(
                                "",
                                {
                                    "role": {"const": "assistant"},
                                    "content": string(null=True),
                                    "reasoning_content": string(),
                                    "tool_calls": array(call),
                                },
                                required=("role", "content"),
                            ),
                            "logprobs": ANY,
                            "finish_reason": string(),
                        },
                    )
                ),
                "usage": record(
                    "",
                    {
                        "prompt_tokens": count,
                        "completion_tokens": count,
                        "total_tokens": count,
                    },
                ),
            },
            required=("id", "object", "created", "model", "choices"),
        ),
        "OpenAIProblem": record(
            "What went wrong, as OpenAI's clients read it.",
            {
                "error": record(
                    "",
                    {
                        "message": string(),
                        "type": string(),
                        "param": string(null=True),
                        "code": string(null=True),
                    },
                )
            },
        ),
    }
