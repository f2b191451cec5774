"""Every method on steps that hold nothing to learn, and on rewards at the edge of what a number can be.

Each trains a small model for a few steps in this process. Lost is a method that raises, ends early, leaves weights that
are not finite, or learns where there is nothing to learn.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import Algorithm, ConstantLength
from groupwise.learners.local import LocalLearner
from groupwise.runs.bad_batches import all_finite
from groupwise.sinks import Sinks
from groupwise.sources import FrozenPolicy, MonteCarloSteps, OnPolicy
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Lines
from groupwise.training.loop import Progress, train
from groupwise.training.stage import draw_context
from groupwise.types import Example, Score

STEPS, PROMPTS = 2, 2
MODEL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=256)
ROWS = tuple(
    Example(
        f"row:{letter}",
        letter,
        letter * 2,
        answer=letter,
        columns={"chosen": letter * 2, "rejected": letter, "completions": [letter, letter], "labels": [True, False]},
    )
    for letter in "abcd"
)
NOTHING_GATHERED = ("none was kept", "nothing can be learned from that", "no step could be labelled")
"""What methods say that sample once, before their first step, where that leaves them nothing."""
LEARN_A_DISTANCE = ("rpg_fkl", "rpg_rkl", "rpg_ufkl", "rpg_urkl")
"""Their objective is regularised by a distance to the policy that drew, which completions without a reward have."""


@dataclass(frozen=True)
class Says:
    """A reward that says of the n-th completion what ``of(n)`` is: a number, or None where it fails."""

    of: Callable[[int], float | None]
    name: str = "says"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Any]) -> list[Score]:
        found = [self.of(number) for number in range(len(rollouts))]
        return [Score(value, "scored" if value is not None else "failed", reason="by design") for value in found]


@dataclass(frozen=True)
class Fault:
    """What happens to every step of a stage."""

    of: Callable[[int], float | None]
    """The reward of a step's n-th completion."""
    source: dict[str, Any] | None = None
    """Options of an on-policy source."""
    truncated: bool = False
    """Truncated completions are masked, and all are truncated."""
    learns: bool = True
    """Whether a method may learn from it all the same: from a reward that is equal for all, for one."""


def first_is(value: float) -> Callable[[int], float]:
    """That of every second completion, the others' is 0 or 1."""
    return lambda number: value if number % 2 == 0 else float(number % 4 == 1)


EMPTY = {
    "all rewards are equal": Fault(lambda number: 1.0),
    "all rewards are 0": Fault(lambda number: 0.0),
    "every group is dropped": Fault(lambda number: 0.5, {"without_signal": "drop"}, learns=False),
    "no group to redraw": Fault(lambda number: 0.5, {"without_signal": "redraw", "most_rounds": 2}, learns=False),
    "every completion is truncated and masked": Fault(lambda number: float(number % 2), truncated=True, learns=False),
    "no completion has a reward": Fault(lambda number: None, learns=False),
}
EDGES = {
    f"half of the rewards are {value:g}": Fault(first_is(value))
    for value in (float("inf"), float("-inf"), float("nan"), 1e308, -1e308, 1e17, 1e-200)
}


def run(place: Path) -> dict[str, Any]:
    """How many methods times faults; ``lost``: what did not go on, or learned from nothing."""
    MODEL.save(place / "model", seed=1)
    counts: Counter[str] = Counter()
    lost = []
    for name in sorted(vars(recipes)["__all__"]):
        for kind, faults in (("empty", EMPTY), ("edge", EDGES)):
            for what, fault in faults.items():
                if not concerns(vars(recipes)[name], fault):
                    continue
                counts[f"{kind}_tried"] += 1
                if wrong := tried(name, fault, place / "model", BadBatchRecorder(counts)):
                    lost.append(f"{name}, {what}: {wrong}")
    return {**dict(counts), "methods": len(vars(recipes)["__all__"]), "lost": lost}


