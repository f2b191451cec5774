"""The index of all methods: the unified table, and every value of every slot."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass

from method_code import whole
from method_page import FOLDER, NOTICE, Recipe
from method_text import cell, changed, default_of, documented, plain, prose, table, written

from groupwise import algorithm, sources
from groupwise.algorithm import (
    KL,
    Advantage,
    Aggregation,
    Algorithm,
    Correction,
    Critic,
    Entropy,
    Objective,
    Reference,
    Source,
    Uncorrected,
    Whitening,
)
from groupwise.explain import table_row
from groupwise.sources import Selection

TABLE = ("sft", "rft", "dpo_normalised", "online_rft", "ppo", "grpo")
FAMILIES = {
    "The unified table": ("sft", "rft", "online_rft", "dpo", "dpo_normalised", "online_dpo", "ppo"),
    "Group-relative": ("grpo", "grpo_process", "dr_grpo", "lite_ppo", "gdpo", "maxrl"),
    "Turn by turn": ("turn_to_go", "gigpo"),
    "Another trust region": ("gspo", "gspo_token", "luspo", "cispo", "gmpo", "sapo", "vespo", "dppo", "dppo_kl"),
    "As large runs set it": ("dapo", "deepseek_r1", "deepseek_v3_2"),
    "REINFORCE": ("rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax"),
    "Regularised policy gradient": ("rpg_urkl", "rpg_ufkl", "rpg_fkl", "rpg_rkl"),
    "From a teacher": ("on_policy_distillation", "opsd", "sdft"),
    "Other systems' defaults": ("trl_1_16", "verl_0_9", "verl_0_9_ppo", "openrlhf_0_11", "openrlhf_0_11_ppo"),
}
SLOTS: dict[str, tuple[type, str]] = {
    "source": (Source, "Where the data comes from."),
    "source.select": (Selection, "What of a group is trained on."),
    "advantage": (Advantage, "From rewards to how much better than expected each token was."),
    "objective": (Objective, "One token's term of J."),
    "correction": (Correction, "What multiplies it when sampler and learner disagree."),
    "aggregation": (Aggregation, "How terms become one number: a weight a token, and a count divided by once."),
}
KINDS = {"kl": KL, "whitening": Whitening, "entropy": Entropy, "critic": Critic, "reference": Reference}
GC = "∇J = E_(q,o)~D [ Σ_t w_t · GC(q, o, t) · ∇ log π(o_t | q, o_<t) ]"


def index(recipes: Sequence[Recipe]) -> str:
    """README.md of the folder."""
    known = {recipe.name: recipe for recipe in recipes}
    families = _families(known)
    parts = [
        NOTICE,
        "# Methods",
        "Every method is one gradient (DeepSeekMath, [arXiv 2402.03300](https://arxiv.org/abs/2402.03300), section 5):",
        f"```text\n{GC}\n```",
        "a data source D, a reward, and a gradient coefficient GC. A recipe is a value with a part for each.\n"
        "`groupwise run NAME` trains with it, `groupwise explain NAME` shows what it does to each token, and\n"
        "[adding one](../adding-a-method.md) takes a file.",
        "## The unified table",
        _unified([known[name] for name in TABLE if name in known]),
        "## All methods",
        *_listed(families),
        "## What each is made of",
        "Options that are not a slot's defaults are written out; a slot that does nothing is left empty.",
        _values([recipe for members in families.values() for recipe in members]),
        "## Slots",
        "What can be combined: any value of one slot with any of another. `groupwise run` refuses or names what can do "
        "nothing.",
        *_slots(),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _link(recipe: Recipe) -> str:
    return f"[{recipe.name}]({recipe.name}.md)"


def _unified(recipes: Sequence[Recipe]) -> str:
    rows = []
    for recipe in recipes:
        source, reward, coefficient = table_row(recipe.algorithm)
        said = coefficient.removeprefix("GC = ").partition("  (")[0]
        advantage = cell(recipe.algorithm.advantage.formula())
        rows.append((_link(recipe), plain(source).partition(":")[0], reward, cell(said), advantage))
    return table(("method", "data source", "reward", "gradient coefficient where π_old = π_θ", "with"), rows)


def _families(known: dict[str, Recipe]) -> dict[str, list[Recipe]]:
    """Every recipe under its family's name; a new one stands under Others until somebody has put it into FAMILIES."""
    sorted_out = {name for names in FAMILIES.values() for name in names}
    families = FAMILIES | {"Others": tuple(name for name in known if name not in sorted_out)}
    found = {family: [known[name] for name in names if name in known] for family, names in families.items()}
    return {family: recipes for family, recipes in found.items() if recipes}


