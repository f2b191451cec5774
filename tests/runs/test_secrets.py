"""Keys that a run is given stand in nothing that it writes or says: a whole run, in a process, before a real server."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import warm

from groupwise.cli import main

JUDGE_KEY, WANDB_KEY, HUB_TOKEN, PASSWORD = (
    "Jq4willowHALF19amber",
    "Wz7meadowTEN33copper",
    "Hf2riverONE88silver",
    "Pw5stone66marble",
)
SECRETS = (JUDGE_KEY, WANDB_KEY, HUB_TOKEN, PASSWORD)
URL_TOKEN = "Ut9harborSIX41bronze"
RECIPE = """
import os
from dataclasses import replace
from pathlib import Path

import groupwise as gw
from groupwise.types import Example

if Path("key.txt").exists():
    os.environ["JUDGE_SECRET"] = Path("key.txt").read_text().strip()
ROWS = [Example(f"row:{number}", f"{number} + 1 =", answer=str(number + 1)) for number in range(4)]
judge = gw.rewards.Judge("URL", "m", key_variable="JUDGE_SECRET", retries=0, timeout_seconds=600)
rewards = (gw.rewards.Cached(judge, "scores.sqlite"), gw.rewards.FinalAnswer(weight=0.1))
task = gw.Task("judged", ROWS, rewards, held_out=ROWS)
source = gw.OnPolicy(group_size=2, max_completion_tokens=4)
stage = gw.Stage("grpo", replace(gw.recipes.grpo, source=source), task, steps=2, prompts_per_step=2, checkpoint_every=1)
model = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
plan = gw.HeldOut(problems=2, sampled_problems=1, samples=2, max_completion_tokens=4)
run = gw.Run("judged", model, (stage,), learner=gw.Local(device="cpu", threads=1), evaluation=plan)
"""


class Echo(BaseHTTPRequestHandler):
    """Says back what it was sent, in what it is asked to."""

    status = 200
    heard: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"]
        type(self).heard.append(key)
        text = f"I was sent {key}, {dict(self.headers)}. Score: 7"
        answer = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        said = (json.dumps(answer) if self.status == 200 else f"bad key {key} {dict(self.headers)}").encode()
        self.send_response(self.status)
        self.send_header("X-Was", key)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Echo, "heard", [], raising=False)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}/v1"
    made.shutdown()
    made.server_close()


Command = Callable[..., tuple[int, str]]


ENVIRONMENT = {"WANDB_API_KEY": WANDB_KEY, "HF_TOKEN": HUB_TOKEN, "DB_PASSWORD": PASSWORD, "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def process(tmp_path: Path) -> Command:
    """``process(*words, **environment)``: exit status, and all that was said, of a process of its own."""

    def called(*words: str, **environment: str) -> tuple[int, str]:
        own = os.environ | ENVIRONMENT | environment
        done = warm.run(["-m", "groupwise.cli", *words], cwd=tmp_path, env=own, timeout=600)
        return done.returncode, done.stdout + done.stderr

    return called


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The same in this process."""

    def called(*words: str, **environment: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        for name, value in (ENVIRONMENT | environment).items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code, said = main(words), capfd.readouterr()
        return code, said.out + said.err

    return called


def content(path: Path) -> bytes:
    """What a file holds; a ledger's rows as text."""
    if path.suffix == ".parquet":
        return json.dumps(pyarrow.parquet.read_table(path).to_pylist(), default=str).encode()
    return path.read_bytes()


def holds(directory: Path, secrets: tuple[str, ...]) -> list[str]:
    """Files below a directory that hold one of the secrets, or half of it, and which."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name not in ("key.txt", "recipe.py"):
            data = content(path).lower()
            found += [
                f"{path.relative_to(directory)}: {secret}" for secret in secrets if secret[:12].lower().encode() in data
            ]
    return found


def said(text: str) -> list[str]:
    return [secret for secret in (*SECRETS, URL_TOKEN) if secret[:12].lower() in text.lower()]


def test_a_run_keeps_a_key_of_a_file_to_itself(
    server: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_SECRET", "")  # the recipe's own, taken back behind the test
    (tmp_path / "recipe.py").write_text(RECIPE.replace("URL", server))
    (tmp_path / "key.txt").write_text(JUDGE_KEY + "\n")
    code, text = command("run", "recipe.py", "--out", "run")
    assert code == 0, text[-2000:]
    assert f"Bearer {JUDGE_KEY}" in Echo.heard
    assert not said(text)
    assert not holds(tmp_path, SECRETS)


def test_a_run_keeps_its_keys_to_itself(server: str, process: Command, command: Command, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(RECIPE.replace("URL", server))
    key = {"JUDGE_SECRET": JUDGE_KEY}
    code, text = process("run", "recipe.py", "--out", "run", **key)
    assert code == 0, text[-2000:]
    assert f"Bearer {JUDGE_KEY}" in Echo.heard
    assert not said(text)
    written = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert {
        "run.json",
        "report.html",
        "metrics.jsonl",
        "groupwise_run.json",
        "README.md",
        "model.safetensors",
    } <= written
    later = (
        ("explain", "grpo", "--run", "run"),
        (
            "evaluate",
            "run/models/grpo",
            "--task",
            "stepwise",
            "--problems",
            "2",
            "--sampled_problems",
            "0",
            "--json",
            "out.json",
        ),
        ("chat", "run/models/grpo", "--prompt", "1 + 1 =", "--max_completion_tokens", "4"),
    )
    for words in later:
        code, text = command(*words, **key)
        assert code == 0, (words, text[-2000:])
        assert not said(text), words
    assert not holds(tmp_path, SECRETS)


@pytest.mark.parametrize("status", [400, 401])
def test_a_server_that_refuses_is_quoted_without_the_key(
    server: str, command: Command, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Echo, "status", status)
    (tmp_path / "recipe.py").write_text(RECIPE.replace("URL", server))
    _, text = command("run", "recipe.py", "--out", "run", JUDGE_SECRET=JUDGE_KEY)
    assert f"Bearer {JUDGE_KEY}" in Echo.heard
    assert str(status) in text
    assert "Traceback" not in text
    assert not said(text)
    assert not holds(tmp_path, SECRETS)


@pytest.mark.parametrize("form", ["{url}?token={token}"])
def test_a_key_in_an_address_is_refused(command: Command, tmp_path: Path, form: str) -> None:
    (tmp_path / "recipe.py").write_text(
        RECIPE.replace("URL", form.format(url="http://127.0.0.1:1/v1", token=URL_TOKEN))
    )
    code, text = command("run", "recipe.py", "--out", "run", JUDGE_SECRET=JUDGE_KEY)
    assert code == 2
    assert "url" in text
    assert not said(text)
    assert not holds(tmp_path, (*SECRETS, URL_TOKEN))


def test_it_would_be_found(tmp_path: Path) -> None:
    """The search sees a key in a ledger and in bytes."""
    table: dict[str, Any] = {"text": [f"x{JUDGE_KEY}"]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "0.parquet", compression="zstd")
    (tmp_path / "x.bin").write_bytes(b"\0" + HUB_TOKEN.encode())
    assert len(holds(tmp_path, SECRETS)) == 2
