"""This module takes the tools of an MCP server that speaks over its standard input and output."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from groupwise.environments.arguments import Schema
from groupwise.errors import UserError

EXTRA = "pip install 'groupwise[mcp]'"


@dataclass(frozen=True)
class MCP:
    """A server's tools, for ``tools=[...]``: ``MCP(("python", "server.py"))``.

    Each process that plays episodes starts a server of its own at its first call and keeps it, so that episodes share
    what the server keeps: take one that keeps nothing from call to call.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that MCP hands on to a server (``PATH`` and its like)."""
    directory: str | None = None
    only: Sequence[str] = ()
    """Names of the tools that are offered; empty: all."""
    call_seconds: float = 60.0
    """The server's for an answer, its start included."""

    def tools(self) -> list[MCPTool]:
        """The server's tools. It is started for this once, and stopped. Raises UserError where that fails."""
        return [MCPTool(self, schema) for schema in self._schemas]

    @cached_property
    def _schemas(self) -> list[Schema]:
        try:
            found = asyncio.run(asyncio.wait_for(self._listed(), self.call_seconds))
        except UserError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise UserError(f"the MCP server {' '.join(self.command)} lists no tools: {_innermost(error)}") from error
        names = [tool["name"] for tool in found]
        unknown = next((name for name in self.only if name not in names), None)
        if unknown is not None:
            raise UserError(f"the MCP server has no tool {unknown}; it has {', '.join(names)}")
        return [_schema(tool) for tool in found if not self.only or tool["name"] in self.only]

    async def _listed(self) -> list[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            session = await self.session(stack)
            return [tool.model_dump(by_alias=True) for tool in (await session.list_tools()).tools]

    async def session(self, stack: AsyncExitStack) -> Any:
        """A session with a server that was started for it; ``stack`` ends both."""
        try:
            from mcp import ClientSession, StdioServerParameters
            from mcp.client.stdio import stdio_client
        except ImportError as error:
            raise UserError(f"an MCP server needs the package mcp: {EXTRA}") from error
        command, *arguments = self.command
        settings: dict[str, Any] = {"env": dict(self.environment) or None, "cwd": self.directory}
        server = StdioServerParameters(command=command, args=arguments, **settings)
        read, write = await stack.enter_async_context(stdio_client(server))
        session = await stack.enter_async_context(ClientSession(read, write))
        await session.initialize()
        return session


@dataclass(frozen=True)
class MCPTool:
    """This is one tool of a server's."""

    server: MCP
    schema: Schema
    is_async: bool = True

    def begin(self, settings: Mapping[str, Any]) -> MCPTool:
        """Returns itself: nothing of an episode is kept here."""
        return self

    async def call(self, arguments: Mapping[str, Any]) -> Any:
        """Asks the server, and returns what it answers."""
        name = self.schema["function"]["name"]
        connection = _connection(self.server)
        try:
            asked = connection.ask(name, dict(arguments))
            result = await asyncio.wait_for(asyncio.wrap_future(asked), self.server.call_seconds)
        except Exception:  # it has ended, or does not answer: the next call starts another one
            connection.end()
            raise
        if result.get("isError"):
            raise RuntimeError(" ".join(str(each.get("text", "")) for each in result["content"]) or "no reason given")
        return result["content"] or result.get("structuredContent")

    def close(self) -> None:
        """Does nothing: a server's tool gives no reward of its own."""
        return None


class _Connection:
    """A server and a thread that talks with it, of this process."""

    def __init__(self, server: MCP) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._session: Future[Any] = Future()
        self._over = asyncio.Event()
        threading.Thread(target=self._talk, daemon=True).start()

    def ask(self, name: str, arguments: dict[str, Any]) -> Future[dict[str, Any]]:
        return asyncio.run_coroutine_threadsafe(self._asked(name, arguments), self._loop)

    def end(self) -> None:
        """Stops the server. Who asks for it next gets another one."""
        _connections.pop((os.getpid(), repr(self._server)), None)
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._over.set)

    async def _asked(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        session = await asyncio.wrap_future(self._session)
        result = await session.call_tool(name, arguments)
        return dict(result.model_dump(by_alias=True))

    def _talk(self) -> None:
        self._loop.run_until_complete(self._kept())

    async def _kept(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                self._session.set_result(await self._server.session(stack))
            except BaseException as error:
                self._session.set_exception(RuntimeError(f"the MCP server does not start: {_innermost(error)}"))
                return
            await self._over.wait()


_connections: dict[tuple[int, str], _Connection] = {}


def _connection(server: MCP) -> _Connection:
    key = (os.getpid(), repr(server))
    if key not in _connections:
        _connections[key] = _Connection(server)
    return _connections[key]


def _schema(tool: Mapping[str, Any]) -> Schema:
    parameters = tool.get("inputSchema") or {"type": "object", "properties": {}}
    described = {"name": tool["name"], "description": tool.get("description") or "", "parameters": parameters}
    return {"type": "function", "function": described}


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split())[:300] or type(error).__name__
