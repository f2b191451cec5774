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
from groupwise.evaluation.comparison import Comparison, compare
from groupwise.evaluation.evaluate import Evaluation, evaluate
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.statistics import maj_at_k
from groupwise.evaluation.voting import candidates
from groupwise.protocols import Reward
from groupwise.rewards import LengthPenalty, as_reward, score_rollouts
from groupwise.rewards.verdicts import Judge
from groupwise.runs.evaluations import headline, never_right
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

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        return [int(r.text.removeprefix("#### ")) for r in rollouts]


def rollout(text: str, correct: bool | None = None) -> Rollout:
    return Rollout(Prompt(Example("row:1", "?"), (1,)), (1,), (True,), (-0.1,), text, True, 0, correct=correct)


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
    once = evaluate(KnownEngine(0.7), DigitRenderer(), digits(30), samples=1, sampled_problems=30)
    assert once.settings == quick.settings
    assert (once.pass_at, once.maj_at) == ({}, {})
    assert quick.pass_at == quick.maj_at == {}
    assert quick.tokens == 2 * (30 + 30)
    assert "nothing can be said" in compare(quick, quick).sentence


def test_a_lower_bar_of_correctness_is_a_parameter() -> None:
    assert measured(0.0).pass_at_1.value == 0.0
    assert measured(0.0, correct_at=0.0).pass_at_1.value == 1.0


def test_a_custom_vote_replaces_the_final_answer() -> None:
    silent = measured(0.9, canonical=lambda rollout: None)
    assert silent.maj_at[8].value == 0.0
    assert silent.pass_at[8].value > 0.9


def always(value: float, name: str, weight: float = 1.0) -> Reward:
    def says(completion: str) -> float:
        return value

    return as_reward(says, name=name, weight=weight, isolated=False)


def test_a_format_reward_and_a_length_penalty_make_nothing_right_or_wrong() -> None:
    """An always wrong model, well-formed, and an always right one, over length: the sums would say 1 and 0."""
    for ability, rewards in (
        (0.0, (Matches(), always(1.0, "format"))),
        (0.0, (Matches(weight=-3.0), always(1.0, "format", weight=9.0))),
        (1.0, (Matches(), LengthPenalty(1, 1))),
        (1.0, (Matches(weight=0.2), LengthPenalty(1, 1, weight=7.0))),
        (1.0, (Matches(weight=0.7 + 0.2 + 0.1), always(-1.0, "style"))),
    ):
        task = replace(digits(20), rewards=rewards)
        found = evaluate(KnownEngine(ability), DigitRenderer(), task, samples=8)
        truth = float(ability > 0.5)
        assert found.greedy.value == found.pass_at_1.value == truth
        assert {measure.value for measure in (*found.pass_at.values(), *found.maj_at.values())} == {truth}
        assert found.judge == "matches"
        assert found.reward_means["matches"] == truth
        assert list(found.reward_means) == [reward.name for reward in rewards]
        assert [completion.correct for completion in found.completions] == [bool(truth)] * 8


def test_a_referee_judges_what_others_reward() -> None:
    task = replace(digits(20), rewards=(always(7.0, "learned"),), referee=(Matches(),))
    found = evaluate(KnownEngine(0.0), DigitRenderer(), task, samples=4)
    assert found.greedy.value == found.pass_at_1.value == 0.0
    assert (found.judge, found.reward_means) == ("matches", {"learned": 7.0, "matches": 0.0})
    assert found.completions[0].reward == 7.0


def test_the_judge_states_its_threshold() -> None:
    half = as_reward(lambda completion: 0.5, name="half", isolated=False, correct_at=0.5)
    found = evaluate(KnownEngine(0.0), DigitRenderer(), replace(digits(6), rewards=(half,)), samples=2)
    assert found.greedy.value == 1.0
    assert found.settings.correct_at == 0.5


@pytest.mark.parametrize(
    ("score", "threshold", "told"),
    [
        (0.8, 1.0, "no answer was right: the highest score of scaled is 0.8, and an answer is right from 1 on (state "),
        (
            0.4,
            0.5,
            "no answer was right: the highest score of scaled is 0.4, and an answer is right from 0.5 on (state ",
        ),
        (-2.0, 0.0, "no answer was right: the highest score of scaled is -2, and an answer is right from 0 on"),
        (0.0, 1.0, "no answer was right: the highest score of scaled is 0, and an answer is right from 1 on"),
        (0.5, 0.5, ""),
        (1.0 - 1e-12, 1.0, ""),
        (3.0, 1.0, ""),
    ],
)
def test_a_judge_that_never_reaches_its_threshold_is_told(score: float, threshold: float, told: str) -> None:
    @dataclass(frozen=True)
    class Scaled:
        name: str = "scaled"
        weight: float = 1.0
        correct_at: float = threshold

        def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
            return [Score(score if number % 3 == 0 else score - 0.5) for number, _ in enumerate(rollouts)]

    task = replace(digits(6), rewards=(Scaled(),))
    found = evaluate(KnownEngine(0.5), DigitRenderer(), task, samples=2, sampled_problems=2)
    assert never_right(found).startswith(told) if told else never_right(found) == ""
    assert found.highest == score
    assert never_right(Evaluation.from_json(json.loads(json.dumps(found.to_json())))) == never_right(found)
    assert never_right(replace(found, highest=None)) == ""  # a file from before it was kept


