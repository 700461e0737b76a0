"""Applications of somebody else that have ours mounted: uvicorn tests.hostile.mounted_apps:NAME."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.serving.served_graphs import talk
from tokenweir.serving.app import create_app

ours = create_app({"talk": talk}, keys=["ann"])

starlette = Starlette(routes=[Mount("/ai", ours)], lifespan=ours.router.lifespan_context)

fastapi = FastAPI(lifespan=ours.router.lifespan_context)
fastapi.mount("/of/{tenant}/api", ours)
