"""This is ``groupwise audit``: does a reward reward what it should, on right, wrong, missing and hostile answers?"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.commands.audit_tables import print_audit
from groupwise.commands.parser import REWARDS, parser
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.printable import visible
from groupwise.storage.named_file import refuse_place, write_named_json

if TYPE_CHECKING:
    from groupwise.audit import Audit
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
    print_audit(done, chosen.data)
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
    """Returns the smallest score of a right answer. Raises UserError where no score makes an answer right."""
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
