"""This module is the viewer's server: a page, its scripts, and what they ask for. Every route reads; runs are known by
their place in the list, and no path comes from a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from groupwise.errors import UserError
from groupwise.view.answers import Answers
from groupwise.view.answers_json import encoded
from groupwise.view.guard import Guard
from groupwise.view.live import Pulse
from groupwise.view.pages import SCRIPTS, STYLES, page

KINDS = {"js": "text/javascript", "css": "text/css"}


def application(answers: Answers, token: str, port: int) -> ASGIApp:
    """Makes the app that uvicorn serves on this machine at ``port``."""
    pulse: list[Pulse] = []

    async def events(request: Request) -> Response:
        if not pulse:
            pulse.append(Pulse(answers.runs, answers.indices))
        return StreamingResponse(pulse[0].events(), media_type="text/event-stream")

    routes = [
        Route("/", _page, methods=["GET"]),
        Route("/api/events", events, methods=["GET"]),
        *(Route(f"/static/{name}", _asset(name), methods=["GET"]) for name in (*SCRIPTS, *STYLES)),
        *(Route(f"/api/{name}", _json(answer), methods=["GET"]) for name, answer in answers.by_name().items()),
        Route("/favicon.ico", lambda request: Response(status_code=204), methods=["GET"]),
    ]
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    return Guard(Starlette(routes=routes), token, hosts, f"groupwise-{port}")


def _page(request: Request) -> Response:
    return Response(page(), media_type="text/html")


def _asset(name: str) -> Callable[[Request], Response]:
    kind = KINDS[name.rpartition(".")[2]]

    def answer(request: Request) -> Response:
        return Response(files("groupwise.view").joinpath("assets", name).read_bytes(), media_type=kind)

    return answer


def _json(answer: Callable[[Mapping[str, str]], Any]) -> Callable[[Request], Any]:
    """A route that answers in JSON, and says in words what it cannot answer."""

    async def respond(request: Request) -> Response:
        try:
            found = await run_in_threadpool(answer, dict(request.query_params))
        except UserError as error:
            return _encoded({"error": str(error)}, 422)
        return Response(found, media_type="application/json") if isinstance(found, str) else _encoded(found)

    return respond


def _encoded(found: Any, status: int = 200) -> Response:
    return Response(encoded(found), status, media_type="application/json")
