"""``groupwise evaluate`` on model directories, as a user calls it."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest

from groupwise import NewModel
from groupwise.cli import main
from groupwise.commands.models import labels
from groupwise.learners import Local

FEW = ["--problems", "6", "--sampled_problems", "2", "--samples", "4", "--max_completion_tokens", "8"]


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "other"
    NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=128).save(directory, seed=1)
    return directory


def cells(shown: str, name: str) -> str:
    """The rest of the table's row of that name."""
    (line,) = [line for line in shown.splitlines() if line.strip().startswith(f"{name} ")]
    return line.strip().removeprefix(name).strip()


EVEN = """
from groupwise.types import Score

class Even:
    name, weight = "even", 1.0

    def score(self, rollouts):
        return [Score(float(len(rollout.text) % 2 == 0)) for rollout in rollouts]

    def votes(self, rollouts):
        return [len(rollout.text) for rollout in rollouts]

even = Even()
"""


def test_one_model(tiny_model, capsys):
    assert main(["evaluate", str(tiny_model), "--task", "stepwise:1", *FEW]) == 0
    shown = capsys.readouterr()
    assert "stepwise, 6 problems" in shown.out
    assert cells(shown.out, "greedy accuracy") == "0.000 [0.000, 0.390]"  # Wilson's interval of 0 of 6
    assert cells(shown.out, "pass@1").startswith("0.000 [0.000, ")
    assert cells(shown.out, "pass@4").startswith("0.000 [0.000, ")
    assert cells(shown.out, "maj@2").startswith("0.000 [0.000, ")
    assert cells(shown.out, "samples without an answer") == "100.0%"
    assert cells(shown.out, "truncated").endswith("%")
    assert float(cells(shown.out, "tokens per second").replace(",", "")) > 0
    assert "4 samples of each of the first 2 problems at temperature 1" in shown.out
    assert "evaluating model on stepwise" in shown.err
    assert (
        "model: no answer was right: the highest score of answer is 0, and an answer is right from 1 on."
        in " ".join(shown.out.split())
    )


def test_two_models_are_paired(tiny_model, other_model, capsys, tmp_path):
    file = tmp_path / "result.json"
    command = ["evaluate", str(tiny_model), "--against", str(other_model), "--task", "stepwise", *FEW]
    assert main([*command, "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    head = shown.splitlines()[1]
    assert head.index("other") < head.index("model") < head.index("difference")
    assert cells(shown, "greedy accuracy").endswith("+0.000 [-0.245, +0.245]")  # 1.96 / (6 + 2)
    assert "On 2 problems with 4 samples each: pass@1, which is maj@1: no difference shown" in " ".join(shown.split())
    written = json.loads(file.read_text())
    assert [each["model"] for each in written["models"]] == [str(other_model), str(tiny_model)]
    assert written["models"][0]["evaluation"]["ids"] == written["models"][1]["evaluation"]["ids"]
    assert written["comparison"]["sentence"].startswith("On 2 problems")


def test_the_seed_decides(tiny_model, tmp_path):
    def evaluation(seed: int) -> dict:
        file = tmp_path / "result.json"
        command = ["evaluate", str(tiny_model), "--task", "stepwise", *FEW, "--seed", str(seed), "--json", str(file)]
        assert main(command) == 0
        (model,) = json.loads(file.read_text())["models"]
        return {name: value for name, value in model["evaluation"].items() if name != "seconds"}

    assert evaluation(0) == evaluation(0)
    assert evaluation(0)["settings"] != evaluation(1)["settings"]


def test_every_row_of_a_data_file_is_evaluated(tiny_model, tmp_path, capsys):
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(5)]
    rows.append({"question": "9" * 200, "answer": "0"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "kind.py").write_text("def kind(completions, **rest):\n    return [1.0] * len(completions)\n")
    reward = ["--reward", f"{tmp_path / 'kind.py'}:kind"]
    assert main(["evaluate", str(tiny_model), "--task", str(tmp_path / "rows.jsonl"), *reward, *FEW[2:]]) == 0
    shown = capsys.readouterr().out
    assert "rows, 5 problems" in shown
    assert cells(shown, "greedy accuracy").startswith("1.000")
    assert "1 problem left out: they leave no room in the context." in shown
    assert "500 problems asked for; the task has 6." in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--task", "stepwise", "--against", "./nowhere"], "./nowhere: no such model directory"),
        (["--task", "stepwize"], "unknown task stepwize: perhaps you meant stepwise"),
        (["--task", "stepwise:9"], "task stepwise:9: no such level; expected one of 1, 2, 3, 4, 5"),
        (["--task", "rows.jsonl"], "task rows.jsonl: data need a reward"),
        (["--task", "rows.jsonl", "--reward", "math"], "rows.jsonl: no such file"),
        (["--task", "stepwise", "--problems", "0"], "--problems is 0; expected a whole number, at least 1"),
        (["--task", "stepwise", "--temperature", "0"], "--temperature is 0.0; expected a number, more than 0"),
        (["--task", "stepwise", "--json", "no/such/place.json"], "--json no/such/place.json: no such directory"),
    ],
)
def test_a_mistake_is_one_line(tiny_model, capsys, words, line):
    assert main(["evaluate", str(tiny_model), *words]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (("runs/x/models/sft", "runs/x/models/grpo"), ("sft", "grpo")),
        (("a/models/grpo", "b/models/grpo"), ("a/models/grpo", "b/models/grpo")),
        (("x/a/grpo", "x/b/grpo"), ("a/grpo", "b/grpo")),
        (("Qwen/Qwen3-0.6B",), ("Qwen3-0.6B",)),
        (("same", "same"), ("same", "same")),
    ],
)
def test_labels_tell_models_apart(sources, names):
    assert labels(*sources) == names


