"""Tasks of lm-eval on our model: equal to ``groupwise evaluate`` item by item, and as a user calls them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import warm

pytest.importorskip("lm_eval")

from groupwise.cli import main
from groupwise.commands.models import open_model
from groupwise.errors import UserError
from groupwise.evaluation.evaluate import evaluate
from groupwise.harness.model import GroupwiseLM
from groupwise.harness.run import HarnessPlan, results_of, run_harness
from groupwise.learners import NewModel
from groupwise.tasks.suites import Asking, suite_task
from groupwise.types import Rollout, Score

TOKENS = 6
PROMPTS = {
    "gsm8k": "{{question}}\nPlease reason step by step, and put your final answer within \\boxed{}.",
    "svamp": "{{Body.strip()}} {{Question.strip()}}\nPlease reason step by step, and put your final answer within "
    "\\boxed{}.",
    "cmath": "{{question}}\n请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。",
}
FILES = {"gsm8k": "gsm8k/test.jsonl", "svamp": "svamp/test.jsonl", "cmath": "cmath/test.jsonl"}
COUNT = 8


@dataclass(frozen=True)
class SameText:
    """This reward is 1 where the completion is the row's ``gold``, letter for letter."""

    name: str = "same"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(float(rollout.text == rollout.prompt.example.columns["gold"])) for rollout in rollouts]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("harness") / "model"
    NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=256).save(path, seed=1)
    return str(path)


@pytest.fixture(scope="module")
def opened(model: str) -> GroupwiseLM:
    return GroupwiseLM(model, device="cpu")


