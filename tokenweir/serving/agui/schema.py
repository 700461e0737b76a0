"""The requests of AG-UI's routes. Unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Struct, field

from tokenweir.serving.fields import said

__all__ = ["ResumeEntry", "RunAgentInput"]


class ResumeEntry(Struct, kw_only=True, rename="camel"):
    """The answer to one interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"] = "resolved"
    payload: Annotated[Any, said("The answer.")] = None


class RunAgentInput(Struct, kw_only=True, rename="camel"):
    """A run of an agent to start."""

    thread_id: Annotated[str, said("The thread to run on; created if it does not exist.")]
    run_id: str = ""
    messages: Annotated[list[dict[str, Any]], said("The conversation, in AG-UI's form.")] = []
    state: Annotated[Any, said("The client's state; its changes are applied.")] = None
    tools: Annotated[list[Any], said("For graphs that take `tools`.")] = []
    context: Annotated[list[Any], said("For graphs that take `context`.")] = []
    forwarded_props: Annotated[
        dict[str, Any] | None,
        said("`only`, `config`, `context` (for graphs with a context schema)."),
    ] = field(default=None)
    resume: Annotated[list[ResumeEntry] | None, said("The answers to interrupts.")] = None
