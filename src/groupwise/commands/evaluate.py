"""This is ``groupwise evaluate``: it says how good a model is on problems it never trained on, alone or against
another."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.commands.data_options import add_data_options, reading_of
from groupwise.commands.evaluate_harness import add_harness_options, evaluate_harness
from groupwise.commands.evaluate_suites import add_suite_options, are_suites, evaluate_suites
from groupwise.commands.evaluation_progress import progress
from groupwise.commands.evaluation_rows import fact_rows, measure_rows, set_rows, verifier_rows
from groupwise.commands.parser import JUDGE, REWARDS, WEIGHT, parser, refuse_other_name
from groupwise.commands.prompt_options import add_sampling, refuse_narrowed, split_arguments, task_with, trained_options
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.evaluation.plan import HeldOut
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.storage.named_file import refuse_place, write_named_json

if TYPE_CHECKING:
    from groupwise.evaluation.best_of_n import Verification
    from groupwise.evaluation.comparison import Comparison
    from groupwise.evaluation.evaluate import Evaluation
    from groupwise.protocols import Reward
    from groupwise.tasks.task import Task
    from groupwise.types import Rollout

EXAMPLES = """  groupwise evaluate runs/quickstart/models/grpo --task stepwise:1
  groupwise evaluate runs/quickstart/models/grpo --against runs/quickstart/models/sft --task stepwise:1
  groupwise evaluate Qwen/Qwen3-0.6B --task gsm8k:test.jsonl --problems 200 --samples 8 --json result.json
  groupwise evaluate PATH --task held_out.jsonl --reward my_reward.py:score
  groupwise evaluate PATH --task gsm8k svamp cmath --data DIR --prompt deepseekmath --against OTHER
  groupwise evaluate PATH --harness lm-eval --task arc_challenge hellaswag --shots 5
  groupwise evaluate PATH --task guess.py        (the file's task, perhaps with an environment)
  groupwise evaluate runs/iterative/models/sft --task stepwise --verifier process:runs/iterative/models/prm-2"""

PIPED_WIDTH = 110
OF_DATA = ("reward", "judge", "prompt_column", "answer_column", "ignore_column")
ALL = 1 << 30
"""Problems, where none are left out."""
PLAN = {
    "problems": "with one greedy and one sampled answer each",
    "sampled_problems": "the first of them, for pass@k, maj@k",
    "samples": "answers to each of those",
    "temperature": "of the sampled answers",
    "max_completion_tokens": "an answer is cut there",
}
"""Options that are those of a recipe's ``evaluation``, with its defaults; those of ``add_sampling`` are, too."""


def execute(arguments: Sequence[str]) -> int:
    """Evaluates, prints the table, and writes --json."""
    said, arguments = split_arguments(arguments)
    _refuse_without_task(arguments)
    chosen = _parser().parse_args(arguments)
    _refuse(chosen)
    from groupwise.commands.models import labels
    from groupwise.commands.verifier import open_verifier
    from groupwise.evaluation.comparison import compare
    from groupwise.evaluation.voting import voting_judge
    from groupwise.learners import Local
    from groupwise.learners.source import check_model

    sources = [source for source in (chosen.against, chosen.model) if source]
    for source in sources:
        check_model(source)
    if chosen.harness:
        return evaluate_harness(chosen)
    if are_suites(chosen):
        return evaluate_suites(chosen, said, _plan(chosen))
    (chosen.task,) = chosen.task
    chosen.problems = chosen.problems or HeldOut().problems
    task = _task(chosen)
    voting_judge(task)
    task = task_with(task, said, ())
    learner = Local(device=chosen.device, dtype=chosen.dtype)
    verifier = open_verifier(chosen.verifier, task, learner) if chosen.verifier else None
    names = labels(*sources)
    done, chosen_by = [], []
    for source, name in zip(sources, names, strict=True):
        evaluation, verification = _evaluate(source, name, task, chosen, verifier)
        done.append(evaluation)
        chosen_by += [verification] if verification else []
    comparison = compare(*done) if len(done) == 2 else None
    _print(names, done, comparison, chosen_by, chosen.problems)
    if chosen.json:
        _write(Path(chosen.json), sources, done, comparison, chosen_by)
    return 0


def _task(chosen: Namespace) -> Task:
    """The task of a Python file, with its own rewards, or a task by its name. Raises UserError for an option that only
    data have a use for."""
    from groupwise.commands.task_file import is_task_file, read_task
    from groupwise.tasks import by_name

    system, rewards = chosen.system, tuple(chosen.reward or ())
    if not is_task_file(chosen.task):
        own = {"problems": chosen.problems, "system": system, "judge": chosen.judge}
        return by_name(chosen.task, rewards, **own, **reading_of(chosen))
    needless = next((name for name in OF_DATA if vars(chosen)[name]), None)
    if needless:
        raise UserError(f"--{needless} goes with data; {chosen.task} says itself what is right and how rows are read")
    task = read_task(chosen.task)
    return task if system is None else replace(task, system=system)


def _parser() -> ArgumentParser:
    summary = "Greedy accuracy, pass@k and maj@k of any model directory on held-out problems, with 95 % intervals."
    known = parser("evaluate", summary, EXAMPLES, "groupwise evaluate MODEL --task TASK [--against OTHER] [options]")
    known.add_argument("model", metavar="MODEL", help="a model directory or hub name")
    known.add_argument(
        "--task",
        metavar="TASK",
        nargs="+",
        required=True,
        help="stepwise[:LEVEL], gsm8k[:FILE], a reasoning-gym family, data or FILE.py; or benchmarks, one or several",
    )
    add_suite_options(known)
    add_harness_options(known)
    known.add_argument("--against", metavar="OTHER", help="the model to compare with: MODEL minus OTHER, paired")
    known.add_argument("--reward", metavar="REWARD", action="append", help=f"for data: {REWARDS}; {WEIGHT}; repeatable")
    known.add_argument("--judge", metavar="REWARD", help=JUDGE)
    add_data_options(known)
    known.add_argument(
        "--verifier", metavar="REWARD", help="chooses among the samples: process:DIR, outcome:DIR, FILE.py:function"
    )
    known.add_argument("--system", metavar="TEXT", help="a system message before every problem")
    for name, words in PLAN.items():
        value = vars(HeldOut())[name]
        letter = "N" if isinstance(value, int) else "X"
        shown, value = (f"{value}; of benchmarks all", None) if name == "problems" else (value, value)
        kind = type(vars(HeldOut())[name])
        known.add_argument(f"--{name}", type=kind, metavar=letter, default=value, help=f"{words} ({shown})")
    add_sampling(known)
    known.add_argument("--seed", type=int, metavar="N", default=0, help="of the sampled answers (0)")
    known.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one"
    )
    known.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32", help="of the weights")
    known.add_argument("--json", metavar="FILE", help="also write all of it, problem by problem")
    return known


