"""Runs with nothing to learn from, without threads or processes, with half files, with another reward's cache."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compare import different, kept
from forked import in_child
from kills import Whole, trapped, whole
from traps import Trap

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import Algorithm
from groupwise.kernels import learn
from groupwise.kernels.decode import Decoder
from groupwise.rewards import Cached
from groupwise.step_rows import read_rows
from recipes import KINDS, RULE, SAMPLED, odd, run, stage

NOBODY = 65_534
LIMITS = (1, 2, 3, 5, 8)
HARMED = ("metrics.jsonl", "times.jsonl", "alarms.jsonl")
CUTS = 12


def edges(place: Path, seed: int) -> dict[str, Any]:
    """What was injected, and what was lost by it."""
    counts: Counter[str] = Counter()
    lost = [*empty_minibatches(place / "empty", counts), *few_threads(place / "few", counts)]
    lost += half_files(place / "half", random.Random(seed), counts)
    lost += other_rewards(place / "cache", counts)
    return {**dict(counts), "lost": lost}


def unscored(completions: Sequence[str], **columns: Any) -> list[float | None]:
    return [None for _ in completions]


def flat(completions: Sequence[str], **columns: Any) -> list[float]:
    return [1.0 for _ in completions]


def half_scored(completions: Sequence[str], **columns: Any) -> list[float | None]:
    return [float(len(text) % 2) if text[:1] < "m" else None for text in completions]


def on_policy() -> dict[str, Algorithm]:
    """Recipes that sample and need no teacher."""
    every = {name: value for name, value in vars(recipes).items() if isinstance(value, Algorithm)}
    return {
        name: replace(value, source=replace(value.source, group_size=min(value.source.group_size, 4)))
        for name, value in every.items()
        if isinstance(value.source, gw.OnPolicy) and name != "on_policy_distillation"
    }


def empty_minibatches(place: Path, counts: Counter[str]) -> list[str]:
    """Every recipe that samples, where no completion, or nearly none, has anything to teach."""
    lost = []
    for name, algorithm in on_policy().items():
        for reward in (unscored, flat, half_scored):
            counts["runs_with_empty_minibatches"] += 1
            there = place / f"{name}-{reward.__name__}"
            status = in_child(partial(_nothing_to_learn, algorithm, reward), there)
            said = (there / "said.txt").read_text()
            steps = [row["step"] for row in read_rows(there / "run" / "metrics.jsonl")]
            if status or steps != [1, 2, 3]:
                lost.append(f"{name}, {reward.__name__}: exit {status}, steps {steps}: {said[-300:]}")
            shutil.rmtree(there)
    return lost


def _nothing_to_learn(algorithm: Algorithm, reward: Callable[..., Any]) -> None:
    source = replace(algorithm.source, max_completion_tokens=4)
    task = replace(RULE, rewards=(gw.as_reward(reward, isolated=False),), held_out=())
    plan = stage("empty", replace(algorithm, source=source, truncated="mask"), task, steps=3, minibatches=2)
    gw.run(run("empty", replace(plan, evaluate_every=0)), "run", sinks=[])


def threaded(reward: gw.protocols.Reward) -> gw.Run:
    """Several threads sample; torch has one, since OpenMP ends a process whose threads it can't make."""
    algorithm = replace(recipes.grpo, source=SAMPLED)
    policy = stage("few", algorithm, replace(RULE, rewards=(reward,)), steps=3)
    return run("few", policy, learner=gw.Local(device="cpu", threads=1), engine=gw.Native(threads=3))


def few_threads(place: Path, counts: Counter[str]) -> list[str]:
    """As a user who may have so many threads and processes and no more: the same bytes, or one line that says why."""
    whole("grpo", place / "before")  # and with it all is imported
    Decoder.load()
    learn.why_not()  # compiled and loaded by whoever may
    lost, expected = [], dict[str, dict[str, str]]()
    for isolated in (False, True):
        for limit in (0, *LIMITS):
            there = place / f"{limit}-{isolated}"
            status = in_child(partial(_limited, limit, isolated), there)
            said, found = (there / "said.txt").read_text(), kept(there / "run")
            if not limit:
                expected[str(isolated)] = found
                continue
            counts["thread_and_process_limits"] += 1
            same = not status and not different(found, expected[str(isolated)])
            named = status and "Traceback" not in said and bool(said.strip())
            if not same and not named:
                lost.append(f"{limit} processes, isolated {isolated}: exit {status}, said {said[-300:]!r}")
    return lost


