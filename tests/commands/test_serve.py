"""``groupwise serve`` as a user starts it: what it prints, what it answers, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from warm import Process

from groupwise.cli import main

Start = Callable[..., tuple[Process, int, str]]


@pytest.fixture
def start(tiny_model: Path) -> Iterator[Start]:
    """``start(*options, **variables)``: the process, its port, and the token that it printed."""
    started: list[Process] = []

    def begin(*options: str, **variables: str) -> tuple[Process, int, str]:
        words = ["-m", "groupwise.cli", "serve", str(tiny_model), "--port", "0", *options]
        process = Process(words, env={**os.environ, **variables})
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"export OPENAI_BASE_URL=http://127\.0\.0\.1:(\d+)/v1 OPENAI_API_KEY=(\S+)\n", line)
        assert found, line + process.communicate()[1]
        return process, int(found[1]), found[2]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ask(port: int, token: str, path: str, body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {token}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_a_session_from_start_to_end(
    start: Start, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "episodes.jsonl"
    process, port, token = start("--out", str(out))
    body = {"messages": [{"role": "user", "content": "2 + 2 = ?"}], "temperature": 0, "max_tokens": 20}
    answer = ask(port, token, "/v1/sessions/a/chat/completions", body)
    assert ask(port, token, "/v1/sessions/a/reward", {"reward": 1}) == {
        **{"session": "a", "sequences": 1, "reward": 1},
        "sampled_tokens": answer["usage"]["completion_tokens"],
    }
    ask(port, token, "/v1/sessions/b/chat/completions", body)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0
    assert f"model is served; episodes with a reward go to {out}; Ctrl-C stops it" in said
    assert "1 session had no reward yet: nothing is kept of it" in said
    [episode] = map(json.loads, out.read_text().splitlines())
    assert episode["session"] == "a"
    capfd.readouterr()
    assert main(["chat", str(tiny_model), "--prompt", "2 + 2 = ?", "--max_completion_tokens", "20"]) == 0
    from groupwise.output.printable import visible

    assert capfd.readouterr().out == visible(answer["choices"][0]["message"]["content"]) + "\n"


def test_a_token_of_the_environment_is_not_printed(start: Start) -> None:
    _, port, shown = start(GROUPWISE_SERVE_TOKEN="a-token-of-my-own")
    assert shown == "$GROUPWISE_SERVE_TOKEN"
    body = {"prompt": "x", "max_tokens": 1}
    assert ask(port, "a-token-of-my-own", "/v1/completions", body)["object"] == "text_completion"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], "--port is 70000; expected"),
        (["--wait", "0"], "--wait is 0"),
        (["--out", "missing/file.jsonl"], "--out missing/file.jsonl: no such directory; make it first"),
        (["--host", "192.0.2.1"], "choose another"),
    ],
)
def test_what_a_user_can_mend(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["serve", str(tiny_model), "--device", "cpu", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("token", ["short", "has blanks in it and is long", "a-token-of-my-öwn"])
def test_a_token_that_is_none(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("GROUPWISE_SERVE_TOKEN", token)
    assert main(["serve", str(tiny_model)]) == 2
    assert "GROUPWISE_SERVE_TOKEN: expected at least 16 letters without blanks" in capsys.readouterr().err
