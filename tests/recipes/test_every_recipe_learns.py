"""Every recipe for a policy, as it ships, takes a small transformer from guessing to knowing in seconds on a CPU.

The task is to write the prompt's letter twice. The policy begins as one that has learned from noisy demonstrations: of
five answers two are right. Success is more than four of five (three for pairs from data).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise import Native, NewModel, Stage, recipes
from groupwise.algorithm import Algorithm, ConstantLength
from groupwise.evaluation.texts import evaluate_text
from groupwise.learners import Local
from groupwise.learners.local import LocalLearner
from groupwise.rewards import as_reward
from groupwise.sinks import Sinks
from groupwise.sources import FrozenPolicy, OnPolicy
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.loop import Progress, train
from groupwise.training.stage import draw_context
from groupwise.types import Example, Request, Rollout, Sampling, Score

LETTERS = "abcd"
MODEL = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=16)
LEARNER = Local(device="cpu", threads=1, betas=(0.9, 0.99))


def rows(answers: Sequence[str]) -> tuple[Example, ...]:
    """A row for each letter and answer, with that answer as demonstration and as the side that is rejected."""
    made = []
    for letter in LETTERS:
        for answer in answers:
            text, columns = answer.replace("?", letter), {"chosen": letter * 2, "rejected": answer}
            made.append(Example(f"{letter}:{len(made)}", letter, text, answer=letter * 2, columns=columns))
    return tuple(made)


GUESSES = ["??"] * 8 + [first + second for first in LETTERS for second in LETTERS]  # 9 of 24 are right


def right(completion: str, answer: str) -> float:
    """1 for both letters, 0.3 for one of them: a hint, so that a group of guesses has something to compare."""
    hits = sum(a == b for a, b in zip(completion[:2], answer, strict=False))
    return 1.0 if completion == answer else 0.3 * (hits == 1)


class Steps:
    """Each letter is a step of its own, scored at its token; so is ending there, or going on."""

    name, weight = "steps", 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(right(r.text, str(r.prompt.example.answer)), steps=self.steps(r)) for r in rollouts]

    def steps(self, rollout: Rollout) -> dict[int, float]:
        wanted, text = [*str(rollout.prompt.example.answer), ""], rollout.text
        return {place: float(text[place : place + 1] == wanted[place]) for place in range(min(3, len(rollout.tokens)))}


def ended(completion: str) -> float:
    return float(len(completion) == 2)


OUTCOME, FORMAT = as_reward(right), as_reward(ended)
PROCESS = {"grpo_process", "gspo_token"}
OWN_TEACHER = {"opsd", "sdft"}
UNREWARDED = {"sft", "dpo", "on_policy_distillation"} | OWN_TEACHER
GENTLE = {"dpo", "dpo_normalised"}
"""Fixed pairs: pushed on, the policy leaves both sides behind, as is known of DPO; so small steps, and a lower bar."""


def learn(model: Path, algorithm: Algorithm, task: Task, steps: int, rate: float, **stage: Any) -> LocalLearner:
    learner = LEARNER.open(model)
    needs_reference = algorithm.needs_reference
    learner.start_stage(algorithm.reference.model if needs_reference else None, algorithm.critic.network)
    plan = Stage("toy", algorithm, task, steps, **{"prompts_per_step": 8, "learning_rate": rate} | stage)
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    world = draw_context(
        plan, renderer, Native().open(learner.directory, learner.live_module(), learner.tokenizer), seed=0
    )
    train(plan, world, learner, Sinks(), Progress(), lambda progress, record: {})
    return learner


def pass_rate(learner: LocalLearner) -> float:
    """Of 64 samples for each letter."""
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    engine, known = Native().open(learner.directory, learner.live_module(), learner.tokenizer), rows(["??"])
    requests = [Request(renderer.prompt(row).tokens, tuple(range(64))) for row in known]
    found = engine.generate(requests, Sampling(4, stop_tokens=renderer.stop_tokens))
    return sum(renderer.decode(sample.tokens) == known[row].answer for row, _, sample in found) / 256


@pytest.fixture(scope="module")
def guesser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two letters and the end of the completion, each letter by chance."""
    torch.set_num_threads(1)
    new, path = (tmp_path_factory.mktemp("guesser") / name for name in ("new", "model"))
    MODEL.save(new, seed=3)
    learner = learn(new, recipes.sft, Task("guesses", rows(GUESSES)), 100, 1e-2, prompts_per_step=96)
    learner.save(path)
    return path


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two letters by chance, but for a prompt that holds the answer, which it copies."""
    new, path = (tmp_path_factory.mktemp("reader") / name for name in ("new", "model"))
    MODEL.save(new, seed=3)
    shown = [replace(row, prompt=f"{row.prompt}={row.answer}") for row in rows(["??"] * 24)]
    mixed = Task("guesses, and answers to copy", (*rows(GUESSES), *shown))
    learn(new, recipes.sft, mixed, 150, 1e-2, prompts_per_step=96).save(path)
    return path


@pytest.fixture(scope="module")
def teacher(guesser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that knows."""
    path = tmp_path_factory.mktemp("teacher") / "model"
    learn(guesser, recipes.sft, Task("answers", rows(["??"])), 25, 1e-2).save(path)
    return path


