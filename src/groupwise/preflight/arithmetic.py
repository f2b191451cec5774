"""A stage's batch sizes in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from groupwise.output.counting import counted
from groupwise.preflight.findings import Notebook
from groupwise.tasks.shares import epoch_size
from groupwise.training.stage import Stage


def completions_per_prompt(stage: Stage) -> int:
    """Counts the completions of a step, as they are trained on: before a selection leaves some out."""
    source = stage.algorithm.source
    paired = stage.algorithm.objective.joins_group() and source.sampled_by() != "learner"
    return 2 if paired else source.completions_per_prompt()


def tell_batch(notes: Notebook, stage: Stage, tokens_at_once: int, tokens_each: int) -> None:
    """Tells what a step's batch is. ``tokens_at_once``: of a micro-batch; ``tokens_each``: of the longest prompt and
    completion together."""
    rows = epoch_size(stage.task.shares) or len(stage.task.train)
    each = completions_per_prompt(stage)
    completions, updates = stage.prompts_per_step * each, stage.minibatches * stage.epochs
    in_minibatch = -(-completions // stage.minibatches)
    most = max(1, -(-in_minibatch * tokens_each // tokens_at_once))
    numbers = {
        "completions_per_step": completions,
        "updates": updates * stage.steps,
        "epochs": stage.steps * stage.prompts_per_step / max(rows, 1),
        "micro_batches_per_update": most,
    }
    notes.fact("batch", "; ".join(_words(stage, tokens_at_once, rows, each, most)), **numbers)


def _words(stage: Stage, tokens_at_once: int, rows: int, each: int, most: int) -> Iterator[str]:
    completions, updates = stage.prompts_per_step * each, stage.minibatches * stage.epochs
    kind = "completion" if each != 2 or stage.algorithm.source.sampled_by() == "learner" else "side"
    by = f"{counted(stage.prompts_per_step, 'prompt')} x {counted(each, kind)} = {completions:,} a step"
    yield by if each > 1 else f"{counted(stage.prompts_per_step, 'prompt')} a step, one completion each"
    shares = counted(stage.minibatches, "minibatch", "minibatches")
    passes = f", {stage.epochs} passes over each draw" if stage.epochs > 1 else ""
    yield f"{shares} of {-(-completions // stage.minibatches):,}{passes}: {counted(updates, 'update')} a step"
    parts = counted(most, "micro-batch", "micro-batches")
    yield f"at most {parts} an update at {counted(tokens_at_once, 'token')} each"
    source = stage.algorithm.source
    if asked := source.gathers(rows):
        sampled = asked * source.samples_per_prompt * len(source.samples_from())
        yield f"before the first step {sampled:,} completions are sampled once"
    drawn = stage.steps * stage.prompts_per_step
    done = f"{counted(updates * stage.steps, 'update')}, {counted(drawn, 'prompt')} from {counted(rows, 'row')}"
    yield f"in {counted(stage.steps, 'step')} {done}: " + (f"{drawn / rows:.3g} epochs" if rows else "no rows")