@pytest.fixture(scope="module")
def scorer(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scorers") / "prm"
    Local(device="cpu").open_scorer(tiny_model).save(directory)
    return directory


@pytest.fixture
def answers(tmp_path: Path) -> list[str]:
    """A task on which half of the samples are right, by their length."""
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "even.py").write_text(EVEN)
    return ["--task", str(tmp_path / "rows.jsonl"), "--reward", f"{tmp_path / 'even.py'}:even"]


@pytest.mark.parametrize("kind", ["process", "outcome"])
def test_a_verifier_chooses_among_the_same_samples(kind, tiny_model, other_model, scorer, answers, capsys, tmp_path):
    file = tmp_path / "result.json"
    command = ["evaluate", str(tiny_model), "--against", str(other_model), *answers, *FEW, "--json", str(file)]
    assert main([*command, "--verifier", f"{kind}:{scorer}"]) == 0
    shown = capsys.readouterr()
    assert "scoring model with prm" in shown.err
    assert cells(shown.out, "best of 2 by prm").count("[") == 3  # two models and their difference
    assert cells(shown.out, "weighted vote of 4").count("[") == 3
    assert "model: prm against the majority vote of 4 on 2 problems: best of 4 " in shown.out
    for model in json.loads(file.read_text())["models"]:
        found, plain = model["verification"], model["evaluation"]
        assert found["majority"]["by_problem"] == plain["maj_at"]["4"]["by_problem"]
        assert found["first"]["by_problem"] == plain["pass_at"]["1"]["by_problem"]
        assert found["any_right"]["by_problem"] == plain["pass_at"]["4"]["by_problem"]


def test_the_rule_itself_is_the_best_verifier(tiny_model, answers, tmp_path):
    file = tmp_path / "result.json"
    rule = ["--verifier", answers[-1], "--json", str(file)]
    assert main(["evaluate", str(tiny_model), *answers, *FEW, *rule]) == 0
    (model,) = json.loads(file.read_text())["models"]
    assert model["verification"]["best_of"] == model["verification"]["any_right"]


def test_a_verifier_that_cannot_is_refused_before_anything_is_sampled(tiny_model, scorer, tmp_path, capsys):
    NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, pieces=("zz",)).save(tmp_path / "other")
    Local(device="cpu").open_scorer(tmp_path / "other").save(tmp_path / "foreign")

    def refused(verifier: object, *more: str) -> str:
        words = ["evaluate", str(tiny_model), "--task", "stepwise", "--verifier", str(verifier), *more]
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "its tokenizer is another one" in refused(f"process:{tmp_path / 'foreign'}")
    assert "holds a language model, which has no score" in refused(f"outcome:{tiny_model}")
    assert f"expected outcome:{scorer} or process:{scorer}" in refused(scorer)
    assert f"expected outcome:{scorer} or process:{scorer}" in refused(f"prm:{scorer}")
    assert "no such model directory" in refused("process:./nowhere")
    assert "--samples of 2" in refused(f"process:{scorer}", "--samples", "1")


SILENT = """
def style(completion):
    return 1.0

def never(completion):
    return 0.0

never.correct_at = 0.5

def even(completion):
    return float(len(completion) % 2 == 0)
"""


