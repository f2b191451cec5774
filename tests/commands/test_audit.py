"""``groupwise audit``: its table, exit codes and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.cli import main
from groupwise.learners import Local


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"What is {a} + 2?", "answer": f"{a} + 2 = {a + 2}\n#### {a + 2}"} for a in (3, 10, 41)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def anywhere(tmp_path: Path) -> str:
    path = tmp_path / "rewards.py"
    path.write_text("def score(completion, answer):\n    return float(answer in completion)\n", encoding="utf-8")
    return f"{path}:score"


def test_a_sound_reward_passes(data, capsys, tmp_path):
    report = tmp_path / "audit.json"
    assert main(["audit", "answer", "--data", str(data), "--max_false_positives", "0", "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "reward answer on 3 rows" in shown
    assert "false negatives           0 of 3" in shown
    assert "false positives           0 of " in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 118
    found = json.loads(report.read_text(encoding="utf-8"))
    assert (found["data"], found["rows"], found["false_negatives"]["mistakes"]) == ("rows.jsonl", 3, 0)


def test_a_flawed_reward_shows_its_mistakes_and_fails_a_gate(data, anywhere, capsys):
    assert main(["audit", anywhere, "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "first mistakes of each kind" in shown
    assert "off by one, rows.jsonl:1: got 1 (scored), expected none" in shown
    assert "\x1b" not in shown
    assert "\x00" not in shown
    assert main(["audit", anywhere, "--data", str(data), "--max_false_positives", "0.1"]) == 1
    assert "more than the 10.000% that is allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["asnwer"], "unknown reward 'asnwer', perhaps you meant 'answer'"),
        (["answer", "--limit", "0"], "--limit is 0; expected a whole number, at least 1"),
        (["answer", "--max_false_positives", "2"], "expected a number, at least 0 and at most 1"),
        (["answer", "--time_limit_seconds", "0"], "expected a number, more than 0"),
        (["answer", "--json", "/no/such/place/x.json"], "no such directory"),
        (["answer", "--output_column", "said"], "no column said with a label"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments, line, data, capsys):
    assert main(["audit", *arguments, "--data", str(data)]) == 2
    shown = capsys.readouterr()
    assert line in shown.err
    assert shown.err.count("\n") == 1


def test_a_learned_reward_is_audited_in_its_own_tokens(data, tiny_model, tmp_path, capsys):
    directory = tmp_path / "prm"
    Local(device="cpu").open_scorer(tiny_model).save(directory)
    report = tmp_path / "audit.json"
    assert main(["audit", f"process:{directory}", "--data", str(data), "--limit", "1", "--json", str(report)]) == 0
    assert "reward prm on 1 row of" in capsys.readouterr().out
    found = {each["kind"]: each for each in json.loads(report.read_text())["findings"]}
    assert found["the row's solution"]["full"] + found["the row's solution"]["less"] == 1
    assert found["empty"]["statuses"] == {"unparseable": 1}  # no step
    assert found["a megabyte of digits"]["statuses"] == {"failed": 1}  # longer than its context
    assert found["half a surrogate pair"]["statuses"] == {}
    assert json.loads(report.read_text())["correct_at"] == 0.5
    assert main(["audit", f"outcome:{directory}", "--data", str(data)]) == 2
    assert "say with --correct_at from which score on" in capsys.readouterr().err
    assert main(["audit", f"outcome:{tiny_model}", "--data", str(data), "--correct_at", "0"]) == 2
    assert "holds a language model, which has no score" in capsys.readouterr().err
