"""This module estimates memory and time of a stage, from a dry step at the longest length."""

from __future__ import annotations

import time
from collections.abc import Sequence

from groupwise.learning.trainable import Memory
from groupwise.output.counting import counted
from groupwise.preflight.arithmetic import completions_per_prompt
from groupwise.preflight.findings import Notebook
from groupwise.preflight.probe import Probe
from groupwise.training.memory_trial import in_pairs
from groupwise.training.stage import Stage
from groupwise.types import Rollout, flatten

FORWARD = 1 / 3
"""Of a train step's time: a pass without a backward one."""


def tell_cost(notes: Notebook, stage: Stage, memory: Memory, rollouts: Sequence[Rollout], limit: float) -> float:
    """Returns the seconds that a token costs in learning. ``rollouts`` are the longest; with less than ``limit``
    seconds for all of them only one is tried."""
    joins, outputs = stage.algorithm.objective.joins_group(), stage.algorithm.outputs
    together = in_pairs(rollouts) if joins else None
    budget, first = memory.tokens_per_micro_batch, rollouts[: 2 if joins else 1]
    each = _timed(memory, first, outputs, [0, 0] if joins else None)
    if each < limit:
        each = _timed(memory, first, outputs, [0, 0] if joins else None)  # the first one warmed up
    tried, seconds = first, each
    if each * len(rollouts) / len(first) < limit:
        tried, seconds = rollouts, min(_timed(memory, rollouts, outputs, together) for _ in range(2))
    tokens = sum(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in tried)
    _tell_memory(notes, memory, rollouts, together, whole=tried is rollouts)
    if (fits := memory.tokens_per_micro_batch) < budget:
        notes.remark(
            "memory",
            f"at most {fits:,} tokens fit at once, of {budget:,} asked for: slower, no other gradient",
        )
    return seconds / tokens


def _timed(
    memory: Memory,
    rollouts: Sequence[Rollout],
    outputs: frozenset[str],
    together: Sequence[int] | None,
) -> float:
    started = time.perf_counter()
    memory.try_step(rollouts, outputs, together)
    return time.perf_counter() - started


def _tell_memory(
    notes: Notebook,
    memory: Memory,
    rollouts: Sequence[Rollout],
    together: Sequence[int] | None,
    whole: bool,
) -> None:
    most = memory.largest_micro_batch(rollouts, together)
    expected, free, weights = memory.step_bytes(most), memory.free_bytes(), memory.weight_bytes()
    words = (
        f"weights {size(weights)}; a step on {most:,} tokens, the longest micro-batch, needs about {size(expected)} "
    )
    words += f"more and {size(free)} are free; " + ("it was tried and fits" if whole else "too slow to try here")
    tell = notes.fact if whole or expected < free else notes.remark
    tell("memory", words, weights=weights, step=expected, free=free, micro_batch_tokens=most)


def tell_time(
    notes: Notebook, stage: Stage, rollouts: Sequence[Rollout], per_token: float, probe: Probe | None, real: bool
) -> None:
    """Tells the time of the whole stage at the longest length; and, where the probe's model is the ``real`` one, as
    long as its completions were."""
    rows = stage.prompts_per_step * completions_per_prompt(stage)
    passes = stage.epochs + FORWARD * len(stage.algorithm.needs() & {"old_logprobs", "reference_logprobs"})
    learned = rows * max(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in rollouts) * per_token * passes
    words, most = f"learning at most {duration(learned)} a step", learned
    if probe and probe.tokens:
        sampled = rows * max(len(rollout.tokens) for rollout in rollouts) * probe.seconds / probe.tokens
        words, most = f"{words}, sampling at most {duration(sampled)}", learned + sampled
    words += f": at the longest length {duration(most * stage.steps)} in {counted(stage.steps, 'step')}"
    numbers = {"seconds_per_step_at_most": most}
    if probe and probe.tokens and real:
        drawn = flatten(probe.groups)
        mean = sum(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in drawn) / len(drawn)
        now = rows * (mean * per_token * passes + probe.seconds / len(drawn))
        words += f"; as long as completions are now {duration(now * stage.steps)}"
        numbers["seconds_per_step"] = now
    notes.fact("time", f"{words}; evaluation not counted", **numbers)


def size(number: float) -> str:
    """Writes a number of bytes in the unit that suits it: ``3.2 GB``."""
    for unit, bytes_in in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= bytes_in:
            return f"{number / bytes_in:.3g} {unit}"
    return f"{number:.0f} bytes"


def duration(seconds: float) -> str:
    """Returns ``0.4 s``, ``3 min``, ``5.2 h``, ``3 days``."""
    for unit, length in (("days", 172_800.0), ("h", 7_200.0), ("min", 120.0)):
        if seconds >= length:
            of = {"days": 86_400.0, "h": 3_600.0, "min": 60.0}[unit]
            return f"{seconds / of:.0f} {unit}" if seconds >= 10 * of else f"{seconds / of:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
