"""One GRPO step in this process, by the public parts: an engine samples, a learner learns."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cases import reward
from ceiling import settle

import groupwise as gw
from groupwise import recipes
from groupwise.engines import Native
from groupwise.learners import FSDP, Local
from groupwise.training.update import prepare, update
from groupwise.types import Example, Group, Prompt, Request, Rollout, Sampling, flatten


@dataclass(frozen=True)
class Shape:
    """``prompts`` groups of ``group`` completions; every length in tokens."""

    prompts: int
    group: int
    prompt: int
    completion: int

    @property
    def rows(self) -> int:
        return self.prompts * self.group

    @property
    def tokens(self) -> int:
        """That have to be computed: a group's prompt once."""
        return self.prompts * self.prompt + self.rows * self.completion


class Bench:
    """A model that samples and learns. ``device`` is cpu or cuda."""

    def __init__(self, directory: Path, learner: Local | FSDP, engine: Native, device: str) -> None:
        from transformers import AutoConfig

        self.device = device
        self.vocabulary = AutoConfig.from_pretrained(directory).get_text_config().vocab_size
        self.learner = learner.open(directory)
        self.engine = engine.open(directory, self.learner.live_module(), self.learner.tokenizer, print)
        self.learner.start_stage(None)

    def prompts(self, shape: Shape) -> list[Prompt]:
        """Random tokens, no two prompts alike."""
        draw, vocabulary = random.Random(0), min(500, self.vocabulary)
        rows = [tuple(draw.randrange(5, vocabulary) for _ in range(shape.prompt)) for _ in range(shape.prompts)]
        return [Prompt(Example(f"{number:03}", ""), tokens) for number, tokens in enumerate(rows)]

    def sample(self, shape: Shape, most: int | None = None) -> tuple[list[Group], float]:
        """Groups whose completions are all of the shape's length (or ``most``), and the seconds that took."""
        prompts = self.prompts(shape)
        requests = [Request(prompt.tokens, tuple(range(shape.group))) for prompt in prompts]
        self.engine.load(self.learner.weights(), self.learner.version)
        settle(self.device)
        begun = time.perf_counter()
        found = sorted(self.engine.generate(requests, Sampling(most or shape.completion)), key=lambda one: one[:2])
        settle(self.device)
        seconds = time.perf_counter() - begun
        rollouts: list[list[Rollout]] = [[] for _ in prompts]
        for number, _, said in found:
            count, paid = len(said.tokens), reward(said.tokens)
            rollouts[number].append(
                Rollout(
                    prompts[number],
                    said.tokens,
                    (True,) * count,
                    said.logprobs,
                    "",
                    False,
                    said.version,
                    rewards={count - 1: paid},
                )
            )
        return [Group(prompt, tuple(own)) for prompt, own in zip(prompts, rollouts, strict=True)], seconds

    def learn(self, groups: Sequence[Group]) -> float:
        """Seconds of one optimiser update with TRL's loss: no reference, one pass over the draw."""
        algorithm = replace(recipes.trl_1_16)
        stage = gw.Stage("bench", algorithm, gw.Task("bench", ()), steps=1, learning_rate=1e-9)
        settle(self.device)
        begun = time.perf_counter()
        update(stage, self.learner, groups, prepare(stage, self.learner, groups), 0, 0)
        settle(self.device)
        return time.perf_counter() - begun


def regrouped(groups: Sequence[Group], size: int) -> list[Group]:
    """The same rollouts in groups of ``size``, whose prompts then differ: nothing of them can be shared."""
    rollouts = flatten(groups)
    parts = [tuple(rollouts[start : start + size]) for start in range(0, len(rollouts), size)]
    return [Group(part[0].prompt, part) for part in parts]
