"""The path of an application: at the root of a server, or mounted below a path of another."""

from __future__ import annotations

from starlette.types import Scope

__all__ = ["route_path"]


def route_path(scope: Scope) -> str:
    """A request's path within the application, without the path that it is mounted below.

    Starlette's router reads it in the same way, so decisions about this path hold for its route.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :]
    return path
