"""A few groups sampled as the stage will sample them: pass rates, and whether engine and learner agree."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from groupwise.doctor import MISMATCH
from groupwise.learning.trainable import Trainable
from groupwise.output.counting import counted
from groupwise.preflight.findings import Notebook
from groupwise.preflight.signal import SIZES, kinds, share_without_signal
from groupwise.sources import DrawContext
from groupwise.sources.rollouts import Sampler
from groupwise.sources.rows import prompt_stream, prompts_of
from groupwise.training.stage import Stage
from groupwise.types import Group, Rollout, flatten

PROMPTS = 24
MOST_SKIPPED = 256  # rows, one after the other, that give no prompt
COMPARED = 8  # completions whose log-probabilities the learner is asked for


@dataclass
class Probe:
    """A probe is what was sampled."""

    groups: list[Group] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    prompts: int = 0
    looked_at: int = 0
    """Rows, those included that gave no prompt."""


def sampled(stage: Stage, context: DrawContext, limit_seconds: float, prompts: int = PROMPTS) -> Probe:
    """Samples groups of the stage's first prompts, one after the other until so many are done or the time is over."""
    source = stage.algorithm.source
    found, started, sampler = Probe(), time.perf_counter(), Sampler(context)
    how, size = source.sampling(context.renderer), source.samples_per_prompt
    assert how is not None
    room = context.engine.context_tokens - source.max_completion_tokens
    prompts = min(prompts, len(stage.task.train))
    for prompt in (prompts_of(context, [row])[0] for row in prompt_stream(context)):
        found.looked_at += 1
        if found.looked_at > prompts + MOST_SKIPPED:
            break
        if prompt is None or len(prompt.tokens) > room:
            continue
        seeds = tuple(range(found.prompts * size, (found.prompts + 1) * size))
        [rollouts] = sampler.sample(context.engine, [prompt], [seeds], how)
        found.groups.append(Group(prompt, tuple(sampler.score(rollouts))))
        found.prompts += 1
        if found.prompts == prompts or time.perf_counter() - started > limit_seconds:
            break
    found.seconds, found.tokens = sampler.seconds["sample"], sampler.tokens
    return found


def tell_signal(notes: Notebook, stage: Stage, probe: Probe) -> None:
    """Tells of rewards, truncation, and what share of groups will have no signal at this and other group sizes."""
    source = stage.algorithm.source
    rollouts = flatten(probe.groups)
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    cut = sum(not rollout.finished for rollout in rollouts) / max(1, len(rollouts))
    probed = f"{counted(len(probe.groups), 'prompt')} x {source.samples_per_prompt}"
    if cut > 0.25:
        notes.remark(
            "signal", f"{cut:.0%} of {probed} completions were cut off at {source.max_completion_tokens} tokens"
        )
    if not rewards:
        notes.problem("signal", f"none of {probed} completions could be scored: the rewards failed on all of them")
        return
    verdicts = [rollout.correct for rollout in rollouts if rollout.correct is not None]
    numbers = {"reward": sum(rewards) / len(rewards), "truncated": cut}
    numbers |= {"right": sum(verdicts) / len(verdicts)} if verdicts else {}
    words = f"of {probed} probed, the mean reward is {numbers['reward']:.3g}"
    if stage.algorithm.advantage.compares():
        _tell_shares(notes, stage, probe, numbers, words)
    else:
        right = f" and {numbers['right']:.0%} are right" if verdicts else ""
        notes.fact("signal", words + right, **numbers)


def _tell_shares(notes: Notebook, stage: Stage, probe: Probe, numbers: dict[str, float], words: str) -> None:
    """Of groups without signal, where completions of a group are compared."""
    size = stage.algorithm.source.samples_per_prompt
    rewards = kinds(probe.groups, stage.algorithm)
    now = share_without_signal(rewards, size)
    if now is None:
        return
    words += f"; at group_size {size} expect {now.value:.0%} [{now.low:.0%}, {now.high:.0%}] of the "
    words += "groups without signal"
    others = {other: share_without_signal(rewards, other) for other in SIZES if other != size}
    told = [f"{other}: {share.value:.0%}" for other, share in others.items() if share is not None]
    words += f" (at {', '.join(told)})" if told else ""
    numbers = numbers | {"without_signal": now.value, "low": now.low, "high": now.high}
    numbers |= {f"without_signal_at_{other}": share.value for other, share in others.items() if share is not None}
    notes.fact("signal", words, **numbers)
    if now.low > 0.5 or now.value == 1.0:
        hard = numbers.get("right", numbers["reward"]) < 0.5
        notes.remark(
            "signal",
            f"about {now.value:.0%} of the groups will teach nothing: take "
            + ("easier prompts or a stronger model" if hard else "harder prompts")
            + ", a larger group_size, or without_signal redraw",
        )


def tell_agreement(
    notes: Notebook, temperature: float, learner: Trainable, rollouts: Sequence[Rollout], half: bool
) -> None:
    """The mean difference of log-probabilities that the two give the same tokens."""
    chosen = [rollout for rollout in rollouts if rollout.tokens][:COMPARED]
    learned = learner.logprobs(chosen, temperature)
    gaps = [
        abs(float(learned[row, place]) - said)
        for row, rollout in enumerate(chosen)
        for place, said in enumerate(rollout.behavior_logprobs)
        if rollout.mask[place]
    ]
    mean, most = sum(gaps) / len(gaps), max(gaps)
    words = (
        f"engine and learner differ by {mean:.1e} nats a token on average, {most:.1e} at most, in {len(gaps):,} tokens"
    )
    if not mean <= MISMATCH[half]:
        notes.problem(
            "engine", f"{words}: more than {MISMATCH[half]:g}, so that another policy is sampled than learned"
        )
    else:
        notes.fact("engine", words, gap=mean, largest=most)
