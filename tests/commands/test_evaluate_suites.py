"""``groupwise evaluate --task gsm8k svamp ...`` on benchmarks in a folder, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise import NewModel
from groupwise.cli import main

FEW = ["--sampled_problems", "1", "--samples", "2", "--max_completion_tokens", "8"]
LONG = "Anna has 3 boxes of 12 pens each and gives away 4 of them to her friends on Monday."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("sft", "grpo")):
        NewModel(hidden_size=16, layers=1, heads=2, intermediate_size=32, context_tokens=3000).save(place / name, seed)
    return str(place / "sft"), str(place / "grpo")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    rows = {
        "gsm8k/test.jsonl": [{"question": LONG, "answer": "#### 32"}, {"question": "2 + 2?", "answer": "#### 4"}],
        "svamp/SVAMP.json": [{"Body": "Two and", "Question": "two?", "Answer": 4.0}],
        "cmath/test.jsonl": [{"question": "二加二等于几？", "golden": "4"}],
        "code/mbpp.jsonl": [{"text": "Write f.", "code": "def f(): return 1", "test_list": ["assert f() == 1"]}],
    }
    for name, lines in rows.items():
        path = place / name
        path.parent.mkdir(exist_ok=True)
        text = json.dumps(lines) if name.endswith(".json") else "\n".join(map(json.dumps, lines))
        path.write_text(text, encoding="utf-8")
    return place


def test_several_benchmarks_are_one_table(models, data, tmp_path, capsys):
    out = tmp_path / "out.json"
    words = ["--task", "gsm8k", "svamp", "cmath", "mbpp", "--data", str(data), *FEW, "--json", str(out)]
    assert main(["evaluate", models[0], *words, "--prompt", "deepseekmath"]) == 0
    shown = capsys.readouterr().out
    assert "benchmark   problems" in shown
    for name, count in (("gsm8k", 2), ("svamp", 1), ("cmath", 1), ("mbpp", 1)):
        (line,) = [line for line in shown.splitlines() if line.split()[:1] == [name]]
        assert line.split()[1] == str(count)
        assert line.endswith("not asked ")
    assert "correct: by math in gsm8k, svamp, cmath; by code in mbpp." in shown
    found = json.loads(out.read_text())["models"][0]["benchmarks"]
    assert found["gsm8k"]["problems"] == 2
    assert found["svamp"]["settings"]["samples"] == 2


def test_two_models_are_compared_in_and_out_of_domain(models, data, tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text(json.dumps({"prompt": f"Solve: {LONG}", "answer": "32"}) + "\n")
    words = ["--against", models[0], "--task", "gsm8k", "svamp", "cmath", "--data", str(data), *FEW]
    words += ["--in_domain", "gsm8k", "--trained_on", str(tmp_path / "train.jsonl")]
    assert main(["evaluate", models[1], *words]) == 0
    shown = capsys.readouterr().out
    assert "1 (50.0%)" in shown
    assert "Greedy accuracy in domain (2 problems): no difference shown" in shown
    assert "out of domain (2 problems): no difference shown" in shown
    assert "gsm8k, sft, without contaminated problems: " in shown


@pytest.mark.parametrize("words", [["--prompt", "gsm8shot", "--shots", "1"], ["--tools", "--reward", "deepseekmath"]])
def test_forms_and_tools_run(models, data, capsys, words):
    assert main(["evaluate", models[0], "--task", "gsm8k", "--data", str(data), *FEW, *words]) == 0
    assert ("program" in capsys.readouterr().out) == ("--tools" in words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "gsm8k", "grpo"], "--task grpo: no benchmark, and several tasks are benchmarks: gsm8k, math"),
        (["--task", "stepwise", "--shots", "2"], "--task stepwise: no benchmark, and --shots goes with benchmarks"),
        (["--task", "gsm9k", "--data", "."], 'no benchmark, perhaps you meant "gsm8k"'),
        (["--task", "svamp", "--in_domain", "gsm8k"], "--in_domain gsm8k: not among the tasks; expected some of svamp"),
        (["--task", "svamp", "--judge", "math"], "--judge goes with a task of your own"),
        (["--task", "svamp", "--shots", "-1"], "--shots is -1; expected"),
        (["--task", "svamp", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["--task", "svamp", "--problems", "0"], "--problems is 0; expected"),
    ],
)
def test_what_does_not_go_together_is_said(models, capsys, words, message):
    assert main(["evaluate", models[0], *words]) == 2
    assert message in capsys.readouterr().err
