"""``groupwise push`` against a stand-in of the hub's own routes, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from groupwise.cli import main
from groupwise.runs.hub_card import hub_card
from groupwise.storage.manifest import write_manifest

TOKEN = "hf_" + "Vw3lanternSEVEN21pearl"


class Hub(BaseHTTPRequestHandler):
    """The routes of a push: make a repository, ask how files are sent, send large ones, commit."""

    refuses: int = 0
    heard: list[tuple[str, str]]
    stored: dict[str, bytes]
    objects: dict[str, bytes]
    made: dict[str, Any]

    def do_POST(self) -> None:
        body = self._body()
        type(self).heard.append((self.path, self.headers.get("Authorization", "")))
        if self.refuses:
            return self._say(self.refuses, {"error": f"no: {self.headers.get('Authorization')}"})
        if self.path == "/api/repos/create":
            type(self).made = json.loads(body)
            return self._say(200, {"url": f"{self._here()}/me/sums", "id": "me/sums"})
        if self.path == "/api/validate-yaml":
            return self._say(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            way = {True: "lfs", False: "regular"}
            told = [
                {"path": f["path"], "uploadMode": way[f["path"].endswith(".safetensors")], "shouldIgnore": False}
                for f in asked
            ]
            return self._say(200, {"files": told})
        if self.path.endswith("/info/lfs/objects/batch"):
            there = [
                {"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{self._here()}/put/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return self._say(200, {"transfer": "basic", "objects": there})
        for line in body.decode().splitlines():
            self._commit(json.loads(line))
        return self._say(
            200, {"commitUrl": f"{self._here()}/me/sums/commit/1", "commitOid": "1", "hookOutput": "", "success": True}
        )

    def _commit(self, line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "file":
            self.stored[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            self.stored[value["path"]] = self.objects[value["oid"]]

    def do_PUT(self) -> None:
        self.objects[self.path.removeprefix("/put/")] = self._body()
        self._say(200, {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _here(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _say(self, status: int, value: Any) -> None:
        said = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in (("heard", []), ("stored", {}), ("objects", {}), ("made", {})):
        monkeypatch.setattr(Hub, name, value, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def measure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "by_problem": [value] * 4}


FOUND = {"task": "sums", "judge": "math", "greedy": measure(0.5), "pass_at_1": measure(0.25)}
FOUND |= {"pass_at": {"1": measure(0.25), "4": measure(0.75)}, "maj_at": {}}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model as a run leaves it."""
    place = tmp_path / "run" / "models" / "grpo"
    shutil.copytree(tiny_model, place)
    (place / "groupwise_run.json").write_text(json.dumps({"recipe": {"model": "owner/base"}}))
    (place / "optimizer.pt").write_bytes(b"code")
    write_manifest(place)
    (place / "README.md").write_text("---\nlibrary_name: transformers\ntags: [groupwise]\n---\n\n# run: grpo\n")
    evaluated = {"models": [{"stage": "sft", "evaluation": {}}, {"stage": "grpo", "evaluation": FOUND}]}
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps(evaluated))
    return place


