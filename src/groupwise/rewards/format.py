"""These are rewards for the form of a completion: its pattern and its length."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.errors import UserError
from groupwise.rewards.signatures import FunctionReward
from groupwise.types import Rollout, Score


@dataclass(frozen=True)
class Format:
    """This reward is 1 where the whole completion matches ``pattern``, otherwise 0.

    The pattern is Python's ``re`` with DOTALL: ``Format(r"<think>.*</think>\\s*<answer>.*</answer>\\s*")``. One like
    ``(a+)+`` can take for ever on some completion: it is matched in a process of its own, at most
    ``time_limit_seconds`` a completion, and then has no value and the status ``timeout``. Raises UserError where it is
    no pattern.
    """

    pattern: str
    name: str = "format"
    weight: float = 1.0
    time_limit_seconds: float = 5.0

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UserError(f"reward '{self.name}': {self.pattern!r} is not a regular expression: {error}") from error

    @functools.cached_property
    def _matching(self) -> FunctionReward:
        pattern = re.compile(self.pattern, re.DOTALL)

        def matches(completion: str) -> bool:
            return pattern.fullmatch(completion) is not None

        return FunctionReward(matches, self.name, self.weight, "simple", time_limit_seconds=self.time_limit_seconds)

    def prepare(self) -> None:
        """Starts the process that matches patterns (``scoring.NeedsPreparation``)."""
        self._matching.prepare()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns 1 for a completion that matches, 0 for another."""
        return self._matching.score(rollouts)


@dataclass(frozen=True)
class LengthPenalty:
    """This reward is DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13), in sampled tokens ``|y|``::

        0                                            |y| <= max_tokens - cache_tokens
        ((max_tokens - cache_tokens) - |y|) / cache_tokens   up to max_tokens
        -1                                           beyond

    and ``missing_eos`` less for a completion that was truncated, however long it is.

    ``max_tokens`` is where the punishment is complete, not where it begins: the published 20480 and 4096 expect
    completions of up to 16384. Raises UserError unless 0 < cache_tokens <= max_tokens and 0 <= missing_eos.
    """

    max_tokens: int = 20480
    cache_tokens: int = 4096
    name: str = "length"
    weight: float = 1.0
    missing_eos: float = 0.0
    """Subtracted where no stop token ended the completion (TRL's ``missing_eos_penalty``; 1 in arXiv 2403.17031, detail
    on the EOS trick, which sets the reward to -1 instead)."""

    def __post_init__(self) -> None:
        if not 0 < self.cache_tokens <= self.max_tokens:
            raise UserError(
                f"reward '{self.name}': cache_tokens is {self.cache_tokens} and max_tokens {self.max_tokens}; "
                "0 < cache_tokens <= max_tokens is expected"
            )
        if not 0 <= self.missing_eos < math.inf:
            raise UserError(
                f"reward '{self.name}': missing_eos is {self.missing_eos:g}; expected how much is subtracted, 0 or more"
            )

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns one penalty a rollout, from -1 to 0, of its sampled tokens alone."""
        return [Score(self._penalty(sum(rollout.mask), rollout.finished)) for rollout in rollouts]

    def _penalty(self, tokens: int, finished: bool) -> float:
        over = tokens - (self.max_tokens - self.cache_tokens)
        length = 0.0 if over <= 0 else -min(over / self.cache_tokens, 1.0)
        return length if finished else length - self.missing_eos
