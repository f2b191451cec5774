"""A server of MCP with two tools, for ``test_servers``."""

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


if __name__ == "__main__":
    server.run()