def push(hub: str, *words: str, **environment: str) -> tuple[int, str]:
    cleared = {name: value for name, value in os.environ.items() if "TOKEN" not in name and not name.startswith("HF_")}
    given = {"HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN} | environment
    done = subprocess.run(
        [sys.executable, "-m", "groupwise.cli", "push", *words],
        env=cleared | given,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_model_arrives_whole_with_its_card(hub: str, model: Path) -> None:
    code, said = push(hub, str(model), "me/sums", "--private")
    assert code == 0, said
    assert f"{hub}/me/sums" in said
    assert "not sent: optimizer.pt" in said
    assert Hub.made.get("private") is True or Hub.made.get("visibility") == "private"
    sent = {path.name for path in model.iterdir()} - {"optimizer.pt"}
    assert set(Hub.stored) == sent
    for name in sent - {"README.md"}:
        assert hashlib.sha256(Hub.stored[name]).digest() == hashlib.sha256((model / name).read_bytes()).digest(), name
    card = Hub.stored["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "owner/base"
    (result,) = front["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "greedy accuracy": 0.5,
        "pass@1": 0.25,
        "pass@4": 0.75,
    }
    assert "| pass@4 | 4 | 0.750 | 0.650 to 0.850 |" in card
    assert {token for _, token in Hub.heard} == {f"Bearer {TOKEN}"}
    assert TOKEN not in said
    assert not any(TOKEN.encode() in content for content in Hub.stored.values())


@pytest.mark.parametrize(("status", "words"), [(401, "not valid"), (403, "may not write"), (500, "refused")])
def test_a_hub_that_refuses_is_quoted_without_the_token(
    hub: str, model: Path, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "refuses", status)
    code, said = push(hub, str(model), "me/sums")
    assert code == 2, said
    assert words in said
    assert len(said.strip().splitlines()) == 2  # what is not sent, and the error
    assert TOKEN not in said
    assert not Hub.stored


def test_nothing_is_sent_without_a_token_or_a_net(hub: str, model: Path) -> None:
    code, said = push(hub, str(model), "me/sums", HF_TOKEN="")
    assert (code, "set HF_TOKEN" in said) == (2, True)
    code, said = push("http://127.0.0.1:9", str(model), "me/sums")
    assert (code, "did not take it" in said) == (2, True)
    assert Hub.heard == []


def test_a_dry_run_shows_the_card(model: Path, capsys: Any) -> None:
    assert main(["push", str(model), "me/sums", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "model-index" in said
    assert "would send" in said


def test_another_evaluation_takes_the_place_of_the_run_s(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(FOUND | {"task": "others"}))
    assert "others, held out" in hub_card(model, "me/sums", other)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert "# sums" in hub_card(plain, "me/sums")
    assert "model-index" not in hub_card(plain, "me/sums")


def test_what_cannot_be_pushed_is_named(model: Path, tmp_path: Path, capsys: Any) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    for words, told in (
        ([str(tmp_path), "me/sums"], "no model's directory"),
        ([str(model), "sums"], "OWNER/NAME"),
        ([str(model), "me/sums", "--evaluation", str(other)], "holds no evaluation"),
        ([str(model), "me/sums", "--evaluation", "none.json"], "no such file"),
    ):
        assert main(["push", *words]) == 2
        assert told in capsys.readouterr().err
    (model / "config.json").write_text("{}")
    assert main(["push", str(model), "me/sums"]) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["me", "me/x/y", "/x", "me/", "../x", "me/..", "me/x y", "me/é", "me/x-", "me/a--b", "m" * 97 + "/x"],
)
def test_a_name_that_no_hub_takes_is_refused(model: Path, name: str, capsys: Any) -> None:
    assert main(["push", str(model), name, "--dry_run"]) == 2
    assert "is no repository; expected OWNER/NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    "found", [{"models": [1, {"stage": "grpo"}]}, {"models": [{"stage": "grpo", "evaluation": {"task": "x"}}]}, {}]
)
def test_a_damaged_evaluation_is_named(model: Path, found: Any, capsys: Any) -> None:
    place = model.parents[1] / "evaluation.json"
    place.write_text(json.dumps(found))
    assert main(["push", str(model), "me/x", "--dry_run"]) == (2 if found else 0)
    said = capsys.readouterr()
    assert not found or f"{place}: holds an evaluation that is not whole" in said.err


def test_a_measure_that_is_no_number_is_no_result(model: Path, capsys: Any) -> None:
    broken = FOUND | {"pass_at_1": FOUND["pass_at_1"] | {"value": float("nan")}}
    place = model.parents[1] / "evaluation.json"
    place.write_text(json.dumps({"models": [{"stage": "grpo", "evaluation": broken}]}))
    assert main(["push", str(model), "me/x", "--dry_run"]) == 2
    assert "a measure is no finite number" in capsys.readouterr().err
