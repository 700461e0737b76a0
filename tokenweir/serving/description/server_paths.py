"""Health, the page and the description itself, in the description."""

from __future__ import annotations

from tokenweir.serving.description.parts import (
    Paths,
    Schema,
    answer,
    array,
    boolean,
    mapping,
    operation,
    record,
    string,
)

__all__ = ["paths", "schemas"]

_HEALTH, _PAGE = "Server", "Page"


def paths() -> Paths:
    """Operations that belong to no protocol."""
    ok = record("", {"ok": boolean(), "stopping": boolean(), "detail": string()}, required=("ok",))
    html = {"type": "string"}
    return {
        "/ok": {
            "get": operation(
                _HEALTH,
                "Whether the server lives.",
                {200: answer("It does.", ok), 503: answer("It is stopping, or cannot write.", ok)},
                open=True,
            )
        },
        "/info": {
            "get": operation(
                _HEALTH,
                "What the server is.",
                {
                    200: answer(
                        "Name, version, graphs, and what LangGraph's clients ask for.",
                        record(
                            "",
                            {
                                "name": string(),
                                "version": string(),
                                "graphs": array(string()),
                                "flags": mapping(additionalProperties=boolean()),
                            },
                        ),
                    )
                },
            )
        },
        "/metrics": {
            "get": operation(
                _HEALTH,
                "How busy the server is, for Prometheus.",
                {200: answer("Metrics.", {"type": "string"}, "text/plain")},
            )
        },
        "/openapi.json": {
            "get": operation(
                _HEALTH,
                "This description.",
                {200: answer("An OpenAPI 3.1 document.", mapping())},
                open=True,
            )
        },
        "/docs": {
            "get": operation(
                _HEALTH,
                "This description, to be read.",
                {200: answer("A page.", html, "text/html")},
                open=True,
            )
        },
        "/": {
            "get": operation(
                _PAGE,
                "The page that runs graphs in a browser.",
                {200: answer("The page.", html, "text/html"), 304: answer("As it was.")},
                open=True,
            )
        },
        "/page/{name}": {
            "get": operation(
                _PAGE,
                "A file of the page; `client.js` is the module for pages of others.",
                {
                    200: {
                        "description": "The file.",
                        "content": {
                            kind: {"schema": {"type": "string"}}
                            for kind in ("text/javascript", "text/css", "text/html", "text/plain")
                        }
                        | {"image/svg+xml": {"schema": {"type": "string"}}},
                    },
                    304: answer("As it was."),
                },
                errors=(404,),
                open=True,
            )
        },
    }


def schemas() -> dict[str, Schema]:
    """The schemas by name."""
    return {"Problem": record("What went wrong.", {"detail": string("What to do.")})}
