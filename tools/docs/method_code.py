"""Where a symbol of a formula stands in the code: file and line by inspection, and the statement itself."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.algorithm import (
    GAE,
    Accepted,
    Algorithm,
    ClippedGeometricMean,
    ClippedRatio,
    ClippedSequenceRatio,
    ClippedWeight,
    GroupRelative,
    NormalisedRewards,
    Outputs,
    PassRateRelative,
    Preference,
    PreferenceMargin,
    ProcessRelative,
    RegularisedRatio,
    RewardToGo,
    Signals,
    SoftGate,
    TeacherGap,
    Uncorrected,
    gradient_coefficient,
)
from groupwise.algorithm import kl as estimators
from groupwise.algorithm.objectives import ratio_of
from groupwise.learners import backward, optimizer
from groupwise.rewards import scoring

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Lines of a file of ours."""

    path: str
    first: int
    last: int
    code: str = ""
    """The one statement that it is about, on one line; empty for a whole function."""

    def link(self, start: Path) -> str:
        """Markdown, relative to the folder ``start``."""
        lines = f"L{self.first}" if self.first == self.last else f"L{self.first}-L{self.last}"
        where = Path(os.path.relpath(ROOT / self.path, start)).as_posix()
        return f"[{Path(self.path).name}:{self.first}]({where}#{lines})"


def whole(thing: Any) -> Place:
    """A class or function from its first line, decorators left out, to its last."""
    lines, first = inspect.getsourcelines(thing)
    skipped = next(i for i, line in enumerate(lines) if line.lstrip().startswith(("class ", "def ")))
    path = Path(inspect.getsourcefile(thing) or "").resolve().relative_to(ROOT).as_posix()
    return Place(path, first + skipped, first + len(lines) - 1)


def assigned(function: Callable[..., Any], name: str, containing: str = "") -> Place:
    """The first statement of ``function`` that assigns to ``name`` (``return``: the last that returns) and contains the
    text; the function as a whole where there is none."""
    place = whole(function)
    source = textwrap.dedent(inspect.getsource(function))
    offset = inspect.getsourcelines(function)[1] - 1
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and name in set(_targets(node))]
    written = {node.lineno: (node, ast.get_source_segment(source, node) or "") for node in found}
    fitting = [line for line, (_, text) in written.items() if containing in text]
    if not fitting:
        return place
    node, text = written[max(fitting) if name == "return" else min(fitting)]
    return Place(place.path, node.lineno + offset, (node.end_lineno or node.lineno) + offset, " ".join(text.split()))


def _targets(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Return):
        yield "return"
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    for part in (part for target in targets for part in ast.walk(target)):
        if isinstance(part, ast.Name):
            yield part.id


def attribute(kind: type, name: str) -> Place:
    """The line of a dataclass's field."""
    place = whole(kind)
    lines, first = inspect.getsourcelines(kind)
    at = next(i for i, line in enumerate(lines) if line.startswith(f"    {name}:"))
    return Place(place.path, first + at, first + at, lines[at].partition("#")[0].strip())


Row = tuple[str, str, Place]
"""Symbol, meaning, where."""

ADVANTAGES: dict[type, tuple[tuple[str, str, str], ...]] = {
    Accepted: (("I(o)", "whether the judge calls the completion right", "accepted"),),
    PassRateRelative: (("p", "the prompt's pass rate", "rate"), ("A_i", "advantage", "advantage")),
    GroupRelative: (("r_i - mean(r)", "the reward against its group's", "centred"), ("A_i", "advantage", "advantage")),
    ProcessRelative: (
        ("R", "the step scores of the group", "steps"),
        ("(r - mean(R)) / std(R)", "a step's score, normalised", "normalised"),
    ),
    NormalisedRewards: (("Σ_k w_k z_group(r_i^k)", "each reward normalised by itself, then summed", "total"),),
    Preference: (("±", "+1 on the chosen, -1 on the rejected", "sign"),),
    RewardToGo: (("Σ_{u≥t} R_u", "the reward to go", "advantages"),),
    GAE: (("δ_t", "the critic's surprise at a token", "delta"), ("Σ_l (γλ)^l δ_{t+l}", "summed backwards", "running")),
    TeacherGap: (("A_t", "log-probability of the teacher less the policy's own", "gap"),),
}
OBJECTIVES: dict[type, tuple[tuple[str, str, str], ...]] = {
    ClippedRatio: (("min( r A, clip(r) A )", "the surrogate", "terms"), ("clip", "where it holds", "above")),
    ClippedWeight: (
        ("sg( clip(r) )", "the weight that is held", "held"),
        ("sg(..) A log π", "the surrogate", "terms"),
    ),
    SoftGate: (("τ", "how fast the gate closes, by the sign of A", "tau"), ("f(r)", "the gate", "gate")),
    ClippedSequenceRatio: (
        ("log s_i", "the sequence's log-ratio", "logs"),
        ("min( s A, clip(s) A )", "the surrogate", "terms"),
    ),
    ClippedGeometricMean: (("log r_t, held", "clipped in log space", "held"), ("ρ_i", "their geometric mean", "mean")),
    PreferenceMargin: (
        ("log π_θ/π_ref", "a token's log-ratio to the reference", "gap"),
        ("β [h(o+) - h(o-)]", "the margin", "margin"),
        ("log σ(..)", "the surrogate", "terms"),
    ),
    RegularisedRatio: (
        ("D(π_θ, π_old)", "the divergence", "penalty"),
        ("w A - β D", "the surrogate", "terms"),
    ),
}
RATIOED = (ClippedRatio, ClippedWeight, SoftGate, RegularisedRatio)


