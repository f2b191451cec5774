"""This module writes the numbers of benchmarks/questions.json as sentences between the marks of docs/questions.md."""

from __future__ import annotations

import re
import textwrap
from typing import Any


def filled(text: str, result: dict[str, Any]) -> str:
    """The page with each sentence between its marks."""
    for name, sentence in sentences(result).items():
        whole = sentence if "|" in sentence else textwrap.fill(sentence, 120, break_long_words=False)
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, whole=whole: f"{match[1]}{whole}\n{match[2]}", text)
    return text


def sentences(result: dict[str, Any]) -> dict[str, str]:
    """The sentences by the name of their place; those of parts that were measured."""
    found: dict[str, str] = {}
    if part := result.get("baseline"):
        found |= _baseline(part)
    if part := result.get("kl"):
        found["kl"] = _kl(part)
    if part := result.get("scores"):
        found["scores"] = _scores(part)
    if part := result.get("responses"):
        found["responses"] = _responses(part)
    if part := result.get("equal"):
        found["equal"] = table(part)
    return found


def _baseline(part: dict[str, Any]) -> dict[str, str]:
    none, others, alike = part["none"], part["the others of the group"], part["those that begin alike"]
    weighed = part["the others, weighed by their gradients' squared lengths"]["noise"] / none["noise"]
    mean = others["noise"] / none["noise"]
    shifted = part["none, rewards 1 and 2"]["noise"] / none["noise"]
    longer = part["squared length of a wrong answer's gradient, in right ones'"]
    because = (
        ": where wrong answers are multiplied by 0, no baseline is quieter than the mean, and teaches nothing of them."
    )
    return {
        "baseline": (
            "Measured on 32 prompts with 16 samples each, as the variance of one sample's gradient among those of its "
            f"prompt: without a baseline 1 where rewards are 0 and 1, and {shifted:.1f} where they are 1 and 2, though "
            f"nothing but the zero has changed; with the mean of the others {mean:.2f}, whatever the zero; with the "
            "mean of the others weighed by the squared lengths of their gradients, the baseline of least variance, "
            f"{weighed:.2f}. The mean gradient is the same with and without (cosine {others['cosine']:.2f}; both are "
            "estimates from these samples)."
        ),
        "lengths": (
            "A wrong answer has an unlikely token in it, so that its gradient has here "
            f"{longer:.1f} times the squared length of a right one's" + (because if mean > 1 else ".")
        ),
        "action": (
            "With a baseline that looks at the action (the mean of the samples of the prompt that begin with the same "
            f"seven tokens), the mean gradient is {alike['length'] / others['length']:.2f} times as long as with the "
            f"group's others, and its cosine with the one without a baseline is {alike['cosine']:.2f}."
        ),
    }


def _kl(part: dict[str, Any]) -> str:
    names = ("exact", "k1", "k2", "k3")
    said = "; ".join(f"{name} {part[name]['mean']:.4f} ± {part[name]['spread']:.4f}" for name in names)
    return (
        f"Over {part['tokens']:,} tokens of a policy that moved for 20 steps without a penalty, in nats a token, mean "
        f"and spread from token to token: {said}. k1 is negative on {part['k1']['negative']:.0%} of the tokens."
    )


def _scores(part: dict[str, Any]) -> str:
    right, wrong = part["right"]["mean"], part["wrong"]["mean"]
    return (
        f"A reward model that learned from pairs of this policy's answers gives right ones {right:+.2f} and wrong ones "
        f"{wrong:+.2f} on average, from {part['lowest']:+.2f} to {part['highest']:+.2f}; {part['pairs_in_order']:.0%} "
        "of all pairs of a right and a wrong answer are in the right order."
    )


def _responses(part: dict[str, Any]) -> str:
    said = []
    for when, row in (("GRPO's first step", part["first"]), ("step 60 of the quickstart", part["late"])):
        read = row["tokens_of_prompts"] + row["tokens_sampled"]
        said.append(
            f"In {when}, {row['with_an_advantage']} of {row['completions']} completions had an advantage, "
            f"{row['wrong']} were wrong and {row['pushed_down']} were pushed down; of {read:,} tokens that were read, "
            f"{row['tokens_sampled']:,} had a loss."
        )
    return " ".join(said)


def table(part: dict[str, Any]) -> str:
    """What each run took until the target was reached."""
    heads = [
        "method",
        "seed",
        "completions",
        "seconds",
        "of these learning",
        "state kept, MB",
        "peak of the process, MB",
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for method, runs in part.items():
        for row in runs:
            keys = ("completions", "seconds", "seconds_learning")
            took = [row[key] for key in keys] if row["steps"] else ["not reached"] * 3
            cells = [method, row["seed"], *took, row["state_megabytes"], row["megabytes"]]
            lines.append(
                "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"
            )
    return "\n".join(lines)
