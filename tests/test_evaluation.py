"""Evaluation against an engine that answers correctly with a known probability, scored by the real rewards."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.evaluation import Comparison, Evaluation, Measure, compare, evaluate, voting_answer
from groupwise.tasks.task import Task
from groupwise.types import Completion, Example, Prompt, Request, Rollout, Sampling, Score

EOS = 10


@dataclass
class KnownEngine:
    """A protocol-true engine over the tokens 0..9 and EOS: problem ``[a]`` is answered with ``a`` with probability
    ``ability`` from each completion's own stream, else with another digit. Greedy answers ``a`` where ability > 1/2."""

    ability: float
    version: int = 3
    context_tokens: int = 16

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_token: object = None
    ) -> Iterator[tuple[int, int, Completion]]:
        places = [(row, index) for row, request in enumerate(requests) for index in range(len(request.seeds))]
        for row, index in reversed(places):  # no promised order
            stream = random.Random(requests[row].seeds[index])
            gold = requests[row].tokens[0]
            right = self.ability > 0.5 if sampling.temperature == 0 else stream.random() < self.ability
            digit = gold if right else (gold + stream.randint(1, 9)) % 10
            tokens = (digit, EOS)[: sampling.max_tokens]
            yield row, index, Completion(tokens, (-0.5,) * len(tokens), len(tokens) == 2, self.version)

    def load(self, weights: Mapping[str, Any], version: int) -> None:
        self.version = version


class DigitRenderer:
    stop_tokens = (EOS,)

    def prompt(self, example: Example) -> Prompt:
        return Prompt(example, (int(str(example.answer)),) * int(example.columns.get("length", 1)))

    def sampling(self, max_tokens: int, temperature: float, *narrowed: float) -> Sampling:
        return Sampling(max_tokens, temperature, *narrowed, stop_tokens=self.stop_tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        return "#### " + "".join(str(token) for token in tokens if token != EOS)


@dataclass(frozen=True)
class Matches:
    name: str = "matches"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(float(r.text == f"#### {r.prompt.example.answer}")) for r in rollouts]


def digits(problems: int, **columns: Any) -> Task:
    rows = [
        Example(f"held:{row}", f"Say {row % 10}.", answer=str(row % 10), columns=columns) for row in range(problems)
    ]
    return Task("digits", train=(), rewards=(Matches(),), held_out=rows)


def measured(ability: float, **options: Any) -> Evaluation:
    return evaluate(KnownEngine(ability), DigitRenderer(), digits(80), samples=8, sampled_problems=40, **options)


def test_estimates_find_the_known_probability() -> None:
    runs = [measured(0.6, seed=seed) for seed in range(10)]
    assert fmean(run.pass_at_1.value for run in runs) == pytest.approx(0.6, abs=0.03)
    assert fmean(run.pass_at[2].value for run in runs) == pytest.approx(1 - 0.4**2, abs=0.03)
    assert sum(run.pass_at[2].low < 0.84 < run.pass_at[2].high for run in runs) >= 8


def test_every_measure_covers_its_problems() -> None:
    evaluation = measured(0.6)
    assert evaluation.problems == 80
    assert evaluation.greedy.value == 1.0
    assert list(evaluation.pass_at) == list(evaluation.maj_at) == [1, 2, 4, 8]
    assert evaluation.pass_at[1].by_problem == pytest.approx(evaluation.maj_at[1].by_problem)
    assert evaluation.maj_at[8].value > 0.8
    assert len(evaluation.pass_at_1.by_problem) == 80
    assert len(evaluation.pass_at[4].by_problem) == evaluation.settings.sampled_problems == 40
    assert evaluation.pass_at_1.by_problem[:40] == pytest.approx(evaluation.pass_at[1].by_problem)


def test_counts_are_told() -> None:
    evaluation = measured(0.6)
    assert evaluation.tokens == 2 * (80 + 40 * 8 + 40)
    assert evaluation.mean_completion_tokens == 2.0
    assert evaluation.truncated_fraction == evaluation.unparseable_fraction == evaluation.unscored_fraction == 0.0
    assert evaluation.completions[3].question == "Say 3."
    assert (evaluation.completions[3].text, evaluation.completions[3].reward) == ("#### 3", 1.0)
    assert measured(0.6, max_tokens=1).truncated_fraction == 1.0


def test_progress_counts_every_completion() -> None:
    seen: list[tuple[int, int]] = []
    measured(0.5, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 440) for done in range(1, 441)]


def test_the_seed_alone_decides_and_problems_keep_their_streams() -> None:
    assert replace(measured(0.5), seconds=0) == replace(measured(0.5), seconds=0)
    assert measured(0.5).pass_at_1 != measured(0.5, seed=1).pass_at_1
    fewer = measured(0.5, problems=40)
    assert fewer.pass_at_1.by_problem == measured(0.5).pass_at_1.by_problem[:40]


def test_a_quick_evaluation_samples_once_and_has_no_table() -> None:
    quick = evaluate(KnownEngine(0.7), DigitRenderer(), digits(30), samples=1, sampled_problems=0)
    assert quick.pass_at == quick.maj_at == {}
    assert quick.tokens == 2 * (30 + 30)
    assert "nothing can be said" in compare(quick, quick).sentence


