"""One method's page: what its recipe says of itself, and what its code does."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from method_code import ROOT, symbols
from method_plot import ANSWERS, BESIDE, panels
from method_svg import Panel, picture
from method_text import cell, documented, filled, plain, prose, table, written

from groupwise import recipes
from groupwise.algorithm import Algorithm, NormalisedRewards, ProcessRelative, TeacherGap, Uncorrected
from groupwise.explain import definitions, effects, objective, premises, table_row
from groupwise.sources import Demonstrations, Pairs

FOLDER = ROOT / "docs" / "methods"
NOTICE = "<!-- Written by `make docs` from the recipe and the code: change those, not this. -->"


@dataclass(frozen=True)
class Recipe:
    """A recipe's file, taken apart."""

    name: str
    algorithm: Algorithm
    title: str
    formula: str
    replaces: str
    """The line above the numbered differences."""
    differences: str
    notes: Sequence[str]
    """Paragraphs that are none of the others."""
    use: str
    wrong: str
    code: str


def read(name: str) -> Recipe:
    """Raises ValueError where a docstring has not the parts that a page is made of."""
    module = importlib.import_module(f"groupwise.recipes.{name}")
    blocks = textwrap.dedent(inspect.cleandoc(module.__doc__ or "")).split("\n\n")
    title, rest = blocks[0].replace("\n", " "), blocks[1:]
    formulas = [block for block in rest if block.startswith("    ")]
    numbered = next((at for at, block in enumerate(rest) if block.startswith("1. ")), None)
    use = [block for block in rest if block.startswith("Use it ")]
    wrong = [block.removeprefix("What goes wrong: ") for block in rest if block.startswith("What goes wrong: ")]
    if not formulas or not numbered or len(use) != 1 or len(wrong) != 1:
        raise ValueError(
            f"recipes/{name}.py: its docstring needs an indented formula, a line and a numbered list of differences, "
            "one paragraph 'Use it ...' and one 'What goes wrong: ...'"
        )
    known = {*formulas, rest[numbered - 1], rest[numbered], *use, f"What goes wrong: {wrong[0]}"}
    source = inspect.getsource(module)
    code = source.split('"""', 2)[2].strip()
    return Recipe(
        name=name,
        algorithm=vars(module)[name],
        title=title.rstrip("."),
        formula="\n\n".join(textwrap.dedent(block) for block in formulas),
        replaces=rest[numbered - 1],
        differences=rest[numbered],
        notes=[block for block in rest if block not in known],
        use=use[0],
        wrong=wrong[0][0].upper() + wrong[0][1:],
        code=code,
    )


def page(recipe: Recipe, names: Sequence[str]) -> dict[Path, str]:
    """The page and its picture, by path."""
    shown = panels(recipe.algorithm)
    parts = [
        NOTICE,
        *_heading(recipe),
        *_objective(recipe),
        f"{prose(recipe.replaces)}\n\n{prose(recipe.differences)}",
        *map(prose, recipe.notes),
        "## Its coefficient",
        f"![{recipe.name}: {' and '.join(panel.title for panel in shown)}](plots/{recipe.name}.svg)",
        _caption(shown),
        "## What it does",
        filled(premises(recipe.algorithm)),
        "\n".join(_effect(*effect) for effect in effects(recipe.algorithm)),
        "## The line of code for each symbol",
        _symbols(recipe.algorithm),
        "## Recipe",
        f"```python\n{recipe.code}\n```",
        "## Options",
        *_options(recipe.algorithm),
        "## When to use it",
        prose(recipe.use),
        "## What goes wrong",
        prose(filled(recipe.wrong)),
        "## See it",
        _commands(recipe, names),
    ]
    text = "\n\n".join(part.strip("\n") for part in parts) + "\n"
    return {FOLDER / f"{recipe.name}.md": text, FOLDER / "plots" / f"{recipe.name}.svg": picture(recipe.name, shown)}


def _effect(looked_at: str, said: str) -> str:
    """``**A long answer** of 8 tokens ...``, a sentence, or a colon where what follows is none."""
    colon = ":" if said.startswith("all ") else ""
    return filled(f"* **{looked_at[0].upper()}{looked_at[1:]}{colon}** {said}", "  ")


def _heading(recipe: Recipe) -> Iterator[str]:
    """The title without its sources, which stand below it."""
    said = re.fullmatch(r"(.+?) \((.+)\)", recipe.title)
    file = f"src/groupwise/recipes/{recipe.name}.py"
    yield f"# {prose(said[1] if said else recipe.title)}"
    sources = [prose(said[2])] if said else []
    yield " · ".join([f"`{recipe.name}`", *sources, f"[{file}](../../{file})", "[all methods](README.md)"])


def _objective(recipe: Recipe) -> Iterator[str]:
    source, reward, coefficient = table_row(recipe.algorithm)
    yield "## Objective"
    yield f"```text\n{recipe.formula}\n```"
    yield "With the options of the recipe, as `groupwise explain` prints it:"
    first, *further = objective(recipe.algorithm)
    joined = " ".join([first, *further])
    terms = [joined] if len(joined) <= 100 else [first, *(f"      {term}" for term in further)]
    lines = [*terms, "", *(f"    {line}" for line in definitions(recipe.algorithm))]
    yield "```text\n" + "\n".join(lines) + "\n```"
    rows = [("data source", source), ("reward", reward), ("gradient coefficient", coefficient)]
    yield table(("row of the table", ""), [(name, cell(said) if "GC" in said else plain(said)) for name, said in rows])


