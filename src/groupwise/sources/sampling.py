"""Rollouts from an engine: sampled, put in order, scored, and what that cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from groupwise.protocols import Reward, RolloutEngine
from groupwise.render import Renderer
from groupwise.rewards.scoring import score_metrics, score_rollouts
from groupwise.sources.signal import reward_metrics
from groupwise.sources.world import World
from groupwise.steps import Segmentation, step_ends
from groupwise.types import Completion, Group, Prompt, Request, Rollout, Sampling, Score, flatten

TOLD_EVERY = 16  # completions


def as_rollout(
    prompt: Prompt, completion: Completion, renderer: Renderer, steps: Segmentation | None = None
) -> Rollout:
    """A single-turn rollout: the policy sampled every token after the prompt. ``steps`` says what a step of it is."""
    rollout = Rollout(
        prompt=prompt,
        tokens=completion.tokens,
        mask=(True,) * len(completion.tokens),
        behavior_logprobs=completion.logprobs,
        text=renderer.decode(completion.tokens),
        finished=completion.finished,
        version=completion.version,
        support=completion.support,
    )
    return rollout if steps is None else with_steps(rollout, renderer, steps)


def with_steps(rollout: Rollout, renderer: Renderer, steps: Segmentation) -> Rollout:
    """The same with the tokens at which its steps end; EOS belongs to none."""
    return replace(rollout, steps=step_ends(renderer.pieces(rollout.tokens), steps.ends(rollout.text)))


class Sampler:
    """Samples and scores for one draw, part by part, and keeps account of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens = 0
        self.seconds = {"sample": 0.0, "reward": 0.0}
        self._seconds_by_reward: Counter[str] = Counter()

    def sample(
        self,
        engine: RolloutEngine,
        prompts: Sequence[Prompt],
        seeds: Sequence[tuple[int, ...]],
        sampling: Sampling,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> list[list[Rollout]]:
        """For each prompt a rollout for each of its seeds, in their order, whatever order they finished in."""
        started, steps = time.perf_counter(), self.world.stage.task.steps
        requests = [Request(prompt.tokens, own) for prompt, own in zip(prompts, seeds, strict=True)]
        found: dict[tuple[int, int], Rollout] = {}
        total = sum(map(len, seeds))
        for number, index, completion in engine.generate(requests, sampling):
            found[number, index] = as_rollout(prompts[number], completion, self.world.renderer, steps)
            self.tokens += len(completion.tokens)
            if len(found) % TOLD_EVERY == 0 or len(found) == total:
                on_done(len(found))
        self.seconds["sample"] += time.perf_counter() - started
        return [[found[number, index] for index in range(len(own))] for number, own in enumerate(seeds)]

    def score(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """The same with the task's rewards; as they are where the task has none."""
        rewards = self.world.stage.task.rewards
        if not rewards:
            return list(rollouts)
        started = time.perf_counter()
        scored, metrics = score_rollouts(rollouts, rewards)
        self.seconds["reward"] += time.perf_counter() - started
        self._seconds_by_reward.update({reward.name: metrics[f"rewards/{reward.name}/seconds"] for reward in rewards})
        return scored

    def judged(self, reward: Reward, rollouts: Sequence[Rollout]) -> list[Score]:
        """What one reward says, its time on the account of this draw."""
        started = time.perf_counter()
        scores = reward.score(rollouts)
        seconds = time.perf_counter() - started
        self.seconds["reward"] += seconds
        self._seconds_by_reward.update({reward.name: seconds})
        return scores

    def metrics(self, groups: list[Group]) -> dict[str, float]:
        """Of all that was sampled, whichever part it came in; nothing where the task has no rewards."""
        metrics: dict[str, float] = {}
        for reward in self.world.stage.task.rewards:
            scores = [rollout.scores[reward.name] for rollout in flatten(groups)]
            metrics |= score_metrics(reward.name, scores, self._seconds_by_reward[reward.name])
        return metrics | (reward_metrics(groups) if self.world.stage.task.rewards else {})
