"""Where an application is: at the root of a server, or mounted below a path of another one's."""

from __future__ import annotations

from starlette.types import Scope

__all__ = ["route_path"]


def route_path(scope: Scope) -> str:
    """A request's path within the application, without the prefix that it is mounted below.

    As Starlette's router reads it, so that what is decided by this path holds for its route.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :]
    return path
