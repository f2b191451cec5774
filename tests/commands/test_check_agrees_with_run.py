"""``check`` exits with 0 where a run of the same words makes its step, and with another code where it does not.

A part of all methods and kinds of data is tried here; ``GROUPWISE_CROSS=all pytest`` of this file tries all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from groupwise import recipes
from groupwise.cli import main

COUNT = 12
ROWS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "questions": lambda n: {"question": f"{n} + 1 = ?", "answer": f"<<{n}+1={n + 1}>>\n#### {n + 1}"},
    "demonstrations": lambda n: {"prompt": f"{n} + 1 =", "completion": f" {n + 1}"},
    "pairs": lambda n: {"prompt": f"{n} + 1 =", "chosen": f" {n + 1}", "rejected": f" {n}"},
    "steps": lambda n: {"prompt": f"{n} =", "completions": [f"{n}", f"{n + n % 2}"], "labels": [True, n % 2 == 0]},
    "pairs of one side": lambda n: {"prompt": f"{n} + 1 =", "chosen": " 1"} | ({"rejected": "0"} if n % 3 else {}),
    "one answer missing": lambda n: {"question": f"{n} + 1 = ?", "answer": str(n + 1) if n != 5 else None},
    "one demonstration missing": lambda n: {"prompt": f"{n} + 1 =", "completion": f" {n + 1}" if n != 5 else None},
    "one label": lambda n: {"prompt": f"{n} =", "completions": [f"{n}"], "labels": [True]},
    "other columns": lambda n: {"foo": n, "bar": "x"},
}

FEW = {
    "grpo": ("questions", "pairs", "steps", "one answer missing", "other columns"),
    "grpo_process": ("questions", "demonstrations"),
    "sft": ("questions", "demonstrations", "pairs", "one demonstration missing"),
    "dpo": ("questions", "pairs", "demonstrations", "pairs of one side"),
    "reward_model": ("questions", "pairs"),
    "process_reward_model": ("questions", "steps", "one label"),
    "process_reward_model_automatic": ("questions", "pairs"),
    "rft": ("questions", "pairs"),
    "remax": ("questions",),
    "on_policy_distillation": ("questions", "other columns"),
}


def cases() -> Iterator[tuple[str, str]]:
    whole = os.environ.get("GROUPWISE_CROSS") == "all"
    for method in recipes.__all__ if whole else FEW:
        for kind in ROWS if whole else FEW[method]:
            yield method, kind


def words(method: str, model: Path) -> list[str]:
    source = vars(recipes)[method].source
    small = {"max_completion_tokens": 8, "samples_per_prompt": 2, "continuations": 2}
    options = [(f"algorithm.source.{name}", value) for name, value in small.items() if name in vars(source)]
    options += [("steps", 1), ("prompts_per_step", 4), ("learner.threads", 1), ("evaluation.problems", 2)]
    options += [("evaluation.max_completion_tokens", 8), ("held_out", 0.2)]
    teacher = [("algorithm.reference.model", model)] if method == "on_policy_distillation" else []
    return [word for name, value in [*options, *teacher] for word in (f"--{name}", str(value))]


@pytest.mark.parametrize(("method", "kind"), list(cases()))
def test_check_agrees_with_run(
    method: str, kind: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(ROWS[kind](n)) + "\n" for n in range(COUNT)))
    given = [method, "--model", str(tiny_model), "--data", "rows.jsonl", "--reward", "math", *words(method, tiny_model)]
    checked = main(["check", *given, "--limit_seconds", "600"])
    seen = capsys.readouterr()
    assert not Path("runs").exists()
    ran = main(["run", *given])
    said = capsys.readouterr().err
    assert (checked == 0) == (ran == 0), f"{seen.out}{seen.err}\n{said}"
    assert checked in (0, 1, 2)


def test_the_runs_own_sentence(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(ROWS["questions"](n)) + "\n" for n in range(COUNT)))
    given = ["dpo", "--model", str(tiny_model), "--data", "rows.jsonl", *words("dpo", tiny_model)]
    assert main(["run", *given]) == 2
    sentence = capsys.readouterr().err.strip().partition(" has no ")[2]
    assert main(["check", *given]) == 1
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert main(["run", *given, "--dry_run"]) == 1
    dry = capsys.readouterr()
    assert "would break: dpo: data: 10 of 10 rows looked at cannot be used" in dry.err
    assert sentence in dry.err
    assert json.loads(dry.out)["name"] == "dpo-rows"
    assert not Path("runs").exists()
