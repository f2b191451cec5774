"""This module judges answers of several turns: by all that was said in them, what programs printed included, and by
what the last program printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from groupwise.protocols import ReadsGold, Reward, Votes
from groupwise.rewards.answers import FinalAnswer
from groupwise.rewards.reading.equality import compare_values
from groupwise.rewards.reading.parsing import understand
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.rewards.scoring import NeedsPreparation
from groupwise.types import Example, Rollout, Score


@dataclass(frozen=True)
class TranscriptReward:
    """This reward has another one judge the whole conversation behind the prompt: the turns of the model's and what
    it was told between them. By itself a reward reads what the model said."""

    judge: Reward

    @property
    def name(self) -> str:
        """Is the name of the judge."""
        return self.judge.name

    @property
    def weight(self) -> float:
        """Is the weight of the judge."""
        return self.judge.weight

    def prepare(self) -> None:
        """Prepares the judge where it needs that (``scoring.NeedsPreparation``)."""
        if isinstance(self.judge, NeedsPreparation):
            self.judge.prepare()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns the judge's score of each conversation, read as one text."""
        return self.judge.score([_whole(rollout) for rollout in rollouts])

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Returns the votes of the reward that judges; of one that knows none nobody votes."""
        if not isinstance(self.judge, Votes):
            return [None] * len(rollouts)
        return self.judge.votes([_whole(rollout) for rollout in rollouts])

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns for each example "" where its answer can be read, else why not."""
        return self.judge.unreadable(examples) if isinstance(self.judge, ReadsGold) else [""] * len(examples)


@dataclass(frozen=True)
class LastOutput:
    """This reward is 1 where the last line that the last program of an answer printed is the row's answer, else 0: no
    program, an error and an answer that was cut off before it are wrong, too."""

    name: str = "program"
    weight: float = 1.0
    tolerance: str = "absolute 1e-3"
    """As in DeepSeekMath's rule."""

    def __post_init__(self) -> None:
        tolerance(self.tolerance)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns 1 for a conversation whose last output of a program is the answer, 0 for another."""
        return [Score(float(self._is_right(rollout))) for rollout in rollouts]

    def _is_right(self, rollout: Rollout) -> bool:
        told = [str(message["content"] or "") for message in rollout.messages if message["role"] != "assistant"]
        lines = [line for line in (told[-1] if told else "").splitlines() if line.strip() and "```" not in line]
        value = understand(lines[-1]) if lines else None
        gold, near = FinalAnswer().reference(rollout.prompt.example), tolerance(self.tolerance)
        return value is not None and any(compare_values(one, value, near) == "equal" for one in gold.values)


def _whole(rollout: Rollout) -> Rollout:
    """Returns the rollout with the text of all messages; what the environment says begins a line."""
    parts: list[str] = []
    for message in rollout.messages:
        content = str(message["content"] or "")
        is_new = message["role"] != "assistant" and parts and not parts[-1].endswith("\n") and content[:1] != "\n"
        parts.append(f"\n{content}" if is_new else content)
    return replace(rollout, text="".join(parts)) if parts else rollout