def _caption(shown: Sequence[Panel]) -> str:
    said = []
    first = shown[0]
    if "ratio" in first.x_name:
        said.append(
            "Of one token, before its weight in the sum, for four advantages; sampler and reference are as the policy "
            "was when it drew."
        )
        if first.bounds:
            said.append("Dotted: where a clip begins or ends.")
        if first.beyond:
            said.append(f"Beyond the picture: a clip at {', '.join(f'{edge:g}' for edge in first.beyond)}.")
        if "completion" in first.x_name:
            said.append("The completion has one token.")
    elif "margin" in first.x_name:
        said.append(
            "Of a pair of completions of one token each. The margin is by how much more the policy prefers the chosen "
            "one than the reference does."
        )
    else:
        said.append("Of one token, before its weight in the sum: how likely the policy finds it makes no difference.")
    if len(shown) > 1 and "answers" in shown[1].x_name:
        beside = ", ".join(map(str, BESIDE[:-1])) + f" and {BESIDE[-1]}"
        said.append(
            f"Right: rewards are 0 and 1, answers have one token, and three further prompts with {beside} right "
            f"answers of {ANSWERS} are in the draw."
        )
    return filled(" ".join(said))


def _symbols(algorithm: Algorithm) -> str:
    rows = []
    for symbol, meaning, place in symbols(algorithm):
        code = cell(place.code) if place.code else ""
        rows.append((cell(symbol), plain(meaning), place.link(FOLDER), code))
    return table(("symbol", "what it is", "where", "the line"), rows)


def _options(algorithm: Algorithm) -> Iterator[str]:
    yield "After `groupwise run` or `groupwise explain`; in a recipe of several stages with the stage's name in front."
    rows = [row for slot in active(algorithm) for row in options(slot, vars(algorithm)[slot])]
    rows.append((cell("--algorithm.truncated"), cell(algorithm.truncated), documented(Algorithm)["truncated"]))
    yield table(("option", "here", "meaning"), rows)
    idle = {"kl": "coefficient", "entropy": "coefficient", "critic": "network", "whitening": "unit"}
    off = [f"`--algorithm.{slot}.{switch}`" for slot, switch in idle.items() if slot not in active(algorithm)]
    if off:
        yield f"Off here, and switched on by {', '.join(off)}: see [the slots](README.md#slots)."


def active(algorithm: Algorithm) -> list[str]:
    """Names of the slots that do something, in the order of the formula."""
    working = {
        "source": True,
        "advantage": True,
        "whitening": bool(algorithm.whitening.formula()),
        "objective": True,
        "correction": not isinstance(algorithm.correction, Uncorrected),
        "kl": bool(algorithm.kl.coefficient or algorithm.kl.target),
        "entropy": algorithm.entropy.active,
        "critic": algorithm.critic.active,
        "reference": algorithm.needs_reference,
        "aggregation": True,
    }
    return [slot for slot, works in working.items() if works]


def options(prefix: str, value: object) -> Iterator[tuple[str, str, str]]:
    """Name on the command line, value here, meaning; of a dataclass and of those inside it."""
    said = documented(type(value))
    for option in fields(value):  # type: ignore[arg-type]
        inside = vars(value)[option.name]
        if is_dataclass(inside):
            yield (
                f"`{prefix}.{option.name}`",
                cell(type(inside).__name__),
                f"{said[option.name]} A recipe file sets it.",
            )
            yield from options(f"{prefix}.{option.name}", inside)
        elif callable(inside):
            yield f"`{prefix}.{option.name}`", cell(inside.__name__), f"{said[option.name]} A recipe file sets it."
        else:
            yield cell(f"--algorithm.{prefix}.{option.name}"), cell(written(inside)), said[option.name]


def _commands(recipe: Recipe, names: Sequence[str]) -> str:
    lines = [f"groupwise explain {recipe.name}"]
    other = _other(recipe, names)
    if other:
        lines.append(f"groupwise explain {recipe.name} --against {other}")
    lines.append(f"groupwise run {recipe.name} --model PATH --data {_data(recipe.algorithm)}")
    return "```sh\n" + "\n".join(lines) + "\n```"


def _data(algorithm: Algorithm) -> str:
    """A file of the kind that the source reads, with the rewards of its rows."""
    return "text.jsonl" if algorithm.source.reads_documents() else f"train.jsonl{_reward(algorithm)}"


def _reward(algorithm: Algorithm) -> str:
    """The options that say what is rewarded, or who teaches."""
    if isinstance(algorithm.source, Demonstrations | Pairs):
        return ""
    if isinstance(algorithm.advantage, TeacherGap):
        return " --reward math --algorithm.reference.model TEACHER"
    if isinstance(algorithm.advantage, ProcessRelative):
        return " --reward my_reward.py:steps"
    return " --reward math" + (
        " --reward my_reward.py:style" if isinstance(algorithm.advantage, NormalisedRewards) else ""
    )


def _other(recipe: Recipe, names: Sequence[str]) -> str | None:
    """The method that it replaces, where its name is one of ours."""
    from groupwise.commands.methods import canonical
    from groupwise.errors import UserError

    said = re.search(r"differs from (.+?), which it replaces", recipe.replaces)
    try:
        found = canonical(said[1]) if said else None
    except UserError:
        return "rpg_urkl" if said and "unnormalised reverse" in said[1] else None
    if found not in names or _reads(recipe.algorithm) != _reads(vars(recipes)[found]):
        return None
    return found


def _reads(algorithm: Algorithm) -> str:
    return algorithm.objective.reads()
