"""The quick evaluations inside a stage (``Stage.evaluate_every``): what they ask, and the metrics that come of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from groupwise.errors import UserError
from groupwise.evaluation.evaluate import Evaluation, evaluate_plan
from groupwise.evaluation.statistics import doubling
from groupwise.evaluation.voting import can_vote
from groupwise.seeding import stable_seed
from groupwise.sources import DrawContext
from groupwise.tasks.held_out import first_of_each_set, places_by_set
from groupwise.training.stage import Checkpoints, HeldOut, Stage
from groupwise.types import Rollout

BITS_PER_BYTE = "eval/bits_per_byte"


def quick_evaluation(
    context: DrawContext, plan: HeldOut, on_greedy: Callable[[Sequence[Rollout]], Any] = lambda rollouts: None
) -> dict[str, float]:
    """Returns metrics of the engine's present weights on the first held-out problems of each set. ``on_greedy`` is
    given the greedy completions, scored."""
    found = evaluate_plan(
        context.engine,
        context.renderer,
        context.task,
        plan.quick,
        seed=stable_seed(context.seed, "evaluation"),
        on_progress=lambda done, total: context.on_phase("evaluate", done, total),
        state=context.state,
        on_greedy=on_greedy,
    )
    means = found.reward_means if len(found.reward_means) > 1 else {}
    metrics = _measures(found, "eval") | {f"eval/rewards/{name}/mean": value for name, value in means.items()}
    for name in found.sets:
        metrics |= _measures(found.of_set(name), f"eval/{name}")
    return metrics


def _measures(found: Evaluation, where: str) -> dict[str, float]:
    values = {"accuracy": found.greedy.value, "pass@1": found.pass_at_1.value}
    values |= {f"pass@{k}": measure.value for k, measure in found.pass_at.items() if k > 1}
    values |= {f"maj@{k}": measure.value for k, measure in found.maj_at.items() if k > 1}
    return {f"{where}/{name}": value for name, value in values.items()}


def quick_metrics(stage: Stage, plan: HeldOut) -> list[str]:
    """The names of all that the quick evaluations of a stage will say; none where it makes none."""
    if not stage.evaluate_every or not len(stage.task.held_out):
        return []
    if stage.algorithm.source.reads_documents():
        return [BITS_PER_BYTE]
    if stage.algorithm.trains_scorer:
        steps = stage.algorithm.source.labels_steps()
        return ["eval/accuracy", *(["eval/auc", "eval/first_error"] if steps else [])]
    ks = [k for k in doubling(plan.during_samples) if k > 1]
    judge = stage.task.judge
    votes = judge is not None and can_vote(judge)
    names = ["accuracy", "pass@1", *(f"pass@{k}" for k in ks), *(f"maj@{k}" for k in ks if votes)]
    asked = list(stage.task.judges)
    means = [f"eval/rewards/{reward.name}/mean" for reward in asked] if len(asked) > 1 else []
    sets = places_by_set(first_of_each_set(stage.task.held_out, plan.during))
    return [f"{where}/{name}" for where in ("eval", *(f"eval/{each}" for each in sets)) for name in names] + means


def refuse_unknown_best(stages: Sequence[Stage], plan: HeldOut, checkpoints: Checkpoints) -> None:
    """Raises UserError where ``keep_best`` names no metric of any stage's quick evaluations."""
    wanted = checkpoints.keep_best
    if not wanted:
        return
    known = list(dict.fromkeys(name for stage in stages for name in quick_metrics(stage, plan)))
    if not known:
        raise UserError(
            f"checkpoints.keep_best is {wanted}, and no stage makes quick evaluations on held-out problems; set a "
            "stage's evaluate_every"
        )
    if wanted == BITS_PER_BYTE:
        raise UserError(
            f"checkpoints.keep_best is {wanted}, which is lower where a model is better, and the checkpoint is kept "
            "where the metric is highest; leave it out, and see the metric in the report"
        )
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, 1)
        hint = f", perhaps you meant {near[0]}" if near else ""
        raise UserError(
            f"checkpoints.keep_best is {wanted}, which no quick evaluation says{hint}; there are {', '.join(known)}"
        )
