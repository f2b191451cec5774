"""This is ``groupwise check --gpu``: it says what a recipe would need on GPUs that are not here."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from groupwise.errors import UserError
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.learners.shape import Shape
    from groupwise.preflight.plan import Plan, Work
    from groupwise.runs.recipe import Run
    from groupwise.training.stage import Stage

LOOKED_AT, LETTERS_PER_TOKEN = 64, 4
GPU_HELP = "reckon memory and speed on GPUs of this kind, and try nothing here: h100-80gb, a100-40gb ..."
PROCESSES_HELP = "with --gpu: how many of them (1)"


def add_plan_options(parser: ArgumentParser) -> None:
    """Adds --gpu, and --processes where nothing else has it."""
    parser.add_argument("--gpu", metavar="NAME", help=GPU_HELP)
    if "--processes" not in parser._option_string_actions:
        parser.add_argument("--processes", metavar="N", type=int, help=PROCESSES_HELP)


def print_plan(recipe: Run, chosen: Namespace) -> int:
    """Prints a plan of every stage; 1 where one does not fit. Raises UserError for what cannot be reckoned."""
    from groupwise.learners.context_group import refuse_few_heads
    from groupwise.learners.sharded import refuse_undivided
    from groupwise.preflight.gpus import gpu
    from groupwise.preflight.plan import plan

    described: dict[str, Any] = vars(recipe.learner)
    device, processes = gpu(chosen.gpu), int(chosen.processes or described.get("processes") or 1)
    if processes < 1:
        raise UserError(f"--processes is {processes}; expected 1 or more")
    context = int(described.get("context", 1))
    if max(processes, context) > 1:
        refuse_undivided(int(described.get("optimizer_bits", 32)), processes, context)
    shape, fits = shape_of_first(recipe), True
    if shape.heads:
        refuse_few_heads(context, shape.heads)
    print(visible(f"{recipe.model}: {shape.parameters:,} parameters; {processes} x {device.name}"))
    for stage in recipe.stages:
        found = plan(shape, work_of(recipe, stage), processes, device)
        fits = fits and found.fits
        for line in plan_lines(stage.name, found, _other_sizes(recipe, processes)):
            print(visible(line))
    print(visible(f"Reckoned from shapes and published figures ({device.source}); nothing was measured."))
    return 0 if fits else 1


def _other_sizes(recipe: Run, processes: int) -> str:
    """What could be tried where memory does not suffice."""
    described = vars(recipe.learner)
    eight = ["optimizer_bits 8"] if processes == 1 and described.get("optimizer_bits", 8) != 8 else []
    blocks = [] if described.get("checkpointing", True) else ["checkpointing"]
    return ", ".join(["more processes", *blocks, *eight, "or fewer tokens_per_micro_batch"])


def plan_lines(name: str, found: Plan, other_sizes: str) -> list[str]:
    """Returns what a plan says: a line each for memory, time and the bottleneck; ``other_sizes``: what could be tried
    where it does not fit."""
    from groupwise.preflight.cost import duration, size

    memory = ", ".join(f"{part} {size(value)}" for part, value in found.memory.items() if value)
    seconds = ", ".join(f"{part} {duration(value)}" for part, value in found.seconds.items() if value)
    fits = "fits" if found.fits else f"does NOT fit: {other_sizes}"
    return [
        f"{name}",
        f"  memory      {size(found.bytes)} a rank of {size(found.room)} ({memory}): {fits}",
        f"  time        {duration(sum(found.seconds.values()))} a step ({seconds})",
        f"  speed       {found.tokens_per_second:,.0f} tokens/s, sampling and learning in turn",
        f"  bottleneck  {found.bottleneck}",
    ]


def work_of(recipe: Run, stage: Stage) -> Work:
    """A stage's work; prompts are as long as the first rows' letters say."""
    from groupwise.preflight.arithmetic import completions_per_prompt
    from groupwise.preflight.plan import Work

    rows = [stage.task.train[place] for place in range(min(LOOKED_AT, len(stage.task.train)))]
    letters = sum(len(str(row.prompt)) for row in rows) / max(len(rows), 1)
    algorithm, learner = stage.algorithm, recipe.learner
    further = len(algorithm.needs() & {"old_logprobs", "reference_logprobs"}) / 3
    described: dict[str, Any] = vars(learner)
    return Work(
        stage.prompts_per_step * completions_per_prompt(stage),
        max(1, round(letters / LETTERS_PER_TOKEN)),
        algorithm.source.max_completion_tokens or 1,
        learner.tokens_per_micro_batch,
        learner.dtype,
        int(described.get("optimizer_bits", 32)),
        bool(described.get("checkpointing", False)),
        algorithm.needs_reference,
        int(vars(described["lora"])["rank"]) if "lora" in described else 0,
        int(described.get("context", 1)),
        stage.epochs + further,
    )


def shape_of_first(recipe: Run) -> Shape:
    """Returns the shape of the run's first model."""
    from groupwise.learners import NewModel
    from groupwise.learners.shape import shape_of

    if not isinstance(recipe.model, NewModel):
        return shape_of(recipe.model)
    with TemporaryDirectory() as place:
        recipe.model.save(Path(place) / "new")
        return shape_of(Path(place) / "new")
