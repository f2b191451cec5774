"""This module collects rollouts from an engine: sampled, put in order, scored, and what that cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from groupwise.isolation.deadlines import Helper, result
from groupwise.protocols import Reward, RolloutEngine
from groupwise.rewards.failures import Failures, unscored
from groupwise.rewards.scoring import checked_scores, score_metrics, score_rollouts
from groupwise.rewards.verdicts import Judge
from groupwise.sources.draw import DrawContext
from groupwise.sources.episode_metrics import WorldTime, episode_metrics
from groupwise.sources.episodes import play
from groupwise.sources.reward_metrics import reward_metrics
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Segmentation, step_ends
from groupwise.types import Completion, Group, Prompt, Request, Rollout, Sampling, Score, flatten

TOLD_EVERY = 16  # completions


def as_rollout(
    prompt: Prompt, completion: Completion, renderer: Renderer, steps: Segmentation | None = None
) -> Rollout:
    """Makes a single-turn rollout: the policy sampled every token after the prompt. ``steps`` says what a step of it
    is."""
    rollout = Rollout(
        prompt=prompt,
        tokens=completion.tokens,
        mask=(True,) * len(completion.tokens),
        behavior_logprobs=completion.logprobs,
        text=renderer.decode(completion.tokens),
        finished=completion.finished,
        version=completion.version,
        versions=completion.versions,
        support=completion.support,
    )
    return rollout if steps is None else with_steps(rollout, renderer, steps)


def with_steps(rollout: Rollout, renderer: Renderer, steps: Segmentation) -> Rollout:
    """Returns the same with the tokens at which its steps end; EOS belongs to none."""
    return replace(rollout, steps=step_ends(renderer.pieces(rollout.tokens), steps.ends(rollout.text)))


def drawn(
    engine: RolloutEngine,
    renderer: Renderer,
    task: Task,
    prompts: Sequence[Prompt],
    seeds: Sequence[tuple[int, ...]],
    sampling: Sampling,
    clock: WorldTime | None = None,
) -> Iterator[tuple[int, int, Rollout]]:
    """A rollout for each seed of each prompt as it ends, with the prompt's number and the seed's. Where the task has an
    environment they are episodes, and the prompts are those that it opened."""
    if task.episodes is not None:
        alone = len(task.rewards) == 1
        for place, rollout in play(engine, renderer, task.episodes, prompts, seeds, sampling, alone, clock):
            yield *place, rollout
        return
    requests = [Request(prompt.tokens, own) for prompt, own in zip(prompts, seeds, strict=True)]
    for number, index, completion in engine.generate(requests, sampling):
        yield number, index, as_rollout(prompts[number], completion, renderer, task.steps)


def _judge(context: DrawContext) -> Judge | None:
    """Returns the task's judge, where its reward is asked anyway or the stage asks for verdicts."""
    judge = context.task.judge
    is_among_scores = judge is not None and (judge.reward in context.task.rewards or context.asks_verdicts)
    return judge if is_among_scores else None


