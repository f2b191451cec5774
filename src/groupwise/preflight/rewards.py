"""Whether a stage's rewards give gold answers full reward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from groupwise.audit.cases import FORMS, gold, right_cases
from groupwise.audit.scoring import Verdict, judge
from groupwise.preflight.data import named, spread
from groupwise.preflight.findings import Notebook
from groupwise.protocols import Reward
from groupwise.rewards.model import ModelReward
from groupwise.sources import World
from groupwise.types import Example, Score
from groupwise.verdicts import Judge, bare

ASKED = 64  # rows
LIMIT_SECONDS = 5.0  # of one answer


def tell_gold(notes: Notebook, world: World) -> None:
    """In the form in which each reward reads most of them: the row's own solution, ``#### N``, ``\\boxed{N}`` ..."""
    answered = [row for row in spread(world.stage.task.train, ASKED) if gold(row) is not None]
    task = world.stage.task
    judging = [task.judge.reward] if task.judge else []
    for reward in task.judges:
        if isinstance(bare(reward), ModelReward):
            notes.fact("reward", f"{reward.name} is learned: it has no answer that is right")
        elif not answered:
            notes.remark(
                "reward", f"no row has a reference answer, so {reward.name} could not be asked about right ones"
            )
        else:
            _tell_one(notes, reward, answered, first=reward in judging)


def _tell_one(notes: Notebook, reward: Reward, answered: Sequence[Example], first: bool) -> None:
    best: tuple[int, str, list[Verdict], list[Example]] = (-1, "", [], [])
    is_full = partial(_is_full, Judge.of(reward))
    for form in FORMS:
        cases = right_cases(answered, form, "full")
        verdicts = judge(bare(reward), cases, LIMIT_SECONDS)
        full = sum(is_full(verdict) for verdict in verdicts)
        if full > best[0] and cases:
            best = full, form, verdicts, [case.example for case in cases]
        if cases and full == len(answered):
            break
    full, form, verdicts, rows = best
    missed = [row.id for row, verdict in zip(rows, verdicts, strict=True) if not is_full(verdict)]
    words = f"'{reward.name}' gives {full} of {len(rows)} gold answers full reward, written as {form}"
    share = full / max(1, len(rows))
    if missed and not first and not full:
        notes.fact("reward", f"'{reward.name}' gives no gold answer full reward, and judges none", gold=share)
    elif missed and share < 0.5:
        reason = next((verdict.reason for verdict in verdicts if verdict.reason), "")
        tell = notes.problem if first else notes.remark
        tell("reward", f"{words} ({named(missed)} get less){': ' + reason if reason else ''}", gold=share)
    elif missed:
        notes.remark("reward", f"{words}; not {named(missed)}", gold=share)
    else:
        notes.fact("reward", words, gold=share)


def _is_full(judge: Judge, verdict: Verdict) -> bool:
    return bool(judge.verdict(Score(verdict.value)))