def _refuse_without_task(words: Sequence[str]) -> None:
    """Says what a task is, where somebody names a model and none: perhaps rows as --data, as ``run`` has it."""
    if words and not any(word.partition("=")[0] in ("--task", "-h", "--help") for word in words):
        refuse_other_name(words, "--task")
        needed = "--task, a benchmark such as gsm8k, or rows of your own: --task rows.jsonl --reward math"
        raise UserError(f"the following arguments are required: {needed}")


def _refuse(chosen: Namespace) -> None:
    if chosen.problems is not None:
        refuse_number("--problems", chosen.problems, "[1, inf)", whole=True)
    for name, least in (("sampled_problems", 0), ("samples", 1), ("max_completion_tokens", 1)):
        refuse_number(f"--{name}", vars(chosen)[name], f"[{least}, inf)", whole=True)
    refuse_narrowed(chosen)
    refuse_number("--temperature", chosen.temperature, "(0, inf)")
    if chosen.verifier and (chosen.sampled_problems < 1 or chosen.samples < 2):
        raise UserError("--verifier chooses among samples; expected --sampled_problems of at least 1, --samples of 2")
    if chosen.json:
        refuse_place(Path(chosen.json), "--json")


def _evaluate(
    source: str, name: str, task: Task, chosen: Namespace, verifier: Reward | None
) -> tuple[Evaluation, Verification | None]:
    from groupwise.commands.models import open_model
    from groupwise.commands.verifier import speaking
    from groupwise.evaluation.best_of_n import verify
    from groupwise.evaluation.evaluate import evaluate_plan
    from groupwise.evaluation.voting import voting_judge
    from groupwise.rewards.scoring import prepare

    prepare(task.judges)
    said = task.system if chosen.system is None else chosen.system
    known = trained_options(source, said, chosen.stop, task.chat)
    stops = (known.stop_strings or task.stop_strings) if chosen.stop is None else known.stop_strings
    if known.temperature not in (None, chosen.temperature):
        print(f"{name}: in training it sampled at temperature {known.temperature:g}", file=sys.stderr)
    device, dtype, arguments = chosen.device, chosen.dtype, task.template_arguments
    engine, renderer = open_model(source, device, dtype, known.system or None, known.chat, arguments)
    scorer = verifier and speaking(verifier, renderer.tokenizer)
    samples: list[Sequence[Rollout]] = []
    with progress(f"evaluating {name} on {task.name}") as advance:
        evaluation = evaluate_plan(
            engine,
            replace(renderer, stop_strings=stops, converses=task.budget.rewritten if task.episodes is not None else ""),
            task,
            _plan(chosen),
            seed=chosen.seed,
            on_progress=advance,
            on_sampled=samples.extend,
        )
    if scorer is None:
        return evaluation, None
    print(visible(f"scoring {name} with {scorer.name}"), file=sys.stderr)
    return evaluation, verify(samples, scorer, voting_judge(task))


