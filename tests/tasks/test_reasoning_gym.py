from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards import score_rollouts
from groupwise.tasks.reasoning_gym import reasoning_gym
from groupwise.tasks.task import Task
from groupwise.types import Example, Prompt, Rollout

pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
ONE_DIGIT = {"size": 1500, "held_out": 40, "min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
MARK = Path("/tmp/groupwise-gym-mark")


@pytest.fixture(scope="module")
def matrices() -> Task:
    """Its scorer calls ``eval`` on any answer that is not the right one letter for letter."""
    return reasoning_gym("binary_matrix", size=30, held_out=10, max_n=4)


def attempt(example: Example, text: str) -> Rollout:
    return Rollout(Prompt(example, (1,)), (2,), (True,), (-0.1,), text, finished=True, version=0)


def test_a_family_is_a_task_whose_answers_its_verifier_takes(matrices: Task) -> None:
    assert (matrices.name, len(matrices.train), len(matrices.held_out)) == ("binary_matrix", 30, 10)
    assert "<answer>" in (matrices.system or "")
    right = [
        attempt(example, f"so\n<answer>{example.answer}</answer>") for example in (*matrices.train, *matrices.held_out)
    ]
    wrong = [attempt(example, "<answer>9</answer>") for example in matrices.train]
    scored, metrics = score_rollouts([*right, *wrong], matrices.rewards)
    assert [rollout.reward for rollout in scored] == [1.0] * 40 + [0.0] * 30
    assert metrics["rewards/reasoning_gym/failed"] == 0.0


def test_held_out_questions_are_new_and_everything_is_reproducible(matrices: Task) -> None:
    prompts = [example.prompt for example in matrices.held_out]
    assert len(set(prompts)) == len(prompts)
    assert not set(prompts) & {example.prompt for example in matrices.train}
    assert reasoning_gym("binary_matrix", size=30, held_out=10, max_n=4) == matrices
    other = reasoning_gym("binary_matrix", size=30, held_out=0, seed=1, max_n=4)
    assert not {example.prompt for example in other.train} & {example.prompt for example in matrices.train}


def test_a_shell_command_in_an_answer_does_no_harm(matrices: Task) -> None:
    MARK.unlink(missing_ok=True)
    commands = [
        f"__import__('os').system('touch {MARK}')",
        f"__import__('subprocess').Popen(['/bin/sh', '-c', 'touch {MARK}'])",
        f"open('{MARK}', 'w').write('x')",
        f"__import__('pathlib').Path('{MARK}').touch()",
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "__import__('os')._exit(0)",
        "[0] * 10**10",
    ]
    task = reasoning_gym("binary_matrix", size=len(commands), held_out=0, max_n=4)
    rows = [attempt(example, f"<answer>{text}</answer>") for example, text in zip(task.train, commands, strict=True)]
    scores = task.rewards[0].score(rows)
    assert all(score.value in (0.0, None) for score in scores)
    assert [score.status for score in scores].count("timeout") == 0
    assert not MARK.exists()


def test_an_answer_that_hangs_is_killed_and_counted() -> None:
    task = reasoning_gym("countdown", size=2, held_out=0)
    reward = dataclasses.replace(task.rewards[0], time_limit_seconds=1.5)  # type: ignore[type-var]
    hanging, right = task.train
    texts = ("<answer>factorial(10**8)</answer>", f"<answer>{right.answer}</answer>")
    (first, second), metrics = score_rollouts([attempt(hanging, texts[0]), attempt(right, texts[1])], [reward])
    assert (first.reward, second.reward) == (None, 1.0)
    assert first.scores["reasoning_gym"].status == "timeout"
    assert metrics["rewards/reasoning_gym/timeout"] == 0.5


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("cuntdown", {}, "no family 'cuntdown'; perhaps you meant countdown"),
        ("xyzzyq", {}, "no family 'xyzzyq'; there are ab, acre"),
        ("countdown", {"min_numbr": 3}, "'countdown' does not take the options .*min_numbr"),
        ("composite", {}, "does not take the options {}: Must specify"),
        ("chain_sum", ONE_DIGIT, r"of 160 held-out questions only \d are new; ask for held_out=\d or fewer"),
    ],
)
def test_what_cannot_be_made_is_said(family: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reasoning_gym(family, **options)
