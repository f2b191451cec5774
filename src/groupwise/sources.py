"""Where the data comes from: the first part of the unified table (DeepSeekMath 5.1.1). A source is its options."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine
from groupwise.render import Renderer
from groupwise.rewards.scoring import score_rollouts
from groupwise.seeding import shuffled, stable_seed
from groupwise.stage import Stage
from groupwise.types import Completion, Example, Group, Prompt, Request, Rollout, Sampling

MOST_ROWS = 50  # looked at for each prompt that a step wants


@dataclass(frozen=True)
class World:
    """What a source may use to make a draw."""

    stage: Stage
    renderer: Renderer
    engine: RolloutEngine
    seed: int
    on_phase: Callable[[str, int, int], None] = lambda name, done, total: None


@dataclass(frozen=True)
class Draw:
    """The groups of one step, and where in the stream of prompts the next one begins."""

    groups: list[Group]
    cursor: int
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sampled_tokens: int = 0
    """By the engine, dropped groups included."""


def everything(group: Group) -> bool:
    """Keep rule: every group is trained on, also one without signal."""
    return True


def informative(group: Group) -> bool:
    """Keep rule: only groups whose rewards differ."""
    return group.informative


@dataclass(frozen=True)
class Demonstrations(Source):
    """q, o ~ P_sft: completions that the task's rows carry."""

    temperature: float = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""

    def draw(self, world: World, cursor: int) -> Draw:
        """Groups of one. Raises UserError for a row without a demonstration."""
        stage, too_long = world.stage, 0
        groups: list[Group] = []
        for example, position in prompt_stream(world, cursor):
            cursor = position + 1
            if example.completion is None:
                raise UserError(
                    f"{stage.name}: row {example.id} has no demonstration; supervised fine-tuning needs a completion "
                    "with every prompt (a column such as completion, or messages that end with the assistant)"
                )
            rollout = world.renderer.demonstration(example)
            if len(rollout.prompt.tokens) + len(rollout.tokens) > world.engine.context_tokens:
                too_long += 1
                refuse_if_asked(world, example, len(rollout.prompt.tokens) + len(rollout.tokens))
                continue
            groups.append(Group(rollout.prompt, (rollout,)))
            if len(groups) == stage.prompts_per_step:
                break
        _refuse_nothing(groups, world)
        return Draw(groups, cursor, {"prompts_too_long": float(too_long)})


@dataclass(frozen=True)
class OnPolicy(Source):
    """q ~ P, {o_i} ~ π_θ: groups sampled now from the policy that is being trained, then scored."""

    group_size: int = 8
    """Completions a prompt, G."""
    temperature: float = 1.0
    """Logits are divided by it, in sampling and in learning alike."""
    max_completion_tokens: int = 256
    """A completion that reaches it is truncated."""
    keep: Callable[[Group], bool] = everything
    """Which groups are trained on."""

    def draw(self, world: World, cursor: int) -> Draw:
        """Samples ``prompts_per_step`` groups and scores them."""
        started = time.perf_counter()
        places, cursor, too_long = self._prompts(world, cursor)
        prompts = list(places.values())
        rollouts = self._sample(world, places)
        sampled = time.perf_counter()
        world.on_phase("reward", 0, len(rollouts))
        scored, metrics = score_rollouts(rollouts, world.stage.task.rewards)
        size = self.group_size
        groups = [Group(prompt, tuple(scored[i * size : (i + 1) * size])) for i, prompt in enumerate(prompts)]
        kept = [group for group in groups if self.keep(group)]
        metrics |= reward_metrics(groups) | {
            "prompts_too_long": float(too_long),
            "groups_dropped": float(len(groups) - len(kept)),
        }
        seconds = {"sample": sampled - started, "reward": time.perf_counter() - sampled}
        return Draw(kept, cursor, metrics, seconds, sum(len(rollout.tokens) for rollout in rollouts))

    def _prompts(self, world: World, cursor: int) -> tuple[dict[int, Prompt], int, int]:
        """Prompts by their position in the stream, the next position, and how many did not fit."""
        prompts: dict[int, Prompt] = {}
        too_long = 0
        for example, position in prompt_stream(world, cursor):
            cursor = position + 1
            prompt = world.renderer.prompt(example)
            if len(prompt.tokens) + self.max_completion_tokens > world.engine.context_tokens:
                too_long += 1
                refuse_if_asked(world, example, len(prompt.tokens) + self.max_completion_tokens)
                continue
            prompts[position] = prompt
            if len(prompts) == world.stage.prompts_per_step:
                break
        _refuse_nothing(prompts, world)
        return prompts, cursor, too_long

    def _sample(self, world: World, places: dict[int, Prompt]) -> list[Rollout]:
        """Rollouts, group after group, whatever order they finished in."""
        stream = (world.seed, world.stage.name, "sample")
        requests = [
            Request(prompt.tokens, tuple(stable_seed(*stream, place, index) for index in range(self.group_size)))
            for place, prompt in places.items()
        ]
        prompts = list(places.values())
        sampling = Sampling(self.max_completion_tokens, self.temperature, stop_tokens=world.renderer.stop_tokens)
        rollouts: dict[tuple[int, int], Rollout] = {}
        total = len(prompts) * self.group_size
        for number, index, completion in world.engine.generate(requests, sampling):
            rollouts[number, index] = as_rollout(prompts[number], completion, world.renderer)
            if len(rollouts) % 16 == 0 or len(rollouts) == total:
                world.on_phase("sample", len(rollouts), total)
        return [rollouts[key] for key in sorted(rollouts)]


