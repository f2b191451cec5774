"""A task says what is to be learned: examples, held-out examples, rewards, and how a prompt is shown to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from groupwise.environments.as_environment import resolved
from groupwise.environments.turns import Turns
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards import as_reward, by_name
from groupwise.rewards.episodes import EpisodeReward, among_rewards
from groupwise.rewards.verdicts import Judge, equal_reward
from groupwise.tasks.episode_rows import rows_with_tools
from groupwise.tasks.shares import Share
from groupwise.tokens.segmentation import Segmentation
from groupwise.types import Example
from groupwise.values.said import SAID_WHERE_SET


@dataclass(frozen=True)
class Task:
    """A task is prompts × reward × renderer."""

    name: str
    train: Sequence[Example]
    """Anything with ``len()`` and ``[index]``; a generator's rows may be made on demand."""
    rewards: tuple[Reward, ...] = ()
    """Rewards; a plain function is one (``as_reward``), and so is a name (``rewards.by_name``)."""
    held_out: Sequence[Example] = ()
    """Never trained on; evaluation uses it. Several sets are made one by ``tasks.held_out_sets``."""
    referee: tuple[Reward, ...] = ()
    """Its first says whether an answer is right, where training listens to others (a learned reward, say); its score
    is no part of a reward. Empty: the first of the rewards says it."""
    system: str | None = None
    """A system message put before every conversation."""
    chat: Literal["auto", "always", "never"] = "auto"
    """How a plain-text prompt is shown: as a user message through the chat template where the tokenizer has one
    (auto), always so (an error where there is none), or as it stands (never). Conversations always use the template."""
    stop_strings: tuple[str, ...] = ()
    """A completion also ends with the token that completes any of these: ``("</answer>",)``, say."""
    steps: Segmentation | None = None
    """What a reasoning step of a completion is; None: nothing asks."""
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is given beside the messages: ``{"enable_thinking": False}``, say. A row's own column
    ``chat_template_kwargs`` goes before it, argument by argument."""
    demonstrations: Literal["template", "appended"] = "template"
    """How an answer that is to be learned follows its prompt: as the chat template writes it, or the prompt as it is
    asked with the answer's text behind it (for templates that drop or rewrite reasoning once an answer follows)."""
    shares: tuple[Share, ...] = ()
    """Which rows of ``train`` an epoch takes how often, file by file (``shares``); empty: every row once."""
    source: str = ""
    """Where the rows came from and how they were read, in words, for the person who runs it."""
    environment: Any = field(default=None, metadata=SAID_WHERE_SET)
    """What the model talks with: a generator function (``environments.protocol``). Its score is then the first of the
    rewards, whose other members may be added."""
    tools: tuple[Callable[..., Any], ...] = field(default=(), metadata=SAID_WHERE_SET)
    """Functions that the model may call; without an ``environment`` they are one, which ends at the first turn that
    calls nothing."""
    turns: int | Turns = field(default=Turns(), metadata=SAID_WHERE_SET)
    """The budgets of an episode, or the most turns alone."""

    def __post_init__(self) -> None:
        """Puts the environment's score among the rewards. Raises UserError for what is no environment or no reward, and
        for rows that say nothing where there is none."""
        refuse_turns(self.name, self.tools, self.turns)
        for name in ("rewards", "referee"):
            object.__setattr__(self, name, as_rewards(getattr(self, name), f"task {self.name}: {name}"))
        object.__setattr__(self, "tools", tuple(self.tools))
        speaks = self.environment is not None or bool(self.tools)
        for name in ("train", "held_out"):
            rows = as_examples(getattr(self, name), f"{self.name}.{name}", needs_prompt=not speaks)
            object.__setattr__(self, name, rows)
        if not speaks:
            return
        if among_rewards(self.rewards) is None:
            found = resolved(self.environment, self.tools)
            reward = EpisodeReward(found.environment, self.budget, found.name)
            rewards = (reward, *self.rewards) if found.judges or not self.rewards else (*self.rewards, reward)
            object.__setattr__(self, "rewards", rewards)
        played = self.episodes
        assert played is not None
        for name in ("train", "held_out"):
            object.__setattr__(self, name, rows_with_tools(getattr(self, name), played.environment))

    @property
    def budget(self) -> Turns:
        """The budgets of an episode."""
        return self.turns if isinstance(self.turns, Turns) else Turns(most=self.turns)

    @property
    def episodes(self) -> EpisodeReward | None:
        """Returns who speaks for the environment; None where the task has none."""
        return among_rewards(self.rewards)

    def with_rows(self, keep: Sequence[bool]) -> Task:
        """The task with only those training rows, each still with its file's weight."""
        shares, start = [], 0
        for share in self.shares:
            shares.append(replace(share, rows=sum(keep[start : start + share.rows])))
            start += share.rows
        train = [row for row, kept in zip(self.train, keep, strict=True) if kept]
        return replace(self, train=train, shares=tuple(shares))

    @property
    def judge(self) -> Judge | None:
        """Says who decides whether an answer is right, wherever that is asked; None where the task has no reward."""
        first = next(iter((*self.referee, *self.rewards)), None)
        return None if first is None else Judge.of(equal_reward(first, self.rewards) or first)

    @property
    def is_judged(self) -> bool:
        """Says whether somebody can tell right answers from wrong ones."""
        return self.judge is not None and self.judge.can_tell

    @property
    def judges(self) -> tuple[Reward, ...]:
        """Returns all that an evaluation asks: the rewards, and those of the referee that are not among them."""
        return (*self.rewards, *(reward for reward in self.referee if equal_reward(reward, self.rewards) is None))


def refuse_turns(name: str, tools: Any, turns: Any) -> None:
    """Raises UserError for tools that are no list, and for a number of turns that is none."""
    if isinstance(tools, str) or not isinstance(tools, Sequence):
        raise UserError(f"task {name}: tools is {type(tools).__name__}; expected a list of functions")
    if not isinstance(turns, Turns) and (not isinstance(turns, int) or isinstance(turns, bool) or turns < 1):
        raise UserError(f"task {name}: turns is {turns!r}; expected a whole number, at least 1, or Turns(most=...)")


def as_rewards(given: Any, where: str) -> tuple[Reward, ...]:
    """Rewards of one or several: plain functions, names, rewards. Raises UserError for what is none."""
    several = given if isinstance(given, list | tuple) else (given,)
    try:
        return tuple(each if hasattr(each, "score") else _as_reward(each) for each in several)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _as_reward(given: Any) -> Reward:
    return by_name(given) if isinstance(given, str) else as_reward(given)


def as_examples(rows: Sequence[Any], where: str, needs_prompt: bool = False) -> Sequence[Example]:
    """Plain mappings become examples with their columns ``prompt`` and ``answer``; with an environment the prompt
    stands before what it says first. Raises UserError for one that has no prompt and needs one."""
    if not isinstance(rows, list | tuple) or not any(isinstance(row, Mapping) for row in rows):
        return rows
    return tuple(
        _example(f"{where}:{place}", row, needs_prompt) if isinstance(row, Mapping) else row
        for place, row in enumerate(rows)
    )


def _example(id: str, row: Mapping[str, Any], needs_prompt: bool) -> Example:
    prompt, answer = row.get("prompt", ""), row.get("answer")
    prompt = tuple(prompt) if isinstance(prompt, list) else prompt
    if needs_prompt and not prompt:
        seen = ", ".join(map(str, row)) or "none"
        raise UserError(f"{id}: expected a column prompt, text or messages; its columns are {seen}")
    return Example(id, prompt, answer=None if answer is None else str(answer), columns=row)
