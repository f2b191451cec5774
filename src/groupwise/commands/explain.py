"""This is ``groupwise explain``: it says what a method does to each token, as formulas, numbers and words."""

from __future__ import annotations

import difflib
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groupwise.commands.flags import underscored
from groupwise.commands.method import Method
from groupwise.commands.parser import parser
from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.algorithm import Algorithm
    from groupwise.explain import Numbers, StepBatch

USAGE = "groupwise explain METHOD [--case FILE.json | --run DIR] [--against OTHER] [--json] [--algorithm.OPTION VALUE]"

EXAMPLES = """  groupwise explain grpo
  groupwise explain grpo --algorithm.kl.coefficient 0 --algorithm.objective.high 0.28
  groupwise explain "Dr. GRPO" --case case.json --json
  groupwise explain dapo --run runs/mine --step 40
  groupwise explain grpo --against gspo --run runs/mine --step 40
  groupwise explain grpo --against grpo --against.algorithm.advantage.scale none

a case:
  {"groups": [[{"reward": 1.0, "logprobs": [-0.2, -1.1], "old_logprobs": [-0.5, -1.0],
                "reference_logprobs": [-0.6, -0.9]}, ...], ...]}

  A group holds the responses of one prompt; for pairs the chosen, then the rejected. Logarithms are
  natural, and every list is as long as logprobs. What a method does not need may be missing:

  reward              of the whole response; null: not scored
  step_rewards        [[end_index, score], ...], the index 0-based; where token rewards count (PPO,
                      turns) and no reward is given, these are they
  rewards             {name: value} of several, null: not scored; reward, if it is not given, is their
                      sum with the weights "reward_weights": {name: weight} beside groups (all 1)
  correct             whether it is right, null: not scored; if it is not given, the first of rewards (or
                      the one that --judge names), or else reward, says so with 1 or more
  demonstrated        true: people chose it, no model drew it (false)
  truncated           true: it did not finish (false)
  mask                which tokens the policy sampled (all); a run of them is a turn
  tokens              their ids, and those of what was heard between turns, where states are compared
  old_logprobs        of the policy when it drew
  behavior_logprobs   as the sampler reported them
  reference_logprobs  of the reference policy, or of the teacher
  values, old_values  of the critic, now and at the draw (the same)
  entropy, exact_kl   nats of each token, where options use them

  Beside groups: "greedy_rewards": [..], of each prompt's greedy completion.

  Where a method trains a scorer, logprobs are its scores, of any sign; step_rewards are then the labels,
  0 to 1, and coefficients are dJ/dscores.

what --json prints:
  {"objective": J, "loss": -J, "groups": [[{"advantages": [..], "ratios": [..], "clipped": [..],
                "kl": [..], "weights": [..], "coefficients": [..]}, ...], ...]}

  advantages          after whitening
  ratios              of each token, or of the sequence
  clipped             true where a clip holds the term, or its weight, flat
  kl                  nats before the coefficient; for a penalty in the reward those of pi_old
  weights             of the token's term, divided by the count
  coefficients        dJ/dlogprobs, every normaliser in it

  Where a method has them, values_coefficients, entropy_coefficients and exact_kl_coefficients; with
  --against, "against" holds the other's numbers; with --run, "rows" holds the numbers of the ledger's
  rows that each group is made of."""

OWN = ("--case", "--run", "--step", "--stage", "--against", "--judge", "--json")
WORKED = "A worked example, one prompt at the second update of a draw"


def execute(arguments: Sequence[str]) -> int:
    """Explains on a case, on a run's rollouts, or on a small example."""
    if not arguments or arguments[0] in ("-h", "--help"):
        _parser().print_help()
        return 0
    if arguments[0].startswith("-"):
        raise UserError(f"a method comes first, and then options such as {arguments[0]}; expected {USAGE}")
    chosen, rest = _parser().parse_known_args(arguments)
    _refuse(chosen)
    mine, theirs = _owned(rest)
    if theirs and not chosen.against:
        raise UserError(f"--against.{theirs[0].removeprefix('--')} goes with --against OTHER, whose option it is")
    methods = [_method(chosen.method, mine)] + ([_method(chosen.against, theirs)] if chosen.against else [])
    if chosen.run:
        _on_run(methods, chosen)
    else:
        _on_case(methods, chosen)
    return 0


