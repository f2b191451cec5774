"""The report of a run: one file, made from whatever the run has left."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.report.markup import Html, duration, element, number
from groupwise.report.page import write_report

HOSTILE = '</pre></script><script>document.title="broken"</script><img src=x onerror="document.title=\'broken\'">"&'


def stored(page: str) -> dict[str, Any]:
    """What the page knows."""
    found = re.search(r'<script type="application/json" id="stored">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_report_knows_the_run(run_directory) -> None:
    page = write_report(run_directory()).read_text(encoding="utf-8")
    known = stored(page)
    (run,) = known["runs"]["runs"]
    assert (run["name"], run["seconds"]) == ("quickstart", 271.4)
    assert [stage["done"] for stage in run["stages"]] == [300, 80]
    assert run["result"]["before"]["value"] < run["result"]["after"]["value"]
    assert dict(run["facts"])["Versions"] == "groupwise 0.1.0, torch 2.13.0, transformers 5.23.0"
    assert len(known["curves?run=0"]["step"]) == 380
    assert known["evaluation?run=0"]["comparison"]["sentence"]
    assert len(known["evaluation?run=0"]["problems"]) == 500
    assert re.search(r"<noscript>.*pass@1 rose from 0\.\d+ to 0\.\d+", page, re.DOTALL)


def test_the_facts_name_data_rewards_and_adapters(run_directory) -> None:
    directory = run_directory()
    run = json.loads((directory / "run.json").read_text())
    rewards = [
        {"is": "Math", "name": "math", "weight": 1.0},
        {"is": "Weighted", "reward": {"is": "Cached", "reward": {"is": "Judge", "name": "judge"}}, "weight": 0.2},
    ]
    task = {"rewards": rewards, "referee": [], "source": "a.jsonl: 5 rows; prompt: question"}
    run["recipe"] |= {"stages": [{"task": task}, {"task": task | {"referee": [rewards[1]]}}]}
    run["recipe"]["learner"] = {"lora": {"rank": 16, "alpha": 32.0, "targets": ["q_proj", "v_proj"]}}
    (directory / "run.json").write_text(json.dumps(run | {"started": 1_795_246_674.1}))
    facts = dict(stored(write_report(directory).read_text())["runs"]["runs"][0]["facts"])
    assert facts["Data"] == "a.jsonl: 5 rows; prompt: question"
    assert facts["Rewards"] == "math, judge × 0.2; correct: by math · math, judge × 0.2; correct: by judge"
    assert facts["Adapters"] == "LoRA of rank 16 and alpha 32 on q_proj, v_proj"
    assert " November 2026, " in facts["Started"]
    run["recipe"]["learner"] = {"lora": {"rank": 0, "alpha": 32.0, "targets": []}}
    (directory / "run.json").write_text(json.dumps(run))
    assert "Adapters" not in dict(stored(write_report(directory).read_text())["runs"]["runs"][0]["facts"])


def test_nothing_is_fetched_and_only_the_reports_own_script_may_run(run_directory) -> None:
    text = write_report(run_directory()).read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text.partition('id="stored"')[0])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'")
    assert policy[1].count("'sha256-") == 2
    assert "unsafe" not in policy[1]


def test_what_a_model_wrote_stays_data(run_directory) -> None:
    page = write_report(run_directory(hostile=HOSTILE)).read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert '<script>document.title="broken"' not in page
    assert stored(page)["runs"]["runs"][0]["name"] == "quickstart" + HOSTILE
    assert re.search(r"<title>[^<]*</title>", page)


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.json", "groups.json"])
def test_a_missing_part_is_left_out(run_directory, name: str) -> None:
    known = stored(write_report(run_directory(leave_out=(name,))).read_text())
    assert bool(known["curves?run=0"]["step"]) == (name != "metrics.jsonl")
    assert bool(known["evaluation?run=0"]["models"]) == (name != "evaluation.json")


def test_one_evaluated_model_needs_no_comparison(run_directory) -> None:
    directory = run_directory()
    evaluated = json.loads((directory / "evaluation.json").read_text())
    (directory / "evaluation.json").write_text(json.dumps({"models": evaluated["models"][1:], "comparison": None}))
    page = write_report(directory).read_text()
    assert stored(page)["runs"]["runs"][0]["result"]["only"]
    assert re.search(r"<noscript>.*pass@1 is 0\.\d+ after grpo", page, re.DOTALL)


def test_a_fall_is_said(run_directory) -> None:
    directory = run_directory()
    evaluated = json.loads((directory / "evaluation.json").read_text())
    (directory / "evaluation.json").write_text(json.dumps({"models": evaluated["models"][::-1], "comparison": None}))
    assert re.search(r"<noscript>.*pass@1 fell from 0\.\d+ to 0\.\d+", write_report(directory).read_text(), re.DOTALL)


def test_bad_directories_are_one_clear_line(run_directory, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run\.json, so it is not a run directory"):
        write_report(tmp_path / "elsewhere")
    directory = run_directory()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "grpo", "st')  # a killed run's: no harm
    write_report(directory)
    with (directory / "metrics.jsonl").open("ab") as file:
        file.write(b"\n" + b"\0" * 512)  # what a machine that lost power leaves: no harm either
    write_report(directory)


def test_markup_escapes_all_but_markup() -> None:
    assert element("p", "a<b", Html("<i></i>"), class_="x", data_y=[1, '"'], hidden=True, id=None) == (
        '<p class="x" data-y="[1,&quot;\\&quot;&quot;]" hidden>a&lt;b<i></i></p>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.12345, "0.123"),
        (-0.5, "−0.500"),
        (123456.7, "123,457"),
        (3e-7, "3e-07"),
        (1.002, "1.00"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_durations() -> None:
    assert [duration(seconds) for seconds in (42.2, 247, 3840)] == ["42 s", "4 min 7 s", "1 h 4 min"]
