"""Kinds of runs, as small as they come: four with everything in them that a run keeps, and settings of runs crossed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from combinations import Combination, covering, name_of

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import KL, Critic, Entropy, Reference
from groupwise.environments import Reply, Says
from groupwise.rewards import Cached
from groupwise.sources import AllRollouts, FrozenPolicy
from groupwise.tasks.task import Task
from groupwise.training.iterative import iterative as rounds
from groupwise.types import Example

LETTERS = "abcdefgh"
ROWS = [Example(f"row:{number}", LETTERS[number], completion=LETTERS[number] * 2) for number in range(8)]
MODEL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
SAMPLED = gw.OnPolicy(group_size=4, max_completion_tokens=6)
GATHERED = FrozenPolicy(samples_per_prompt=4, sampling_temperature=1.0, max_completion_tokens=6, select=AllRollouts())


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    """Even a random model earns both rewards."""
    return [float(len(text) % 2) for text in completions]


RULE = Task("letters", ROWS, (gw.as_reward(odd),), held_out=ROWS)
CACHED = replace(RULE, rewards=(Cached(gw.as_reward(odd), "scores.sqlite"),))
DEMONSTRATED = replace(RULE, rewards=())


def stage(name: str, algorithm: Any, task: Task, **plan: Any) -> gw.Stage:
    """Few steps, many checkpoints and a quick evaluation."""
    usual = {"steps": 5, "prompts_per_step": 4, "learning_rate": 5e-3, "checkpoint_every": 2, "evaluate_every": 3}
    return gw.Stage(name, algorithm, task, **usual | plan)


def run(name: str, *stages: gw.Stage, **more: Any) -> gw.Run:
    """One thread, so that bits are the same."""
    usual: dict[str, Any] = {"learner": gw.Local(device="cpu", threads=1)}
    plan = gw.HeldOut(problems=4, sampled_problems=2, samples=2, max_completion_tokens=6, during=2)
    return gw.Run(name, MODEL, stages, evaluation=plan, **usual | more)


def demonstrations() -> gw.Run:
    """Two stages of SFT, the second with 8-bit optimizer states."""
    first = stage("one", recipes.sft, DEMONSTRATED, steps=7, evaluate_every=0)
    second = stage("two", recipes.sft, RULE, minibatches=2, epochs=2, steps=7)
    return run("sft", first, second, learner=gw.Local(device="cpu", threads=1, optimizer_bits=8))


def groups() -> gw.Run:
    """GRPO off-policy, with a reference, coefficients that adapt and a cache; every third checkpoint stays."""
    algorithm = replace(recipes.grpo, source=SAMPLED, kl=KL(0.01, target=0.1), entropy=Entropy(0.01, target=2.0))
    policy = stage("grpo", algorithm, CACHED, minibatches=2, steps=8)
    return run("grpo", policy, checkpoints=gw.Checkpoints(keep_every=4, keep_best="eval/accuracy"))


def critic() -> gw.Run:
    """PPO with a critic of its own."""
    algorithm = replace(recipes.ppo, source=replace(SAMPLED, group_size=1))
    return run("ppo", stage("ppo", algorithm, RULE, prompts_per_step=8, minibatches=2, epochs=2, steps=8))


def iterative() -> gw.Run:
    """A reward model of what the policy samples and a policy trained by it, twice, with a share of old data."""
    scorer = stage("rm", replace(recipes.process_reward_model, source=GATHERED), CACHED, steps=3, prompts_per_step=8)
    policy = stage("rl", replace(recipes.grpo, source=SAMPLED), RULE, steps=3)
    start = stage("sft", recipes.sft, DEMONSTRATED, steps=2, evaluate_every=0)
    return run("iterative", start, *rounds(policy, scorer, start="sft", replay=0.2, kind="outcome"))


def whispers(row: Mapping[str, Any], chance: random.Random) -> Generator[Any, Reply, float]:
    """Asks again as often as chance has it, and answers when it likes."""
    said = yield row["prompt"]
    for _ in range(chance.randint(0, 3)):
        time.sleep(0.05 * random.SystemRandom().random())
        said = yield Says("more" * (1 + len(said)), reward=0.25 * (len(said) % 2))
    return float(len(said) % 3)


def conversations() -> gw.Run:
    """GRPO on an environment whose replies take 0 to 50 ms; every printable letter ends a turn."""
    ends = tuple(map(chr, range(33, 127)))
    talk = Task("whispers", ROWS, held_out=ROWS, environment=whispers, turns=3, stop_strings=ends)
    algorithm = replace(recipes.grpo, source=SAMPLED, kl=KL(0.01))
    return run("turns", stage("turns", algorithm, talk, minibatches=2))


PREFERRED = [
    replace(row, columns={"chosen": row.prompt * 2, "rejected": row.prompt + "x" * number})
    for number, row in enumerate(ROWS)
]
PAIRS = replace(RULE, train=PREFERRED)
METHODS = {
    "sft": (recipes.sft, RULE),
    "grpo": (replace(recipes.grpo, source=SAMPLED), RULE),
    "ppo": (replace(recipes.ppo, source=replace(SAMPLED, group_size=1)), RULE),
    "dpo": (recipes.dpo, PAIRS),
    "online_rft": (replace(recipes.online_rft, source=SAMPLED), RULE),
    "iterative": (replace(recipes.grpo, source=SAMPLED), RULE),
}


def combined(settings: Combination) -> gw.Run:
    """A run of these settings of ``combinations.AXES``."""
    method, (algorithm, task) = settings["method"], METHODS[settings["method"]]
    if settings["critic"] != "no critic":
        network = "own" if settings["critic"] == "own critic" else "head"
        algorithm = replace(algorithm, critic=Critic(network, clip=0.2))
    if settings["reference"] == "no reference":
        algorithm = replace(algorithm, kl=KL(0.0))
    elif method != "dpo":
        algorithm = replace(algorithm, kl=replace(algorithm.kl, coefficient=0.05))
    references = {"refreshed": Reference(refresh_every=2), "directory": Reference(model="reference")}
    algorithm = replace(algorithm, reference=references.get(settings["reference"], Reference()))
    if settings["reference"] == "directory":
        _make_reference()
    targets = {"none": gw.Lora(), "blocks": gw.Lora(2), "head": gw.Lora(2, targets=("lm_head", "q_proj"))}
    bits: Any = int(settings["bits"])
    dtype: Any = settings["dtype"]
    learner = gw.Local(device="cpu", threads=1, dtype=dtype, optimizer_bits=bits, lora=targets[settings["adapters"]])
    plan = {"minibatches": 2, "epochs": 2} if method == "ppo" else {}
    policy = stage("policy", algorithm, task, steps=5, **plan)
    if method != "iterative":
        return run(method, policy, learner=learner)
    scorer = stage("rm", replace(recipes.process_reward_model, source=GATHERED), CACHED, steps=3, prompts_per_step=8)
    start = stage("sft", recipes.sft, DEMONSTRATED, steps=2, evaluate_every=0)
    return run(method, start, *rounds(policy, scorer, start="sft", iterations=1, kind="outcome"), learner=learner)


def _make_reference() -> None:
    """A model of other weights in the present directory, whole or not at all."""
    if not Path("reference").exists():
        MODEL.save(Path("reference.part"), seed=7)
        Path("reference.part").rename("reference")


CROSSED = {name_of(settings): settings for settings in covering()}
KINDS: dict[str, Callable[[], gw.Run]] = {
    "sft": demonstrations,
    "grpo": groups,
    "ppo": critic,
    "iterative": iterative,
    "turns": conversations,
    **{name: partial(combined, settings) for name, settings in CROSSED.items()},
}
