"""This module is what a user's function may ask for beside the row, under TRL's names: where training stands, and two
loggers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from groupwise.types import TrainerState

OFFERED = ("trainer_state", "log_extra", "log_metric")
"""Parameters that no column fills."""
TAKEN = ("mean", "std", "seconds", "cached", "unparseable", "timeout", "failed")
"""A reward's own metrics: ``rewards/NAME/mean`` ..."""


class Notes:
    """Notes collect what one call about ``count`` completions says beside its values."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.metrics: dict[str, float] = {}
        self.columns: dict[str, list[Any]] = {}
        self.state: ReadState | None = None

    def given(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, with what of ``OFFERED`` stands among them made real."""
        real = dict(arguments)
        if isinstance(real.get("trainer_state"), TrainerState):
            real["trainer_state"] = self.state = ReadState(real["trainer_state"])
        return real | {name: value for name, value in self._loggers.items() if name in real}

    @property
    def _loggers(self) -> dict[str, Any]:
        return {"log_extra": self.log_extra, "log_metric": self.log_metric}

    def log_metric(self, name: str, value: Any) -> None:
        """Logs a number of the whole call; a later one of the same name takes its place."""
        found = finite(value)
        if found is None:
            raise ValueError(f"log_metric({name!r}, {value!r}): expected a finite number")
        if str(name) in TAKEN:
            raise ValueError(f"log_metric({name!r}): rewards have a metric of that name already; choose another")
        self.metrics[str(name)] = found

    def log_extra(self, column: str, values: Any) -> None:
        """Keeps a value for each completion, in their order; of one completion the value itself will do."""
        listed = values.tolist() if hasattr(values, "tolist") else values
        if not isinstance(listed, list | tuple):
            if self.count != 1:
                raise ValueError(f"log_extra({column!r}): expected a list of {self.count} values, one a completion")
            listed = [listed]
        if len(listed) != self.count:
            raise ValueError(f"log_extra({column!r}): {len(listed)} values for {self.count} completions")
        self.columns[str(column)] = [plain(value) for value in listed]

    def of(self, row: int) -> dict[str, Any]:
        """Returns what stands beside the value of one of the completions, in plain JSON; empty where nothing does."""
        said: dict[str, Any] = {}
        if self.metrics:
            said["logged"] = self.metrics
        if self.columns:
            said["extras"] = {name: values[row] for name, values in self.columns.items()}
        if self.state is not None and self.state.was_read:
            said["dated"] = True
        return said


class ReadState:
    """A ``TrainerState`` that knows whether anyone looked: a score is for one time only where its function did."""

    def __init__(self, state: TrainerState) -> None:
        self.__dict__.update(_state=state, was_read=False)

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__["_state"]
        if name not in vars(state):
            raise AttributeError(f"trainer_state has no {name}; it has {', '.join(vars(state))}")
        self.__dict__["was_read"] = True
        return vars(state)[name]


def remarks_of(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns what a dictionary with ``score`` says besides: numbers are logged, and all of it is kept."""
    others = {str(name): value for name, value in mapping.items() if name != "score"}
    numbers_found = {name: finite(value) for name, value in others.items() if name not in TAKEN}
    said: dict[str, Any] = {"extras": {name: plain(value) for name, value in others.items()}}
    said["logged"] = {name: value for name, value in numbers_found.items() if value is not None}
    return {name: values for name, values in said.items() if values}


def plain(value: Any) -> Any:
    """Returns a value as JSON takes it; what it has no word for is its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value.bit_length() < 64 else str(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(part) for part in value]
    return str(value)


def finite(value: Any) -> float | None:
    """Returns the float of a number, decimals and what of numpy and torch holds just one included; None of anything
    else."""
    if hasattr(value, "item") and hasattr(value, "shape") and math.prod(value.shape) == 1:
        value = value.item()
    try:
        number = float(value) if isinstance(value, numbers.Real | Decimal) else math.nan
    except (OverflowError, ValueError):  # a whole number beyond all floats, a decimal that signals
        return None
    return number if math.isfinite(number) else None
