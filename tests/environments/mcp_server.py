"""A server of MCP with three tools, for ``test_servers``."""

import os
from typing import Any

try:
    from mcp.server.mcpserver import MCPServer as Server
except ImportError:  # its name in the first version
    from mcp.server.fastmcp import FastMCP as Server

server: Any = Server("numbers", log_level="CRITICAL")


@server.tool()
def double(n: int) -> int:
    """Doubles a number."""
    return 2 * n


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)


@server.tool()
def leave() -> str:
    """Ends the server."""
    os._exit(3)


if __name__ == "__main__":
    server.run()
