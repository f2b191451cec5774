"""What becomes of a reward model's score, by hand; and what that does to GRPO and to PPO."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise import recipes
from groupwise.algorithm import Algorithm, Signals, Whitening
from groupwise.errors import UserError
from groupwise.learners import Local
from groupwise.rewards import Cached, Clipped, ModelReward, Sigmoid, Standardised, Unscaled, by_name, with_scales
from groupwise.rewards.model import scale_metrics
from groupwise.rewards.scale import Scale, scale_named
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Rollout

CPU = Local(device="cpu")
SCORES = [1.0, 3.0, 5.0, 7.0]  # mean 4, population variance 5


def test_hand_numbers() -> None:
    measured = Standardised().measured(SCORES)
    assert (measured.mean, measured.spread) == (4.0, math.sqrt(5))
    assert [measured.of(score) for score in SCORES] == pytest.approx([each / math.sqrt(5) for each in (-3, -1, 1, 3)])
    assert [Sigmoid().of(score) for score in (0.0, math.log(3), -math.log(3))] == pytest.approx([0.5, 0.75, 0.25])
    assert [Clipped(-1.0, 2.5).of(score) for score in (-7.0, 0.3, 9.0)] == [-1.0, 0.3, 2.5]
    assert Unscaled().of(12.5) == 12.5
    assert (measured.formula(), Clipped(-1, 2.5).formula()) == ("(r - 4) / 2.236", "r held between -1 and 2.5")


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0, 2.0], [0.1 + 0.2, 0.3]])
def test_scores_without_spread_are_refused(scores: list[float]) -> None:
    with pytest.raises(UserError, match=r"reward 'rm': cannot be standardised: the \d scores .*expected scores that"):
        Standardised().measured(scores, "rm")


@pytest.mark.parametrize(
    "numbers", [(0.0, 0.0), (0.0, -1.0), (None, 1.0), (1.0, None), (math.nan, 1.0), (0.0, math.inf), ("0", 1.0)]
)
def test_no_score_is_divided_by_what_is_no_spread(numbers: tuple[Any, Any]) -> None:
    with pytest.raises(UserError, match="expected two finite numbers, the spread above 0, or neither"):
        Standardised(64, 4, *numbers)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, -2.0), (-math.inf, 0.0), (0.0, math.nan)])
def test_a_range_that_is_none_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="expected finite low < high"):
        Clipped(*ends)


# On the command line

NAMED: dict[str, Scale] = {
    "outcome:runs/a/models/rm": Unscaled(),
    "outcome:runs/a/models/rm,none": Unscaled(),
    "outcome:runs/a/models/rm,standardised": Standardised(),
    "outcome:runs/a/models/rm, standardised 128 8": Standardised(128, 8),
    "outcome:runs/a/models/rm,sigmoid": Sigmoid(),
    "outcome:runs/a/models/rm,clipped -3 4.5": Clipped(-3.0, 4.5),
}


@pytest.mark.parametrize("spec", NAMED)
def test_a_scale_follows_the_directory(spec: str) -> None:
    expected = ModelReward("runs/a/models/rm", scale=NAMED[spec], name="rm")
    assert by_name(spec) == expected
    assert by_name(f"{spec}*0.5") == replace(expected, weight=0.5)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("standardized", "expected none, standardised"), ("standardised 5", "expected none"), ("", "expected none"),
        ("standardised 0 4", "whole numbers of 1 or more"), ("sigmoid 2", "expected none"),
        ("clipped", "expected none"), ("clipped 1", "expected none"), ("clipped a b", "'a' is no number"),
        ("clipped 2 1", "finite low < high"), ("clipped nan 1", "finite low < high"),
    ],
)  # fmt: skip
def test_what_is_no_scale_is_refused_with_what_is(scale: str, words: str) -> None:
    with pytest.raises(UserError, match=f"reward 'outcome:rm,.*{words}"):
        by_name(f"outcome:rm,{scale}")


def test_steps_are_probabilities_already(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected process:DIR alone"):
        by_name("process:rm,sigmoid")
    with pytest.raises(UserError, match="a probability already"):
        ModelReward("rm", kind="process", scale=Sigmoid())


def test_a_directory_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    place = tmp_path / "seed,1"
    place.mkdir()
    assert by_name(f"outcome:{place}") == ModelReward(str(place), name="seed,1")
    assert by_name(f"outcome:{place},sigmoid") == ModelReward(str(place), scale=Sigmoid(), name="seed,1")


# On a real scorer


@pytest.fixture(scope="module")
def scorer(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scorer") / "model"
    directory.mkdir()
    CPU.open_scorer(tiny_model, seed=1).save(directory)
    return directory


@pytest.fixture
def rows(tiny_model: Path, make_rollout: Callable[..., Rollout]) -> list[Rollout]:
    renderer = Renderer(CPU.open(tiny_model).tokenizer)
    prompt = renderer.prompt(Example("row:1", "2+2=")).tokens
    texts = ("4", "it is 5", "no answer at all")
    made = [make_rollout(prompt, renderer.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    return [replace(row, text=text) for row, text in zip(made, texts, strict=True)]


def test_every_score_is_scaled_and_its_own_is_logged(scorer: Path, rows: list[Rollout], tmp_path: Path) -> None:
    raw = [score.value or 0.0 for score in ModelReward(scorer, learner=CPU).score(rows)]
    for scale in (Sigmoid(), Clipped(-1e-3, 1e-3), Standardised(mean=0.25, spread=0.5)):
        reward = ModelReward(scorer, learner=CPU, scale=scale)
        scores = reward.score(rows)
        assert [score.value for score in scores] == [scale.of(value) for value in raw]
        assert [score.logged["unscaled"] for score in scores] == raw
        cached = Cached(reward, tmp_path / "cache.db")
        assert [score.cached for score in cached.score(rows)] == [False] * 3  # one scale is not kept for another
        assert [score.value for score in cached.score(rows)] == [score.value for score in scores]


def test_nothing_is_standardised_by_numbers_that_nobody_measured(scorer: Path, rows: list[Rollout]) -> None:
    with pytest.raises(UserError, match=r"nothing has measured its mean and spread; a run does that before"):
        ModelReward(scorer, learner=CPU, scale=Standardised()).score(rows)


def test_scales_reach_rewards_in_a_cache_and_metrics(tmp_path: Path) -> None:
    known = Standardised(mean=2.0, spread=3.0)
    rewards = (Cached(ModelReward("a", name="a"), tmp_path / "c.db"), ModelReward("b", name="b", scale=Sigmoid()))
    found = with_scales(rewards, {"a": known})
    assert isinstance(found[0], Cached)
    assert found[0].reward == ModelReward("a", name="a", scale=known)
    assert found[1] == rewards[1]
    assert scale_metrics(found) == {"rewards/a/scale_mean": 2.0, "rewards/a/scale_spread": 3.0}


# What it does to a method


def advantages(algorithm: Algorithm, scores: list[float]) -> torch.Tensor:
    """Of the last token of four completions of one prompt (each of a prompt of its own where none is compared)."""
    rewards = torch.tensor(scores, dtype=torch.float64)[:, None]
    there = torch.ones(4, 1, dtype=torch.bool)
    signals = Signals(
        mask=there, group=torch.zeros(4, dtype=torch.int64), rewards=rewards, rewarded=there, finished=there[:, 0],
        old_logprobs=torch.zeros(4, 1), reference_logprobs=torch.zeros(4, 1), old_values=torch.zeros(4, 1),
    )  # fmt: skip
    found = algorithm.prepare(signals).advantages
    assert found is not None
    return found[:, 0]


PPO = replace(recipes.ppo, whitening=Whitening())
"""Without whitening, which takes a scale out again."""


@pytest.mark.parametrize("scale", [Standardised(mean=4.0, spread=math.sqrt(5)), Sigmoid(), Clipped(2.0, 6.0)])
def test_scale_goes_and_rank_stays_under_grpo_and_not_under_ppo(scale: Scale) -> None:
    scaled = [scale.of(score) for score in SCORES]
    plain, after = advantages(recipes.grpo, SCORES), advantages(recipes.grpo, scaled)
    assert plain.argsort().tolist() == after.argsort().tolist()
    if isinstance(scale, Standardised):
        torch.testing.assert_close(after, plain, atol=1e-4, rtol=1e-4)  # up to epsilon
        torch.testing.assert_close(
            after, advantages(recipes.grpo, [100 * score + 7 for score in scaled]), rtol=1e-3, atol=1e-4
        )
    else:
        assert not torch.allclose(after, plain, atol=1e-2)  # distances are others
    torch.testing.assert_close(advantages(PPO, SCORES), torch.tensor(SCORES).double())
    torch.testing.assert_close(advantages(PPO, scaled), torch.tensor(scaled).double())


def test_names_are_those_of_the_docstring() -> None:
    assert scale_named("standardised") == Standardised()
    with pytest.raises(UserError, match="expected none, standardised"):
        scale_named("")
