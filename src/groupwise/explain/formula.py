"""A method as its paper would write it, with the numbers in force; and its row of the unified table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields

from groupwise.algorithm import (
    KL,
    Algorithm,
    BradleyTerry,
    Constant,
    Preference,
    PreferenceMargin,
    RegularisedRatio,
    SequenceMean,
    StepCrossEntropy,
    TeacherGap,
    Uncorrected,
)
from groupwise.output.counting import counted

SHOWN = (
    "group_size",
    "samples_per_prompt",
    "continuations",
    "estimate",
    "sampling_temperature",
    "max_completion_tokens",
)
RATIO = "r = π_θ(o_t | q, o_<t) / π_old(o_t | q, o_<t)"
ESTIMATES = {
    "k1": "k1(π, π_ref) = log π/π_ref",
    "k2": "k2(π, π_ref) = ½ (log π/π_ref)²",
    "k3": "k3(π, π_ref) = x - log x - 1,  x = π_ref/π",
    "exact": "KL(π_θ‖π_ref) = Σ_v π_θ(v) log π_θ(v)/π_ref(v) over the whole vocabulary",
}


def objective(algorithm: Algorithm) -> list[str]:
    """Writes J, term by term: aggregation { correction · surrogate - KL + entropy - value loss }."""
    kl, entropy, critic = algorithm.kl, algorithm.entropy.formula(), algorithm.critic.formula()
    weight = "" if isinstance(algorithm.correction, Uncorrected) else "M · "
    terms = [f"J = {algorithm.aggregation.formula()} {{ {weight}{_surrogate(algorithm)[0]}"]
    terms += [f"- {kl.formula()}"] if kl.in_objective else []
    terms += [f"+ {entropy}"] if entropy else []
    terms += [f"- {critic}"] if critic else []
    return [*terms[:-1], f"{terms[-1]} }}"]


def definitions(algorithm: Algorithm) -> list[str]:
    """Says what the letters of ``objective`` mean, a line each."""
    return list(_letters(algorithm))


def _surrogate(algorithm: Algorithm) -> tuple[str, list[str]]:
    """One token's term, and the definitions that follow it."""
    term, *further = algorithm.objective.formula().split(",  ")
    return term, further


def _letters(algorithm: Algorithm) -> Iterator[str]:
    term, further = _surrogate(algorithm)
    kl, reference = algorithm.kl, algorithm.needs_reference
    if re.search(r"\br(_t)?\b", " ".join([term, *further, kl.formula() if kl.in_objective else ""])):
        yield RATIO
    yield from further
    if not isinstance(algorithm.correction, Uncorrected):
        yield f"M = {algorithm.correction.formula().rstrip(',')}" + _mismatch(algorithm)
    in_rewards = kl.in_reward and kl.place == "reward"
    if in_rewards:
        yield f"R_t = reward on token t - {kl.formula()}" + _total(algorithm)
    if not isinstance(algorithm.objective, StepCrossEntropy):  # it reads labels, and no advantage
        yield from re.split(r",  (?=[^,]* = )", algorithm.advantage.formula())
    if kl.in_reward and not in_rewards:
        yield f"A_t ← A_t - Σ_{{u≥t}} {kl.formula()} on token u"
    if algorithm.whitening.formula():
        yield algorithm.whitening.formula()
    if kl.coefficient:
        yield ESTIMATES[kl.estimator] + (", adaptive coefficient" if kl.target else "")
    if algorithm.critic.active:
        yield "G = A + V_old, A before whitening;  V the critic, " + (
            "a head on the policy" if algorithm.critic.network == "head" else "a network of its own"
        )
    if re.search(r"\bsg\(", term + kl.formula()):
        yield "sg(x) = x, without gradient"
    if reference:
        yield f"π_ref = {_reference(algorithm)}"
    yield f"truncated completions: {_truncated(algorithm)}"


def _mismatch(algorithm: Algorithm) -> str:
    return ",  ρ = π_old/π_behavior" if "ρ" in algorithm.correction.formula() else ""


def _total(algorithm: Algorithm) -> str:
    """Where the advantage speaks of r_i: the sum of the token rewards."""
    return ",  r_i = Σ_t R_t" if "r_i" in algorithm.advantage.formula() else ""


def _reference(algorithm: Algorithm) -> str:
    who = algorithm.reference.model or (
        "a teacher, to be named by --algorithm.reference.model"
        if isinstance(algorithm.advantage, TeacherGap) and not algorithm.reference.sees
        else "the policy as the stage began"
    )
    every = algorithm.reference.refresh_every
    who += f", replaced by the policy every {counted(every, 'step')}" if every else ""
    return who + (f", who reads {_quoted(algorithm.reference.sees)} for a prompt" if algorithm.reference.sees else "")


def _quoted(text: str) -> str:
    return f'"{" ".join(text.split())}"'


def _truncated(algorithm: Algorithm) -> str:
    if algorithm.truncated == "learn":
        return "learned from like any other"
    return "masked out of the sum; their rewards still count in the group" + _empty(algorithm)


def _empty(algorithm: Algorithm) -> str:
    counted = isinstance(algorithm.aggregation, SequenceMean) and algorithm.aggregation.count_empty
    return ", and they still count in B" if counted else ""


