"""docs/real-rewards.md out of benchmarks/real_rewards.json: every number and every verdict is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Found = dict[str, Any]
STEPS = ("all steps", "steps up to the first wrong one")
CONTROLS = ("majority", "surface")
RULES = {"longer": "preferring the longer one", "generator": "knowing which model wrote which"}


def page(result: Found) -> str:
    """The whole page. The result holds at least one seed."""
    seeds = result["seeds"]
    parts = [
        "# Rewards learned from real labels",
        setting(result),
        "## What came out",
        "\n".join(f"- {line}" for line in verdicts(seeds)),
        "## Steps: a process reward model",
        ABOUT_STEPS,
        *(part for seed in seeds for part in (f"Seed {seed['seed']}:", step_table(seed), set_table(seed))),
        calibration(seeds, "prm"),
        "## Pairs: an outcome model",
        ABOUT_PAIRS,
        *(part for seed in seeds for part in (f"Seed {seed['seed']}:", pair_table(seed))),
        calibration(seeds, "orm"),
        "## How it was made",
        made(result),
    ]
    return "\n\n".join(parts) + "\n"


ABOUT_STEPS = (
    "Labels are true before the first wrong step and false from it on, so a step's place says much about its label, "
    "and after the first wrong step a scorer need only remember. Three things are held against that: *majority* is one "
    "number for every step; *surface* knows which set it is, the number of the step, and whether the step "
    "announces an answer; and a second part of the table leaves out every step after the first wrong one. Both "
    "controls are shares of the training rows, for each part its own; the scorer learned from all steps. Every "
    "solution of MR-GSM8K is wrong. Random scores have AUC 0.5 and accuracy 0.5. Brackets are 95 % intervals over "
    "solutions."
)
ABOUT_PAIRS = (
    "Every right solution against every wrong one of its question; a question counts once, ties are half right, and "
    "random scores get 0.5. A solution's length is no merit but may go with it, and four models of different strength "
    "wrote the solutions, each in its own way: both are rules to hold the scorer against. The scorer is not told who "
    "wrote what; what it can tell from style counts for it here and not elsewhere. Brackets are 95 % intervals over "
    "questions."
)


def setting(result: Found) -> str:
    data, plan = result["data"], result["plan"]
    steps, pairs, solutions = (data[name] for name in ("steps", "pairs", "solutions"))
    drawn = {name: f"{count:,} updates of {rows} rows" for name, (count, rows, _) in plan["stages"].items()}
    shares = {side: steps[side]["right"] / steps[side]["all"] for side in steps}
    count = len(result["seeds"])
    return (
        f"A model from a config ({plan['layers']} layers, width {plan['hidden_size']}, bytes and {plan['pieces']:,} "
        f"words as tokens) first learns the language of solutions ({drawn['sft']}: GSM8K's training solutions and the "
        f"training traces of BIG-Bench Mistake), then its trunk begins two scorers. The process reward model "
        f"({drawn['prm']}) learns from {solutions['train']:,} solutions with {steps['train']['all']:,} labelled steps "
        f"({shares['train']:.0%} right) of BIG-Bench Mistake's four files and MR-GSM8K, and is judged on "
        f"{solutions['held_out']:,} with {steps['held_out']['all']:,} ({shares['held_out']:.0%} right). The outcome "
        f"model ({drawn['orm']}) learns from {pairs['train']:,} pairs of right and wrong solutions that OpenAI sampled "
        f"for GSM8K's test questions, and is judged on {pairs['held_out']:,}. One question in four is held out; "
        f"MR-GSM8K's variants of one story and the pairs on it stay on one side. "
        f"{count} seed{'s, each a run of its own' if count > 1 else ': what others would give is not known'}."
        f"{left_out(result)}"
    )


def left_out(result: Found) -> str:
    """What is not used, by reason and number."""
    data, seeds = result["data"], result["seeds"]
    reasons = [f"{count:,} {reason} make no pair" for reason, count in data["left_out"].items() if count]
    told = f" Of {sum(data['questions'].values()):,} questions {'; '.join(reasons)}." if reasons else ""
    unscored = [data["solutions"]["held_out"] - seed["steps"]["all steps"]["solutions"] for seed in seeds]
    skipped = {name: sum(seed["skipped"][name] for seed in seeds) for name in seeds[0]["skipped"]}
    if not any(unscored) and not any(skipped.values()):
        return (
            f"{told} No row was too long, rewritten by the tokenizer or without a step, and no two steps were merged."
        )
    counts = ", ".join(f"{name} {count:.0f}" for name, count in skipped.items() if count)
    return (
        f"{told} Passed over while training: {counts or 'nothing'}; held-out solutions without scores: {max(unscored)}."
    )


def verdicts(seeds: Sequence[Found]) -> list[str]:
    """Plain words; a difference counts where its whole interval lies on one side of 0."""

    def beside(found: Sequence[Found], *controls: str) -> str:
        return ", ".join(f"{verdict([each[f'over {name}'] for each in found])} *{name}*" for name in controls)

    lines = []
    for part in STEPS:
        for name in ("AUC", "accuracy"):
            found = [seed["steps"][part][name] for seed in seeds]
            chance = verdict([lead(each["value"], 0.5) for each in found])
            said = f"the process reward model {chance} random scores, {beside(found, *CONTROLS)}"
            lines.append(f"{name[0].upper()}{name[1:]} on {part}: {said}")
    found = [seed["steps"]["first error"] for seed in seeds]
    lines.append(f"Finding the first wrong step, or that there is none: it {beside(found, *CONTROLS)}")
    for name, words in {"random": "random scores", **RULES}.items():
        said = verdict([seed["pairs"][f"over {name}"] for seed in seeds])
        lines.append(f"Pairs: the outcome model {said} {words}")
    best = verdict([seed["pairs"]["best of four over any"] for seed in seeds])
    lines.append(f"Pairs: taking the best of a question's four solutions by its score {best} taking any of them")
    shares = [f"{place_share(seed['steps']['all steps']['AUC']):.0%}" for seed in seeds]
    lines.insert(1, f"Of that AUC's lead over 0.5 *surface*, which reads next to nothing, has {', '.join(shares)}")
    return [f"{line}." for line in lines]


def place_share(found: Found) -> float:
    """Of the scorer's lead over random scores the part that the surface control has too."""
    return float((found["surface"] - 0.5) / (found["value"]["value"] - 0.5))


