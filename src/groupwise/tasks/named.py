"""A task by what stands after ``--task``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.tasks.from_file import from_file, judge_of
from groupwise.tasks.gsm8k import gsm8k
from groupwise.tasks.reasoning_gym import reasoning_gym
from groupwise.tasks.stepwise import LEVELS, StepRule, stepwise
from groupwise.tasks.task import Task

DATA_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
STEPS = "steps"
"""Names the step rule of stepwise where a reward is named."""
EXPECTED = "stepwise[:LEVEL], gsm8k[:FILE], a reasoning-gym family, or a data file or hub name together with a reward"


def by_name(
    spec: str,
    reward: Sequence[str] = (),
    *,
    problems: int = 500,
    system: str | None = None,
    judge: str | None = None,
    **reading: Any,
) -> Task:
    """A task to be evaluated on, by its name: ``stepwise``, ``stepwise:3``, ``gsm8k`` (from the hub),
    ``gsm8k:test.jsonl``, ``gym:leg_counting`` or just ``leg_counting``, or a data file or hub name.

    Every row of a data file counts as held out, and its ``reward`` (``rewards.by_name``) says what is right; of the
    other tasks ``reward`` replaces their own. ``judge``: the reward that says what is right; None: the first.
    ``problems``: how many held-out questions ``stepwise`` has. ``system``: a system message. ``reading``: of a data
    file, as ``from_file`` takes it. Raises UserError for an unknown name, with the nearest one, and where a data file
    has no reward.
    """
    name, _, rest = spec.partition(":")
    reward = reward or ([judge] if judge and _is_data(spec) else ())
    if is_generated(spec):
        task = _generated(_level(rest), tuple(reward), problems)
        reward = ()
    elif spec == "gsm8k":
        task = gsm8k()
    elif name == "gsm8k":
        task = _all_held_out(from_file(rest, "answer", held_out_fraction=0, name="gsm8k"))
    elif name == "gym":
        task = reasoning_gym(rest)
    elif _is_data(spec):
        return replace(_from_data(spec, reward, {**reading, "judge": judge}), system=system)
    else:
        task = _family(spec)
    rewards = _rewards(reward) or task.rewards
    referee = (judge_of(judge, reward or [each.name for each in rewards], rewards),) if judge else task.referee
    return replace(task, rewards=rewards, referee=referee, system=system or task.system)


def is_generated(spec: str) -> bool:
    """Says whether it names the task that makes its own rows, to train on as well: ``stepwise``, ``stepwise:3``."""
    return spec.partition(":")[0] == "stepwise" and not Path(spec).exists()


def _generated(level: int, reward: Sequence[str], problems: int) -> Task:
    """``steps`` is its own reward for each step. Whatever is trained on, the final answer says what is right."""
    task = stepwise(level, held_out_size=problems)
    own: dict[str, Reward] = {STEPS: StepRule(so_far=True)}
    rewards = tuple(own[name] if name in own else _rewards([name])[0] for name in reward)
    if any(name in own for name in reward):
        task = replace(task, referee=task.rewards)
    return replace(task, rewards=rewards or task.rewards)


def _level(text: str) -> int:
    if not text:
        return 2
    if not text.isdecimal() or int(text) not in LEVELS:
        raise UserError(f"task stepwise:{text}: no such level; expected one of {', '.join(map(str, LEVELS))}")
    return int(text)


def _is_data(spec: str) -> bool:
    return "/" in spec or Path(spec).exists() or spec.lower().endswith(DATA_SUFFIXES)


def _from_data(spec: str, reward: Sequence[str], reading: Mapping[str, Any]) -> Task:
    if not reward:
        raise UserError(
            f"task {spec}: data need a reward that says which answers are right; add e.g. --reward math or "
            "--reward FILE.py:function"
        )
    return _all_held_out(from_file(spec, tuple(reward), held_out_fraction=0, **reading))


def _all_held_out(task: Task) -> Task:
    return replace(task, train=(), held_out=task.train)


def _rewards(names: Sequence[str]) -> tuple[Reward, ...]:
    from groupwise.rewards import by_name

    return tuple(by_name(name) for name in names)


def _family(name: str) -> Task:
    more = ""
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        families: list[str] = []
        more = f"; families of reasoning-gym need: pip install 'groupwise[gym]' ({error})"
    else:
        families = list(DATASETS)
    if name in families:
        return reasoning_gym(name)
    near = difflib.get_close_matches(name, ["stepwise", "gsm8k", *families], n=1)
    hint = f"perhaps you meant {near[0]}" if near else f"expected {EXPECTED}"
    raise UserError(f"unknown task {name}: {hint}{more}")