def table_row(algorithm: Algorithm) -> tuple[str, str, str]:
    """Returns data source, reward, and the gradient coefficient GC before the token's weight, where π_old = π_θ."""
    return _source(algorithm), _reward(algorithm), f"GC = {coefficient(algorithm)}{_scope(algorithm)}"


def _source(algorithm: Algorithm) -> str:
    """The first sentence of its docstring says it; then its options, where they are not off."""
    source = algorithm.source
    paragraph = " ".join((type(source).__doc__ or type(source).__name__).partition("\n\n")[0].split())
    said = paragraph.removeprefix("This source draws ").partition(". ")[0].rstrip(".")
    shown = [
        f"{option.name} {_option(vars(source)[option.name])}"
        for option in fields(source)  # type: ignore[arg-type]
        if option.name in SHOWN or vars(source)[option.name] not in (option.default, _made(option))
    ]
    return said + (f" ({', '.join(shown)})" if shown else "")


def _made(option: Field[object]) -> object:
    """The default that a factory makes; of every other option the default itself."""
    return option.default if option.default_factory is MISSING else option.default_factory()


def _option(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool | int | str | tuple):
        return str(value)
    return value.__name__ if callable(value) and hasattr(value, "__name__") else type(value).__name__


def _reward(algorithm: Algorithm) -> str:
    needs, advantage = algorithm.needs(), algorithm.advantage
    if isinstance(algorithm.objective, StepCrossEntropy):
        return "a label at the end of each step" + (", from a rule" if _samples(algorithm) else "")
    if isinstance(advantage, TeacherGap) and algorithm.reference.sees:
        return "none: log-probabilities of the policy itself, shown more of the row"
    if isinstance(advantage, TeacherGap):
        return "none: a teacher's log-probability of each token"
    if isinstance(advantage, Preference):
        return "a rule says which of two answers is better" if _samples(algorithm) else "people said which is better"
    if isinstance(advantage, Constant):
        return "none: people chose the completions"
    said = "a score at the end of each step" if "step_rewards" in needs else "a score of the whole completion"
    return said + (", and of the prompt's greedy completion" if "greedy_rewards" in needs else "")


def _samples(algorithm: Algorithm) -> bool:
    return algorithm.source.sampled_by() != "nobody"


def _scope(algorithm: Algorithm) -> str:
    if algorithm.trains_scorer and not algorithm.objective.joins_group():
        return "  (times the token's weight w)"
    return "" if algorithm.objective.joins_group() else "  (where π_old = π_θ; times the token's weight w)"


def coefficient(algorithm: Algorithm) -> str:
    """Writes the coefficient in symbols. A critic's and an entropy bonus's outputs have coefficients of their own."""
    surrogate = algorithm.objective
    said = "A"
    if isinstance(surrogate, StepCrossEntropy):
        return "y_t - σ(z_t), on the last token of each step"
    if isinstance(surrogate, BradleyTerry):
        held = f" + {surrogate.margin:g}" if surrogate.margin else ""
        said = f"± σ( s_j - s_i{held} ) of each pair, + on the last token of the better, - on the worse's"
        return said + (f";  - {2 * surrogate.centring:g} (s_i + s_j) on both" if surrogate.centring else "")
    if isinstance(surrogate, PreferenceMargin):
        beta = f"{surrogate.coefficient:g}"
        share = "/|o|" if surrogate.length_normalised else ""
        said = f"± {beta}{share} σ( {beta} [h(rejected) - h(chosen)] ), + on the chosen's tokens, - on the rejected's"
    if isinstance(surrogate, RegularisedRatio):
        offset = {"forward": " + ", "reverse": " - "}.get(surrogate.divergence, "")
        said += f"{offset}{surrogate.coefficient:g}" if offset else ""
    if isinstance(algorithm.advantage, Constant) and not isinstance(surrogate, RegularisedRatio):
        said = f"{algorithm.advantage.value:g}"
    if not isinstance(algorithm.correction, Uncorrected):
        said = f"M {said}"
    return said + _penalty(algorithm.kl) + _beside(algorithm)


def _penalty(kl: KL) -> str:
    if not kl.in_objective or kl.estimator == "exact":
        return ""
    slopes = {
        ("k1", "none"): " - {}",
        ("k1", "stopped"): " - {}",
        ("k1", "live"): " - {} (1 + log π_θ/π_ref)",
        ("k2", "none"): " - {} log π_θ/π_ref",
        ("k2", "stopped"): " - {} log π_θ/π_ref",
        ("k2", "live"): " - {} (log π_θ/π_ref + ½ (log π_θ/π_ref)²)",
        ("k3", "none"): " + {} (π_ref/π_θ - 1)",
        ("k3", "stopped"): " + {} (π_ref/π_θ - 1)",
        ("k3", "live"): " - {} log π_θ/π_ref",
    }
    return slopes[kl.estimator, kl.weight].format(f"{kl.coefficient:g}")


def _beside(algorithm: Algorithm) -> str:
    kl, said = algorithm.kl, ""
    if kl.in_objective and kl.estimator == "exact":
        said += f";  of the exact KL: {-kl.coefficient:g}"
    if algorithm.entropy.active:
        said += f";  of the entropy: {algorithm.entropy.coefficient:g}"
    if algorithm.critic.active:
        said += f";  of the critic's value: {algorithm.critic.coefficient:g} (G - V)"
    return said
