"""The rows of the table that ``groupwise evaluate`` prints: measures, alone and on each held-out set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from groupwise.output.counting import signed

if TYPE_CHECKING:
    from groupwise.evaluation.best_of_n import Verification
    from groupwise.evaluation.comparison import Comparison
    from groupwise.evaluation.evaluate import Evaluation
    from groupwise.evaluation.measure import Measure
    from groupwise.evaluation.statistics import Interval

STOPS = "stops/"
TITLES = {
    "turns": "mean turns",
    "tokens/observed": "mean tokens heard",
    "tools/calls": "mean tool calls",
    "tools/failed": "mean tool calls that failed",
    "tools/malformed": "mean turns with a malformed call",
}
"""What numbers of episodes are called."""


def row_of(name: str, measures: Sequence[Measure], change: Interval | None) -> list[str]:
    """Returns name, each model, the paired difference, all with intervals."""
    cells = [f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]" for measure in measures]
    if change is None:
        return [name, *cells]
    return [name, *cells, f"{signed(change.value)} [{signed(change.low)}, {signed(change.high)}]"]


def measure_rows(done: Sequence[Evaluation], comparison: Comparison | None) -> Iterator[list[str]]:
    """Returns a row for each measure."""
    row, both = row_of, comparison
    ks = [k for k in done[0].pass_at if k > 1]
    yield row("greedy accuracy", [each.greedy for each in done], both.greedy if both else None)
    yield row("pass@1", [each.pass_at_1 for each in done], both.pass_at_1 if both else None)
    for k in ks:
        yield row(f"pass@{k}", [each.pass_at[k] for each in done], both.pass_at[k] if both else None)
    for k in ks:
        if all(k in each.maj_at for each in done):
            yield row(f"maj@{k}", [each.maj_at[k] for each in done], both.maj_at[k] if both else None)


def set_rows(done: Sequence[Evaluation], paired: bool) -> Iterator[list[str]]:
    """The first two measures, and those of the largest k, on each held-out set by itself."""
    from groupwise.evaluation.comparison import compare

    for name in done[0].sets:
        parts = [each.of_set(name) for each in done]
        rows = list(measure_rows(parts, compare(*parts) if paired else None))
        largest = [row for row in rows[2:] if row[0].partition("@")[2] == str(max(parts[0].pass_at, default=1))]
        yield from ([f"{name}: {row[0]}", *row[1:]] for row in (*rows[:2], *largest))


def verifier_rows(chosen_by: Sequence[Verification]) -> Iterator[list[str]]:
    """Yields what a verifier makes of the samples; beside it stands maj@k of the same samples."""
    from groupwise.evaluation.statistics import paired_difference

    def row(name: str, measures: Sequence[Measure]) -> list[str]:
        several = len(measures) > 1
        return row_of(name, measures, paired_difference(*(each.by_problem for each in measures)) if several else None)

    if not chosen_by:
        return
    first = chosen_by[0]
    for k in first.best_of_at:
        if k > 1:
            yield row(f"best of {k} by {first.scorer}", [each.best_of_at[k] for each in chosen_by])
    votes = [each.weighted_vote for each in chosen_by if each.weighted_vote]
    if len(votes) == len(chosen_by):
        yield row(f"weighted vote of {first.samples}", votes)


def fact_rows(done: Sequence[Evaluation]) -> list[list[str]]:
    """Returns what else was counted: each reward's mean, answers that were none, lengths and speed."""

    def mean(each: Evaluation, name: str) -> str:
        return f"{each.reward_means[name]:.3f}" if name in each.reward_means else ""

    return [
        *_episode_rows(done),
        *([f"mean reward, {name}", *(mean(each, name) for each in done)] for name in done[0].reward_means),
        ["samples without an answer", *(f"{each.unparseable_fraction:.1%}" for each in done)],
        ["truncated", *(f"{each.truncated_fraction:.1%}" for each in done)],
        ["mean tokens", *(f"{each.mean_completion_tokens:.1f}" for each in done)],
        ["tokens per second", *(f"{each.tokens / each.seconds:,.0f}" for each in done)],
    ]


def _episode_rows(done: Sequence[Evaluation]) -> Iterator[list[str]]:
    """Turns of an episode, why how many of them ended, and what was asked of tools; nothing without an environment."""
    names = dict.fromkeys(name for each in done for name in each.episodes)
    for name in names:
        values = [each.episodes.get(name) for each in done]
        if name.startswith(STOPS):
            if any(values):
                yield [f"stopped: {name.removeprefix(STOPS)}", *("" if v is None else f"{v:.1%}" for v in values)]
        else:
            words = TITLES.get(name, name.replace("/", ", ") + ", mean")
            yield [words, *("" if value is None else f"{value:.2f}" for value in values)]