def _limited(limit: int, isolated: bool) -> None:
    os.chmod(".", 0o777)
    if limit:
        if os.getuid() == 0:  # whom no limit binds
            _open_way()
            os.setuid(NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    try:
        gw.run(threaded(gw.as_reward(odd, isolated=isolated)), "run", sinks=[])
    except gw.UserError as error:
        print(error)
        raise SystemExit(1) from None


def _open_way() -> None:
    """The directories above this one let others through."""
    for above in Path.cwd().parents:
        if above.stat().st_uid == 0 and str(above).startswith("/tmp/"):
            above.chmod(0o755)


def half_files(place: Path, draw: random.Random, counts: Counter[str]) -> list[str]:
    """A run that was killed, its files of rows cut anywhere or with blocks of zeros in them, and continued."""
    run = whole("grpo", place / "whole")
    trap = Trap("ledger and metrics", run.calls["ledger and metrics"] - 3)
    in_child(partial(trapped, "grpo", trap), place / "begun")
    lost = []
    for name in HARMED:
        size = (place / "begun" / "run" / name).stat().st_size if (place / "begun" / "run" / name).exists() else 0
        for number in range(CUTS if size else 0):
            harm = (cut, zeros_behind, zeros_within)[number % 3]
            at = draw.randrange(size)
            counts["half_files"] += 1
            there = place / f"{name}-{number}"
            shutil.copytree(place / "begun" / "run", there / "run", symlinks=True)
            harm(there / "run" / name, at)
            lost += [f"{harm.__name__} {name} at {at}: {what}" for what in went_on(there, run, place / "whole")]
            shutil.rmtree(there)
    return lost


def cut(path: Path, at: int) -> None:
    os.truncate(path, at)


def zeros_behind(path: Path, at: int) -> None:
    """As a machine leaves a file that grew before power went."""
    with path.open("ab") as file:
        file.write(bytes(at % 4096 + 1))


def zeros_within(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 64] = bytes(len(content[at : at + 64]))
    path.write_bytes(content)


def went_on(place: Path, run: Whole, undisturbed: Path) -> list[str]:
    """What is wrong in the end: weights, ledger and checkpoints are the same, rows are the run's own or lost."""
    if in_child(partial(_continue, "grpo"), place):
        return [f"it did not continue: {(place / 'said.txt').read_text()[-300:]}"]
    found = kept(place / "run")  # which old checkpoint is the best, and stays, only a row can say
    wrong = [name for name in different(run.files, found) if not name.endswith(".jsonl")]
    wrong = [name for name in wrong if not name.startswith("checkpoints/") or {name} <= run.files.keys() & found.keys()]
    for name in ("metrics.jsonl", "alarms.jsonl"):
        true = [json.dumps(row) for row in read_rows(undisturbed / "run" / name)]
        found = [json.dumps(row) for row in read_rows(place / "run" / name)]
        rest = iter(true)
        if not all(row in rest for row in found):  # the same rows in the same order, some of them missing
            wrong.append(f"{name} has rows that the run never made")
    steps = [row["step"] for row in read_rows(place / "run" / "metrics.jsonl")]
    return wrong if steps[-1:] == [8] else [*wrong, f"its last step is {steps[-1:]}"]


def _continue(kind: str) -> None:
    gw.run(KINDS[kind](), "run", sinks=[])


def even(completions: Sequence[str], **columns: Any) -> list[float]:
    return [1.0 - len(text) % 2 for text in completions]


def at_least(length: int) -> Callable[..., list[float]]:
    """A closure, as many rewards are."""

    def long_enough(completions: Sequence[str], **columns: Any) -> list[float]:
        return [float(len(text) >= length) for text in completions]

    return long_enough


def share(length: int, completions: Sequence[str], **columns: Any) -> list[float]:
    return [min(1.0, len(text) / length) for text in completions]


REWARDS: dict[str, Callable[[], Callable[..., Any]]] = {
    "odd": lambda: odd,
    "even": lambda: even,
    "closure of 2": lambda: at_least(2),
    "closure of 4": lambda: at_least(4),
    "partial of 3": lambda: partial(share, 3),
    "partial of 5": lambda: partial(share, 5),
}
"""Under one name, one after another in one cache."""


def other_rewards(place: Path, counts: Counter[str]) -> list[str]:
    """Each with a cache of its own, and with the one that all others filled before: the same bytes, or refused."""
    lost = []
    for name in REWARDS:
        counts["rewards_in_one_cache"] += 1
        outcomes = []
        for cache in (place / name / "own", place / "shared"):
            cache.mkdir(parents=True, exist_ok=True)
            status = in_child(partial(_cached, name), cache)
            outcomes.append((status, kept(cache / "run"), (cache / "said.txt").read_text()))
            shutil.rmtree(cache / "run", ignore_errors=True)
        (status, own, said), (again, shared, _) = outcomes
        counts["rewards_refused_by_a_cache"] += bool(status)
        if status != again or (status and "Traceback" in said):
            lost.append(f"{name}: exits {status} and {again}: {said[-300:]}")
        lost += [f"{name}: {file}" for file in different(own, shared)]
    return lost


def _cached(name: str) -> None:
    reward = Cached(gw.as_reward(REWARDS[name](), name="reward"), "scores.sqlite")
    policy = stage("cached", replace(recipes.grpo, source=SAMPLED), replace(RULE, rewards=(reward,)), steps=3)
    try:
        gw.run(run("cached", policy), "run", sinks=[])
    except gw.UserError as error:
        print(error)
        raise SystemExit(1) from None
