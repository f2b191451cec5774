"""Says whether a stage's rewards give gold answers full reward."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from groupwise.audit.cases import FORMS, gold, right_cases
from groupwise.audit.scoring import Verdict, judge
from groupwise.isolation.trials import isolation_record
from groupwise.output.counting import counted
from groupwise.preflight.data import named, spread
from groupwise.preflight.findings import Notebook
from groupwise.protocols import Reward
from groupwise.rewards.episodes import EpisodeReward
from groupwise.rewards.judge import Judge as ModelJudge
from groupwise.rewards.model import ModelReward
from groupwise.rewards.scoring import NeedsGuards, score_rollouts
from groupwise.rewards.verdicts import Judge, unwrap
from groupwise.sources import DrawContext, as_rollout
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage
from groupwise.types import Completion, Example, Rollout, Score

ASKED = 64  # rows
MOST_ROWS = 20_000
TOGETHER = 32  # rows in one call
LIMIT_SECONDS = 5.0  # of one answer


def tell_gold(notes: Notebook, task: Task) -> None:
    """Tells of reference answers in the form in which each reward reads most of them: the row's own solution, ``####
    N``, ``\\boxed{N}`` ..."""
    tell_guards(notes, task.judges)
    answered = [row for row in spread(task.train, ASKED) if gold(row) is not None]
    judging = [task.judge.reward] if task.judge else []
    for reward in task.judges:
        if isinstance(unwrap(reward), EpisodeReward):
            continue  # nobody but its environment knows what is right
        if isinstance(unwrap(reward), ModelReward):
            notes.fact("reward", f"{reward.name} is learned: it has no answer that is right")
        elif not answered:
            notes.remark(
                "reward", f"no row has a reference answer, so {reward.name} could not be asked about right ones"
            )
        else:
            _tell_one(notes, reward, answered, first=reward in judging)


def tell_guards(notes: Notebook, rewards: Sequence[Reward]) -> None:
    """Tells what stands around a reward that runs what a model wrote, and which one does without."""
    if held := isolation_record():
        words = ", ".join(held["guards"])
        notes.fact("guards", f"what a model writes is run behind {held['by']}: {words}", **held)
    for reward in rewards:
        plain: object = unwrap(reward)
        if isinstance(plain, NeedsGuards) and plain.unguarded:
            notes.remark("guards", f"'{reward.name}' is unguarded: what a model writes may read, write and send")


def _tell_one(notes: Notebook, reward: Reward, answered: Sequence[Example], first: bool) -> None:
    best: tuple[int, str, list[Verdict], list[Example]] = (-1, "", [], [])
    is_full = partial(_is_full, Judge.of(reward))
    for form in FORMS:
        cases = right_cases(answered, form, "full")
        verdicts = judge(unwrap(reward), cases, LIMIT_SECONDS)
        full = sum(is_full(verdict) for verdict in verdicts)
        if full > best[0] and cases:
            best = full, form, verdicts, [case.example for case in cases]
        if cases and full == len(answered):
            break
    full, form, verdicts, rows = best
    missed = [row.id for row, verdict in zip(rows, verdicts, strict=True) if not is_full(verdict)]
    words = f"'{reward.name}' gives {full} of {counted(len(rows), 'gold answer')} full reward, written as {form}"
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


def ask_about_rows(stage: Stage, context: DrawContext, evaluated: int, limit: float) -> None:
    """Asks the rewards about every row that a run asks them about, for at most ``limit`` seconds: of the training rows
    where samples are scored, and of the first ``evaluated`` held-out rows. Raises the UserError that would stop it."""
    task, started = stage.task, time.perf_counter()
    asked: list[tuple[Sequence[Example], Sequence[Reward]]] = []
    if stage.algorithm.source.needs_reward(stage.algorithm):
        asked.append((spread(task.train, MOST_ROWS), task.rewards))
    if len(task.held_out) and evaluated:
        asked.append((spread(task.held_out[:evaluated], MOST_ROWS), task.judges))
    for rows, rewards in asked:
        if any(isinstance(unwrap(reward), ModelReward | ModelJudge) for reward in rewards):
            continue  # a network of its own, or somebody's server
        for start in range(0, len(rows), TOGETHER):
            if time.perf_counter() - started > limit:
                return
            chosen = [reward for reward in rewards if not isinstance(unwrap(reward), EpisodeReward)]
            if chosen:
                score_rollouts([_attempt(context, row) for row in rows[start : start + TOGETHER]], chosen)


def _attempt(context: DrawContext, row: Example) -> Rollout:
    """The row's reference answer as a completion that a policy might have sampled."""
    prompt = context.renderer.prompt(row)
    tokens = tuple(context.renderer.tokenizer.encode(row.answer or "0", add_special_tokens=False)) or (0,)
    completion = Completion(tokens, (0.0,) * len(tokens), True, 0)
    return as_rollout(prompt, completion, context.renderer, context.task.steps)
