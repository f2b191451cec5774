"""This module runs tasks of lm-eval on a model of ours, and keeps what each item was worth: intervals and paired
differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from groupwise.errors import UserError
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.statistics import Interval, paired_difference
from groupwise.harness.model import GroupwiseLM

Key = tuple[str, str, str]
"""Task, filter, metric."""


@dataclass(frozen=True)
class HarnessResults:
    """These are one model's results on tasks of lm-eval."""

    measures: Mapping[Key, Measure]
    """Metrics that are a mean over items, each item's value among them."""
    others: Mapping[Key, float]
    """Metrics that are not (perplexities, correlations), as lm-eval says them."""
    items: Mapping[Key, tuple[str, ...]]
    """Fingerprints of the items of each measure, in the order of its values."""

    def difference(self, before: HarnessResults, key: Key) -> Interval | None:
        """This minus another's, paired item by item; None where their items are not the same, or not in [0, 1]."""
        if self.items.get(key) != before.items.get(key) or key not in before.measures:
            return None
        return paired_difference(before.measures[key].by_problem, self.measures[key].by_problem)

    def to_json(self) -> list[dict[str, Any]]:
        """Returns a row for each number, which ``json.dumps`` takes."""
        rows = [(key, asdict(measure) | {"items": list(self.items[key])}) for key, measure in self.measures.items()]
        rows += [(key, {"value": value}) for key, value in self.others.items()]
        return [{"task": task, "filter": name, "metric": metric, **values} for (task, name, metric), values in rows]


@dataclass(frozen=True)
class HarnessPlan:
    """This says which tasks are run, and how."""

    tasks: tuple[str, ...]
    folder: str | None = None
    """Of task files (YAML) of one's own, which go before those of lm-eval with the same name."""
    shots: int | None = None
    """None: as each task says."""
    problems: int | None = None
    """The first of each task; None: all."""
    chat: bool = False
    """Whether the model's chat template stands around each context."""
    system: str | None = None


def run_harness(model: GroupwiseLM, plan: HarnessPlan) -> HarnessResults:
    """Raises UserError for a task that is not there."""
    manager = _manager(plan)
    found = simple_evaluate(
        model=model,
        tasks=list(plan.tasks),
        num_fewshot=plan.shots,
        limit=plan.problems,
        apply_chat_template=plan.chat,
        fewshot_as_multiturn=plan.chat,
        system_instruction=plan.system,
        task_manager=manager,
        bootstrap_iters=0,
        log_samples=True,
    )
    assert found is not None
    return results_of(found["results"], found["samples"])


def _manager(plan: HarnessPlan) -> TaskManager:
    """The tasks of one's own folder alone where all are there: lm-eval's own take long to be listed."""
    if plan.folder is not None:
        own = TaskManager(include_path=plan.folder, include_defaults=False)
        if all(task in own.all_tasks for task in plan.tasks):
            return own
    manager = TaskManager(include_path=plan.folder)
    missing = next((task for task in plan.tasks if not manager.match_tasks([task])), None)
    if missing is not None:
        from difflib import get_close_matches

        near = get_close_matches(missing, manager.all_tasks, n=1)
        hint = f"perhaps you meant {near[0]}" if near else "expected one that lm_eval ls tasks lists, or in --data DIR"
        raise UserError(f"--task {missing}: lm-eval has no such task; {hint}")
    return manager


def results_of(
    totals: Mapping[str, Mapping[str, Any]], samples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> HarnessResults:
    """Reads what lm-eval returned: its totals, ``{task: {"metric,filter": number}}``, and its samples."""
    values: dict[Key, list[tuple[str, float]]] = {}
    for task, rows in samples.items():
        for row in rows:
            for metric in row["metrics"]:
                if isinstance(value := row[metric], bool | int | float) and 0 <= value <= 1:
                    item = str(row["doc_hash"])
                    values.setdefault((task, row["filter"], metric), []).append((item, float(value)))
    counts = {(task, str(row["filter"])): 0 for task, rows in samples.items() for row in rows}
    for task, rows in samples.items():
        for row in rows:
            counts[task, str(row["filter"])] += 1
    whole = {key: rows for key, rows in values.items() if len(rows) == counts[key[:2]]}
    measures = {key: Measure.of([value for _, value in rows]) for key, rows in whole.items()}
    items = {key: tuple(item for item, _ in rows) for key, rows in whole.items()}
    others = {
        (task, name.partition(",")[2], name.partition(",")[0]): float(value)
        for task, numbers in totals.items()
        for name, value in numbers.items()
        if "," in name and isinstance(value, int | float) and "_stderr" not in name
    }
    same = {key for key, measure in measures.items() if abs(others.get(key, measure.value) - measure.value) < 1e-9}
    return HarnessResults(
        {key: measure for key, measure in measures.items() if key in same},
        {key: value for key, value in others.items() if key not in same},
        {key: value for key, value in items.items() if key in same},
    )
