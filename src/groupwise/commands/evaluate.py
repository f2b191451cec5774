"""groupwise evaluate: how good a model is on problems it never trained on, alone or against another."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.cli import parser
from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.evaluation import Comparison, Evaluation, Measure
    from groupwise.statistics import Interval
    from groupwise.tasks.task import Task

EXAMPLES = """  groupwise evaluate runs/quickstart/models/grpo --task stepwise
  groupwise evaluate runs/quickstart/models/grpo --against runs/quickstart/models/sft --task stepwise:3
  groupwise evaluate Qwen/Qwen3-0.6B --task gsm8k:test.jsonl --problems 200 --samples 8 --json result.json
  groupwise evaluate PATH --task held_out.jsonl --reward my_reward.py:score"""

PIPED_WIDTH = 110


def execute(arguments: Sequence[str]) -> int:
    """Evaluates, prints the table, and writes --json."""
    chosen = _parser().parse_args(arguments)
    _refuse(chosen)
    from groupwise.commands.models import labels
    from groupwise.evaluation import compare
    from groupwise.learners.loading import check_model
    from groupwise.tasks import by_name

    sources = [source for source in (chosen.against, chosen.model) if source]
    for source in sources:
        check_model(source)
    task = by_name(
        chosen.task,
        tuple(chosen.reward or ()),
        problems=chosen.problems,
        prompt_column=chosen.prompt_column,
        answer_column=chosen.answer_column,
        system=chosen.system,
    )
    names = labels(*sources)
    done = [_evaluate(source, name, task, chosen) for source, name in zip(sources, names, strict=True)]
    comparison = compare(*done) if len(done) == 2 else None
    _print(names, done, comparison, chosen.problems)
    if chosen.json:
        _write(Path(chosen.json), sources, done, comparison)
    return 0


def _parser() -> ArgumentParser:
    summary = "Greedy accuracy, pass@k and maj@k of any model directory on held-out problems, with 95 % intervals."
    known = parser("evaluate", summary, EXAMPLES, "groupwise evaluate MODEL --task TASK [--against OTHER] [options]")
    known.add_argument("model", metavar="MODEL", help="a model directory or hub name")
    known.add_argument(
        "--task", metavar="TASK", required=True, help="stepwise[:LEVEL], gsm8k[:FILE], a reasoning-gym family, or data"
    )
    known.add_argument("--against", metavar="OTHER", help="the model to compare with: MODEL minus OTHER, paired")
    known.add_argument(
        "--reward", metavar="REWARD", action="append", help="for data: math, answer, FILE.py:function; repeatable"
    )
    known.add_argument("--prompt_column", metavar="NAME", help="for data: the column that holds the prompt")
    known.add_argument("--answer_column", metavar="NAME", help="for data: the column that holds the reference answer")
    known.add_argument("--system", metavar="TEXT", help="a system message before every problem")
    known.add_argument(
        "--problems", type=int, metavar="N", default=500, help="with one greedy and one sampled answer each (500)"
    )
    known.add_argument(
        "--sampled_problems", type=int, metavar="N", default=100, help="the first of them, for pass@k, maj@k (100)"
    )
    known.add_argument("--samples", type=int, metavar="N", default=32, help="answers to each of those (32)")
    known.add_argument("--temperature", type=float, metavar="X", default=1.0, help="of the sampled answers (1.0)")
    known.add_argument(
        "--max_completion_tokens", type=int, metavar="N", default=256, help="an answer is cut there (256)"
    )
    known.add_argument("--seed", type=int, metavar="N", default=0, help="of the sampled answers (0)")
    known.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one"
    )
    known.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32", help="of the weights")
    known.add_argument("--json", metavar="FILE", help="also write all of it, problem by problem")
    return known


def _refuse(chosen: Namespace) -> None:
    for name, least in (("problems", 1), ("sampled_problems", 0), ("samples", 1), ("max_completion_tokens", 1)):
        if vars(chosen)[name] < least:
            raise UserError(f"--{name} is {vars(chosen)[name]}; expected at least {least}")
    if chosen.temperature <= 0:
        raise UserError(f"--temperature is {chosen.temperature}; expected more than 0: greedy answers are always drawn")
    if chosen.json and not Path(chosen.json).absolute().parent.is_dir():
        raise UserError(f"--json {chosen.json}: no such directory; make it first")


def _evaluate(source: str, name: str, task: Task, chosen: Namespace) -> Evaluation:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from groupwise.commands.models import open_model
    from groupwise.evaluation import evaluate

    engine, renderer = open_model(source, chosen.device, chosen.dtype, task.system, task.chat)
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"evaluating {name} on {task.name}", file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"evaluating {name} on {task.name}", total=None)
        return evaluate(
            engine,
            renderer,
            task,
            problems=chosen.problems,
            samples=chosen.samples,
            sampled_problems=chosen.sampled_problems,
            temperature=chosen.temperature,
            max_tokens=chosen.max_completion_tokens,
            seed=chosen.seed,
            on_progress=lambda at, total: progress.update(bar, completed=at, total=total),
        )


def _print(names: Sequence[str], done: Sequence[Evaluation], comparison: Comparison | None, asked: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    first = done[0]
    table.add_column(f"{escape(first.task)}, {first.problems} problems")
    for name in names:
        table.add_column(escape(name), justify="right")
    if comparison:
        table.add_column("difference", justify="right")
    for row in _measures(done, comparison):
        table.add_row(*row)
    table.add_section()
    for row in _facts(done):
        table.add_row(*row, *[""] * bool(comparison))
    console.print(table)
    for line in _remarks(first, asked):
        console.print(line, markup=False)
    if comparison:
        console.print(comparison.sentence, markup=False)


def _measures(done: Sequence[Evaluation], comparison: Comparison | None) -> Iterator[list[str]]:
    """Rows of numbers with intervals: name, each model, the paired difference."""

    def row(name: str, measures: Sequence[Measure], change: Interval | None) -> list[str]:
        cells = [f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]" for measure in measures]
        return [name, *cells, *([f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"] if change else [])]

    both = comparison
    ks = [k for k in done[0].pass_at if k > 1]
    yield row("greedy accuracy", [each.greedy for each in done], both.greedy if both else None)
    yield row("pass@1", [each.pass_at_1 for each in done], both.pass_at_1 if both else None)
    for k in ks:
        yield row(f"pass@{k}", [each.pass_at[k] for each in done], both.pass_at[k] if both else None)
    for k in ks:
        yield row(f"maj@{k}", [each.maj_at[k] for each in done], both.maj_at[k] if both else None)


def _facts(done: Sequence[Evaluation]) -> list[list[str]]:
    return [
        ["samples without an answer", *(f"{each.unparseable_fraction:.1%}" for each in done)],
        ["truncated", *(f"{each.truncated_fraction:.1%}" for each in done)],
        ["mean tokens", *(f"{each.mean_completion_tokens:.1f}" for each in done)],
        ["tokens per second", *(f"{each.tokens / each.seconds:,.0f}" for each in done)],
    ]


def _remarks(evaluation: Evaluation, asked: int) -> list[str]:
    """What a reader must know to read the table right."""
    settings, lines = evaluation.settings, []
    if evaluation.pass_at and settings.samples > 1:
        lines.append(
            f"pass@k and maj@k: {settings.samples} samples of each of the first {settings.sampled_problems} problems "
            f"at temperature {settings.temperature:g}. Brackets: 95 % intervals."
        )
    if evaluation.prompts_too_long:
        lines.append(f"{evaluation.prompts_too_long} problems left out: they leave no room in the context.")
    if evaluation.problems + evaluation.prompts_too_long < asked:
        lines.append(
            f"{asked} problems were asked for; the task has {evaluation.problems + evaluation.prompts_too_long}."
        )
    if evaluation.unscored_fraction:
        lines.append(f"{evaluation.unscored_fraction:.1%} of the answers got no score and count as wrong.")
    return lines


def _write(path: Path, sources: Sequence[str], done: Sequence[Evaluation], comparison: Comparison | None) -> None:
    from groupwise.checkpoint import write_json

    models = [{"model": source, "evaluation": each.to_json()} for source, each in zip(sources, done, strict=True)]
    write_json(path, {"models": models, "comparison": comparison and comparison.to_json()})