def rows(name: str) -> list[dict[str, Any]]:
    if name == "svamp":
        return [{"Body": f"Ann has {n} pens.", "Question": f"How many are {n} times {n}?", "Answer": float(n * n)}
                for n in range(COUNT)]  # fmt: skip
    asked = (
        "小林有{n}张卡片，一共有多少张？" if name == "cmath" else "A box holds {n} pens. How many do {n} boxes hold?"
    )
    return [{"question": asked.replace("{n}", str(n)), "answer": f"#### {n}", "golden": str(n)} for n in range(COUNT)]


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three benchmarks and their lm-eval tasks. The gold of every other row is what the model says, of the rest not."""
    place = tmp_path_factory.mktemp("data")
    engine, renderer = open_model(model, "cpu")
    for name, file in FILES.items():
        found = rows(name)
        path = place / file
        path.parent.mkdir()
        path.write_text("\n".join(map(json.dumps, found)), encoding="utf-8")
        task = replace(suite_task(name, str(place), Asking("deepseekmath")), rewards=(_Anything(),))
        said: list[str] = []
        evaluate(engine, renderer, task, COUNT, 1, 0, max_tokens=TOKENS,
                 on_greedy=lambda rollouts, said=said: said.extend(each.text for each in rollouts))  # fmt: skip
        for number, row in enumerate(found):
            row["gold"] = said[number] if number % 2 else "something else"
        path.write_text("\n".join(map(json.dumps, found)), encoding="utf-8")
        (place / f"{name}.yaml").write_text(yaml(name, path, place / "cache"), encoding="utf-8")
    return place


@dataclass(frozen=True)
class _Anything:
    name: str = "anything"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(1.0) for _ in rollouts]


def yaml(name: str, path: Path, cache: Path) -> str:
    return json.dumps(
        {
            "task": f"local_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(cache)},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": PROMPTS[name],
            "doc_to_target": "gold",
            "generation_kwargs": {"max_gen_toks": TOKENS, "do_sample": False, "until": []},
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        }
    )


def test_three_tasks_are_what_evaluate_says_item_by_item(model: str, opened: GroupwiseLM, folder: Path) -> None:
    found = run_harness(opened, HarnessPlan(tuple(f"local_{name}" for name in FILES), str(folder), chat=True))
    engine, renderer = open_model(model, "cpu")
    for name in FILES:
        task = replace(suite_task(name, str(folder), Asking("deepseekmath")), rewards=(SameText(),))
        ours = evaluate(engine, renderer, task, COUNT, 1, 0, max_tokens=TOKENS)
        theirs = found.measures[f"local_{name}", "none", "exact_match"]
        assert theirs.by_problem == ours.greedy.by_problem
        assert sum(theirs.by_problem) >= COUNT / 2
        assert (theirs.low, theirs.high) == (ours.greedy.low, ours.greedy.high)


def test_the_command_prints_both_models_and_their_paired_difference(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ["evaluate", model, "--against", model, "--harness", "lm-eval", "--data", str(folder), "--prompt", "chat"]
    words += ["--task", "local_gsm8k,local_cmath", "--device", "cpu", "--json", str(out), "--problems", "6"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.split()[:3] == ["local_gsm8k", "none", "exact_match"]]
    assert line.split()[3:6] == ["0.500", "[0.188,", "0.812]"]
    assert line.split()[9].startswith("+0.000")
    values = json.loads(out.read_text())["models"][0]["results"]
    assert [row["by_problem"] for row in values if row["task"] == "local_gsm8k"] == [[0.0, 1.0] * 3]


def test_lm_evals_own_command_knows_the_model(
    model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval import tasks
    from lm_eval.config import evaluate_config

    from groupwise.harness.__main__ import main as lm_eval

    quick = partial(tasks.TaskManager, include_defaults=False)  # lm-eval's own tasks take long to be listed
    monkeypatch.setattr(tasks, "TaskManager", quick)
    monkeypatch.setattr(evaluate_config, "TaskManager", quick, raising=False)
    words = ["run", "--model", "groupwise", "--model_args", f"pretrained={model}", "--tasks", "local_svamp"]
    words += ["--include_path", str(folder), "--apply_chat_template", "--output_path", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["lm_eval", *words])
    lm_eval()
    (file,) = (tmp_path / "out").rglob("results*.json")
    assert json.loads(file.read_text())["results"]["local_svamp"]["exact_match,none"] == 0.5


AS_PROCESS = """
import functools, runpy
from lm_eval import tasks
tasks.TaskManager = functools.partial(tasks.TaskManager, include_defaults=False)  # lm-eval's own take long to be listed
runpy.run_module("groupwise.harness", run_name="__main__")
"""


def test_the_command_runs_as_a_process(model: str, folder: Path, tmp_path: Path) -> None:
    words = ["run", "--model", "groupwise", "--tasks", "local_svamp", "--include_path", str(folder)]
    words += ["--apply_chat_template", "--output_path", str(tmp_path / "out"), "--model_args", f"pretrained={model}"]
    done = warm.run(["-c", AS_PROCESS, *words])
    assert done.returncode == 0, done.stderr
    assert "|local_svamp|" in done.stdout
    (file,) = (tmp_path / "out").rglob("results*.json")
    assert json.loads(file.read_text())["results"]["local_svamp"]["exact_match,none"] == 0.5


def test_the_command_says_what_a_user_can_mend(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lm_eval import tasks

    from groupwise.harness.__main__ import main as lm_eval

    monkeypatch.setattr(tasks, "TaskManager", partial(tasks.TaskManager, include_defaults=False))
    words = ["run", "--model", "groupwise", "--tasks", "local_svamp", "--include_path", str(folder), "--model_args"]
    monkeypatch.setattr(sys, "argv", ["lm_eval", *words, f"pretrained={tmp_path / 'none'}"])
    assert lm_eval() == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"groupwise-lm-eval: {tmp_path / 'none'}")


def test_multiple_choice_and_perplexity_are_read(opened: GroupwiseLM, folder: Path, tmp_path: Path) -> None:
    common = {"dataset_path": "json", "test_split": "test"}
    common["dataset_kwargs"] = {"data_files": {"test": str(folder / FILES["gsm8k"])}, "cache_dir": str(tmp_path)}
    choice = {"task": "choice", "output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_target": 1,
              "doc_to_choice": ["yes", "no"], "metric_list": [{"metric": "acc"}]}  # fmt: skip
    rolling = {"task": "rolling", "output_type": "loglikelihood_rolling", "doc_to_text": "",
               "doc_to_target": "{{question}}", "metric_list": [{"metric": "bits_per_byte"}]}  # fmt: skip
    for task in (choice, rolling):
        (tmp_path / f"{task['task']}.yaml").write_text(json.dumps(common | task))
    found = run_harness(opened, HarnessPlan(("choice", "rolling"), str(tmp_path)))
    assert len(found.measures["choice", "none", "acc"].by_problem) == COUNT
    assert 4 < found.others["rolling", "none", "bits_per_byte"] < 12


def test_a_metric_that_is_no_mean_has_no_interval() -> None:
    samples = {"t": [{"doc_hash": str(n), "filter": "none", "metrics": ["acc", "ppl", "f1"], "acc": n % 2, "f1": 0.5,
                      "ppl": (1.0, 2)} for n in range(4)]}  # fmt: skip
    found = results_of({"t": {"acc,none": 0.5, "ppl,none": 7.0, "f1,none": 0.9, "alias": "t"}}, samples)
    assert list(found.measures) == [("t", "none", "acc")]
    assert found.others == {("t", "none", "ppl"): 7.0, ("t", "none", "f1"): 0.9}
    assert found.difference(found, ("t", "none", "acc")).value == 0.0  # type: ignore[union-attr]
    assert found.difference(found, ("t", "none", "ppl")) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reward", "math"], "--reward: tasks of lm-eval say themselves"),
        (["--prompt", "minerva4"], "--prompt minerva4: tasks of lm-eval have their own; expected chat"),
        (["--system", "be brief"], "--system needs the model's chat template: --prompt chat"),
    ],
)
def test_options_that_the_harness_decides_are_refused(
    model: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["evaluate", model, "--harness", "lm-eval", "--task", "local_gsm8k", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_task_that_nobody_has_is_said(opened: GroupwiseLM, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from groupwise.harness import run

    quick = run.TaskManager
    monkeypatch.setattr(run, "TaskManager", lambda include_path, include_defaults=False: quick(
        include_path=include_path, include_defaults=False))  # fmt: skip
    with pytest.raises(UserError, match="--task local_gsm9k: lm-eval has no such task; perhaps you meant local_gsm8k"):
        run_harness(opened, HarnessPlan(("local_gsm9k",), str(folder)))
