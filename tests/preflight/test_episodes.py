"""What ``check`` says of a task with an environment: one episode with its mask, the template, the context, replies."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from groupwise import HeldOut, Local, OnPolicy, Run, Stage, recipes
from groupwise.environments import Says, Turns
from groupwise.preflight import Finding, check_run
from groupwise.rewards import as_reward
from groupwise.tasks.task import Task

LETTERS = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?-+*/()[]{}<>=\n")
"""What also ends a turn, so that a random model does so every few tokens."""
ROWS = [{"n": n} for n in range(6)]
Talk = Callable[[Any, Random], Iterator[Any]]


def length(completion: str) -> float:
    return float(len(completion) % 2)


Check = Callable[..., list[Finding]]


def talk(row: Any, random: Random) -> Any:
    said = yield f"row {row['n']} <|end|>"
    for _ in range(2):
        said = yield Says("more", reward=0.25 * (len(said) % 2))
    return {"reward": float(len(said) % 2), "success": False}


@pytest.fixture
def check(tiny_model: Path) -> Iterator[Check]:
    """``check(environment, turns=, model=, tokens=, **options of Task)``"""
    tasks: list[Task] = []

    def make(
        environment: Any, turns: Any = 3, model: Path = tiny_model, tokens: int = 24, **options: Any
    ) -> list[Finding]:
        task = Task("talk", ROWS, environment=environment, turns=turns, stop_strings=LETTERS, **options)
        tasks.append(task)
        algorithm = replace(recipes.grpo, source=OnPolicy(group_size=4, max_completion_tokens=tokens))
        stage = Stage("rl", algorithm, task, steps=2, prompts_per_step=2)
        run = Run("talk", str(model), (stage,), Local(device="cpu", threads=1), evaluation=HeldOut(problems=0))
        return check_run(run, limit_seconds=1.0)

    yield make
    for task in tasks:
        assert task.episodes is not None
        task.episodes.worlds.close()


def words(found: list[Finding], kind: str, *parts: str) -> str:
    return "\n".join(each.words for each in found if each.kind == kind and (not parts or each.part in parts))


def test_one_episode_with_its_mask(check: Check) -> None:
    found = check(talk)
    assert words(found, "problem") == ""
    shown = [each for each in found if each.part == "" and each.kind == "fact"]
    kinds = [each.numbers["kind"] for each in shown]
    [head] = [each for each in found if each.part == "an episode"]
    assert kinds[0] == "prompt"
    assert "prompt" not in kinds[1:]
    assert kinds[1::2] == ["sampled"] * len(kinds[1::2])
    assert kinds[2::2] == ["heard"] * len(kinds[2::2])
    assert len(kinds) >= 4
    counts = {
        kind: sum(int(each.words.split()[1][:-1]) for each in shown if each.numbers["kind"] == kind) for kind in kinds
    }
    assert (counts["sampled"], counts["heard"]) == (head.numbers["sampled"], head.numbers["heard"])
    heard = next(each.words for each in shown if each.numbers["kind"] == "heard")
    assert "<|user|>more<|assistant|>" in heard
    assert "<|user|>row " in shown[0].words


def test_how_episodes_end_is_counted(check: Check) -> None:
    [told] = [each for each in check(talk) if each.part == "episodes"]
    assert re.match(r"talk: of \d+ episodes probed 3\.0 turns on average; ", told.words)
    shares = {name: value for name, value in told.numbers.items() if name.startswith("stops/")}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["stops/finished"] > 0
    assert told.numbers["turns"] > 1


def test_what_never_begins_is_named(check: Check) -> None:
    def never(row: Any, random: Random) -> Any:
        raise ValueError("no such game")
        yield ""

    problems = words(check(never), "problem")
    assert re.search(
        r"no episode of never could begin, of \d+ tried; talk.train:0: raised ValueError: no such game at", problems
    )


def test_what_depends_on_more_than_seed_and_words_is_found(check: Check) -> None:
    counter = itertools.count()

    def counts(row: Any, random: Random) -> Any:
        yield "hello"
        yield f"this is number {next(counter)}"
        return 1.0

    [remark] = [each.words for each in check(counts) if each.kind == "remark" and each.part == "environment"]
    assert "behind turn 1: 'this is number " in remark
    assert "draw from the random generator that it is given alone" in remark
    same = check(talk)
    assert words(same, "remark", "environment") == ""
    assert "2 episodes played again with the same words said the same" in words(same, "fact", "environment")
    [told] = [each for each in same if each.part == "environment"]
    assert 0 <= told.numbers["mean"] <= told.numbers["longest"]


def test_the_context_that_turns_need(check: Check) -> None:
    [told] = [each for each in check(talk) if each.part == "context"]
    needed = told.numbers["prompt"] + 24 + 2 * told.numbers["heard"]
    assert told.numbers["needed"] == needed < 128 == told.numbers["room"]
    assert told.kind == "fact"

    def long(row: Any, random: Random) -> Any:
        yield "hello"
        for _ in range(20):
            yield "a long tale " * 3
        return 1.0

    remark = words(check(long, turns=Turns(most=8)), "remark", "context")
    assert remark.startswith("an episode may need at most ")
    assert "7 x " in remark
    assert "the context has 128: then it ends there, and its stop reason is context" in remark


def test_a_template_that_rewrites_is_found_and_one_that_appends_is_praised(
    check: Check, tiny_model: Path, tmp_path: Path
) -> None:
    appends = "it only appends, also behind turns that think"
    assert appends in words(check(talk), "fact", "template")
    model = tmp_path / "forgets"
    shutil.copytree(tiny_model, model)
    template = (model / "chat_template.jinja").read_text()
    forgets = "{% set ns = namespace() %}"
    (model / "chat_template.jinja").write_text(
        forgets
        + template.replace("message['content']", "(message['content'] or '').split('</think>')[-1]").replace(
            "message.content", "(message.content or '').split('</think>')[-1]"
        )
    )
    assert (model / "chat_template.jinja").read_text() != forgets + template
    remark = words(check(talk, model=model), "remark", "template")
    assert remark.startswith("it only appends, but not behind a turn that thinks: the chat template of")


def test_tools_are_shown(check: Check) -> None:
    def add(a: int, b: int) -> int:
        """Adds.

        Args:
            a: One.
            b: Another.
        """
        return a + b

    found = check(None, tools=(add,), rewards=(as_reward(length),))
    assert "it shows the model its tools: add" in words(found, "fact", "template")


def test_rows_with_one_prompt_are_other_worlds(check: Check) -> None:
    found = check(talk, held_out=[{"n": 99}])
    assert "evaluation flatters" not in words(found, "remark")
    again = check(talk, held_out=[{"n": 1}])
    assert "1 held-out row" in words(again, "remark", "data")
    assert "without what the environment says" in words(again, "fact", "data")