def _parser() -> ArgumentParser:
    known = parser("explain", "What a method does to each token: formulas, numbers, words.", EXAMPLES, USAGE)
    known.add_argument("method", metavar="METHOD", help="as groupwise methods lists them, or as its paper spells it")
    known.add_argument("--case", metavar="FILE", help="a JSON file of numbers, in place of the small example")
    known.add_argument("--run", metavar="DIR", help="a run's directory: what would METHOD do with its rollouts?")
    known.add_argument("--step", type=int, metavar="N", help="with --run: which step (the newest)")
    known.add_argument("--stage", metavar="NAME", help="with --run: which stage, where several have the step")
    known.add_argument("--against", metavar="OTHER", help="a second method on the same numbers, side by side")
    known.add_argument(
        "--judge", metavar="REWARD", help="of several rewards the one that says what is right (the first)"
    )
    known.add_argument("--json", action="store_true", help="print numbers in full precision, and nothing else")
    known.add_argument(
        "--algorithm.OPTION",
        dest="ignored",
        metavar="VALUE",
        help="as in a run, or a unique ending of it such as --beta (groupwise run METHOD --help lists them); "
        "--against.algorithm.OPTION is OTHER's",
    )
    return known


def _refuse(chosen: Namespace) -> None:
    if chosen.case and chosen.run:
        raise UserError("--case and --run are two different sets of numbers; expected one of them")
    if chosen.judge and not (chosen.case or chosen.run):
        raise UserError("--judge names a reward of --case FILE or --run DIR; expected one of them")
    for name in ("step", "stage"):
        if vars(chosen)[name] is not None and not chosen.run:
            raise UserError(f"--{name} goes with --run DIR, the directory of a run")


