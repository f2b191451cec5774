"""This module says what stands around a benchmark's question: published forms by name, and worked examples of ours.

The worked examples (shots) of every form were written for this project; where a form is published with others, ours
stand in their place, and docs/benchmarks.md says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.tasks.values import nearest

Kind = Literal["words", "mathematics", "chinese"]
SHOTS = Path(__file__).parent / "shots.json"
BETWEEN = "\n\n"
"""What stands between a worked example and the next question."""


@dataclass(frozen=True)
class Shot:
    """A shot is a question that is solved before the one that is asked."""

    question: str
    reasoning: str
    answer: str
    program: str
    """The body of a function that returns the answer."""


@dataclass(frozen=True)
class Form:
    """A form says how a question is asked, and how a worked example answers it."""

    question: str = "{question}"
    solution: str = "{reasoning}\n#### {answer}"
    shots: Annotated[int, "[0, inf)"] = 0
    """Worked examples where nobody asks for another number."""
    kind: Kind = "words"
    """Of its worked examples."""
    goes_on: bool = False
    """The text is gone on with as it stands, and no chat template stands around it."""
    stops: tuple[str, ...] = ()
    """What would begin the next question."""
    chinese: str = ""
    """The form that asks Chinese questions instead; empty: this one."""
    with_tools: str = ""
    """The form that asks for programs, where these are run; empty: this one."""
    reward: str = ""
    """The rule that reads its answers; empty: the benchmark's."""

    def write(self, question: str, shots: int | None = None) -> str:
        """The whole prompt, with so many worked examples (None: the form's own). Raises UserError for more than there
        are."""
        known, count = worked(self.kind), self.shots if shots is None else shots
        if not 0 <= count <= len(known):
            raise UserError(f"--shots {count}: there are {counted(len(known), 'worked example')} of this form's kind")
        before = [f"{self._asked(shot.question)}{self._solved(shot)}{BETWEEN}" for shot in known[:count]]
        return "".join((*before, self._asked(question)))

    def _asked(self, question: str) -> str:
        return self.question.replace("{question}", question)

    def _solved(self, shot: Shot) -> str:
        body = shot.program.replace("\n", "\n    ")
        values = {"reasoning": shot.reasoning, "answer": shot.answer, "program": f"def solution():\n    {body}"}
        found = self.solution
        for name, value in values.items():
            found = found.replace(f"{{{name}}}", value)
        return found if self.goes_on else f"\n\n{found}"


@cache
def worked(kind: Kind) -> tuple[Shot, ...]:
    """Returns the worked examples of a kind, in order."""
    return tuple(Shot(**row) for row in json.loads(SHOTS.read_text(encoding="utf-8"))[kind])


_BOX = "{reasoning} \\boxed{{answer}}"
_PROGRAM = "```python\n{program}\n```"
FORMS = {
    "plain": Form(),
    "deepseekmath": Form(
        "{question}\nPlease reason step by step, and put your final answer within \\boxed{}.",
        _BOX,
        chinese="deepseekmath_zh",
        with_tools="deepseekmath_tool",
    ),
    "deepseekmath_zh": Form(
        "{question}\n请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。",
        _BOX,
        kind="chinese",
        with_tools="deepseekmath_tool_zh",
    ),
    "deepseekmath_tool": Form(
        "{question}\nPlease integrate natural language reasoning with programs to solve the problem above, and put "
        "your final answer within \\boxed{}.",
        f"{_PROGRAM}\n```output\n{{answer}}\n```\n{_BOX}".replace("{program}", "{program}\nprint(solution())"),
        chinese="deepseekmath_tool_zh",
    ),
    "deepseekmath_tool_zh": Form(
        "{question}\n请结合自然语言和Python程序语言来解答问题，并把最终答案放置于\\boxed{}中。",
        f"{_PROGRAM}\n```output\n{{answer}}\n```\n{_BOX}".replace("{program}", "{program}\nprint(solution())"),
        kind="chinese",
    ),
    "minerva4": Form(
        "Problem:\n{question}\n\nSolution:",
        "\n{reasoning}\nFinal Answer: The final answer is ${answer}$. I hope it is correct.",
        4,
        "mathematics",
        goes_on=True,
        stops=("\nProblem:",),
        reward="deepseekmath",
    ),
    "gsm8shot": Form(
        "Q: {question}\nA:",
        " {reasoning} The answer is {answer}.",
        8,
        goes_on=True,
        stops=("\nQ:",),
        chinese="cmath6",
    ),
    "cmath6": Form(
        "问题：{question}\n解答：", "{reasoning}答案是{answer}。", 6, "chinese", goes_on=True, stops=("\n问题：",)
    ),
    "pal": Form(
        "Q: {question}\n\nA program whose function solution() returns the answer:\n",
        _PROGRAM,
        8,
        goes_on=True,
        stops=("\nQ:",),
        reward="pal",
    ),
}
"""By name. The sentences of the four ``deepseekmath`` forms are those that DeepSeek-Math publishes for use (MIT)."""


def form_of(name: str, is_chinese: bool = False, tools: bool = False) -> Form:
    """The form of that name; of a question in Chinese, and where programs are run, the one that stands for it there.

    Raises UserError, with the nearest name, where there is none.
    """
    if name not in FORMS:
        raise UserError(f"--prompt {name}: no such prompt{nearest(name, tuple(FORMS))}; there are {', '.join(FORMS)}")
    found = FORMS[name]
    found = FORMS[found.chinese] if is_chinese and found.chinese else found
    return FORMS[found.with_tools] if tools and found.with_tools else found