class Sampler:
    """Samples and scores for one draw, part by part, and keeps account of it."""

    def __init__(self, context: DrawContext) -> None:
        self.context = context
        self.tokens = 0
        self.clock = WorldTime()
        self.seconds = {"sample": 0.0, "reward": 0.0}
        self._seconds_by_reward: Counter[str] = Counter()
        self._judge = _judge(context)
        self._failures = Failures(context.name, context.most_unscored, context.told, context.on_note)

    def sample(
        self,
        engine: RolloutEngine,
        prompts: Sequence[Prompt],
        seeds: Sequence[tuple[int, ...]],
        sampling: Sampling,
        on_done: Callable[[int], None] = lambda done: None,
        on_group: Callable[[int, list[Rollout]], None] = lambda number, rollouts: None,
    ) -> list[list[Rollout]]:
        """Returns for each prompt a rollout for each of its seeds, in their order, whatever order they finished in.

        ``on_group(prompt's number, its rollouts)`` comes as soon as they are complete, prompt after prompt.
        """
        started, context = time.perf_counter(), self.context
        found: dict[tuple[int, int], Rollout] = {}
        groups: list[list[Rollout]] = []
        missing, total = [len(own) for own in seeds], sum(map(len, seeds))
        for number, index, rollout in drawn(
            engine, context.renderer, context.task, prompts, seeds, sampling, self.clock
        ):
            found[number, index] = rollout
            self.tokens += sum(rollout.mask)
            if len(found) % TOLD_EVERY == 0 or len(found) == total:
                on_done(len(found))
            missing[number] -= 1
            while len(groups) < len(seeds) and not missing[len(groups)]:
                groups.append([found[len(groups), place] for place in range(len(seeds[len(groups)]))])
                on_group(len(groups) - 1, groups[-1])
        self.seconds["sample"] += time.perf_counter() - started
        return groups

    def score(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Returns the same with the task's rewards, and with its judge's verdict where that is one of them or the stage
        asks for verdicts; as they are where the task has no rewards.

        Raises UserError where rewards time out or fail on more of them than the stage allows.
        """
        rewards = self.context.task.rewards
        if not rewards:
            return list(rollouts)
        started = time.perf_counter()
        self._failures.expected += len(rollouts)
        scored = self._scored(rollouts)
        self.seconds["reward"] += time.perf_counter() - started
        return scored

    def _scored(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        scored, metrics = score_rollouts(rollouts, self.context.task.rewards, self._judge, state=self.context.state)
        names = [reward.name for reward in self._rewards]
        self._seconds_by_reward.update({name: metrics[f"rewards/{name}/seconds"] for name in names})
        self._failures.add(scored)
        return scored

    def sample_and_score(
        self,
        engine: RolloutEngine,
        prompts: Sequence[Prompt],
        seeds: Sequence[tuple[int, ...]],
        sampling: Sampling,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> list[list[Rollout]]:
        """Does as ``sample``, and scores while sampling goes on: each group in one call, prompt after prompt, so that a
        reward hears the same whatever finished first. On the account of rewards is what is left to wait for."""
        if not self.context.task.rewards:
            return self.sample(engine, prompts, seeds, sampling, on_done)
        self._failures.expected += sum(map(len, seeds))
        scorer, scored = Helper("rewards"), list[Future[list[Rollout]]]()

        def begin(number: int, rollouts: list[Rollout]) -> None:
            for done in filter(Future.done, scored[-2:]):
                done.result()  # raises now what the reward raised
            scored.append(scorer.submit(partial(self._scored, rollouts)))

        try:
            self.sample(engine, prompts, seeds, sampling, on_done, begin)
            started, name = time.perf_counter(), self.context.name
            groups = [result(group, name, "the rewards of a group", self.context.on_note) for group in scored]
        finally:
            scorer.close()
        self.seconds["reward"] += time.perf_counter() - started
        return groups

    def judged(self, reward: Reward, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns what one reward says, its time on the account of this draw."""
        started = time.perf_counter()
        scores = checked_scores(reward, rollouts, self.context.state)
        seconds = time.perf_counter() - started
        self.seconds["reward"] += seconds
        self._seconds_by_reward.update({reward.name: seconds})
        return scores

    def metrics(self, groups: list[Group]) -> dict[str, float]:
        """Returns metrics of all that was sampled, whichever part it came in; nothing where the task has no rewards."""
        metrics = episode_metrics(flatten(groups))
        of_episodes = bool(metrics)
        if of_episodes:
            shares = {"seconds": self.clock.seconds, "waiting": self.clock.waiting / max(self.seconds["sample"], 1e-9)}
            metrics |= {f"world/{name}": value for name, value in shares.items()}
        for reward in self._rewards:
            scores = [rollout.scores[reward.name] for rollout in flatten(groups)]
            metrics |= score_metrics(reward.name, scores, self._seconds_by_reward[reward.name], of_episodes)
        if not self.context.task.rewards:
            return {}
        metrics["completions/unscored"] = float(sum(map(unscored, flatten(groups))))
        return metrics | reward_metrics(groups, self.context.signal)

    @property
    def _rewards(self) -> Sequence[Reward]:
        """Returns all rewards that are asked."""
        rewards = self.context.task.rewards
        return rewards if self._judge is None or self._judge.reward in rewards else (*rewards, self._judge.reward)
