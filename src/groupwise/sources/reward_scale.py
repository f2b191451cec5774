"""This module gathers what a standardised reward is measured on: completions of the policy that a stage begins with,
before it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from groupwise.algorithm import Source
from groupwise.protocols import Reward
from groupwise.rewards.model import model_rewards
from groupwise.rewards.scale import Standardised, Unscaled
from groupwise.seeding import stable_seed
from groupwise.sources.draw import DrawContext
from groupwise.sources.rollouts import Sampler
from groupwise.sources.rows import has_room, prompt_stream
from groupwise.types import Prompt, Rollout, Sampling


def unmeasured(rewards: Sequence[Reward]) -> dict[str, Standardised]:
    """Returns the scales, by the names of their rewards, that lack their numbers."""
    scales = {reward.name: reward.scale for reward in model_rewards(rewards)}
    return {name: scale for name, scale in scales.items() if isinstance(scale, Standardised) and not scale.is_known()}


def measure_scales(
    source: Source, context: DrawContext, rewards: Sequence[Reward], otherwise: int = 256
) -> dict[str, Standardised]:
    """Returns the scales of ``unmeasured`` with the mean and the spread of what ``context.engine`` samples now.

    ``otherwise``: the completions' length in tokens where the stage's source samples none. Scores that failed are left
    out. Raises UserError where the others do not differ.
    """
    asked = unmeasured(rewards)
    how = source.sampling(context.renderer) or context.renderer.sampling(otherwise, source.temperature)
    found: dict[str, Standardised] = {}
    for reward in model_rewards(rewards):
        scale = asked.get(reward.name)
        if scale is None or reward.name in found:
            continue
        scores = replace(reward, scale=Unscaled()).score(_sampled(context, scale, how))
        found[reward.name] = scale.measured([score.value for score in scores if score.value is not None], reward.name)
    return found


def _sampled(context: DrawContext, scale: Standardised, how: Sampling) -> list[Rollout]:
    """Samples for the first prompts of the stage's stream, with streams of random numbers that no draw of it has."""
    prompts: list[Prompt] = []
    for example, _ in islice(prompt_stream(context), len(context.task.train)):
        prompt = context.renderer.prompt(example)
        if has_room(context, example, len(prompt.tokens) + how.max_tokens):
            prompts.append(prompt)
        if len(prompts) == scale.prompts:
            break
    stream = (context.seed, context.name, "reward scale")
    seeds = [
        tuple(stable_seed(*stream, place, index) for index in range(scale.completions)) for place in range(len(prompts))
    ]
    groups = Sampler(context).sample(context.engine, prompts, seeds, how)
    return [rollout for group in groups for rollout in group]
