"""This source draws q ~ P, {o_i} ~ π_θ: groups sampled now from the policy that is being trained, then scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated, Literal

from groupwise.algorithm import Algorithm, ConstantLength, Source
from groupwise.output.counting import counted
from groupwise.seeding import stable_seed
from groupwise.sources.draw import DrawContext, Position, RolloutBatch, after_prompts, prompts_taken
from groupwise.sources.reward_metrics import informative
from groupwise.sources.rollouts import Sampler
from groupwise.sources.rows import has_room, prompt_stream, prompts_of, refuse_nothing
from groupwise.sources.selection import AllRollouts, Selection, select_from
from groupwise.tasks.task import Task
from groupwise.tokens.privileged import longest
from groupwise.tokens.renderer import Renderer
from groupwise.types import Group, Prompt, Sampling


@dataclass(frozen=True)
class OnPolicy(Source):
    """This source draws q ~ P, {o_i} ~ π_θ: groups sampled now from the policy that is being trained, then scored.

    A task without rewards gives groups without rewards.
    """

    group_size: Annotated[int, "[1, inf)"] = 8
    """Completions a prompt, G."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Logits are divided by it, in sampling and in learning alike."""
    max_completion_tokens: Annotated[int, "[1, inf)"] = 256
    """A completion that reaches it is truncated."""
    top_k: Annotated[int, "[0, inf)"] = 0
    """Sample among so many of the likeliest tokens; 0: all. What was left out stays on the rollout and is left out of
    the learner's softmax too."""
    top_p: Annotated[float, "(0, 1]"] = 1.0
    """Sample among the likeliest tokens that together have this probability; as ``top_k``."""
    min_p: Annotated[float, "[0, 1]"] = 0.0
    """Sample among tokens at least this share as likely as the likeliest (arXiv 2407.01082); as ``top_k``."""
    without_signal: Literal["keep", "drop", "redraw"] = "keep"
    """A group without signal is trained on, dropped, or replaced by the group of a further prompt."""
    signal: Callable[[Group], bool] = informative
    """Which groups have one: ``informative`` (rewards differ, those of steps where the advantage compares steps) or
    ``mixed`` (some answers right, some wrong)."""
    most_rounds: Annotated[int, "[1, inf)"] = 10
    """Rounds of sampling in a draw that redraws; after the last a short draw is taken, ``groups_short``."""
    greedy_baseline: bool = False
    """One greedy completion a prompt beside the group; its reward is ``Group.greedy_reward``."""
    select: Selection = field(default_factory=AllRollouts)
    """What of a group is trained on: all of it, a pair, or the distinct right answers."""

    @property
    def samples_per_prompt(self) -> int:
        """Is the number of completions that it samples of a prompt."""
        return self.group_size

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Samples and scores ``prompts_per_step`` groups; a redraw goes on for those that are missing.

        Metrics are of all sampled groups. The draw may be empty. Raises UserError where no prompt fits the context.
        """
        context.serve()
        sampler, too_long, rounds = Sampler(context), 0, 0
        taken = prompts_taken(position)
        sampled: list[Group] = []
        kept: list[Group] = []
        wanted, redraws = context.prompts_per_step, self.without_signal == "redraw"
        while len(kept) < wanted and rounds < (self.most_rounds if redraws else 1):
            places, taken, passed_over = self.next_prompts(context, taken, wanted - len(kept))
            groups = self._groups(context, sampler, places)
            sampled += groups
            kept += [group for group in groups if self.keeps(group, context.signal)]
            too_long, rounds = too_long + passed_over, rounds + 1
        chosen, counts = select_from(kept, self.select)
        metrics = sampler.metrics(sampled) | counts
        if self.greedy_baseline:
            metrics |= _baseline_metrics(sampled)
        metrics |= {"prompts_too_long": float(too_long), "groups_dropped": float(len(sampled) - len(kept))}
        if redraws:
            metrics |= {"sampling_rounds": float(rounds), "groups_short": float(wanted - len(kept))}
        return RolloutBatch(chosen, after_prompts(taken), metrics, sampler.seconds, sampler.tokens)

    def asks_verdict(self) -> bool:
        """Says whether it chooses by which completions are right."""
        return self.select.asks_verdict() or (self.without_signal != "keep" and self.signal is not informative)

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        """Says who draws its completions: ``learner``, ``another`` policy, or ``nobody``."""
        return "learner"

    def completions_per_prompt(self) -> int:
        """Says how many completions of a prompt a step learns from."""
        return self.group_size

    def sampling(self, renderer: Renderer) -> Sampling | None:
        """Says how its completions are drawn: temperature, length and what the choice is narrowed to."""
        narrowed = self.top_k, self.top_p, self.min_p
        return renderer.sampling(self.max_completion_tokens, self.temperature, *narrowed)

    def on_trial(self, prompts: int) -> Source:
        """Returns the same source for a trial on so many prompts."""
        return replace(self, most_rounds=1)

    def needs_reward(self, algorithm: Algorithm) -> bool:
        """Says whether what it samples must be scored in such an algorithm."""
        return self.without_signal != "keep" or algorithm.advantage.judges() or self.select.chooses()

    def selection(self) -> Selection | None:
        """Says what of a group is trained on; None: all of it."""
        return self.select

    def keeps(self, group: Group, signal: Callable[[Group], bool]) -> bool:
        """Says whether a scored group is trained on."""
        stated = signal if self.signal is informative else self.signal
        return self.without_signal == "keep" or stated(group)

    def without_signal_words(self) -> str:
        """Says what it does with a group without signal, in words that go on from "the source"."""
        return {
            "keep": "",
            "drop": "drops such a group",
            "redraw": f"redraws such a group, at most {self.most_rounds} times",
        }[self.without_signal]

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.advantage.compares() and self.group_size < 2:
            yield (
                f"group_size is {self.group_size} with an advantage that compares a group's completions: every one "
                "would be 0; use group_size 2 or more"
            )
        if "greedy_rewards" in algorithm.needs() and not self.greedy_baseline:
            yield "the greedy baseline needs greedy completions: source.greedy_baseline True samples them"
        if algorithm.trains_scorer:
            yield "OnPolicy samples from the policy that learns, and here a scorer does; FrozenPolicy samples for one"

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        if not task.rewards and self.needs_reward(algorithm):
            yield f"task {task.name} has no reward, and sampled completions need one"

    def remarks(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that works but may not be meant."""
        aggregation, most = algorithm.aggregation, self.max_completion_tokens
        if isinstance(aggregation, ConstantLength) and aggregation.length != most:
            yield (
                f"aggregation.length {aggregation.length:g} and source.max_completion_tokens {most} are meant to be "
                "equal"
            )

    def next_prompts(self, context: DrawContext, taken: int, wanted: int) -> tuple[dict[int, Prompt], int, int]:
        """Returns prompts by their place in the stream, how many of it are taken then, and how many did not fit."""
        prompts: dict[int, Prompt] = {}
        unbegun, stream = 0, prompt_stream(context, taken)
        too_long: list[int] = []
        while rows := list(islice(stream, wanted - len(prompts))):
            taken = rows[-1][1] + 1
            for (example, number), prompt in zip(rows, prompts_of(context, rows), strict=True):
                if prompt is None:
                    unbegun += 1
                    continue
                if has_room(context, example, longest(prompt) + self.max_completion_tokens):
                    prompts[number] = prompt
                else:
                    too_long.append(longest(prompt))
        faults = f"{counted(unbegun, 'environment')} did not begin" if unbegun else ""
        refuse_nothing(len(prompts), context, faults, prompts=too_long, completion=self.max_completion_tokens)
        return prompts, taken, len(too_long)

    def _groups(self, context: DrawContext, sampler: Sampler, places: dict[int, Prompt]) -> list[Group]:
        """Samples and scores one group for each prompt."""
        prompts, size = list(places.values()), self.group_size
        stream = (context.seed, context.name, "sample")
        seeds = [tuple(stable_seed(*stream, place, index) for index in range(size)) for place in places]
        total = len(prompts) * size
        how = self.sampling(context.renderer)
        assert how is not None

        def heard(done: int) -> None:
            context.on_phase("sample", done, total)

        samples = sampler.sample_and_score(context.engine, prompts, seeds, how, heard)
        baselines: list[float | None] = [None] * len(prompts)
        if self.greedy_baseline:
            how = context.renderer.sampling(self.max_completion_tokens, temperature=0.0)
            greedy = sampler.sample_and_score(context.engine, prompts, [(0,)] * len(prompts), how)
            baselines = [rollout.reward for [rollout] in greedy]  # None costs its group the advantage, not the run
        return [Group(*of_prompt) for of_prompt in zip(prompts, map(tuple, samples), baselines, strict=True)]


def _baseline_metrics(groups: list[Group]) -> dict[str, float]:
    found = [group.greedy_reward for group in groups if group.greedy_reward is not None]
    metrics = {"reward_greedy": sum(found) / len(found)} if found else {}
    if missing := len(groups) - len(found):
        metrics["reward_greedy/unscored"] = float(missing)
    return metrics
