"""Rewards that are models: a real scorer on disk, scores as its learner gives them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.learners import Local
from groupwise.rewards import (
    Cached,
    FinalAnswer,
    LengthPenalty,
    ModelReward,
    score_rollouts,
    solution_score,
    with_scorers,
)
from groupwise.rewards.scale import sigmoid
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Prompt, Rollout, Score

CPU = Local(device="cpu")


@pytest.fixture(scope="module")
def scorer(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scorer") / "model"
    directory.mkdir()
    CPU.open_scorer(tiny_model, seed=1).save(directory)
    return directory


@pytest.fixture
def attempt(tiny_model: Path) -> Callable[..., Rollout]:
    """``attempt(text, answer=, steps=)``: tokenised as the policy would have sampled it."""
    renderer = Renderer(CPU.open(tiny_model).tokenizer)

    def make(text: str, answer: str = "4", steps: tuple[int, ...] = ()) -> Rollout:
        prompt = renderer.prompt(Example("row:1", "2+2=", answer=answer))
        tokens = tuple(renderer.tokenizer.encode(text, add_special_tokens=False))
        mask = (True,) * len(tokens)
        return Rollout(prompt, tokens, mask, (-1.0,) * len(tokens), text, True, 0, steps=steps)

    return make


def test_an_outcome_is_the_score_after_the_last_sampled_token(scorer: Path, attempt: Callable[..., Rollout]) -> None:
    rows = [attempt("#### 4"), attempt("so the sum is #### 5")]
    scores = ModelReward(scorer, learner=CPU).score(rows)
    said = CPU.open_scorer(scorer).score(rows)
    assert [score.value for score in scores] == [said[0, rows[0].last].item(), said[1, rows[1].last].item()]
    assert scores[0].value != scores[1].value
    assert all(score.status == "scored" and not score.steps for score in scores)


def test_a_batch_says_what_each_alone_says_and_twice_the_same(scorer: Path, attempt: Callable[..., Rollout]) -> None:
    rows = [attempt("a" * length) for length in (1, 7, 30, 3)]
    reward = ModelReward(scorer, learner=replace(CPU, tokens_per_micro_batch=40))
    together = [score.value for score in reward.score(rows)]
    alone = [reward.score([row])[0].value for row in rows]
    assert together == pytest.approx(alone, abs=1e-5)
    assert [score.value for score in reward.score(rows)] == together
    assert reward.score([]) == []


@pytest.mark.parametrize("aggregate", ["min", "last", "mean", "product"])
def test_a_process_scores_each_step_and_the_solution(
    aggregate: str, scorer: Path, attempt: Callable[..., Rollout]
) -> None:
    row = attempt("1+1=2\n2+2=4\n", steps=(4, 10))
    (score,) = ModelReward(scorer, kind="process", aggregate=aggregate, learner=CPU).score([row])  # type: ignore[arg-type]
    logits = CPU.open_scorer(scorer).score([row])[0]
    steps = {end: sigmoid(logits[end].item()) for end in (4, 10)}
    assert score.steps == pytest.approx(steps)
    assert all(0 < step < 1 for step in score.steps.values())
    first, second = steps.values()
    whole = {"min": min(first, second), "last": second, "mean": (first + second) / 2, "product": first * second}
    assert score.value == pytest.approx(whole[aggregate])


def test_the_solution_alone_can_be_the_reward(scorer: Path, attempt: Callable[..., Rollout]) -> None:
    row = attempt("1+1=2\n2+2=4\n", steps=(4, 10))
    (each,) = ModelReward(scorer, kind="process", learner=CPU).score([row])
    (whole,) = ModelReward(scorer, kind="process", each_step=False, learner=CPU).score([row])
    assert (whole.value, whole.steps) == (each.value, {})


def test_without_steps_a_process_gets_what_the_worst_step_would_and_is_counted(
    scorer: Path, attempt: Callable[..., Rollout]
) -> None:
    reward = ModelReward(scorer, kind="process", learner=CPU, name="prm")
    (row, other), metrics = score_rollouts([attempt("4"), attempt("x=4\n", steps=(2,))], [reward])
    assert row.scores["prm"] == Score(0.0, "unparseable")
    assert row.rewards == {row.last: 0.0}
    assert set(other.rewards) == {2}
    assert metrics["rewards/prm/unparseable"] == 0.5


def test_what_does_not_fit_the_scorer_s_context_failed(scorer: Path, attempt: Callable[..., Rollout]) -> None:
    rows = [attempt("4" * 200), attempt("4")]
    first, second = ModelReward(scorer, learner=CPU).score(rows)
    assert first == Score(None, "failed")
    assert second.status == "scored"


def test_a_scorer_is_opened_once_while_it_is_used_and_anew_once_it_has_changed(
    scorer: Path, tmp_path: Path, attempt: Callable[..., Rollout]
) -> None:
    place = tmp_path / "scorer"
    shutil.copytree(scorer, place)
    rows = [attempt("4")]
    named = ModelReward("rm"), ModelReward("rm", name="two")
    one, two = with_scorers(named, lambda name: place, CPU)
    before = one.score(rows)
    assert two.score(rows) == before
    assert isinstance(one, ModelReward)
    assert isinstance(two, ModelReward)
    assert one._scorer is two._scorer
    other = ModelReward(place, learner=CPU)  # of nobody's task
    assert other.score(rows) == before
    assert other._scorer is not one._scorer
    again = CPU.open_scorer(place)
    again.model.score.weight.data.mul_(2)
    again.save(place)
    after = ModelReward(place, learner=CPU).score(rows)
    assert after[0].value == pytest.approx(2 * (before[0].value or math.nan), rel=1e-4)


def test_a_language_model_is_no_scorer(tiny_model: Path, attempt: Callable[..., Rollout]) -> None:
    with pytest.raises(UserError, match=r"reward 'rm': .* holds a language model, which has no score"):
        ModelReward(tiny_model, name="rm", learner=CPU).score([attempt("4")])


def test_another_tokenizer_is_refused(
    scorer: Path, tiny_model: Path, tmp_path: Path, attempt: Callable[..., Rollout]
) -> None:
    other, policy = tmp_path / "other", CPU.open(tiny_model).tokenizer
    shutil.copytree(scorer, other)
    text = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    ids = text["model"]["vocab"]
    ids["4"], ids["5"] = ids["5"], ids["4"]
    (other / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    with pytest.raises(UserError, match="its tokenizer is another one: 2 tokens not the same, '4' first"):
        ModelReward("rm").resolved(other, CPU, policy).score([attempt("4")])
    with pytest.raises(UserError, match="another tokenizer: it reads '5' where the completion is '4'"):
        ModelReward(other, learner=CPU).score([attempt("4")])
    (score,) = ModelReward("rm").resolved(scorer, CPU, policy).score([attempt("4")])
    assert score.status == "scored"


def test_a_mix_adds_up_by_weight_and_each_is_logged_alone(scorer: Path, attempt: Callable[..., Rollout]) -> None:
    rows = [attempt("#### 4"), attempt("#### 5"), attempt("no answer")]
    model = ModelReward(scorer, learner=CPU, weight=0.5, name="rm")
    length = LengthPenalty(10, 8, weight=2.0)
    scored, metrics = score_rollouts(rows, [FinalAnswer(), model, length])
    values = [[row.scores[name].value or 0.0 for row in scored] for name in ("answer", "rm", "length")]
    for row, (answer, learned, short) in zip(scored, zip(*values, strict=True), strict=True):
        assert row.reward == pytest.approx(answer + 0.5 * learned + 2.0 * short)
    assert metrics["rewards/answer/mean"] == pytest.approx(1 / 3)
    assert metrics["rewards/answer/unparseable"] == pytest.approx(1 / 3)
    assert metrics["rewards/rm/mean"] == pytest.approx(sum(values[1]) / 3)
    assert metrics["rewards/length/mean"] == pytest.approx(sum(values[2]) / 3)
    assert all(metrics[f"rewards/{name}/seconds"] >= 0 for name in ("answer", "rm", "length"))


def test_an_earlier_stage_s_name_becomes_its_directory_also_inside_a_cache(tmp_path: Path) -> None:
    rewards = (FinalAnswer(), ModelReward("rm"), Cached(ModelReward("prm", kind="process"), tmp_path / "c.db"))
    answer, model, cached = with_scorers(rewards, lambda name: tmp_path / name, CPU)
    assert answer == FinalAnswer()
    assert isinstance(model, ModelReward)
    assert isinstance(cached, Cached)
    assert isinstance(cached.reward, ModelReward)
    assert (model.model, model.learner) == (tmp_path / "rm", CPU)
    assert (cached.reward.model, cached.reward.kind) == (tmp_path / "prm", "process")


def test_a_cache_knows_a_scorer_by_its_weights(scorer: Path, tmp_path: Path, attempt: Callable[..., Rollout]) -> None:
    place, rows = tmp_path / "scorer", [attempt("4")]
    shutil.copytree(scorer, place)

    def score() -> Score:
        (found,) = Cached(ModelReward(place, learner=CPU), tmp_path / "cache.db").score(rows)
        return found

    first, second = score(), score()
    assert (first.cached, second.cached) == (False, True)
    assert first == second
    again = CPU.open_scorer(place)
    again.model.score.weight.data.mul_(2)
    again.save(place)
    assert score().cached is False


@pytest.mark.parametrize("option", [{"kind": "both"}, {"aggregate": "median"}])
def test_an_unknown_option_is_refused(option: dict[str, str]) -> None:
    with pytest.raises(UserError, match="expected one of"):
        ModelReward("rm", **option)  # type: ignore[arg-type]


def test_solution_scores_are_hand_made_numbers() -> None:
    steps = [0.5, 0.7310585786300049]  # the sigmoids of 0 and 1
    assert [sigmoid(0.0), sigmoid(1.0)] == pytest.approx(steps)
    assert solution_score(steps) == 0.5
    assert solution_score(steps, "product") == pytest.approx(0.36552928931500245)
    assert sigmoid(-1000.0) == 0.0
    assert sigmoid(1000.0) == 1.0
    with pytest.raises(ValueError, match="without steps"):
        solution_score([])


def test_a_row_without_sampled_tokens_failed(scorer: Path) -> None:
    empty = Rollout(Prompt(Example("row:1", "2+2="), (1, 2)), (5,), (False,), (0.0,), "", True, 0)
    assert ModelReward(scorer, learner=CPU).score([empty]) == [Score(None, "failed")]
