"""This is ``groupwise audit``: it finds out whether a reward rewards what it should, on right, wrong, missing, hostile
and graded answers."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.commands.parser import REWARDS, parser
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.storage.named_file import refuse_place, write_named_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from groupwise.audit import Audit, Finding, Mistake, Rate
    from groupwise.audit.scoring import Written
    from groupwise.protocols import Reward
    from groupwise.tasks.task import Task

EXAMPLES = """  groupwise audit math --data train.jsonl
  groupwise audit answer --data gsm8k/example_model_solutions.jsonl --limit 500
  groupwise audit my_reward.py:score --data test.jsonl --answer_column target
  groupwise audit my_reward.py:score --data test.jsonl --max_false_positives 0.01
  groupwise audit process:runs/iterative/models/prm-2 --data test.jsonl
  groupwise audit --environment examples/guess.py --limit 20
  groupwise audit --run runs/guess --step 40"""

PIPED_WIDTH = 118
SHOWN_LETTERS = 76
SHOWN_MISTAKES = 2  # of each kind
STATUSES = {"unread": ("unparseable",), "timeout": ("timeout",), "failed": ("failed", "raised", "not_applicable")}
"""Columns, and the statuses that they count."""
TOO_MANY = 1
"""Exit code where there are more false positives than --max_false_positives."""


def execute(arguments: Sequence[str]) -> int:
    """Audits, prints what was found, and writes --json."""
    chosen = _parser().parse_args(arguments)
    _refuse(chosen)
    if chosen.run or chosen.environment:
        return _audit_environment(chosen)
    from groupwise.rewards import by_name
    from groupwise.tasks import from_file

    reward = by_name(chosen.reward)
    task = from_file(
        chosen.data,
        held_out_fraction=0,
        prompt_column=chosen.prompt_column,
        answer_column=chosen.answer_column,
        limit=chosen.limit,
    )
    from groupwise.audit import audit

    done = audit(
        reward,
        task.train,
        correct_at=_correct_at(reward, chosen.correct_at),
        written=_written(reward, task),
        limit_seconds=chosen.time_limit_seconds,
        output=chosen.output_column,
        label=chosen.label_column,
        on_kind=_told(),
    )
    _print(done, chosen.data)
    if chosen.json:
        write_named_json(Path(chosen.json), {"data": Path(chosen.data).name} | done.to_json())
    return _verdict(done, chosen.max_false_positives)


def _audit_environment(chosen: Namespace) -> int:
    from groupwise.commands.audit_environment import audit_file
    from groupwise.commands.audit_replay import audit_run

    return audit_run(chosen) if chosen.run else audit_file(chosen)


def _parser() -> ArgumentParser:
    summary = (
        "Runs a reward on right answers, changed ones, none, hostile ones and, where rows hold them, graded outputs;\n"
        "reports false positives and false negatives, and tells wrong, unreadable, too slow and failed apart."
    )
    known = parser("audit", summary, EXAMPLES, "groupwise audit REWARD --data DATA [options]")
    known.add_argument("reward", metavar="REWARD", nargs="?", help=REWARDS)
    known.add_argument("--data", metavar="DATA", help="rows with answers: a file or a hub name")
    known.add_argument(
        "--environment", metavar="FILE.py", help="instead: the task of this file, played by scripted players"
    )
    known.add_argument("--run", metavar="RUN", help="instead: what a run's model said, played again and compared")
    known.add_argument("--stage", metavar="NAME", help="of --run: the stage (its only one)")
    known.add_argument("--step", type=int, metavar="N", help="of --run: the step (its last)")
    known.add_argument("--limit", type=int, metavar="N", default=100, help="the first N rows (100)")
    known.add_argument("--prompt_column", metavar="NAME", help="the column that holds the prompt")
    known.add_argument("--answer_column", metavar="NAME", help="the column that holds the reference answer")
    known.add_argument("--output_column", metavar="NAME", help="of graded rows: what a model said")
    known.add_argument("--label_column", metavar="NAME", help="of graded rows: whether it is right")
    known.add_argument(
        "--correct_at",
        type=float,
        metavar="X",
        help="a value of at least X is full reward (as the reward states it, or 1.0)",
    )
    known.add_argument(
        "--time_limit_seconds", type=float, metavar="X", default=10.0, help="an answer is given up then (10)"
    )
    known.add_argument(
        "--max_false_positives", type=float, metavar="RATE", help="exit with 1 where the rate is higher (for CI)"
    )
    known.add_argument("--json", metavar="FILE", help="also write all of it")
    return known


def _refuse(chosen: Namespace) -> None:
    if not chosen.run and (chosen.stage or chosen.step is not None):
        raise UserError("--stage and --step choose among the episodes of --run RUN; give that as well")
    if not chosen.environment and not chosen.run and not (chosen.reward and chosen.data):
        missing = "--data DATA" if chosen.reward else "REWARD and --data DATA"
        raise UserError(f"expected {missing}, or --environment FILE.py, or --run RUN")
    refuse_number("--limit", chosen.limit, "[1, inf)", whole=True)
    refuse_number("--time_limit_seconds", chosen.time_limit_seconds, "(0, inf)")
    for name, interval in (("max_false_positives", "[0, 1]"), ("correct_at", "(-inf, inf)")):
        if vars(chosen)[name] is not None:
            refuse_number(f"--{name}", vars(chosen)[name], interval)
    if chosen.json:
        refuse_place(Path(chosen.json), "--json")


def _correct_at(reward: Reward, asked: float | None) -> float:
    """Returns the smallest score of a right answer, as the reward itself says. Raises UserError where no score of it
    makes an answer right."""
    from groupwise.rewards.verdicts import Judge

    judge = Judge.of(reward)
    if asked is None and not judge.can_tell:
        raise UserError(
            f"reward '{reward.name}': an outcome model's scores compare completions and have no value that is right; "
            "say with --correct_at from which score on an answer counts as accepted"
        )
    return judge.threshold if asked is None else asked


def _written(reward: Reward, task: Task) -> Written:
    """Returns how an answer is written for the reward: as text; for a learned reward in the tokens of its own
    directory's tokenizer."""
    from groupwise.audit.scoring import as_rollout
    from groupwise.audit.tokens import with_tokens
    from groupwise.rewards import ModelReward
    from groupwise.tasks.task_renderer import read_template_record
    from groupwise.tokens.renderer import Renderer

    if not isinstance(reward, ModelReward):
        return as_rollout
    scorer = reward.open()
    arguments, today = read_template_record(str(reward.model))
    renderer = Renderer(scorer.tokenizer, name=str(reward.model), template_arguments=arguments, today=today)
    return with_tokens(renderer, task.steps, scorer.context_tokens)