def test_a_format_reward_makes_no_answer_right(tiny_model, answers, capsys, tmp_path):
    """Whatever is added and with whatever weight: only the judge's own verdict counts, and it is named."""
    (tmp_path / "rewards.py").write_text(SILENT)
    file, data = tmp_path / "rewards.py", answers[:2]
    command = ["evaluate", str(tiny_model), *data, *FEW, "--reward"]

    def greedy(*words: str) -> tuple[str, str]:
        assert main([*command, *words]) == 0
        shown = capsys.readouterr().out
        return cells(shown, "greedy accuracy")[:5], " ".join(shown.split())

    wrong, shown = greedy(f"{file}:never", "--reward", f"{file}:style*5")
    assert wrong == "0.000"
    assert "correct: by never, from 0.5 on." in shown
    assert "mean reward, never 0.000" in shown
    assert "mean reward, style 1.000" in shown
    assert "maj@k is left out: reward 'never' does not say which answers are the same" in shown
    right, shown = greedy(f"{file}:style*0.2", "--reward", "length:8,8*-3", "--reward", f"{file}:never*-7")
    assert right == "1.000"
    assert "correct: by style." in shown
    assert greedy(f"{file}:style", "--reward", f"{file}:never", "--judge", "never")[0] == "0.000"
    assert greedy(f"{file}:never", "--judge", f"{file}:style")[0] == "1.000"
    assert main(["evaluate", str(tiny_model), *data, *FEW, "--judge", f"{file}:even"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reward", "math*"], "what follows * is its weight, and nothing is none; expected a number after a name"),
        (["--reward", "math*nan"], "and nan is none"),
        (["--reward", "math*-"], "and - is none"),
        (["--reward", "math", "--judge", "maths"], "unknown reward 'maths', perhaps you meant 'math'"),
        (["--reward", "math", "--judge", "math*2"], "judge math*2: a verdict has no weight; expected math"),
    ],
)
def test_a_weight_or_a_judge_that_is_none_is_one_line(words, said, tiny_model, answers, capsys):
    assert main(["evaluate", str(tiny_model), *answers[:2], *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_scores_that_only_compare_are_no_verdict(tiny_model, scorer, answers, capsys):
    assert main(["evaluate", str(tiny_model), *answers[:2], *FEW, "--reward", f"outcome:{scorer}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "whose scores compare answers and make none right; name another judge (--judge" in line


def test_how_samples_are_narrowed_and_ended(tiny_model, capsys, tmp_path):
    """What narrows is on record, and any letter or digit ends an answer."""

    def evaluated(*words: str) -> dict:
        file = tmp_path / "result.json"
        command = ["evaluate", str(tiny_model), "--task", "stepwise", *FEW, "--json", str(file), *words]
        assert main(command) == 0
        return json.loads(file.read_text())["models"][0]["evaluation"]

    whole = evaluated("--min_p", "0.1", "--top_p", "0.9", "--top_k", "7")
    assert whole["settings"]["narrowed"] == [7, 0.9, 0.1]
    stops = [word for letter in string.printable[:62] for word in ("--stop", letter)]
    ended = evaluated(*stops, "--stop", r"\n\u00e9")
    assert ended["tokens"] < whole["tokens"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--min_p 1.5", "--min_p is 1.5; expected 0 to 1"),
        ("--min_p nan", "--min_p is nan; expected 0 to 1"),
        ("--top_p 0", "--top_p is 0; expected more than 0, at most 1"),
        ("--top_k -1", "--top_k is -1; expected 0 (all) or more"),
        ("--problems 3 --problems 4", "--problems is given twice, as 3 and as 4; expected once"),
        ("--chat.x 1 --chat.x 2", "--chat.x is given twice, as 1 and as 2"),
        ("--chat.x", "--chat.x has 0 values; expected one"),
    ],
)
def test_options_from_which_nothing_can_be_drawn(tiny_model, capsys, words, message):
    assert main(["evaluate", str(tiny_model), "--task", "stepwise", *words.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--data", "rows.jsonl"],
            "required: --task, a benchmark such as gsm8k, or rows of your own: --task rows.jsonl",
        ),
        (["--tasks", "gsm8k"], "unknown option --tasks: perhaps you meant --task"),
        (["--benchmark=gsm8k"], "unknown option --benchmark: perhaps you meant --task"),
        (["--task", "gsm8k", "--k", "4"], "unknown option --k: perhaps you meant --samples"),
        (["--task", "gsm8k", "--limit", "4"], "unknown option --limit: perhaps you meant --problems"),
        (["--task", "gsm8k", "--output_path", "x"], "unknown option --output_path: perhaps you meant --json"),
    ],
)
def test_words_of_other_evaluations_are_answered_with_ours(words, said, capsys):
    assert main(["evaluate", "model", *words]) == 2
    assert said in capsys.readouterr().err
