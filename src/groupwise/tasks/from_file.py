"""A task out of rows: files or hub names, and a reward.

An epoch takes every row once; of a file with a weight, ``a.jsonl*0.3``, that share of its rows, another one each epoch
in turn. The held-out examples are those of ``held_out``, or a fraction of the questions of each file drawn by ``seed``;
rows that ask the same question stay together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from groupwise.environments.as_environment import as_environment
from groupwise.environments.turns import Turns as Budget
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.protocols import Reward
from groupwise.tasks.conventions import Reading, duplicates, examples, recognise
from groupwise.tasks.files import read_rows
from groupwise.tasks.golds import Structured
from groupwise.tasks.held_out import held_out_sets
from groupwise.tasks.shards import left_out
from groupwise.tasks.shares import Share, epoch_size, weight_of
from groupwise.tasks.task import Task
from groupwise.tasks.weights import Turns
from groupwise.tokens.documents import content_of, is_document
from groupwise.tokens.segmentation import Lines, Segmentation
from groupwise.types import Example

RewardLike = Reward | Callable[..., Any] | str
"""A reward, a plain function, or the name of a reward that ships."""

Sources = str | Path | Sequence[str | Path]
"""A file or a hub name, or several; each may end in a weight, ``a.jsonl*0.3``."""

LINES = Lines()


def from_file(
    path: Sources,
    reward: RewardLike | tuple[RewardLike, ...] = (),
    *,
    held_out: Sources | Mapping[str, str | Path] | None = None,
    held_out_fraction: float = 0.1,
    prompt_column: str | Sequence[str] | None = None,
    answer_column: str | None = None,
    ignore_columns: Sequence[str] = (),
    structured_answers: Structured = "error",
    turns: Turns | int | Budget | None = None,
    environment: Any = None,
    tools: Sequence[Any] = (),
    limit: int | None = None,
    name: str | None = None,
    system: str | None = None,
    chat: Literal["auto", "always", "never"] = "auto",
    template_arguments: Mapping[str, Any] | None = None,
    demonstrations: Literal["template", "appended"] = "template",
    seed: int = 0,
    steps: Segmentation | None = LINES,
    judge: RewardLike | None = None,
) -> Task:
    """A task from anything ``read_rows`` reads, in any convention ``recognise`` knows (this module's words).

    ``limit``: only so many rows of each file. ``name``: the files' if not given. ``structured_answers``: see ``golds``.
    ``turns``: "last" or "all" of the assistant's in a row are learned; or the budgets of an episode. ``steps``: what a
    reasoning step of a completion is. ``judge``: who says what is right (``Task.referee``), a reward of its own or the
    name of one of ``reward``; None: the first of them. The other arguments are fields of Task. Raises UserError for
    what cannot be read or recognised, and for an unknown reward.
    """
    _refuse_words(structured_answers, chat, demonstrations, system)
    named = (prompt_column,) if isinstance(prompt_column, str) else tuple(prompt_column or ())
    reading = Reading(named, answer_column, tuple(ignore_columns), _learned(turns), structured_answers)
    outside, inside = _parted(reward if isinstance(reward, tuple) else (reward,))
    rewards, referee = _who_says(outside, judge, structured_answers)
    made = _task(_load(path, reading, limit), held_out, held_out_fraction, reading, limit, seed, name)
    made = replace(made, rewards=rewards, referee=referee, system=system, chat=chat, steps=steps)
    made = replace(made, template_arguments=dict(template_arguments or {}), demonstrations=demonstrations)
    return _with_episodes(made, environment, tools, inside, turns)


def _with_episodes(
    task: Task, environment: Any, tools: Sequence[Any], inside: Sequence[Any], turns: Turns | int | Budget | None
) -> Task:
    """The task with its environment; ``inside``: rewards that are called where that is. Raises UserError where there
    is none and something asks for it."""
    budget: dict[str, Any] = {} if isinstance(turns, str | None) else {"turns": turns}
    if environment is not None or tools:
        played = as_environment(environment, (), inside) if inside else environment
        return replace(task, environment=played, tools=tuple(tools), **budget)
    if inside or budget:
        asked = "a reward asks for environments" if inside else f"turns is {turns}"
        raise UserError(f'{asked}, but there is no environment and there are no tools; expected turns "last" or "all"')
    return task


def split(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Returns ``(train, held out)``, each in the order given: the fraction of distinct prompts, at least one of
    several, that the seed draws. Examples with one prompt fall on one side; a single prompt is all train."""
    drawn = _drawn(examples, fraction, seed)
    train = [example for example in examples if content_of(example) not in drawn]
    return train, [example for example in examples if content_of(example) in drawn]


class _File:
    """The examples of one source, its weight, and in words what they were read as."""

    def __init__(self, name: str, rows: list[Example], weight: float, words: str) -> None:
        self.name, self.rows, self.weight, self.words = name, rows, weight, words

    def with_rows(self, rows: list[Example]) -> _File:
        return _File(self.name, rows, self.weight, self.words)


def _task(
    files: list[_File],
    held_out: Sources | Mapping[str, str | Path] | None,
    fraction: float,
    reading: Reading,
    limit: int | None,
    seed: int,
    name: str | None,
) -> Task:
    if not 0 <= fraction < 1:
        raise UserError(f"held_out_fraction is {fraction}; expected 0 <= held_out_fraction < 1")
    kept: Sequence[Example] = ()
    if held_out is None:
        files, kept = _split(files, fraction, seed)
    elif isinstance(held_out, Mapping):
        kept = held_out_sets({name: _load(file, reading, limit)[0].rows for name, file in held_out.items()})
    else:
        kept = [row for file in _load(held_out, reading, limit) for row in file.rows]
    shares = tuple(Share(file.name, len(file.rows), file.weight) for file in files)
    if all(share.weight == 1 for share in shares):
        shares = ()
    return Task(
        name=name or "+".join(dict.fromkeys(Path(file.name).name.partition(".")[0] for file in files)),
        train=[row for file in files for row in file.rows],
        held_out=kept,
        shares=shares,
        source="; ".join([*(file.words for file in files), *_epoch_words(files, shares)]),
    )


def _drawn(examples: Sequence[Example], fraction: float, seed: int) -> set[str]:
    """The prompts that are held out."""
    if not 0 <= fraction < 1:
        raise UserError(f"held_out_fraction is {fraction}; expected 0 <= held_out_fraction < 1")
    prompts = list(dict.fromkeys(content_of(example) for example in examples))
    wanted = min(max(round(fraction * len(prompts)), 1), len(prompts) - 1) if fraction else 0
    return set(Random(f"{seed}/held_out").sample(prompts, wanted))


def _split(files: list[_File], fraction: float, seed: int) -> tuple[list[_File], list[Example]]:
    """Held out of every file; a question that is held out of one is trained on in none."""
    drawn = {prompt for file in files for prompt in _drawn(file.rows, fraction, seed)}
    left = [file.with_rows([row for row in file.rows if content_of(row) not in drawn]) for file in files]
    empty = next((file.name for file in left if not file.rows), None)
    if empty:
        raise UserError(f"{empty}: every question in it is held out of another file; name held-out rows as held_out")
    return left, [row for file in files for row in file.rows if content_of(row) in drawn]


def _load(sources: Sources, reading: Reading, limit: int | None) -> list[_File]:
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; expected at least 1")
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise UserError("no data: expected at least one file or hub name")
    parted = [(str(source), 1.0) if Path(source).is_file() else weight_of(str(source)) for source in given]
    paths = [path for path, _ in parted]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice:
        raise UserError(f"{twice} is given twice; expected every file once: a weight of 2, {twice}*2, repeats its rows")
    files = [_read(path, weight, reading, limit) for path, weight in parted]
    names = [Path(path).name for path in paths]
    for place, file in enumerate(files):
        if names.count(names[place]) > 1:  # two train.jsonl of different folders
            file.rows = [replace(row, id=f"{paths[place]}/{row.id}") for row in file.rows]
    return files


def _read(path: str, weight: float, reading: Reading, limit: int | None) -> _File:
    rows = read_rows(path)[:limit]
    try:
        convention = recognise(rows, reading=reading)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    found = examples(rows, convention)
    repeated = duplicates(found)
    again = f", {repeated} of them with the question of an earlier row" if repeated else ""
    weighted = f", weight {weight:g}" if weight != 1 else ""
    others = left_out(path)
    unread = f"; not read, by their names: {', '.join(others)}" if others else ""
    said = f"{path}: {counted(len(found), 'row')}{again}{weighted}; {convention.description}{unread}"
    return _File(path, found, weight, said)


def _who_says(
    given: tuple[RewardLike, ...], judge: RewardLike | None, structured: Structured
) -> tuple[tuple[Reward, ...], tuple[Reward, ...]]:
    """Rewards and referee. A judge without any rewards is the reward."""
    rewards = tuple(_as_reward(each, structured) for each in given)
    referee = () if judge is None else (judge_of(judge, given, rewards, structured),)
    return rewards or referee, referee


def judge_of(
    judge: RewardLike, given: Sequence[RewardLike], rewards: Sequence[Reward], structured: Structured = "error"
) -> Reward:
    """One of the rewards where ``judge`` names it, as it was given (whatever its weight) or by its own name; else the
    reward that it names. Raises UserError for a weight, which a verdict has not."""
    from groupwise.rewards.named import weight_of

    if not isinstance(judge, str):
        return _as_reward(judge, structured)
    name, weight = weight_of(judge)
    if weight is not None:
        raise UserError(f"judge {judge}: a verdict has no weight; expected {name}")
    for words, reward in zip(given, rewards, strict=True):
        if reward.name == name or (isinstance(words, str) and weight_of(words)[0] == name):
            return reward
    return _as_reward(name, structured)


def _learned(turns: Turns | int | Budget | None) -> Turns | None:
    if isinstance(turns, str):
        _refuse_word("turns", turns, get_args(Turns))
    return turns if isinstance(turns, str) else None


def _refuse_words(structured_answers: str, chat: str, demonstrations: str, system: Any) -> None:
    """Raises UserError for an option that is none of its words."""
    _refuse_word("structured_answers", structured_answers, get_args(Structured))
    _refuse_word("chat", chat, ("auto", "always", "never"))
    _refuse_word("demonstrations", demonstrations, ("template", "appended"))
    if system is not None and not isinstance(system, str):
        raise UserError(f"system is {system!r}; expected text or None")


def _refuse_word(name: str, word: Any, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise UserError(f"{name} is {word!r}; expected one of {', '.join(allowed)}")


def _parted(rewards: tuple[RewardLike, ...]) -> tuple[tuple[RewardLike, ...], tuple[RewardLike, ...]]:
    """Rewards, and TRL's reward functions that read the state of environments."""
    inside = tuple(
        each for each in rewards if inspect.isfunction(each) and "environments" in inspect.signature(each).parameters
    )
    return tuple(each for each in rewards if each not in inside), inside


def _epoch_words(files: Sequence[_File], shares: Sequence[Share]) -> list[str]:
    if shares and all(is_document(row) for file in files for row in file.rows):
        whole = sum(share.weight for share in shares)
        each = ", ".join(f"{share.weight / whole:.0%} from {Path(share.name).name}" for share in shares)
        return [f"tokens: {each}"]
    each = ", ".join(f"{share.per_epoch:,} of {Path(share.name).name}" for share in shares)
    return [f"an epoch takes {counted(epoch_size(shares), 'row')}: {each}"] if shares else []


def _as_reward(reward: RewardLike, structured: Structured) -> Reward:
    from groupwise.rewards import as_reward, by_name
    from groupwise.rewards.alternatives import any_of

    found = by_name(reward) if isinstance(reward, str) else as_reward(reward)
    return any_of(found) if structured == "any" else found