def _owned(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of the method, and those of the other: ``--against.algorithm...`` without its prefix."""
    mine: list[str] = []
    theirs: list[str] = []
    owner = mine
    for word in map(underscored, words):
        if word.startswith("--"):
            owner = theirs if word.startswith("--against.") else mine
        owner.append(f"--{word.removeprefix('--against.')}" if word.startswith("--against.") else word)
    return mine, theirs


def _method(name: str, options: Sequence[str]) -> Method:
    """Raises UserError for a name or an option that is not there, and for one that says nothing about a token."""
    from groupwise.commands.methods import canonical, method

    recipe, known = canonical(name), method(name)
    if not options:
        return Method(recipe, known, ())
    from groupwise.commands.flags import flags_of
    from groupwise.commands.options import Options, tune
    from groupwise.config.describe import describe, differences

    run = _as_run(recipe, known)
    names = Options(run).names
    for flag in flags_of(options)[1]:
        found = names.find(flag.name) or [flag.name]
        if not any(option.startswith("algorithm.") for option in found):
            raise UserError(_stray(f"--{flag.name}"))
    algorithm = tune(run, options, f"groupwise explain {recipe}").stages[0].algorithm
    _refuse_as_run(recipe, algorithm)
    return Method(recipe, algorithm, tuple(differences(describe(algorithm), describe(known))))


def _refuse_as_run(recipe: str, algorithm: Algorithm) -> None:
    """Raises UserError for what a run refuses, whatever the task: no number could say what it would do."""
    from groupwise.config.ranges import refuse_options
    from groupwise.training.combinations import complaints

    refuse_options(algorithm, "--algorithm.")
    complaint = next(complaints(algorithm), None)
    if complaint:
        raise UserError(f"{recipe}: {complaint}; a run refuses it, too")


def _stray(option: str) -> str:
    near = difflib.get_close_matches(option, OWN, n=1)
    if near:
        return f"unknown option {option}: perhaps you meant {near[0]}"
    return (
        f"{option} has no say in what a method does to a token; expected --algorithm.OPTION or one of {', '.join(OWN)}"
    )


def _as_run(name: str, algorithm: Algorithm) -> Any:
    """The one-stage recipe whose options are the method's."""
    from groupwise.learners import NewModel
    from groupwise.runs.recipe import Run
    from groupwise.tasks.task import Task
    from groupwise.training.stage import Stage

    return Run(name, NewModel(), (Stage(name, algorithm, Task("data", ()), steps=1),))


def _on_case(methods: Sequence[Method], chosen: Namespace) -> None:
    from groupwise.explain import compute, read_case, worked_case

    scores = _reads_scores(methods)
    pairs = any(method.algorithm.objective.joins_group() for method in methods)
    case = read_case(chosen.case, scores, chosen.judge or "") if chosen.case else worked_case(pairs, scores)
    found = [compute(method.algorithm, case, method.name) for method in methods]
    if chosen.json:
        return _print_json([numbers.record() for numbers in found])
    from groupwise.commands.explanation import Page

    page = Page(methods)
    page.describe(chosen.case is None)
    for method in methods:
        page.name_missing_steps(method, case)
    worked = "A worked example, one prompt" if scores else WORKED
    page.tokens(case, found, case.name if chosen.case else worked)
    page.scale(case)
    if chosen.case is None:
        page.effects()
    return None


def _reads_scores(methods: Sequence[Method]) -> bool:
    """Raises UserError where one method trains a scorer and the other a policy: no number means the same to both."""
    found = [method.algorithm.trains_scorer for method in methods]
    if any(found) and not all(found):
        scorer, policy = sorted(methods, key=lambda method: not method.algorithm.trains_scorer)
        raise UserError(
            f"{scorer.name} learns from scores and {policy.name} from log-probabilities; expected two of one kind"
        )
    return any(found)


def _on_run(methods: Sequence[Method], chosen: Namespace) -> None:
    from groupwise.explain import compute, reward_scales, select, step_rows

    scores = _reads_scores(methods)
    stage, step, rows = step_rows(chosen.run, chosen.stage, chosen.step)
    if any((row.get("reads") == "scores") != scores for row in rows):
        kept, needed = ("log-probabilities", "scores") if scores else ("scores", "log-probabilities")
        raise UserError(
            f"{chosen.run}: stage {stage} keeps {kept}, and {methods[0].name} learns from {needed}; expected a stage "
            f"that trains a {'scorer' if scores else 'policy'}"
        )
    name = f"{chosen.run}, stage {stage}, step {step}"
    drawn = [select(rows, method.algorithm, name, chosen.judge or "") for method in methods]
    found = [compute(method.algorithm, one.case, method.name) for method, one in zip(methods, drawn, strict=True)]
    if chosen.json:
        return _print_json([_with_rows(*pair) for pair in zip(found, drawn, strict=True)])
    from groupwise.commands.explanation import Page
    from groupwise.commands.explanation_rollouts import show

    page = Page(methods)
    page.describe(False)
    for reward, numbers in reward_scales(chosen.run, stage).items():
        page.labelled(
            "reward scale",
            f"{reward} is (score - {numbers['mean']:.4g}) / {numbers['spread']:.4g}, measured before step 1",
        )
    for method, one in zip(methods, drawn, strict=True):
        page.name_missing_steps(method, one.case)
    show(page, name, rows, drawn, found)
    return None


def _with_rows(numbers: Numbers, drawn: StepBatch) -> dict[str, Any]:
    return numbers.record() | {"rows": [list(group) for group in drawn.rows]}


def _print_json(records: Sequence[Mapping[str, Any]]) -> None:
    record = {**records[0]}
    if len(records) > 1:
        record["against"] = records[1]
    json.dump(record, sys.stdout, allow_nan=False)
    print()