def toy(name: str, teacher: Path) -> Algorithm:
    """The recipe with the sizes of the toy: nothing else of it is changed."""
    algorithm: Algorithm = vars(recipes)[name]
    source = algorithm.source
    if isinstance(source, OnPolicy):
        source = replace(source, max_completion_tokens=4, group_size=min(8, source.group_size * 8))
        if not algorithm.advantage.compares() and not algorithm.objective.joins_group():
            source = replace(source, group_size=1)
    if isinstance(source, FrozenPolicy):
        source = replace(source, max_completion_tokens=4, samples_per_prompt=32, sampling_temperature=1.0)
    if isinstance(algorithm.aggregation, ConstantLength):
        algorithm = replace(algorithm, aggregation=ConstantLength(4))
    if name == "on_policy_distillation":
        algorithm = replace(algorithm, reference=replace(algorithm.reference, model=str(teacher)))
    if name in OWN_TEACHER:
        named = "completion" if "{completion}" in algorithm.reference.sees else "answer"
        algorithm = replace(algorithm, reference=replace(algorithm.reference, sees=f"{{prompt}}={{{named}}}"))
    return replace(algorithm, source=source)


def task(name: str) -> Task:
    if name in UNREWARDED:
        return Task("letters", rows(GUESSES[8:] if name == "dpo" else ["??"]))
    rewards = (Steps(),) if name in PROCESS else (OUTCOME, FORMAT) if name == "gdpo" else (OUTCOME,)
    return Task("letters", rows(["??"] * 16), rewards)


POLICIES = [name for name in recipes.__all__ if not vars(recipes)[name].trains_scorer and name != "pretrain"]
"""Scorers answer nothing: that they learn is shown in tests/learners/test_scorer.py. Pre-training asks nothing: it is
below."""


@pytest.mark.parametrize("name", POLICIES)
def test_it_learns(name: str, guesser: Path, teacher: Path, reader: Path) -> None:
    algorithm = toy(name, teacher)
    in_groups = isinstance(algorithm.source, OnPolicy) and algorithm.source.group_size > 1
    rate, steps, bar = (1e-4, 60, 0.6) if name in GENTLE else (3e-3, 40, 0.85)
    beginner = reader if name in OWN_TEACHER else guesser
    learner = learn(beginner, algorithm, task(name), steps, rate, prompts_per_step=8 if in_groups else 32)
    assert pass_rate(learner) >= bar


def test_pretraining_reads_better_what_it_has_read(guesser: Path) -> None:
    """Of letters that follow one another, seen and unseen documents begin elsewhere in the same order."""
    texts = [Example(f"text:{n}", "", (LETTERS * 4)[n : 12 + n]) for n in range(4)]
    seen, unseen = tuple(texts[:3]), tuple(texts[3:])

    def bits(learner: LocalLearner) -> float:
        renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
        return evaluate_text(learner, renderer, unseen).bits_per_byte.value

    before = bits(LEARNER.open(guesser))
    assert bits(learn(guesser, recipes.pretrain, Task("texts", seen), 100, 1e-2)) < 0.5 * before


def test_a_critic_learns_from_scores_of_steps(guesser: Path, teacher: Path) -> None:
    """Process supervision needs no recipe of its own where GAE spreads the rewards."""
    scored = replace(task("ppo"), rewards=(Steps(),))
    assert pass_rate(learn(guesser, toy("ppo", teacher), scored, 40, 3e-3, prompts_per_step=32)) >= 0.85


def test_it_begins_as_a_guesser(guesser: Path, reader: Path) -> None:
    assert max(pass_rate(LEARNER.open(model)) for model in (guesser, reader)) < 0.5
    assert (right("ab", "aa"), right("aa", "aa"), right("bb", "aa")) == (0.3, 1.0, 0.0)