def as_rollout(prompt: Prompt, completion: Completion, renderer: Renderer) -> Rollout:
    """A single-turn rollout: the policy sampled every token after the prompt."""
    return Rollout(
        prompt=prompt,
        tokens=completion.tokens,
        mask=(True,) * len(completion.tokens),
        behavior_logprobs=completion.logprobs,
        text=renderer.decode(completion.tokens),
        finished=completion.finished,
        version=completion.version,
    )


def prompt_stream(world: World, cursor: int) -> Iterator[tuple[Example, int]]:
    """Examples and their positions from ``cursor`` on: epoch after epoch, each in its own seeded order.

    Ends after ``MOST_ROWS`` a prompt, so that a stage which can use no row stops instead of looking for ever.
    """
    rows = world.stage.task.train
    if len(rows) == 0:
        raise UserError(f"{world.stage.name}: task {world.stage.task.name} has no training rows")
    for position in range(cursor, cursor + MOST_ROWS * world.stage.prompts_per_step):
        epoch, place = divmod(position, len(rows))
        yield rows[shuffled(len(rows), stable_seed(world.seed, world.stage.name, "order", epoch))[place]], position


def refuse_if_asked(world: World, example: Example, needed: int) -> None:
    """Raises UserError for a row that does not fit, where the stage says so."""
    if world.stage.long_prompts == "error":
        raise UserError(
            f"{world.stage.name}: row {example.id} needs {needed} tokens, prompt and completion together; the context "
            f"has {world.engine.context_tokens}; shorten it, lower max_completion_tokens, or set long_prompts to skip"
        )


def _refuse_nothing(items: Sized, world: World) -> None:
    if not items:
        raise UserError(
            f"{world.stage.name}: every row of {world.stage.task.name} that was tried is too long: prompt and "
            f"completion together exceed the context of {world.engine.context_tokens} tokens; lower "
            "max_completion_tokens or take another model"
        )


def reward_metrics(groups: list[Group]) -> dict[str, float]:
    """``reward``, ``reward_std`` (mean of the groups' own, Bessel) and the share of groups without signal."""
    rewards = [[r.reward for r in group.rollouts if r.reward is not None] for group in groups]
    flat = [value for group in rewards for value in group]
    if not flat:
        return {"frac_reward_zero_std": 1.0}
    stds = [_std(group) for group in rewards if len(group) > 1]
    return {
        "reward": sum(flat) / len(flat),
        "reward_std": sum(stds) / len(stds) if stds else 0.0,
        "frac_reward_zero_std": sum(not group.informative for group in groups) / len(groups),
    }


def _std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
