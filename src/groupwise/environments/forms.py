"""What users write, as an environment with a name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.environments.plain import shortened
from groupwise.environments.protocol import Environment
from groupwise.errors import UserError


@dataclass(frozen=True)
class Named:
    """An environment and what metrics call it."""

    name: str
    environment: Environment


def resolved(environment: Any, tools: Sequence[Callable[..., Any]]) -> Named:
    """The environment of a task. Raises UserError for what is none."""
    inner = environment
    while isinstance(inner, functools.partial):
        inner = inner.func
    call = inner if inspect.isroutine(inner) else type(inner).__call__ if callable(inner) else None
    if not tools and (inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)):
        return Named(_name_of(inner), environment)
    raise UserError(
        f"an environment is a generator function, which yields what it says and returns the reward; got "
        f"{shortened(environment)} ({type(environment).__name__})"
    )


def _name_of(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))
