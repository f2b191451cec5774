"""A task out of rows: a file or a hub name, and a reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.steps import Lines, Segmentation
from groupwise.tasks.conventions import duplicates, examples, recognise
from groupwise.tasks.files import read_rows
from groupwise.tasks.held_out import held_out_sets
from groupwise.tasks.task import Task
from groupwise.types import Example

RewardLike = Reward | Callable[..., Any] | str
"""A reward, a plain function, or the name of a reward that ships."""

LINES = Lines()


def from_file(
    path: str | Path,
    reward: RewardLike | tuple[RewardLike, ...] = (),
    *,
    held_out: str | Path | Mapping[str, str | Path] | None = None,
    held_out_fraction: float = 0.1,
    prompt_column: str | Sequence[str] | None = None,
    answer_column: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    system: str | None = None,
    chat: Literal["auto", "always", "never"] = "auto",
    seed: int = 0,
    steps: Segmentation | None = LINES,
    judge: RewardLike | None = None,
) -> Task:
    """A task from anything ``read_rows`` reads, in any convention ``recognise`` knows.

    The held-out examples are those of ``held_out``, a file or several by name, or a fraction of the questions of
    ``path`` drawn by ``seed``; rows that ask the same question stay together. ``limit``: only so many rows of each
    file. ``name``: the file's if not given. ``steps``: what a reasoning step of a completion is. ``judge``: who says
    what is right (``Task.referee``), a reward of its own or the name of one of ``reward``; None: the first of them.
    Raises UserError for what cannot be read or recognised, and for an unknown reward.
    """
    train, source = _load(path, prompt_column, answer_column, limit)
    if held_out is None:
        train, kept = split(train, held_out_fraction, seed)
    else:
        kept = _held_out(held_out, prompt_column, answer_column, limit)
    rewards, referee = _who_says(reward if isinstance(reward, tuple) else (reward,), judge)
    named = name or Path(path).name.partition(".")[0]
    return Task(named, train, rewards, kept, referee, system, chat, steps=steps, source=source)


def _held_out(
    files: str | Path | Mapping[str, str | Path],
    prompt_column: str | Sequence[str] | None,
    answer_column: str | None,
    limit: int | None,
) -> list[Example]:
    if not isinstance(files, Mapping):
        return _load(files, prompt_column, answer_column, limit)[0]
    rows = {name: _load(file, prompt_column, answer_column, limit)[0] for name, file in files.items()}
    return list(held_out_sets(rows))


def split(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """``(train, held out)``, each in the order given: the fraction of distinct prompts, at least one of several, that
    the seed draws. Examples with one prompt fall on one side; a single prompt is all train."""
    if not 0 <= fraction < 1:
        raise UserError(f"held_out_fraction is {fraction}; expected 0 <= held_out_fraction < 1")
    prompts = list(dict.fromkeys(str(example.prompt) for example in examples))
    wanted = min(max(round(fraction * len(prompts)), 1), len(prompts) - 1) if fraction else 0
    drawn = set(Random(f"{seed}/held_out").sample(prompts, wanted))
    train = [example for example in examples if str(example.prompt) not in drawn]
    return train, [example for example in examples if str(example.prompt) in drawn]


def _load(
    path: str | Path, prompt_column: str | Sequence[str] | None, answer_column: str | None, limit: int | None
) -> tuple[list[Example], str]:
    """The examples, and in words what they were read as."""
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; expected at least 1")
    rows = read_rows(path)[:limit]
    try:
        convention = recognise(rows, prompt_column, answer_column)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    found = examples(rows, convention)
    repeated = duplicates(found)
    again = f", {repeated} of them asked before" if repeated else ""
    return found, f"{path}: {len(found)} rows{again}; {convention.description}"


def _who_says(given: tuple[RewardLike, ...], judge: RewardLike | None) -> tuple[tuple[Reward, ...], tuple[Reward, ...]]:
    """Rewards and referee. A judge without any rewards is the reward."""
    rewards = tuple(_as_reward(each) for each in given)
    referee = () if judge is None else (judge_of(judge, given, rewards),)
    return rewards or referee, referee


def judge_of(judge: RewardLike, given: Sequence[RewardLike], rewards: Sequence[Reward]) -> Reward:
    """One of the rewards where ``judge`` names it, as it was given (whatever its weight) or by its own name; else the
    reward that it names. Raises UserError for a weight, which a verdict has not."""
    from groupwise.rewards.named import weight_of

    if not isinstance(judge, str):
        return _as_reward(judge)
    name, weight = weight_of(judge)
    if weight is not None:
        raise UserError(f"judge {judge}: a verdict has no weight; expected {name}")
    for words, reward in zip(given, rewards, strict=True):
        if reward.name == name or (isinstance(words, str) and weight_of(words)[0] == name):
            return reward
    return _as_reward(name)


def _as_reward(reward: RewardLike) -> Reward:
    from groupwise.rewards import as_reward, by_name

    return by_name(reward) if isinstance(reward, str) else as_reward(reward)
