"""The scales of learned rewards in a run: measured once, before a stage's first step, and kept in run.json."""

from __future__ import annotations

from dataclasses import replace

from groupwise.errors import UserError
from groupwise.learning.trainable import Trainable
from groupwise.rewards.model import with_scales
from groupwise.rewards.scale import scales_from
from groupwise.runs.directory import RunDirectory
from groupwise.sources import DrawContext
from groupwise.sources.reward_scale import measure_scales, unmeasured
from groupwise.training.stage import Stage


def with_reward_scales(
    stage: Stage, context: DrawContext, learner: Trainable, place: RunDirectory, most_tokens: int, is_begun: bool
) -> Stage:
    """The stage with the scales of its learned rewards: measured now, before the stage's first step, on completions of
    at most ``most_tokens``, or as run.json has them.

    Raises UserError where the stage is under way and they are not there: its policy is no longer the one to ask.
    """
    task, name = stage.task, stage.name
    rewards = (*task.rewards, *task.referee)
    wanted, record = unmeasured(rewards), place.read().get("reward_scales", {})
    if not wanted:
        return stage
    kept = record.get(name)
    missing = kept is None or not wanted.keys() <= kept.keys()
    if missing and is_begun:
        raise UserError(
            f"{name}: run.json does not say how its rewards were standardised ({', '.join(wanted)}), and the "
            "policy has changed since; bring the file back (a checkpoint has a copy) or start the stage over"
        )
    if missing:
        context.engine.load(learner.weights(), learner.version)
        found = measure_scales(stage.algorithm.source, context, rewards, most_tokens)
        kept = {reward: scale.numbers() for reward, scale in found.items()}
        place.write_record({"reward_scales": record | {name: kept}})
    try:
        scales = {reward: scales_from(kept[reward], scale) for reward, scale in wanted.items()}
    except UserError as error:
        raise UserError(f"{name}: {place.path / 'run.json'}: reward_scales: {error}; bring the file back") from None
    for reward, scale in scales.items():
        on = f"{scale.prompts} prompts x {scale.completions} completions of the policy it begins with"
        context.on_note(f"{name}: reward {reward} is standardised to {scale.formula()}, measured on up to {on}")
    changed = replace(task, rewards=with_scales(task.rewards, scales), referee=with_scales(task.referee, scales))
    return replace(stage, task=changed)
