"""The README.md beside every model a run leaves: what it is, what it learned from, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groupwise.config.describe import describe
from groupwise.evaluation.comparison import comparable
from groupwise.evaluation.evaluate import Evaluation
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.moments import moment
from groupwise.evaluation.statistics import paired_difference
from groupwise.evaluation.texts import TextEvaluation
from groupwise.learners import NewModel
from groupwise.output.counting import counted, signed
from groupwise.runs.recipe import Run
from groupwise.runs.scorer_evaluation import ScorerEvaluation
from groupwise.storage.atomic import RECORD
from groupwise.training.stage import Stage
from groupwise.values.version import __version__


def model_card(
    recipe: Run,
    stage: Stage,
    evaluation: Evaluation | ScorerEvaluation | TextEvaluation | None,
    first: tuple[str, Evaluation] | None = None,
) -> str:
    """Returns Markdown with the hub's front matter. ``evaluation`` None: not evaluated (yet). ``first``: the run's
    first evaluation of a policy, by its name, to compare with."""
    done = recipe.stages[: [each.name for each in recipe.stages].index(stage.name) + 1]
    begun = "a new model with random weights" if isinstance(recipe.model, NewModel) else f"`{recipe.model}`"
    stages = "\n".join(
        f"{number}. `{each.name}`: {counted(each.steps, 'step')} of {counted(each.prompts_per_step, 'prompt')} "
        f"from `{each.task.name}`, learning rate {each.learning_rate:g}"
        for number, each in enumerate(done, start=1)
    )
    rewards = ", ".join(f"`{reward.name}` (weight {reward.weight:g})" for reward in stage.task.rewards) or "none"
    data = _rows(describe(stage.task.train))
    return f"""\
---
library_name: transformers
tags: [groupwise, reinforcement-learning]
---

# {recipe.name}: {stage.name}

Made with Groupwise {__version__} from {begun}, seed {recipe.seed}:

{stages}

The resolved recipe, machine and versions are in `{RECORD}`.

* Training rows of the last stage: {data}
* Rewards: {rewards}

{_found(evaluation, first)}"""


def _found(
    evaluation: Evaluation | ScorerEvaluation | TextEvaluation | None, first: tuple[str, Evaluation] | None
) -> str:
    if isinstance(evaluation, TextEvaluation):
        return f"On held-out text: {evaluation.headline()}.\n"
    return _of_scorer(evaluation) if isinstance(evaluation, ScorerEvaluation) else _results(evaluation, first)


def _rows(data: Any) -> str:
    """Says in words how many rows there are and what their hash is, or what makes them on demand."""
    if not isinstance(data, Mapping):
        return counted(len(data), "row")
    if set(data) == {"rows", "sha256"}:
        return f"{counted(data['rows'], 'row')}, SHA-256 begins `{data['sha256']}`"
    settings = ", ".join(f"{name} {value}" for name, value in data.items() if not isinstance(value, Mapping | list))
    return f"made on demand, {settings}"


def _results(evaluation: Evaluation | None, first: tuple[str, Evaluation] | None) -> str:
    if evaluation is None:
        return "Not evaluated.\n"
    judged = f" Correct is what the reward `{evaluation.judge}` calls so." * bool(evaluation.judge)
    means = ", ".join(f"`{name}` {value:.3f}" for name, value in evaluation.reward_means.items())
    judged += f" Mean rewards of the samples: {means}." * bool(means)
    was = first if first and comparable(first[1], evaluation) else None
    parts = [_table(evaluation, was)]
    for name in evaluation.sets:
        parts.append(f"`{name}` alone:\n\n{_table(evaluation.of_set(name), was and (was[0], was[1].of_set(name)))}")
    return (
        f"Held-out problems of `{evaluation.task}`, temperature {evaluation.settings.temperature:g}.{judged}\n\n"
        + "\n".join(parts)
    )


def _table(found: Evaluation, first: tuple[str, Evaluation] | None) -> str:
    """A row a measure; beside it, where there is one, what it was before and the paired difference."""
    named, was = _measures(found), _measures(first[1]) if first else {}
    more = f" {moment(first[0])} | paired difference |" if first else ""
    lines = [f"| measure | problems | value | 95 % interval |{more}", "|---|---|---|---|" + "---|---|" * bool(first)]
    for name, measure in named.items():
        line = f"| {name} | {len(measure.by_problem)} | {measure.value:.3f} | {measure.low:.3f} to {measure.high:.3f} |"
        if name in was:
            change = paired_difference(was[name].by_problem, measure.by_problem)
            line += f" {was[name].value:.3f} | {signed(change.value)} ({signed(change.low)} to {signed(change.high)}) |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _measures(found: Evaluation) -> dict[str, Measure]:
    named = {"greedy accuracy": found.greedy, "pass@1": found.pass_at_1}
    named |= {f"pass@{k}": measure for k, measure in found.pass_at.items() if k > 1}
    return named | {f"maj@{k}": measure for k, measure in found.maj_at.items() if k > 1}


def _of_scorer(found: ScorerEvaluation) -> str:
    """Writes how a reward model is used, in a line of transformers, and its measures beside those of guessing."""
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {measure.value:.3f} | {measure.low:.3f} to {measure.high:.3f} | "
        + ", ".join(f"{kind} {said[name]:.3f}" for kind, said in found.baselines.items() if name in said)
        + " |"
        for name, measure in found.measures.items()
    )
    counted = ", ".join(f"{count} {name}" for name, count in found.counts.items())
    unit = "the completion" if found.kind == "pairs" else "the step, a logit"
    return (
        f"A scorer: `AutoModelForSequenceClassification` loads it, and its number after a token is that of {unit}.\n\n"
        f"Held-out data of `{found.task}` ({counted}), log-loss {found.numbers['log_loss']:.3f}, calibration error "
        f"{found.numbers['calibration_error']:.3f}:\n\n"
        f"| measure | value | 95 % interval | without it |\n|---|---|---|---|\n{rows}\n"
    )
