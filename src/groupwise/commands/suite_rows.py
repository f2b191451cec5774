"""The table that ``groupwise evaluate`` prints of several benchmarks: a row for each, or of two models one for each
measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from groupwise.commands.evaluation_rows import row_of
from groupwise.output.counting import counted

if TYPE_CHECKING:
    from groupwise.evaluation.evaluate import Evaluation
    from groupwise.evaluation.measure import Measure
    from groupwise.evaluation.statistics import Interval
    from groupwise.evaluation.suites import SuiteResults

PROGRAM = "program"
"""The reward that says whether the last program printed the answer."""


def columns(results: SuiteResults) -> list[str]:
    """Returns the headings of the table, for one model or for two side by side."""
    if len(results.models) > 1:
        return ["benchmark", *results.models, "difference"]
    first = next(iter(results.benchmarks.values()))[0]
    program = ["program"] if PROGRAM in first.reward_means else []
    return ["benchmark", "problems", *_measures(first), *program, "truncated", "contaminated"]


def rows(results: SuiteResults) -> Iterator[list[str]]:
    """Yields the rows; an empty one stands between the domains."""
    groups = results.domains or {"": tuple(results.benchmarks)}
    for place, (domain, names) in enumerate(groups.items()):
        if place:
            yield []
        for name in names:
            yield from _of_two(results, name) if len(results.models) > 1 else [_of_one(results, name)]
        if domain:
            yield _pooled(results, domain, names)


def _of_one(results: SuiteResults, name: str) -> list[str]:
    (done,) = results.benchmarks[name]
    cells = [row_of("", [measure], None)[1] for measure in _measures(done).values()]
    program = [f"{done.reward_means[PROGRAM]:.3f}"] if PROGRAM in done.reward_means else []
    return [name, f"{done.problems:,}", *cells, *program, f"{done.truncated_fraction:.1%}", _found(results, name)]


def _of_two(results: SuiteResults, name: str) -> Iterator[list[str]]:
    done, both = results.benchmarks[name], results.comparison(name)
    assert both is not None
    changes: dict[str, Interval] = {"greedy": both.greedy, "pass@1": both.pass_at_1}
    changes |= {f"pass@{k}": change for k, change in both.pass_at.items()}
    changes |= {f"maj@{k}": change for k, change in both.maj_at.items()}
    for measure in _measures(done[0]):
        if all(measure in _measures(each) for each in done):
            yield row_of(f"{name}: {measure}", [_measures(each)[measure] for each in done], changes[measure])
    if all(PROGRAM in each.reward_means for each in done):
        yield [f"{name}: program", *(f"{each.reward_means[PROGRAM]:.3f}" for each in done), ""]
    yield [f"{name}: truncated", *(f"{each.truncated_fraction:.1%}" for each in done), ""]
    if name in results.contaminated:
        yield [f"{name}: contaminated", *[_found(results, name)] * len(done), ""]


def _pooled(results: SuiteResults, domain: str, names: Sequence[str]) -> list[str]:
    measures, change = results.pooled(names), results.pooled_difference(names)
    if change is not None:
        return row_of(f"{domain}: greedy", measures, change)
    problems = sum(results.benchmarks[name][0].problems for name in names)
    return [domain, f"{problems:,}", *row_of("", measures, None)[1:]]


def _measures(done: Evaluation) -> dict[str, Measure]:
    """Returns greedy accuracy, and pass@k and maj@k of the largest k; of one sample a problem pass@1."""
    largest = max(done.pass_at, default=1)
    found = {"greedy": done.greedy}
    if largest == 1:
        return found | {"pass@1": done.pass_at_1}
    found |= {f"pass@{largest}": done.pass_at[largest]}
    return found | ({f"maj@{largest}": done.maj_at[largest]} if largest in done.maj_at else {})


def _found(results: SuiteResults, name: str) -> str:
    if name not in results.contaminated:
        return "not asked"
    first = results.benchmarks[name][0]
    count = sum(id in results.contaminated[name] for id in first.ids)
    return f"{count:,} ({count / first.problems:.1%})"


def remarks(results: SuiteResults) -> Iterator[str]:
    """Yields what a reader must know to read the table right."""
    for name, done in results.benchmarks.items():
        first = done[0]
        if first.prompts_too_long:
            yield f"{name}: {counted(first.prompts_too_long, 'problem')} left out, for which the context has no room."
        if first.unscored_fraction:
            why = f": {'; '.join(first.unscored)}" if first.unscored else ""
            yield f"{name}: {first.unscored_fraction:.1%} of the answers got no score and count as wrong{why}."
        for model, measure in zip(results.models, results.clean(name), strict=False):
            yield f"{name}, {model}, without contaminated problems: {row_of('', [measure], None)[1]} greedy."
    judges: dict[str, list[str]] = {}
    for name, done in results.benchmarks.items():
        judges.setdefault(done[0].judge, []).append(name)
    yield "correct: " + "; ".join(f"by {judge} in {', '.join(names)}" for judge, names in judges.items()) + "."
    settings = next(iter(results.benchmarks.values()))[0].settings
    if settings.samples > 1 and settings.sampled_problems:
        yield (
            f"pass@k and maj@k: {settings.samples} samples of each of the first "
            f"{counted(settings.sampled_problems, 'problem')} at temperature {settings.temperature:g}."
        )
    yield "Brackets: 95 % intervals over problems."
    if results.contaminated:
        yield "contaminated: 10 tokens of a question in a row, or it with other numbers, are in the training data."