def test_without_an_equality_there_is_no_vote() -> None:
    """Absent, and not 0; said in words, in the comparison as well."""
    rule = as_reward(lambda completion, answer: float(completion == f"#### {answer}"), name="rule", isolated=False)
    task = replace(digits(30), rewards=(rule,))
    one, other = (evaluate(KnownEngine(x), DigitRenderer(), task, samples=4) for x in (0.3, 0.9))
    assert one.maj_at == {}
    assert list(one.pass_at) == [1, 2, 4]
    sentence = compare(one, other).sentence
    assert "pass@4: raised" in sentence
    assert "Maj@K is left out: reward 'rule' does not say which answers are the same" in sentence
    assert Evaluation.from_json(json.loads(json.dumps(other.to_json()))) == other


@dataclass(frozen=True)
class Kinds:
    """Votes by the kind that a text names before its colon; right where it ends in ``!``."""

    name: str = "kinds"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(float(r.text.endswith("!"))) for r in rollouts]

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        kinds = [r.text.partition(":")[0] for r in rollouts]
        return [kinds.index(kind) if kind else None for kind in kinds]


@pytest.mark.parametrize(
    ("texts", "majority"),
    [
        (["x+1:!", "1+x:!", "(2x+2)/2:!", "x:", "x:"], 1.0),  # right ones are one candidate, however they are written
        (["A:!", "A:", "A:", "B:!"], 0.5),  # a wrong one is no voter of a right one: 2 against 2
        ([":!", ":!", "B:", ":"], 1.0),  # right without an answer of its own
        (["a:", "a:", "b:!", ":"], 0.0),
        (["a:", "b:", ":", ":"], 0.0),
        (["p1:!"] * 3 + ["p2:!"] * 3 + ["q:"] * 2, 1.0),
    ],
)
def test_the_vote_is_the_judges_equality_and_its_verdict_first(texts: list[str], majority: float) -> None:
    judge = Judge.of(Kinds())
    rows, _ = score_rollouts([rollout(text) for text in texts], [judge.reward], judge)
    votes = candidates(judge, rows)
    assert votes is not None
    correct = [bool(row.correct) for row in rows]
    assert maj_at_k(votes, correct, len(rows)) == majority
    wrong = {vote for vote, ok in zip(votes, correct, strict=True) if not ok}
    right = {vote for vote, ok in zip(votes, correct, strict=True) if ok}
    assert len(right) <= 1
    assert not right & wrong


def test_votes_must_be_as_many_as_answers() -> None:
    class Few(Kinds):
        def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
            return [1]

    with pytest.raises(UserError, match="reward 'kinds' returned 1 votes for 2 completions"):
        Judge.of(Few()).votes([rollout("a"), rollout("b")])


def test_different_judges_are_not_compared() -> None:
    one = measured(0.5)
    with pytest.raises(UserError, match="judged by matches and by rule"):
        compare(one, replace(one, judge="rule"))
    assert compare(replace(one, judge=""), one).greedy.value == 0.0


def test_a_file_from_before_the_judge_was_kept_is_read() -> None:
    evaluation = measured(0.4)
    values = json.loads(json.dumps(evaluation.to_json()))
    for key in ("judge", "reward_means"):
        del values[key]
    for row in values["completions"]:
        del row["correct"]
    found = Evaluation.from_json(values)
    assert (found.judge, found.reward_means, found.greedy) == ("", {}, evaluation.greedy)
    assert headline(found).endswith("on 80 problems")
    assert headline(evaluation).endswith(f"; correct: by matches; mean matches {evaluation.pass_at_1.value:.3f}")


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
        (0.5, 0.0, "So training lowered Maj@8, and no difference in Pass@8 is shown"),
        (0.0, 0.0, "Maj@K fell at K = 8, Pass@K fell at K = 8. So training lowered Maj@8 and also Pass@8"),
        (0.0, 0.5, "each: pass@8: lowered"),
        (1.0, 0.0, "Maj@K fell at K = 8, Pass@K rose at K = 8."),
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


def test_each_held_out_set_is_measured_by_itself() -> None:
    """Two of three problems of one set are right, none of the other's; of each the first two are sampled."""
    task = digits(6)
    rows = [
        replace(row, columns={"data_source": "even" if n % 2 == 0 else "odd"}) for n, row in enumerate(task.held_out)
    ]
    task = replace(task, held_out=rows)

    @dataclass
    class Even(KnownEngine):
        def generate(
            self, requests: Sequence[Request], sampling: Sampling, on_token: object = None
        ) -> Iterator[tuple[int, int, Completion]]:
            for row, request in enumerate(requests):
                gold = request.tokens[0]
                digit = gold if gold in (0, 4) else gold + 1
                for index in range(len(request.seeds)):
                    yield row, index, Completion((digit, EOS), (-0.5, -0.5), True, self.version)

    found = evaluate(Even(1.0), DigitRenderer(), task, problems=3, samples=4, sampled_problems=2)
    assert found.sets == {"even": (0, 2, 4), "odd": (1, 3, 5)}
    assert found.settings.sampled_problems == 4
    even, odd = found.of_set("even"), found.of_set("odd")
    assert (even.greedy.value, odd.greedy.value) == (pytest.approx(2 / 3), 0.0)
    assert even.pass_at_1.by_problem == (1.0, 0.0, 1.0)
    assert even.pass_at[4].by_problem == (1.0, 0.0)
    assert (even.problems, even.settings.sampled_problems, even.task) == (3, 2, "digits: even")
    assert found.greedy.value == pytest.approx((even.greedy.value + odd.greedy.value) / 2)
    again = Evaluation.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert compare(even, again.of_set("even")).greedy.value == 0.0