def symbols(algorithm: Algorithm) -> list[Row]:
    """What a formula is made of, from the data to the gradient."""
    return [
        *_before(algorithm),
        *_advantage(algorithm),
        *_surrogate(algorithm),
        *_beside(algorithm),
        *_together(algorithm),
    ]


def _before(algorithm: Algorithm) -> Iterator[Row]:
    needs = algorithm.needs()
    yield "q, o ~ D", "the data source", whole(type(algorithm.source).draw)
    if needs & {"rewards", "step_rewards"}:
        yield "r, R_t", "rewards, each on its token", whole(scoring.score_rollouts)
    if "greedy_rewards" in needs:
        yield "r(greedy)", "reward of the greedy completion", attribute(Signals, "greedy_rewards")
    yield "log π_θ", "what the network says, with gradient", attribute(Outputs, "logprobs")
    if "old_logprobs" in needs:
        yield "log π_old", "the policy when the draw was made", attribute(Signals, "old_logprobs")
    if algorithm.needs_reference:
        yield "log π_ref", "the reference policy", attribute(Signals, "reference_logprobs")
    if "values" in needs:
        yield "V_old", "the critic when the draw was made", attribute(Signals, "old_values")


def _advantage(algorithm: Algorithm) -> Iterator[Row]:
    advantage, kl = algorithm.advantage, algorithm.kl
    if kl.in_reward:
        yield f"β {kl.estimator}", "the KL that is part of the reward", assigned(Algorithm._penalty_before, "nats")
        yield f"{kl.estimator}", "its estimator", _estimator(algorithm)
    for symbol, meaning, name in ADVANTAGES.get(type(advantage), ()):
        yield symbol, meaning, assigned(type(advantage).advantages, name)
    yield "A", "advantages of the whole draw", whole(type(advantage).advantages)
    if algorithm.whitening.formula():
        yield "A ← (A - mean(A)) / √var(A)", "whitening", assigned(type(algorithm.whitening).whitened, "scaled")


def _surrogate(algorithm: Algorithm) -> Iterator[Row]:
    objective = type(algorithm.objective)
    if objective in RATIOED:
        yield "w" if objective is RegularisedRatio else "r", "π_θ/π_old", assigned(ratio_of, "return")
    rows = OBJECTIVES.get(objective, ())
    for symbol, meaning, name in rows:
        yield symbol, meaning, assigned(objective.surrogate, name)
    if not rows:
        yield algorithm.objective.formula().split(",  ")[0], "the surrogate", assigned(objective.surrogate, "return")
    if not isinstance(algorithm.correction, Uncorrected):
        yield "M", "weight between sampler and learner", whole(type(algorithm.correction).weights)


def _beside(algorithm: Algorithm) -> Iterator[Row]:
    kl = algorithm.kl
    if kl.in_objective:
        yield kl.formula(), "the KL in the objective", assigned(gradient_coefficient, "terms", "kl.coefficient")
        if kl.weight != "none":
            yield "r", "its importance weight", assigned(type(kl).weighted, "return")
        if kl.estimator != "exact":
            yield f"{kl.estimator}", "its estimator", _estimator(algorithm)
    if algorithm.entropy.active:
        yield "H(π_θ)", "entropy of the next-token distribution", attribute(Outputs, "entropy")
    if algorithm.critic.active:
        yield "G", "returns: what the critic should have said", assigned(Algorithm.prepare, "returns")
        yield "½ max( (V-G)², .. )", "the critic's loss", whole(type(algorithm.critic).objective)


def _estimator(algorithm: Algorithm) -> Place:
    return assigned(vars(estimators)[algorithm.kl.estimator], "return")


def _together(algorithm: Algorithm) -> Iterator[Row]:
    if algorithm.truncated == "mask":
        yield "finished", "truncated completions leave the sum", assigned(Algorithm.prepare, "learned")
    yield "w, counts", algorithm.aggregation.formula(), whole(type(algorithm.aggregation).weights)
    yield "J", "Σ w · terms", assigned(gradient_coefficient, "objective")
    yield "GC = ∂J/∂log π_θ", "autograd on a leaf", assigned(gradient_coefficient, "cotangent")
    yield "-GC · ∂log π_θ/∂θ", "back through the network", whole(backward.send_back)
    yield "/ Σ counts", "divided by once", whole(optimizer.divide_and_clip)
