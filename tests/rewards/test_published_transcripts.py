"""The published answer rules, each by its preset, on transcripts in the forms in which models of the field answer.

The transcripts were written for this test. What a rule says of them was worked out by hand from its publication
(docs/answers.md): the order in which places of an answer are tried, and how far a number may be off.
"""

from __future__ import annotations

import pytest

from groupwise.rewards import by_name
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout

RULES = ("gsm8k", "deepseekmath", "tora", "math_verify")

REASONED = "She has 16 - 3 - 4 = 9 eggs and earns 9 * 2 = $18.\n"
TOOL = "```python\neggs = 16 - 3 - 4\nprint(eggs * 2)\n```\n```output\n{printed}\n```\n"

TRANSCRIPTS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    # name: (gold, transcript, right by gsm8k, deepseekmath, tora, math_verify)
    "hashes": ("18", f"{REASONED}#### 18", (1, 1, 1, 1)),
    "hashes, wrong": ("18", f"{REASONED}#### 17", (0, 0, 0, 0)),
    "box": ("18", f"{REASONED}So she makes $\\boxed{{18}}$ dollars.", (0, 1, 1, 1)),
    "box with a thousands comma": ("1800", "That is \\boxed{1,800} in all.", (0, 1, 1, 1)),
    "two boxes, the last is right": ("18", "First \\boxed{9}, and then \\boxed{18}.", (0, 1, 1, 0)),
    "two boxes, the last is wrong": ("18", "First \\boxed{18}, and then\n\\boxed{9}.", (0, 0, 0, 0)),
    "minerva": ("18", f"{REASONED}Final Answer: The final answer is $18$. I hope it is correct.", (0, 1, 1, 1)),
    "minerva before a box": ("18", "The final answer is $18$. I hope it is correct.\n\\boxed{9}", (0, 1, 0, 1)),
    "the answer is": ("18", f"{REASONED}The answer is 18.", (0, 1, 1, 1)),
    "a program's output, and a box": ("18", f"{TOOL.format(printed='18')}She makes \\boxed{{18}}.", (0, 1, 1, 1)),
    "a program's output alone": ("18", f"{TOOL.format(printed='18')}", (0, 1, 1, 1)),
    "a box against the output": ("18", f"{TOOL.format(printed='18')}She makes \\boxed{{17}}.", (0, 0, 0, 0)),
    "an output that failed, and a box": ("18", f"{TOOL.format(printed='NameError')}So \\boxed{{18}}.", (0, 1, 1, 1)),
    "an error alone": ("18", TOOL.format(printed="Traceback:\n  line 18\nNameError: x18 18"), (0, 0, 0, 1)),
    "a program that ran too long": ("18", TOOL.format(printed="stopped after 18"), (0, 0, 0, 1)),
    "a program that printed nothing": ("18", TOOL.format(printed=""), (0, 0, 0, 0)),
    "an error, then words": ("18", f"{TOOL.format(printed='NameError')}So there are 18", (0, 1, 1, 1)),
    "two programs": ("18", f"{TOOL.format(printed='9')}And twice:\n{TOOL.format(printed='18')}", (0, 1, 1, 1)),
    "words after the program": ("18", f"{TOOL.format(printed='9')}The answer is 18.", (0, 1, 1, 1)),
    "a box before the program": ("18", f"\\boxed{{18}}\n{TOOL.format(printed='9')}", (0, 1, 1, 1)),
    "a box in a box": ("18", "So \\boxed{\\boxed{18}}.", (0, 1, 1, 1)),
    "off by 0.0005": ("18", "It is \\boxed{18.0005}.", (0, 1, 1, 0)),
    "off by 0.002": ("18", "It is \\boxed{18.002}.", (0, 0, 0, 0)),
    "off by 0.9 of 20,000": ("20000", "It is \\boxed{20000.9}.", (0, 0, 1, 0)),
    "a small number, off by 0.0005": ("0.002", "It is \\boxed{0.0025}.", (0, 1, 0, 0)),
    "percent": ("0.5", "It is \\boxed{50\\%}.", (0, 1, 1, 1)),
    "a hundred times as much": ("0.5", "It is \\boxed{50}.", (0, 1, 1, 0)),
    "a fraction": ("\\frac{1}{2}", "It is \\boxed{0.5}.", (0, 1, 1, 1)),
    "a formula": ("x^2+2x+1", "It is $\\boxed{(x+1)^2}$.", (0, 1, 1, 0)),
    "the last number": ("18", "She makes 18", (0, 1, 1, 1)),
    "chinese": ("18", "所以她一共赚了18元。答案是18。", (0, 1, 1, 0)),
    "nothing": ("18", "I do not know.", (0, 0, 0, 0)),
}
"""Where deepseekmath and tora differ: a final answer before a box; 1e-3 in all against 1e-4 of the larger. math-verify
reads no formula that nothing marks, as this gold is, and no number before a Chinese full stop."""


def rollout(gold: str, text: str) -> Rollout:
    return Rollout(Prompt(Example("t", "q", answer=gold), (1,)), (1,), (True,), (0.0,), text, True, DEMONSTRATED)


@pytest.mark.parametrize("place", range(len(RULES)), ids=RULES)
def test_every_rule_says_of_every_transcript_what_is_published(place: int) -> None:
    reward = by_name(RULES[place])
    scores = reward.score([rollout(gold, text) for gold, text, _ in TRANSCRIPTS.values()])
    found = {name: score.value or 0.0 for name, score in zip(TRANSCRIPTS, scores, strict=True)}
    wanted = {name: float(right[place]) for name, (_, _, right) in TRANSCRIPTS.items()}
    assert {name: value for name, value in found.items() if value != wanted[name]} == {}


PROGRAMS = {
    "returned": ("18", "```python\ndef solution():\n    return (16 - 3 - 4) * 2\n```", 1.0),
    "near": ("18", "```python\ndef solution():\n    return 18.0009\n```", 1.0),
    "too far": ("18", "```python\ndef solution():\n    return 18.0011\n```", 0.0),
    "an error": ("18", "```python\ndef solution():\n    return eggs\n```", 0.0),
    "the words say otherwise": ("18", "The answer is 18.\n```python\ndef solution():\n    return 17\n```", 0.0),
}


def test_pal_says_of_programs_what_is_published() -> None:
    scores = by_name("pal").score([rollout(gold, text) for gold, text, _ in PROGRAMS.values()])
    assert {name: score.value for name, score in zip(PROGRAMS, scores, strict=True)} == {
        name: value for name, (_, _, value) in PROGRAMS.items()
    }