def concerns(algorithm: Algorithm, fault: Fault) -> bool:
    """Whether a method samples and so can be given this fault at all."""
    if isinstance(algorithm.source, OnPolicy):
        return not fault.truncated or not algorithm.trains_scorer
    return fault.source is None and not fault.truncated


class BadBatchRecorder(Sinks):
    """Counts updates that were left out, by what was not finite."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            kind = name.partition("skipped_updates/")[2]
            if kind:
                self.counts[f"updates_left_out_for_{kind}"] += int(value)


def tried(name: str, fault: Fault, model: Path, left_out: BadBatchRecorder) -> str:
    """What went wrong; empty: nothing."""
    try:
        learner, before, steps = learned(small(name, fault, model), fault, model, left_out)
    except Exception as error:
        told = isinstance(error, gw.UserError) and any(words in str(error) for words in NOTHING_GATHERED)
        return "" if told else f"{type(error).__name__}: {error}"
    now = dict(learner.weights())
    if steps != STEPS:
        return f"{steps} steps of {STEPS}"
    if not all_finite(now.items()):
        return "the weights are not finite"
    moved = any(not torch.equal(tensor, before[key]) for key, tensor in now.items())
    algorithm = vars(recipes)[name]
    distance = algorithm.needs_reference or name in LEARN_A_DISTANCE  # that is learned, too
    judged = algorithm.advantage.judges() and not distance
    nothing = not fault.learns and (judged or fault.truncated or fault.source is not None)
    return "it learned where there is nothing to learn" if moved and nothing else ""


def small(name: str, fault: Fault, model: Path) -> Algorithm:
    """The recipe with sizes as small as they come, and what the fault asks of it."""
    algorithm: Algorithm = vars(recipes)[name]
    source = algorithm.source
    if isinstance(source, OnPolicy):
        size = 1 if source.group_size == 1 else 4
        source = replace(source, max_completion_tokens=1 if fault.truncated else 4, group_size=size)
        source = replace(source, **{"most_rounds": 2} | (fault.source or {}))
    if isinstance(source, FrozenPolicy):
        source = replace(source, max_completion_tokens=4, samples_per_prompt=4)
    if isinstance(source, MonteCarloSteps):
        source = replace(source, max_completion_tokens=4, samples_per_prompt=2, continuations=2)
    if isinstance(algorithm.aggregation, ConstantLength):
        algorithm = replace(algorithm, aggregation=ConstantLength(4))
    if algorithm.reference.model and algorithm.needs_reference:
        algorithm = replace(algorithm, reference=replace(algorithm.reference, model=str(model)))
    if fault.truncated:
        algorithm = replace(algorithm, truncated="mask")
    return replace(algorithm, source=source)


def learned(
    algorithm: Algorithm, fault: Fault, model: Path, sink: BadBatchRecorder
) -> tuple[LocalLearner, dict[str, torch.Tensor], int]:
    """A learner after a few steps, its weights before them, and how many steps there were."""
    learner = gw.Local(device="cpu", threads=1)
    opened: Any = learner.open_scorer(model) if algorithm.trains_scorer else learner.open(model)
    opened.start_stage(algorithm.reference.model if algorithm.needs_reference else None, algorithm.critic.network)
    before = {key: tensor.clone() for key, tensor in opened.weights()}
    stage = gw.Stage(
        "stage", algorithm, Task("letters", ROWS, (Says(fault.of),), steps=Lines()), STEPS, PROMPTS, learning_rate=1e-3,
        most_unscored=1.0,
    )  # fmt: skip
    renderer = Renderer(opened.tokenizer, eos_tokens=opened.stop_tokens)
    policy = opened if not algorithm.trains_scorer else learner.open(model)
    with tempfile.TemporaryDirectory() as store:
        engine = gw.Native(threads=1).open(model, policy.live_module(), policy.tokenizer)
        world = replace(draw_context(stage, renderer, engine, seed=0), store=Path(store))
        progress = train(stage, world, opened, sink, Progress(), lambda progress, record: {})
    return opened, before, progress.step
