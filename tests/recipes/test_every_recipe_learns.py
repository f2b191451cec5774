"""Every recipe for a policy, as it ships, takes a small transformer from guessing to knowing in seconds on a CPU.

The task is to write the prompt's letter twice. The policy begins as one that has learned from noisy demonstrations: of
five answers two are right. Success is more than four of five (three for pairs from data).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise import Native, NewModel, Stage, recipes
from groupwise.algorithm import Accepted, Algorithm, ConstantLength
from groupwise.evaluation.texts import evaluate_text
from groupwise.learners import FSDP, Local
from groupwise.learners.local import LocalLearner
from groupwise.learning.trainable import Trainable
from groupwise.rewards import as_reward
from groupwise.sinks import Sinks
from groupwise.sources import FrozenPolicy, MonteCarloSteps, OnPolicy
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Lines
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


class Learned(Exception):  # noqa: N818 - it is none
    """The policy is as good as it shall become: further steps would show nothing more."""


def learn(
    model: Path, algorithm: Algorithm, task: Task, steps: int, rate: float, bar: float = 2.0, **stage: Any
) -> LocalLearner:
    """Learns for so many steps, or until the policy is as good as ``bar`` after every tenth of them."""

    def after_step(progress: Progress, record: object) -> dict[str, float]:
        if bar <= 1 and progress.step % 10 == 0 and progress.step < steps and pass_rate(learner) >= bar:
            raise Learned
        return {}

    learner = LEARNER.open(model)
    needs_reference = algorithm.needs_reference
    learner.start_stage(algorithm.reference.model if needs_reference else None, algorithm.critic.network)
    plan = Stage("toy", algorithm, task, steps, **{"prompts_per_step": 8, "learning_rate": rate} | stage)
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    world = draw_context(
        plan, renderer, Native().open(learner.directory, learner.live_module(), learner.tokenizer), seed=0
    )
    with suppress(Learned):
        train(plan, world, learner, Sinks(), Progress(), after_step)
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
    if isinstance(source, MonteCarloSteps):
        source = replace(
            source, max_completion_tokens=4, samples_per_prompt=1, continuations=2, estimate="soft", prompts=24
        )
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
def test_it_learns(name: str, guesser: Path, request: pytest.FixtureRequest) -> None:
    """The other models are made where a recipe needs them."""
    algorithm = toy(name, request.getfixturevalue("teacher") if name == "on_policy_distillation" else guesser)
    in_groups = isinstance(algorithm.source, OnPolicy) and algorithm.source.group_size > 1
    rate, steps, bar = (1e-4, 60, 0.6) if name in GENTLE else (3e-3, 40, 0.85)
    beginner = request.getfixturevalue("reader") if name in OWN_TEACHER else guesser
    learner = learn(beginner, algorithm, task(name), steps, rate, bar, prompts_per_step=8 if in_groups else 32)
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


class Numbers(Sinks):
    """This sink keeps the metrics of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, float]] = []

    def metrics(self, stage: str, step: int, values: Any) -> None:
        timed = {name for name in values if "second" in name or "/s" in name or name == "step_time"}
        timed.add("implicit_reward/accuracy")  # of a policy that is its reference: rounding decides every tie
        self.seen.append({name: number for name, number in values.items() if name not in timed})


EXACT: dict[str, Any] = {"device": "cpu", "threads": 1, "dtype": "float64", "tokens_per_micro_batch": 64}


@pytest.fixture(scope="module")
def one_and_two(guesser: Path, warm_ranks: None) -> Iterator[list[tuple[Any, ...]]]:
    """Learners of one and of two processes, for a policy and for a scorer, and what samples for each."""
    configs = Local(**EXACT), FSDP(**EXACT, processes=2, timeout_seconds=60)
    pairs = [(config.open(guesser), config.open_scorer(guesser)) for config in configs]
    engines = [Native().open(guesser, None, pair[0].tokenizer, dtype="float64", device="cpu") for pair in pairs]
    yield [(*pair, engine) for pair, engine in zip(pairs, engines, strict=True)]
    for pair in pairs:
        for learner in pair:
            learner.close()


def labelled(name: str) -> Task:
    """For scorers: pairs, completions with labels of their steps, right and wrong, and a judge of what is sampled."""
    made = []
    for row in rows(GUESSES):
        steps = {"completions": list(row.completion or ""), "labels": [True, row.completion == row.answer]}
        made.append(replace(row, columns={**row.columns, **steps}))
    judge = (OUTCOME,) if name.endswith("automatic") else (Steps(),)
    return Task(name, tuple(made), judge, steps=Lines())


@pytest.mark.parametrize("name", recipes.__all__)
def test_two_processes_do_a_step_of_it_as_one_does(name: str, one_and_two: Any, teacher: Path) -> None:
    """Of every recipe, one behind another on the same weights: the same draw, and the same numbers of two updates."""
    algorithm, found = toy(name, teacher), []
    scores = algorithm.trains_scorer
    texts = Task("texts", tuple(Example(f"text:{n}", "", (LETTERS * 4)[n : 12 + n]) for n in range(6)))
    of = texts if name == "pretrain" else labelled(name) if scores else task(name)
    for policy, scorer, engine in one_and_two:
        learner: Trainable = scorer if scores else policy
        reference = algorithm.reference.model if algorithm.needs_reference else None
        learner.start_stage(reference, algorithm.critic.network)
        plan = Stage("toy", algorithm, of, 1, prompts_per_step=6, minibatches=2, learning_rate=1e-5)
        context = draw_context(plan, Renderer(policy.tokenizer, eos_tokens=policy.stop_tokens), engine, seed=0)
        numbers = Numbers()
        train(plan, context, learner, numbers, Progress(), lambda progress, record: {})
        found.append(numbers.seen[0])
    assert found[1].keys() == found[0].keys()
    assert found[1] == pytest.approx(found[0], rel=1e-6, abs=1e-9)
    only_right = isinstance(algorithm.advantage, Accepted)  # of which there may be none among so few
    assert found[0]["grad_norm"] > 0 or only_right
