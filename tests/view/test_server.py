"""Who is let in, and what they are given."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("starlette.testclient")
from starlette.testclient import TestClient

from groupwise.commands import view as command
from groupwise.errors import UserError
from groupwise.view.answers import Answers
from groupwise.view.pages import SCRIPTS, STYLES
from groupwise.view.run_files import RunFiles
from groupwise.view.server import application

TOKEN = "a-token-of-a-test-1234"
ORIGIN = "http://127.0.0.1:7575"


@pytest.fixture
def client(make_run):
    answers = Answers.of([RunFiles(make_run())])
    answers.indices[0].refresh()
    return TestClient(application(answers, TOKEN, 7575), base_url=ORIGIN, follow_redirects=False)


@pytest.fixture
def inside(client):
    client.get("/", params={"token": TOKEN})
    return client


def test_the_token_becomes_a_cookie_of_this_site_alone(client):
    answer = client.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/runs", "/static/base.js", "/api/events", "/?token=wrong", "/?token=", "/x"]
)
def test_without_the_token_nothing_is_told(client, path):
    answer = client.get(path)
    assert answer.status_code == 403
    assert "hand" not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:7575", "", "[::1]:7575"]
)
def test_another_host_is_refused(inside, host):
    assert inside.get("/api/runs", headers={"host": host}).status_code == 400


def test_localhost_is_this_machine_too(client):
    assert (
        client.get("/api/runs", headers={"host": "localhost:7575", "cookie": f"groupwise-7575={TOKEN}"}).status_code
        == 200
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(inside, method):
    assert inside.request(method, "/api/runs").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/page.html",
        "/../../etc/passwd",
        "/static//etc/passwd",
        "/api/../run.json",
    ],
)
def test_no_path_leads_outside(inside, path):
    assert inside.get(path).status_code == 404


@pytest.mark.parametrize("stage", ["../..", "/etc", "grpo/..", "\x00", "grpo%00"])
def test_no_stage_leads_outside(inside, stage):
    answer = inside.get("/api/group", params={"stage": stage, "step": "1"})
    assert answer.status_code == 422
    assert "no stage" in answer.json()["error"]


def test_every_answer_says_what_a_browser_may_do(inside):
    for path in ("/", "/api/runs", "/static/base.js", "/nowhere"):
        headers = inside.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_holds_no_script_and_no_style_of_its_own(inside):
    text = inside.get("/").text
    assert "<style" not in text
    assert " style=" not in text
    assert "<script>" not in text
    assert "http://" not in text
    for name in (*SCRIPTS, *STYLES):
        assert inside.get(f"/static/{name}").status_code == 200


def test_no_script_makes_markup_of_text():
    for name in SCRIPTS:
        if name != "uplot.js":
            text = files("groupwise.view").joinpath("assets", name).read_text(encoding="utf-8")
            for word in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "http://",
                "https://",
            ):
                assert word not in text, name


def test_what_others_wrote_is_as_they_wrote_it():
    for folder, listed in (
        (files("groupwise.view").joinpath("assets"), "uplot.sha256"),
        (Path(__file__).parent / "axe", "axe.sha256"),
    ):
        for line in folder.joinpath(listed).read_text().splitlines():
            digest, name = line.split()
            assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest, name


def test_answers_are_json(inside):
    assert [run["name"] for run in inside.get("/api/runs").json()["runs"]] == ["hand"]
    assert inside.get("/api/rollouts", params={"least": "1"}).json()["total"] == 3
    assert inside.get("/api/curves", params={"after": "2"}).json()["step"] == [3]
    assert inside.get("/api/choices").json()["stages"] == ["grpo"]
    assert inside.get("/api/rollouts", params={"limit": "100000"}).status_code == 422
    assert "error" in inside.get("/api/what-if").json()


def test_half_a_surrogate_pair_and_numbers_that_are_none_go_through(make_run, hand):
    directory = make_run()
    hand.write_record(directory, name="x\ud800y")
    hand.write_metrics(directory, 4, reward=float("nan"))
    client = TestClient(application(Answers.of([RunFiles(directory)]), TOKEN, 7575), base_url=ORIGIN)
    client.get("/", params={"token": TOKEN})
    assert json.loads(client.get("/api/runs").text)["runs"][0]["name"] == "x\ud800y"
    assert client.get("/api/curves").json()["metrics"]["reward"][-1] is None


def test_a_run_that_has_only_begun_is_no_error(tmp_path):
    directory = tmp_path / "new"
    directory.mkdir()
    client = TestClient(application(Answers.of([RunFiles(directory)]), TOKEN, 7575), base_url=ORIGIN)
    client.get("/", params={"token": TOKEN})
    for question in ("runs", "curves", "choices", "rollouts", "examples", "prompt", "evaluation", "compare"):
        assert client.get(f"/api/{question}").status_code == 200, question


def test_the_command_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        command.execute([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=r"--port"):
        command.execute([str(tmp_path), "--port", "70000"])
