"""This module keeps what was read of another system's script: settings, data, rewards, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groupwise.errors import UserError

MOST_BYTES = 1_000_000
MOST_SETTINGS = 5_000
TRAINERS = ("GRPO", "RLOO", "DPO", "SFT", "Reward")
"""Those of TRL that there is a method for."""


@dataclass(frozen=True)
class Setting:
    """A setting is one option and its value, as the script has it."""

    name: str
    """As the other system spells it, with dots where it is nested."""
    value: Any
    where: str = ""
    """``line 12``; empty on a command line."""


@dataclass(frozen=True)
class RewardCall:
    """This is one reward of a script."""

    name: str
    """The function's name; or the directory or hub name of a reward model."""
    kind: str = "function"
    """function: one whose code is carried over; named: one of TRL's own; file: ``file.py:function`` or
    ``module:function``; model: a reward model."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of one of TRL's own that is made by a call."""


@dataclass(frozen=True)
class DataPath:
    """This says where rows come from, and what the script does to them."""

    path: str
    """A file, a directory or a name of the hub."""
    changes: tuple[str, ...] = ()
    """Python expressions of ``row`` and ``rows``, one after another: ``rows = ...``."""
    held_out_fraction: float = 0.0


@dataclass(frozen=True)
class Script:
    """This is a script of another system, read and not run."""

    system: str
    trainer: str
    """GRPO, RLOO, DPO, SFT, Reward or PPO."""
    settings: Sequence[Setting] = ()
    """In the order of the script: a later one of the same name counts."""
    data: DataPath | None = None
    held_out: DataPath | None = None
    rewards: Sequence[RewardCall] = ()
    code: str = ""
    """Python of the script that rewards and rows need."""
    unread: Sequence[str] = ()
    """Expressions that have no value without running the script, in words."""
    devices: int = 1
    unsloth: bool = False
    """Whether Unsloth is used, which changes defaults of TRL."""


def limited(text: str, path: str) -> str:
    """Returns the text. Raises UserError where it is too long for a script."""
    if len(text) > MOST_BYTES:
        raise UserError(f"{path}: {len(text):,} letters are too many for a script; expected at most {MOST_BYTES:,}")
    return text


def flat(tree: Mapping[Any, Any], path: str) -> list[Setting]:
    """A nested configuration as settings with dots. Raises UserError where it is too large."""
    found: list[Setting] = []
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        name, value = waiting.pop()
        if len(found) + len(waiting) > MOST_SETTINGS:
            raise UserError(f"{path}: more than {MOST_SETTINGS:,} settings; expected a training configuration")
        if isinstance(value, Mapping) and value:
            waiting += [(f"{name}.{key}".lstrip("."), below) for key, below in reversed(list(value.items()))]
        else:
            _refuse_large(value, path)
            found.append(Setting(name, value))
    return found


def _refuse_large(value: Any, path: str) -> None:
    """Raises UserError for a value with too many parts, also where a few are named over and over."""
    waiting, seen = [value], 0
    while waiting:
        part, seen = waiting.pop(), seen + 1
        if seen > MOST_SETTINGS:
            raise UserError(f"{path}: a value of more than {MOST_SETTINGS:,} parts; expected a training configuration")
        waiting += part if isinstance(part, list) else list(part.values()) if isinstance(part, dict) else []
