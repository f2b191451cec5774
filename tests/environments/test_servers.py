"""Environments and tools that are servers, asked as they are: MCP's own and OpenEnv's own, where they are installed."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from groupwise.environments import MCP, OpenEnv, Tools, as_environment, schemas_of
from groupwise.environments.forms.openenv import action_of
from groupwise.errors import UserError

from .conversation import calling, play, texts

HERE = Path(__file__).parent
START_SECONDS = 120.0


def test_tools_of_an_mcp_server() -> None:
    pytest.importorskip("mcp")
    import os

    server = MCP(
        (sys.executable, str(HERE / "mcp_server.py")),
        {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        call_seconds=START_SECONDS,
    )
    tools = as_environment(None, tools=[server])
    schemas = [schema["function"] for schema in schemas_of(tools, {})]
    assert [schema["name"] for schema in schemas] == ["double", "fail", "leave"]
    assert schemas[0]["description"] == "Doubles a number."
    heard, result = play(tools, [calling("double", n=4), calling("fail", why="x"), calling("double", n="4"), "8"])
    assert texts(heard)[0] == "8"
    assert texts(heard)[1].startswith("error: fail failed: ")
    assert texts(heard)[2] == "error: double: the argument n is '4' (string); expected a whole number"
    assert (result["tools/calls"], result["tools/failed"]) == (3, 2)
    heard, _ = play(tools, [calling("leave"), calling("double", n=5), "10"])
    assert texts(heard)[0].startswith("error: leave failed: ")
    assert texts(heard)[1] == "10", "one that has ended is started again"


def test_a_server_that_does_not_start() -> None:
    pytest.importorskip("mcp")
    with pytest.raises(UserError, match="the MCP server no-such-program lists no tools: "):
        Tools([MCP(("no-such-program",))])


@pytest.fixture(scope="module")
def game() -> Iterator[str]:
    """The address of a guessing game that runs as long as the tests here."""
    if importlib.util.find_spec("openenv") is None or importlib.util.find_spec("websockets") is None:
        pytest.skip("no openenv")
    with socket.create_server(("127.0.0.1", 0)) as door:  # it listens before the server runs, so nobody takes its port
        port, number = door.getsockname()[1], door.fileno()
        command = [sys.executable, str(HERE / "openenv_server.py"), str(number)]
        server = subprocess.Popen(command, pass_fds=[number])
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=START_SECONDS).close()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=600)


def test_a_game_of_openenv_s(game: str) -> None:
    found, result = play(as_environment(game), ["3", "5", "6", "7"], seed=0)
    assert texts(found)[0] == "Guess from 0 to 7."
    assert set(texts(found)[1:]) <= {"more", "less"}
    assert play(as_environment(game), ["3", "5", "6", "7"], seed=0)[0][: len(found)] == found, "the same from one seed"
    assert result is None or result["reward"] in (0.0, 1.0)
    heard, _ = play(as_environment(game), ["x", "3.5", '{"guess": "y"}'], seed=1)
    assert texts(heard)[1:3] == ["not an action: 'x'; expected a number", "not an action: '3.5'; expected a number"]
    assert texts(heard)[3].startswith("not an action: Invalid message")
    words = OpenEnv(
        game.replace("http", "ws"), act=lambda text: {"guess": len(text)}, show=lambda seen: f"<{seen['text']}>"
    )
    assert texts(play(words, ["aaa"], seed=0)[0])[0] == "<Guess from 0 to 7.>"


@pytest.mark.parametrize(
    ("text", "schema", "action"),
    [
        ("hello", {"required": ["message"], "properties": {"message": {"type": "string"}}}, {"message": "hello"}),
        ("7", {"required": ["n"], "properties": {"n": {"type": "integer"}}}, {"n": 7}),
        ('{"a": 1, "b": 2}', {"required": ["a", "b"]}, {"a": 1, "b": 2}),
    ],
)
def test_words_as_actions(text: str, schema: dict[str, object], action: dict[str, object]) -> None:
    assert action_of(text, schema) == action


def test_words_that_are_no_action() -> None:
    with pytest.raises(ValueError, match="'go'; expected a JSON object with x, y"):
        action_of("go", {"required": ["x", "y"]})