def _listed(families: dict[str, list[Recipe]]) -> Iterator[str]:
    for family, recipes in families.items():
        yield f"**{family}**"
        yield "\n".join(f"* {_link(recipe)}: {prose(recipe.title)}" for recipe in recipes)


def _values(recipes: Sequence[Recipe]) -> str:
    rows = []
    for recipe in recipes:
        method = recipe.algorithm
        further = [] if isinstance(method.correction, Uncorrected) else [_value(method.correction)]
        further += [_value(part) for part in (method.whitening, method.critic, method.reference) if changed(part)]
        further += [_value(method.entropy)] if method.entropy.active else []
        further += [cell(f'truncated="{method.truncated}"')] if method.truncated != "learn" else []
        parts = (method.source, method.advantage, method.objective, method.aggregation)
        source, advantage, surrogate, aggregation = map(_value, parts)
        reward, penalty = table_row(method)[1], _penalty(method.kl)
        rows.append((_link(recipe), source, reward, advantage, surrogate, penalty, aggregation, ", ".join(further)))
    return table(("method", "source", "reward", "advantage", "surrogate", "KL", "aggregation", "further"), rows)


def _penalty(kl: KL) -> str:
    """``0.01 k1, place reward``."""
    further = {name: value for name, value in changed(kl).items() if name not in ("coefficient", "estimator")}
    said = [cell(f"{kl.coefficient:g} {kl.estimator}"), *(f"{name} {_short(value)}" for name, value in further.items())]
    return ", ".join(said) if kl.coefficient else ""


def _value(part: object) -> str:
    said = [f"{name} {_short(value)}" for name, value in changed(part).items()]
    return cell(type(part).__name__) + (f" {', '.join(said)}" if said else "")


def _short(value: object) -> str:
    if is_dataclass(value):
        return type(value).__name__
    return value.__name__ if callable(value) and hasattr(value, "__name__") else written(value)


def _slots() -> Iterator[str]:
    for slot, (protocol, about) in SLOTS.items():
        yield f"### {slot}"
        yield about
        rows = []
        for kind in _kinds(protocol):
            rows.append(
                (f"{cell(kind.__name__)} {whole(kind).link(FOLDER)}", _first(kind), "<br>".join(_options(kind)))
            )
        yield table(("value", "what it is", "options"), rows)
    for slot, kind in KINDS.items():
        yield f"### {slot}"
        yield f"{cell(kind.__name__)} {whole(kind).link(FOLDER)}: {_first(kind)}"
        yield table(("option", "by default", "meaning"), list(_rows(slot, kind)))
    yield "### truncated"
    yield f"`learn` (by default) or `mask`. {documented(Algorithm)['truncated']}"


def _kinds(protocol: type) -> list[type]:
    """Public classes that fill a slot, in the order of the alphabet."""
    public = {**{name: vars(algorithm)[name] for name in algorithm.__all__}}
    public |= {name: vars(sources)[name] for name in sources.__all__}
    return [kind for kind in public.values() if isinstance(kind, type) and protocol in kind.__bases__]


def _first(kind: type) -> str:
    """The first sentence of its docstring."""
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    return plain(prose(text))


def _options(kind: type) -> Iterator[str]:
    for name, default, choice in _fields(kind):
        yield f"`{name}`" + (f" {default}" if default else "") + (f" ({choice})" if choice else "")


def _rows(slot: str, kind: type) -> Iterator[tuple[str, str, str]]:
    said = documented(kind)
    for name, default, _ in _fields(kind):
        yield cell(f"--algorithm.{slot}.{name}"), default, said[name]


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, default, and what else it may be."""
    hints = typing.get_type_hints(kind)
    for option in fields(kind):  # type: ignore[arg-type]
        default = default_of(option)
        others = [str(value) for value in typing.get_args(hints[option.name]) if isinstance(value, str)]
        others = [value for value in others if value != default]
        yield (
            option.name,
            "" if default is MISSING else cell(_short(default)),
            "or " + ", ".join(others) if others else "",
        )