@pytest.mark.parametrize(
    ("text", "reward", "vote"),
    [
        ("so\n#### 1,024", 0.0, 1024),
        ("#### 1024.0", 0.0, 1024),
        ("the answer is 18 dollars", 0.0, 18),
        ("\\boxed{x + 1}", 0.0, "x + 1"),
        ("no idea", 0.0, None),
        (" ABBA ", 1.0, "ABBA"),
    ],
)
def test_equal_answers_are_one_vote(text: str, reward: float, vote: object) -> None:
    prompt = Prompt(Example("row:1", "?"), (1,))
    assert voting_answer(Rollout(prompt, (1,), (True,), (-0.1,), text, True, 0, rewards={0: reward})) == vote


def test_a_lower_bar_of_correctness_is_a_parameter() -> None:
    assert measured(0.0).pass_at_1.value == 0.0
    assert measured(0.0, correct_at=0.0).pass_at_1.value == 1.0


def test_a_custom_vote_replaces_the_final_answer() -> None:
    silent = measured(0.9, canonical=lambda rollout: None)
    assert silent.unparseable_fraction == 1.0
    assert silent.maj_at[8].value == 0.0
    assert silent.pass_at[8].value > 0.9


def test_json_and_back(tmp_path: Path) -> None:
    evaluation, other = measured(0.4), measured(0.8)
    evaluation.save(tmp_path / "evaluation.json")
    assert Evaluation.load(tmp_path / "evaluation.json") == evaluation
    comparison = compare(evaluation, other)
    comparison.save(tmp_path / "comparison.json")
    assert Comparison.load(tmp_path / "comparison.json") == comparison
    assert (
        json.loads((tmp_path / "evaluation.json").read_text())["pass_at"]["8"]["value"] == evaluation.pass_at[8].value
    )


def test_what_cannot_be_evaluated_is_one_clear_line() -> None:
    engine, renderer = KnownEngine(0.5), DigitRenderer()
    with pytest.raises(UserError, match="'digits' has no held-out problems"):
        evaluate(engine, renderer, digits(0))
    with pytest.raises(UserError, match="has no rewards"):
        evaluate(engine, renderer, replace(digits(3), rewards=()))
    with pytest.raises(UserError, match="none of 3 held-out prompts fits the model's context of 16 tokens"):
        evaluate(engine, renderer, digits(3, length=16))


def test_prompts_that_do_not_fit_are_left_out_and_counted() -> None:
    task = digits(4)
    rows = [*task.held_out[:3], replace(task.held_out[3], columns={"length": 99})]
    evaluation = evaluate(KnownEngine(0.9), DigitRenderer(), replace(task, held_out=rows), samples=2)
    assert (evaluation.problems, evaluation.prompts_too_long) == (3, 1)


def test_comparison_of_a_better_model() -> None:
    comparison = compare(measured(0.3), measured(0.7))
    assert comparison.greedy.value == 1.0
    assert comparison.pass_at_1.low > 0.2
    assert comparison.maj_at[8].low > 0
    assert "pass@1, which is maj@1: raised, +0." in comparison.sentence
    assert "maj@8: raised, +" in comparison.sentence


def test_comparison_of_a_model_with_itself_shows_nothing() -> None:
    comparison = compare(measured(0.5), measured(0.5))
    assert comparison.pass_at[8].low < comparison.pass_at[8].value == 0.0 < comparison.pass_at[8].high
    assert "maj@8: no difference shown" in comparison.sentence
    assert comparison.sentence.endswith("had little room to rise.") or "is shown." in comparison.sentence


def by_k(evaluation: Evaluation, pass_values: Sequence[float], maj_values: Sequence[float]) -> Evaluation:
    return replace(
        evaluation,
        pass_at={1: evaluation.pass_at[1], 8: Measure.of(pass_values)},
        maj_at={1: evaluation.maj_at[1], 8: Measure.of(maj_values)},
    )


@pytest.mark.parametrize(
    ("passes", "majorities", "words"),
    [
        (0.5, 0.5, "So neither a difference in Maj@8 nor one in Pass@8 is shown."),
        (0.5, 1.0, "no difference in Pass@8 is shown: correct answers that 8 samples already reached"),
        (1.0, 1.0, "raised Maj@8 and also Pass@8"),
        (0.0, 1.0, "raised Maj@8 and lowered Pass@8"),
        (1.0, 0.5, "raised Pass@8, and no difference in Maj@8 is shown"),
        (0.5, 0.0, "So Maj@8: lowered; Pass@8: no difference shown."),
    ],
)
def test_the_sentence_follows_from_the_intervals(passes: float, majorities: float, words: str) -> None:
    base = measured(0.5)
    half = [0.5] * 40
    comparison = compare(by_k(base, half, half), by_k(base, [passes] * 40, [majorities] * 40))
    assert words in comparison.sentence


def test_comparing_different_problems_is_refused() -> None:
    with pytest.raises(UserError, match="different problems"):
        compare(measured(0.5), measured(0.5, problems=40))
    with pytest.raises(UserError, match=r"temperature 1\.0 and 0\.5"):
        compare(measured(0.5), measured(0.5, temperature=0.5))
