"""Secrets stand in nothing that is written or shown."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from groupwise.config.describe import describe
from groupwise.errors import UserError
from groupwise.output.masking import masked
from groupwise.output.printable import visible
from groupwise.rewards.judge import Judge
from groupwise.storage.atomic import write_json

from ..conftest import MakeRollout

KEY = "Zq81kelvinHALF77topaz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-abcdefghijklmnop1234 here", "key *** here"),
        ("hf_" + "a" * 30, "***"),
        ("ghp_" + "A1" * 12, "***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("ASIAABCDEFGHIJKLMNOP", "***"),
        ("AIza" + "aB3-_" * 7, "***"),
        ("gsk_" + "a1B" * 16, "***"),
        ("sk_live_" + "a1" * 12, "***"),
        ("xai-" + "Ab1" * 20, "***"),
        ("eyJ" + "a" * 20 + ".eyJ" + "b" * 30 + "." + "c" * 20, "***"),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer ***"),
        (
            "Basic characterization of npm_package_config_of_something_long",
            "Basic characterization of npm_package_config_of_something_long",
        ),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("http://h/v1?token=URLSECRET&n=2", "http://h/v1?token=***&n=2"),
        ("http://h/v1?n=2&X-Api-Key=abc#top", "http://h/v1?n=2&X-Api-Key=***#top"),
        ("task-force and risk-averse hf_hub", "task-force and risk-averse hf_hub"),
        ("a@b.org, 3 < 4 ? token=x", "a@b.org, 3 < 4 ? token=x"),
    ],
)
def test_forms_of_keys(text: str, shown: str) -> None:
    assert masked(text) == visible(text) == shown


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *(("WANDB_API_KEY", True), ("HF_TOKEN", True), ("DB_PASSWORD", True), ("MY_SECRET_2", True)),
        *(
            ("PGPASSWORD", True),
            ("SSHPASS", True),
            ("MY_PASSPHRASE", True),
            ("API_AUTH", True),
            ("COMPASS_NAME", False),
        ),
        *(("HF_TOKEN_PATH", False), ("TOKENIZERS_PARALLELISM", False), ("HOME", False), ("KEYBOARD", False)),
    ],
)
def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch, name: str, is_secret: bool) -> None:
    monkeypatch.setenv(name, KEY)
    assert masked(f"a {KEY} b") == ("a *** b" if is_secret else f"a {KEY} b")
    monkeypatch.setenv(name, "short")
    assert masked("a short word") == "a short word"


@dataclass(frozen=True)
class Mine:
    api_key: str = KEY
    hf_token: str = KEY
    url: str = f"http://u:{KEY}@h/v1?token={KEY}"
    headers: tuple[tuple[str, str], ...] = ()
    eos_token: str = "<|end|>"


def test_a_recipe_is_described_without_them(tmp_path: Path) -> None:
    described = describe({"reward": Mine(), "options": {"password": KEY, "Authorization": KEY}})
    assert KEY not in json.dumps(described)
    assert described["reward"]["eos_token"] == "<|end|>"
    write_json(tmp_path / "x.json", {"note": f"http://h/?access_token={KEY}"})
    assert KEY not in (tmp_path / "x.json").read_text()


class Echo(http.server.BaseHTTPRequestHandler):
    """Says back what it was sent, in many ways."""

    status, before, spell = 401, "", staticmethod(str)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = (self.before + self.spell(self.headers["Authorization"])).encode()
        if self.status:
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
        self.wfile.write(said if self.status else said + b"\r\n\r\n")

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 302, 0])
@pytest.mark.parametrize("before", ["bad key ", "x" * 185, "\x1b[31m"])
@pytest.mark.parametrize("spell", [str, str.upper, lambda text: json.dumps({"authorization": text})])
def test_a_server_that_says_the_key_back(
    server: http.server.ThreadingHTTPServer,
    make_rollout: MakeRollout,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    before: str,
    spell: object,
) -> None:
    monkeypatch.setattr(Echo, "status", status)
    monkeypatch.setattr(Echo, "before", before)
    monkeypatch.setattr(Echo, "spell", staticmethod(spell))
    monkeypatch.setenv("JUDGE_SECRET", KEY)
    monkeypatch.setenv("JK", KEY)
    judge = Judge(f"http://127.0.0.1:{server.server_port}/v1", "m", key_variable="JK", retries=0, timeout_seconds=600)
    try:
        said = " ".join(score.reason or "" for score in judge.score([make_rollout((1,), (2,))]))
    except UserError as error:
        said = str(error)
    assert said
    assert not any(KEY[:8].casefold() in part for part in [said.casefold()])


@pytest.mark.parametrize(
    "url",
    ["http://h/v1?token=a", "http://h/v1#x", "http://h/v1?", "http://u:p@h/v1", "http://[::1/v1", "http://h:99999/v1"],
)
def test_a_url_that_holds_more_than_an_address(url: str) -> None:
    with pytest.raises(UserError, match=r"reward 'judge': url") as caught:
        Judge(url, "m")
    assert "token" not in str(caught.value)


def test_a_key_among_the_options_is_refused() -> None:
    with pytest.raises(UserError, match="key_variable") as caught:
        Judge("http://h/v1", "m", options={"api_key": KEY})
    assert KEY not in str(caught.value)
