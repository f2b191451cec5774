"""This module has published rules for right and wrong, as values of our rewards. docs/answers.md says of each where
ours differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groupwise.isolation.pool import require_guards, shared_pool
from groupwise.protocols import Reward
from groupwise.rewards.answers import FinalAnswer, references_of
from groupwise.rewards.math import Math
from groupwise.rewards.program_answers import ProgramAnswer
from groupwise.rewards.reading.algebra import WARM_UP
from groupwise.rewards.reading.notation import within_bounds
from groupwise.rewards.reading.spans import Reference
from groupwise.rewards.reading.structure import TEXT_CHARACTERS
from groupwise.types import Example, Rollout, Score

TAIL_CHARACTERS = 2_000


@dataclass(frozen=True)
class MathVerify:
    """This reward is math-verify's own verdict, with its own extraction and rounding: ``verify(parse(answer),
    parse(completion))``.

    It runs isolated, at most ``time_limit_seconds`` an answer; of a long completion the end is read. What takes longer
    has no value and the status ``timeout``; what it finds nothing in gets 0 and ``unparseable``. Raises UserError where
    a row has no answer at all.
    """

    name: str = "math_verify"
    weight: float = 1.0
    time_limit_seconds: float = 5.0
    unguarded: bool = False
    """Read answers where no guards are."""

    def prepare(self) -> None:
        """Checks that there are guards for what reads answers (``scoring.NeedsPreparation``). Raises UserError where
        there are none."""
        require_guards(self.name, self.unguarded)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns what math-verify says of each rollout: 1 for an answer that it takes as equal, 0 for another."""
        references_of(rollouts, self.name, lambda _: Reference())
        texts = [rollout.text[-TEXT_CHARACTERS:][-TAIL_CHARACTERS:] for rollout in rollouts]
        asked = [row for row, text in enumerate(texts) if text.strip() and within_bounds(text)]
        items = [
            {"gold": rollouts[row].prompt.example.answer or "", "answer": texts[row], "published": True}
            for row in asked
        ]
        pool = shared_pool("groupwise.rewards.reading.algebra:compare", json.dumps(WARM_UP), self.unguarded)
        outcomes = dict(zip(asked, pool.run(items, self.time_limit_seconds), strict=True))
        scores: list[Score] = []
        for row in range(len(rollouts)):
            outcome = outcomes.get(row)
            if outcome is None or outcome.value == "no answer":
                scores.append(Score(0.0, "unparseable"))
            elif outcome.status != "done" or outcome.value == "no gold":
                status = outcome.status if outcome.status != "done" else "failed"
                scores.append(Score(None, status, reason=outcome.reason or "math-verify cannot read the row's answer"))
            else:
                scores.append(Score(float(outcome.value == "equal")))
        return scores

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns for each example "" where math-verify reads its answer, else why not."""
        return Math(unguarded=self.unguarded).unreadable(examples)


PRESETS: dict[str, Callable[[], Reward]] = {
    "gsm8k": lambda: FinalAnswer("gsm8k", conventions=("hashes",)),
    "deepseekmath": lambda: Math(
        "deepseekmath",
        tolerance="absolute 1e-3 percent",
        conventions=("finals", "boxes", "phrases", "output"),
    ),
    "tora": lambda: Math("tora", tolerance="relative 1e-4 percent", conventions=("boxes", "phrases", "output")),
    "pal": lambda: ProgramAnswer("pal", tolerance="absolute 1e-3"),
    "math_verify": MathVerify,
}
"""Name -> reward."""