def lead(found: Found, over: float) -> Found:
    return {name: value - over for name, value in found.items()}


def verdict(differences: Sequence[Found]) -> str:
    """Of the scorer's lead over something, a seed each."""
    count = len(differences)
    above, below = (sum(won(each) for each in differences) for won in (is_above, is_below))
    if above == count:
        return "beats"
    if below == count:
        return "is worse than"
    if above or below:
        return f"does not reliably beat (better in {above} and worse in {below} of {count} seeds)"
    return "does not beat"


def is_above(difference: Found) -> bool:
    return bool(difference["low"] > 0)


def is_below(difference: Found) -> bool:
    return bool(difference["high"] < 0)


def step_table(seed: Found) -> str:
    rows = []
    for part in STEPS:
        found = seed["steps"][part]
        rows += [step_row(f"{name}, {part}", found[name]) for name in ("AUC", "accuracy", "log loss") if name in found]
    rows.append(step_row("first error found", seed["steps"]["first error"]))
    head = ("", "scorer", "majority", "surface", "scorer − majority", "scorer − surface")
    return table(head, rows)


def step_row(name: str, found: Found) -> list[str]:
    controls = [f"{found[key]:.3f}" for key in ("majority", "surface")]
    return [name, shown(found["value"]), *controls, signed(found["over majority"]), signed(found["over surface"])]


def set_table(seed: Found) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(f"{found['solutions']}", f"{found['steps']}", f"{found['right']:.0%}"),
            *(shown(found["AUC"]["value"]), f"{found['AUC']['surface']:.3f}", signed(found["AUC"]["over surface"])),
        ]
        for name, found in seed["steps"]["sets"].items()
        if "AUC" in found
    ]
    return table(("held-out set", "solutions", "steps", "right", "AUC", "surface", "scorer − surface"), rows)


def pair_table(seed: Found) -> str:
    found = seed["pairs"]
    rows = [[f"all ({found['questions']} questions)", shown(found["accuracy"]), "0.500", signed(found["over random"])]]
    rows += [
        [f"all, beside {words}", "", f"{found[key]:.3f}", signed(found[f"over {key}"])] for key, words in RULES.items()
    ]
    rows += [[f"where {name}", shown(part), "", ""] for name, part in found["parts"].items()]
    best = [shown(found["best of four"]), f"{found['any of four']:.3f}", signed(found["best of four over any"])]
    rows.append(["right answer, best of four by score; beside any of four", *best])
    said = f"Scores and lengths correlate by {found['correlation with length']:+.2f}. {length_words(found)}"
    return f"{table(('pair accuracy', 'scorer', 'rule', 'scorer − rule'), rows)}\n\n{said}"


def length_words(found: Found) -> str:
    parts = [found["parts"].get(f"the right one is {word}") for word in ("longer", "shorter")]
    if not all(parts):
        return "There are not pairs of both kinds to tell length from the rest."
    held = [part["low"] > 0.5 for part in parts if part]
    if all(held):
        return "It is above chance both where the right one is longer and where it is shorter: length is not all."
    if any(held):
        return "It is above chance on one side of length only: what it learned cannot be told from length."
    return "It is above chance on neither side of length."


def calibration(seeds: Sequence[Found], stage: str) -> str:
    """The expected calibration error of every seed; of pairs also what was promised."""
    numbers = [f"{seed['evaluations'][stage]['numbers']['calibration_error']:.3f}" for seed in seeds]
    text = f"Expected calibration error{' by seed' if len(seeds) > 1 else ''}: {', '.join(numbers)}."
    if stage == "orm":
        said = [seed["pairs"]["calibration"] for seed in seeds]
        told = ", ".join(f"{each['promised']:.3f} promised and {each['kept']:.3f} kept" for each in said)
        text += f" The side that a score prefers is right with a chance of: {told}."
    return text


def made(result: Found) -> str:
    where, seconds = result["machine"], [seed["seconds"] / 60 for seed in result["seeds"]]
    losses = "; ".join(f"{s['sft_loss']['first']:.2f} to {s['sft_loss']['last']:.2f}" for s in result["seeds"])
    return (
        "From `benchmarks/real_rewards.json` (`python benchmarks/real_rewards.py DATA`, this page by `--page`), on "
        f"{where['cores']} cores of {where['cpu']}, one thread, beside other work: "
        f"{', '.join(f'{each:.0f}' for each in seconds)} minutes a seed. The language loss fell from {losses} nats a "
        "token. A model this small that has read so little cannot be expected to check a calculation. The numbers show "
        "that the stages run on real labels and how far this model gets; they say nothing of a model that has read "
        "more. No setting was chosen by a held-out result."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    return "\n".join([line(head), f"|{'---|' * len(head)}", *map(line, rows)])


def shown(found: Found) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def signed(found: Found) -> str:
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