def _verdict(done: Audit, allowed: float | None) -> int:
    rates = {"false positives": done.false_positives, "of graded outputs": done.graded_false_positives}
    worst, name = max((rate.interval.value if rate.interval else 0.0, name) for name, rate in rates.items())
    if allowed is None or worst <= allowed:
        return 0
    print(
        visible(f"groupwise audit: {name}: {worst:.3%}, more than the {allowed:.3%} that is allowed"), file=sys.stderr
    )
    return TOO_MANY


def _told() -> Callable[[str, int], None]:
    """Says on a terminal what is being tried."""
    shown = sys.stderr.isatty()

    def on_kind(kind: str, answers: int) -> None:
        if shown:
            print(f"\r\x1b[Ktrying {answers} x {kind}\r", end="", file=sys.stderr, flush=True)

    return on_kind


def _print(done: Audit, data: str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    console.print(f"reward {_shown(done.reward)} on {counted(done.rows, 'row')} of {_shown(data)}", markup=False)
    sections = {
        "right answers": [each for each in done.findings if each.expected == "full"],
        "wrong, missing and hostile": [each for each in done.findings if each.expected == "none"],
        "graded outputs": list(done.graded),
        "up to you": [each for each in done.findings if each.expected == "any"],
    }
    console.print(_table(sections))
    for line in _summary(done):
        console.print(line, markup=False)
    everything = (*done.findings, *done.graded)
    mistakes = [(each, mistake) for each in everything for mistake in each.mistakes[:SHOWN_MISTAKES]]
    if mistakes:
        _print_mistakes(console, mistakes)


def _table(sections: dict[str, list[Finding]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("answers", no_wrap=True)
    for title in ("n", "full", "less", *STATUSES, "mistakes", "95 % interval", "ms each"):
        table.add_column(title, justify="right", no_wrap=True)
    for title, findings in sections.items():
        if findings:
            table.add_row(f"[bold]{escape(title)}[/bold]")
            for finding in findings:
                table.add_row(f"  {escape(finding.kind)}", *_cells(finding))
            table.add_section()
    return table


def _cells(finding: Finding) -> Iterator[str]:
    from groupwise.audit import Rate

    others = (sum(finding.statuses.get(status, 0) for status in own) for own in STATUSES.values())
    for count in (finding.answers, finding.full, finding.less, *others):
        yield f"{count:,}" if count else "[dim]0[/dim]"
    interval = Rate.of([finding]).interval
    if finding.expected == "any" or interval is None:
        yield from ("[dim]-[/dim]", "")
    else:
        colour = "red" if finding.wrong else "dim"
        yield f"[{colour}]{interval.value:.1%}[/{colour}]"
        yield f"[{colour}]{interval.low:.1%} to {interval.high:.1%}[/{colour}]"
    yield f"{1000 * finding.seconds / finding.answers:.2f}"


def _rate(rate: Rate) -> str:
    if rate.interval is None:
        return "none tried"
    return f"{rate.interval.value:.2%} [{rate.interval.low:.2%}, {rate.interval.high:.2%}]"


def _summary(done: Audit) -> Iterator[str]:
    pairs = [
        ("right answers without full reward", done.false_negatives),
        ("other answers with it", done.false_positives),
        ("graded right, without full reward", done.graded_false_negatives),
        ("graded wrong, with it", done.graded_false_positives),
    ]
    names = ("false negatives", "false positives", "false negatives by grade", "false positives by grade")
    for name, (what, rate) in zip(names, pairs, strict=True):
        if rate.answers:
            yield f"{name:<24}  {rate.mistakes:,} of {rate.answers:,}: {_rate(rate)}  ({what})"
    if done.agreement:
        agreed = done.agreement
        shares = f"{agreed.value:.2%} [{agreed.low:.2%}, {agreed.high:.2%}]"
        yield f"{'agreement with grades':<24}  {shares} of the graded outputs that it could judge"
    slowest = max((*done.findings, *done.graded), key=lambda each: each.seconds / each.answers)
    yield (
        f"{'time':<24}  {1000 * done.seconds_per_answer:.2f} ms an answer; slowest: {slowest.kind}, "
        f"{1000 * slowest.seconds / slowest.answers:.1f} ms"
    )
    if done.findings:
        yield f"Wrong answers were written as: {done.form}. Full reward: at least {done.correct_at:g}."
    if done.findings and done.false_negatives.mistakes == done.false_negatives.answers:
        yield "This reward gave full reward to no right answer, so that it gave none to wrong ones says nothing."
    if done.without_answer:
        yield f"{done.without_answer} rows have no reference answer: only their graded outputs were tried."


def _print_mistakes(console: Console, mistakes: Sequence[tuple[Finding, Mistake]]) -> None:
    console.print("\nfirst mistakes of each kind", style="bold")
    for finding, mistake in mistakes:
        value = "no value" if mistake.value is None else f"{mistake.value:g}"
        wanted = "full reward" if finding.expected == "full" else "none"
        head = f"{finding.kind}, {_shown(mistake.id)}: got {value} ({mistake.status}), expected {wanted}"
        console.print(head, style="red" if finding.expected == "none" else "yellow", markup=False, soft_wrap=True)
        for label, text in (
            ("answer", mistake.answer or "none"),
            ("completion", mistake.text),
            ("why", mistake.reason),
        ):
            if text or label == "completion":
                console.print(f"    {label:<10}  {_shown(text)}", markup=False, soft_wrap=True)


def _shown(text: str) -> str:
    """Returns a text on one line, its beginning left out where it is long, with nothing in it that a terminal would
    obey."""
    line = " ".join(text.split())
    return visible(line if len(line) <= SHOWN_LETTERS else f"... {line[-SHOWN_LETTERS:]}")
