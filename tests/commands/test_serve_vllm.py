"""``groupwise serve --vllm``: what is started, and what is said where it does not start."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from groupwise.cli import main
from groupwise.commands.serve_vllm import _parser, flags, last_words


def test_a_server_has_the_flags_that_a_run_needs() -> None:
    chosen = _parser().parse_args(["M", "--vllm", "--cpu", "--context", "512", "--dtype", "float32"])
    words = flags("M", chosen, 8001, "0.32.0")
    pairs = dict(itertools.pairwise(words))
    assert words[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert (pairs["--logprobs-mode"], pairs["--port"], pairs["--host"]) == ("processed_logprobs", "8001", "127.0.0.1")
    assert (pairs["--dtype"], pairs["--max-model-len"]) == ("float32", "512")
    assert {"--enforce-eager", "--enable-scale-out"} <= set(words)
    assert "--enable-scale-out" not in flags("M", chosen, 8001, "0.29.1")
    on_gpu = flags("M", _parser().parse_args(["M", "--vllm"]), 8001, "0.32.0")
    assert "--gpu-memory-utilization" in on_gpu
    assert "--enforce-eager" not in on_gpu


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--python", "/nowhere/python"], "there is no such program"),
        (["--python", sys.executable], "vLLM is not installed there; make an environment for it"),
        (["--port", "99999"], "--port"),
        (["--gpu_memory", "2"], "--gpu_memory"),
    ],
)
def test_what_is_wrong_is_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "M", "--vllm", *options]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said


def test_the_last_words_of_a_log_are_those_of_an_error(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("INFO one\nValueError: no room\nINFO bye\n")
    assert last_words(log) == f"ValueError: no room; the whole of it: {log}"
    log.write_text("")
    assert last_words(log).startswith("it said nothing")