def _plan(chosen: Namespace) -> HeldOut:
    said = {name: vars(chosen)[name] for name in (*PLAN, "top_k", "top_p", "min_p")}
    return HeldOut(**(said | {"problems": chosen.problems or ALL}))


def _print(
    names: Sequence[str],
    done: Sequence[Evaluation],
    comparison: Comparison | None,
    chosen_by: Sequence[Verification],
    asked: int,
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    first = done[0]
    table.add_column(f"{escape(first.task)}, {counted(first.problems, 'problem')}")
    for name in names:
        table.add_column(escape(name), justify="right")
    if comparison:
        table.add_column("difference", justify="right")
    for row in measure_rows(done, comparison):
        table.add_row(*row)
    table.add_section()
    for row in set_rows(done, comparison is not None):
        table.add_row(*map(escape, row))
    table.add_section()
    for row in verifier_rows(chosen_by):
        table.add_row(*row)
    table.add_section()
    for row in fact_rows(done):
        table.add_row(*row, *[""] * bool(comparison))
    console.print(table)
    for line in [*_remarks(first, asked), *_never_right(names, done)]:
        console.print(line, markup=False)
    for name, found in zip(names[: len(chosen_by)], chosen_by, strict=True):
        console.print(f"{name}: {found.sentence}", markup=False)
    if comparison:
        console.print(comparison.sentence, markup=False)


def _remarks(evaluation: Evaluation, asked: int) -> list[str]:
    """Returns what a reader must know to read the table right."""
    from groupwise.evaluation.comparison import no_votes

    settings = evaluation.settings
    at = "" if settings.correct_at == 1 else f", from {settings.correct_at:g} on"
    lines = [f"correct: by {evaluation.judge}{at}."]
    if evaluation.pass_at and settings.samples > 1:
        both = "pass@k and maj@k" if evaluation.maj_at else "pass@k"
        lines.append(
            f"{both}: {settings.samples} samples of each of the first {counted(settings.sampled_problems, 'problem')} "
            f"at temperature {settings.temperature:g}. Brackets: 95 % intervals."
        )
        if not evaluation.maj_at:
            lines.append(f"maj@k is left out: {no_votes(evaluation)}.")
    if evaluation.prompts_too_long:
        lines.append(f"{counted(evaluation.prompts_too_long, 'problem')} left out: they leave no room in the context.")
    if evaluation.problems + evaluation.prompts_too_long < asked:
        lines.append(
            f"{counted(asked, 'problem')} asked for; the task has {evaluation.problems + evaluation.prompts_too_long}."
        )
    if evaluation.unscored_fraction:
        why = f": {'; '.join(evaluation.unscored)}" if evaluation.unscored else ""
        lines.append(f"{evaluation.unscored_fraction:.1%} of the answers got no score and count as wrong{why}.")
    return lines


def _never_right(names: Sequence[str], done: Sequence[Evaluation]) -> list[str]:
    from groupwise.runs.evaluations import never_right

    return [f"{name}: {told}." for name, each in zip(names, done, strict=True) if (told := never_right(each))]


def _write(
    path: Path,
    sources: Sequence[str],
    done: Sequence[Evaluation],
    comparison: Comparison | None,
    chosen_by: Sequence[Verification],
) -> None:
    models = [{"model": source, "evaluation": each.to_json()} for source, each in zip(sources, done, strict=True)]
    for model, found in zip(models[: len(chosen_by)], chosen_by, strict=True):
        model["verification"] = found.to_json()
    write_named_json(path, {"models": models, "comparison": comparison and comparison.to_json()})
