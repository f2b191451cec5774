"""This module puts the evaluations of one model, or of two, on several benchmarks beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groupwise.evaluation.comparison import Comparison, compare, verdict
from groupwise.evaluation.evaluate import Evaluation
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.statistics import Interval, paired_difference
from groupwise.output.counting import counted, signed

IN, OUT = "in domain", "out of domain"


@dataclass(frozen=True)
class SuiteResults:
    """These results are of the same benchmarks, model by model in the order in which they were evaluated."""

    models: tuple[str, ...]
    benchmarks: Mapping[str, tuple[Evaluation, ...]]
    """By its name: an evaluation of each model."""
    contaminated: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By its name: ids of the problems that the training data hold; without it nobody looked."""
    in_domain: tuple[str, ...] = ()
    """Benchmarks that training was for; the others are out of its domain. Empty: nobody said."""

    def comparison(self, name: str) -> Comparison | None:
        """The second model minus the first, paired; None of one model."""
        done = self.benchmarks[name]
        return compare(*done) if len(done) == 2 else None

    @property
    def domains(self) -> dict[str, tuple[str, ...]]:
        """The benchmarks of each domain; empty where nobody said, or one has none."""
        found = {
            IN: tuple(name for name in self.benchmarks if name in self.in_domain),
            OUT: tuple(name for name in self.benchmarks if name not in self.in_domain),
        }
        return found if all(found.values()) else {}

    def pooled(self, names: Sequence[str]) -> tuple[Measure, ...]:
        """Returns greedy accuracy of each model on all problems of several benchmarks together."""
        together = [self.benchmarks[name] for name in names]
        return tuple(
            Measure.of([value for done in together for value in done[place].greedy.by_problem])
            for place in range(len(self.models))
        )

    def pooled_difference(self, names: Sequence[str]) -> Interval | None:
        """Returns the difference of ``pooled``, paired problem by problem; None of one model."""
        measures = self.pooled(names)
        return paired_difference(*(each.by_problem for each in measures)) if len(measures) == 2 else None

    def clean(self, name: str) -> tuple[Measure, ...]:
        """Returns greedy accuracy of each model on the problems that the training data do not hold; empty where they
        hold none or all."""
        bad, done = self.contaminated.get(name, frozenset()), self.benchmarks[name]
        rows = [row for row, id in enumerate(done[0].ids) if id not in bad]
        return tuple(each.greedy.at(rows) for each in done) if 0 < len(rows) < len(done[0].ids) else ()

    @property
    def sentence(self) -> str:
        """Says what became of either domain, from the intervals alone; empty without two models and two domains."""
        said = []
        for domain, names in self.domains.items():
            if (change := self.pooled_difference(names)) is not None:
                problems = sum(self.benchmarks[name][0].problems for name in names)
                numbers = f"{signed(change.value)} [{signed(change.low)}, {signed(change.high)}]"
                said.append(f"{domain} ({counted(problems, 'problem')}): {verdict(change)}, {numbers}")
        return f"Greedy accuracy {'; '.join(said)}." if said else ""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes."""
        compared = {name: self.comparison(name) for name in self.benchmarks}
        pooled = {name: self.pooled_difference(names) for name, names in self.domains.items()}
        return {
            "models": [
                {
                    "model": model,
                    "benchmarks": {name: done[place].to_json() for name, done in self.benchmarks.items()},
                }
                for place, model in enumerate(self.models)
            ],
            "comparisons": {name: found.to_json() for name, found in compared.items() if found},
            "contaminated": {name: sorted(found) for name, found in self.contaminated.items()},
            "domains": {name: list(names) for name, names in self.domains.items()},
            "domain_differences": {
                name: {"value": found.value, "low": found.low, "high": found.high}
                for name, found in pooled.items()
                if found
            },
        }
