"""Steps labelled by what becomes of them: hand-computed labels of scripted answers, and a real engine's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import UserError
from groupwise.rewards import FinalAnswer, as_reward
from groupwise.sources import DrawContext, MonteCarloSteps
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Lines
from groupwise.types import Completion, Example, Group, Request, Rollout, Sampling, Score
from groupwise.values.metric_names import untimed

Open = Callable[..., DrawContext]
ROW = Example("sum", "1 + 1 + 1 =", answer="3")
SOURCE = MonteCarloSteps(samples_per_prompt=4, continuations=4, max_completion_tokens=12)

SOLUTIONS = ("2\n3\n#### 3", "2\n4\n#### 4", "2\n3\n#### 3", "2\n\n3\n4\n4\n4\n4")
CONTINUATIONS = {
    "2": ("\n3\n#### 3", "\n4\n#### 4", "\n#### 5", "?"),
    "2\n3": ("\n#### 3",) * 4,
    "2\n4": ("\n#### 4",) * 4,
    "2\n\n3": ("\n#### 3", "\n#### 3", "\n#### 4", "\n#### 3"),
    "2\n\n3\n4": ("\n#### 4",) * 4,
    "2\n\n3\n4\n4": ("\n#### 4",) * 4,
    "2\n\n3\n4\n4\n4": ("\n#### 4",) * 4,
}
"""Text so far -> what the engine says next, by the place of the seed. The fourth solution is cut off before its end."""


class Scripted:
    """An engine that says what stands in a script, token by token, up to ``max_tokens``; and writes down its work."""

    version, context_tokens = 5, 128

    def __init__(self, renderer: Renderer, script: Mapping[str, Sequence[str]]) -> None:
        self.renderer, self.script = renderer, script
        self.batches: list[list[str]] = []
        self.opening = renderer.prompt(ROW).tokens

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_token: Any = None
    ) -> Iterator[tuple[int, int, Completion]]:
        texts = [self.renderer.decode(request.tokens[len(self.opening) :]) for request in requests]
        self.batches.append(texts)
        for number, (text, request) in reversed(list(enumerate(zip(texts, requests, strict=True)))):
            for index in range(len(request.seeds)):
                said = self.renderer.tokenizer.encode(self.script[text][index], add_special_tokens=False)
                whole = (*said, self.renderer.stop_tokens[0])
                tokens = whole[: sampling.max_tokens]
                logprobs = (-1.0,) * len(tokens)
                yield number, index, Completion(tokens, logprobs, tokens == whole, self.version)

    def load(self, weights: Mapping[str, Any], version: int) -> None:
        self.version = version


@pytest.fixture
def scripted(world: Open) -> Callable[..., tuple[DrawContext, Scripted]]:
    def make(
        source: MonteCarloSteps, script: Mapping[str, Sequence[str]], **options: Any
    ) -> tuple[DrawContext, Scripted]:
        here = world(source, [ROW], rewards=(FinalAnswer(),), **{"prompts_per_step": 3} | options)
        here = replace(here, task=replace(here.task, steps=Lines()))
        engine = Scripted(here.renderer, script)
        return replace(here, engine=engine), engine

    return make


SCRIPT = {"": SOLUTIONS, **CONTINUATIONS}


def labels(groups: Sequence[Group]) -> dict[str, list[float]]:
    return {rollout.text: list(rollout.rewards.values()) for group in groups for rollout in group.rollouts}


@pytest.mark.parametrize(
    ("estimate", "first", "second", "third"),
    [("hard", [1, 1, 1], [1, 0, 0], [1, 1, 0, 0, 0]), ("soft", [0.25, 1, 1], [0.25, 0, 0], [0.25, 0.75, 0, 0, 0])],
)
def test_labels_by_hand(scripted: Any, estimate: Any, first: Any, second: Any, third: Any) -> None:
    """The final step has the verdict on the solution; of the truncated one the last step is open."""
    source = replace(SOURCE, estimate=estimate)
    here, engine = scripted(source, SCRIPT)
    draw = source.draw(here, {})
    # Twelve tokens are all that the fourth may have: its last line is the one that it was cut off in.
    assert labels(draw.groups) == {SOLUTIONS[0]: first, SOLUTIONS[1]: second, "2\n\n3\n4\n4\n4\n4": third}
    rollouts = {rollout.text: rollout for group in draw.groups for rollout in group.rollouts}
    assert [len(group.rollouts) for group in draw.groups] == [1, 1, 1]
    assert rollouts[SOLUTIONS[0]].steps == tuple(rollouts[SOLUTIONS[0]].rewards) == (0, 2, 9)
    assert rollouts[SOLUTIONS[0]].scores == {"answer": Score(1.0)}
    assert rollouts[SOLUTIONS[1]].version == 5
    # Every distinct prefix once, all in one batch after the solutions'.
    assert [sorted(batch) for batch in engine.batches] == [[""], sorted(CONTINUATIONS)]
    metrics = draw.metrics
    assert metrics["solutions"] == 3
    assert metrics["solutions/duplicate"] == 1
    assert metrics["steps/labelled"] == 11
    assert metrics["steps/right_share"] == pytest.approx(sum(first + second + third) / 11)
    assert metrics["steps/open"] == 1
    assert metrics["continuations"] == 4 * 7


def test_every_sampled_token_is_counted(scripted: Any) -> None:
    here, _ = scripted(SOURCE, SCRIPT)
    draw = SOURCE.draw(here, {})
    solutions = 3 * 11 + 12
    assert draw.sampled_tokens == solutions + draw.metrics["continuation_tokens"]
    # From "2" and "2\n3" by hand: no more than 12 - 1 tokens each, EOS included.
    assert draw.metrics["continuation_tokens"] == (10 + 10 + 8 + 2) + 4 * 8 * 6
    assert set(draw.seconds) == {"sample", "reward"}


def test_an_attempt_is_no_longer_than_a_solution_may_be(scripted: Any) -> None:
    """A continuation that is right only beyond ``max_completion_tokens`` of the whole attempt is not."""
    late = CONTINUATIONS | {"2\n3": ("\n\n\n\n#### 3",) * 4}
    here, _ = scripted(SOURCE, SCRIPT | late)
    assert labels(SOURCE.draw(here, {}).groups)[SOLUTIONS[0]] == [1, 0, 1]


def test_what_the_rule_cannot_judge_is_no_label(scripted: Any) -> None:
    """Timed out or failed: left out of the share; a step of which nothing is known has no label."""

    class Unsure:
        name, weight = "unsure", 1.0

        def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
            judged = FinalAnswer().score(rollouts)
            return [
                Score(None, "timeout") if r.text.startswith("2\n4") or r.text.endswith("?") else score
                for r, score in zip(rollouts, judged, strict=True)
            ]

    source = replace(SOURCE, estimate="soft")
    here, _ = scripted(source, SCRIPT)
    here = replace(here, task=replace(here.task, rewards=(Unsure(),)))
    draw = source.draw(here, {})
    assert labels(draw.groups)[SOLUTIONS[0]] == [pytest.approx(1 / 2), 1, 1]
    assert labels(draw.groups)[SOLUTIONS[1]] == [pytest.approx(1 / 2)]
    assert draw.metrics["steps/unknown"] == 2


def test_the_text_of_a_solution_may_have_no_step(scripted: Any) -> None:
    here, _ = scripted(SOURCE, SCRIPT | {"": ("\n \n", *SOLUTIONS[:3])})
    draw = SOURCE.draw(here, {})
    assert draw.metrics["solutions/without_steps"] == 1
    assert set(labels(draw.groups)) == {*SOLUTIONS[:2]}
    here, _ = scripted(SOURCE, {"": ("\n",) * 4})
    with pytest.raises(
        UserError, match=r"no step could be labelled \(solutions/duplicate 3, solutions/without_steps 1"
    ):
        SOURCE.draw(here, {})


def test_one_label_everywhere_says_what_to_do(scripted: Any) -> None:
    here, _ = scripted(SOURCE, {"": ("2\n3\n#### 3",) * 4, "2": ("\n#### 3",) * 4, "2\n3": ("\n#### 3",) * 4})
    with pytest.raises(UserError, match=r"every step of rows has the label 1\.0.*samples_per_prompt"):
        SOURCE.draw(here, {})


def test_what_it_needs_of_a_task(world: Open) -> None:
    with pytest.raises(UserError, match="task rows has no steps"):
        SOURCE.draw(world(SOURCE), {})
    here = world(SOURCE, rewards=())
    with pytest.raises(UserError, match="task rows has no rewards"):
        SOURCE.draw(replace(here, task=replace(here.task, steps=Lines())), {})
    with pytest.raises(UserError, match="continuations is 0"):
        MonteCarloSteps(continuations=0)


def even(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2 == 0) for text in completions]


class EveryThird:
    """A step each third character: so that even nonsense has steps."""

    def ends(self, text: str) -> tuple[int, ...]:
        return tuple(end for end in range(3, len(text) + 1, 3) if not text[end - 1].isspace())


@pytest.fixture
def real(world: Open) -> Callable[..., DrawContext]:
    """An untrained model under a rule that it meets by chance."""

    def make(source: MonteCarloSteps, **options: Any) -> DrawContext:
        here = world(source, rewards=(as_reward(even),), **{"prompts_per_step": 8} | options)
        return replace(here, task=replace(here.task, steps=EveryThird()))

    return make


def tokens_and_labels(groups: Sequence[Group]) -> list[Any]:
    return [(rollout.tokens, rollout.rewards) for group in groups for rollout in group.rollouts]


def test_labels_do_not_depend_on_the_engines_batches(real: Callable[..., DrawContext]) -> None:
    source = replace(SOURCE, samples_per_prompt=2, estimate="soft", max_completion_tokens=16)
    whole, narrow = (source.draw(real(source, max_rows=rows), {}) for rows in (64, 3))
    assert tokens_and_labels(whole.groups) == tokens_and_labels(narrow.groups)
    assert whole.sampled_tokens == narrow.sampled_tokens
    shares = {label for group in whole.groups for label in group.rollouts[0].rewards.values()}
    assert len(shares) > 2
    assert tokens_and_labels(source.draw(replace(real(source), seed=8), {}).groups) != tokens_and_labels(whole.groups)


def test_what_was_kept_comes_back_exactly(real: Callable[..., DrawContext], tmp_path: Path) -> None:
    source = replace(SOURCE, samples_per_prompt=2, prompts=4)
    first = source.draw(replace(real(source), store=tmp_path), {})
    phases: list[tuple[str, int, int]] = []
    there = replace(real(source), store=tmp_path, on_phase=lambda *phase: phases.append(phase))
    again = source.draw(there, {})
    assert again.groups == first.groups
    assert again.metrics == untimed(first.metrics)
    assert (again.sampled_tokens, phases) == (0, [])
    with pytest.raises(UserError, match=r"continuations=4.*remove the file"):
        replace(source, continuations=2).draw(replace(there), {})
