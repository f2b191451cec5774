"""Final answers and exact numbers. Standard library only, nothing is evaluated, time is linear in a capped input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from groupwise.errors import UserError
from groupwise.types import Rollout, Score

TEXT_CHARACTERS = 200_000
"""Of a longer completion only the end is read: that is where an answer stands."""
NUMBER_CHARACTERS = 200
LARGEST_EXPONENT = 100

_HASHES = re.compile(r"####[ \t]*([^\n]*)")
_A_LINE = re.compile(r"^[ \t]*A:[ \t]*([^\n]*)", re.MULTILINE)
_THE_ANSWER_IS = re.compile(r"\banswer(?: is|:)([^\n]*)", re.IGNORECASE)
_BRACES = re.compile(r"(?P<boxed>\\(?:boxed|fbox)[ ]?\{)|(?P<escaped>\\[\\{}])|(?P<open>\{)|(?P<close>\})")
_ANY_NUMBER = re.compile(r"[-−]?[$€£]?[0-9][0-9,]*(?:\.[0-9]+)?%?|[-−]?\.[0-9]+%?")

_PLAIN = str.maketrans(
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms of ASCII
    | {0x2212: "-", 0xFE63: "-", 0x00A0: " ", 0x202F: " ", 0x3002: "."}
)
_LATEX = re.compile(r"\\(?:[!,()\[\]]|(?=[$%]))")
_LATEX_FRACTION = re.compile(r"^([-+]?)\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)[ ]?[$€£]?[ ]?(?P<top>{_DECIMAL})"
    rf"(?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})|[ ]?/[ ]?(?P<bottom>{_DECIMAL}))?[ ]?%?"
)
_NOT_A_UNIT = frozenset({"and", "or", "plus", "minus", "times", "over", "to", "x", "half", "dozen"}) | frozenset(
    {"hundred", "thousand", "million", "billion", "trillion", "k", "m", "b", "bn"}
)
_UNIT_WORDS = 5


def final_answer(text: str, last_number: bool = False) -> str | None:
    """The answer a text ends with, as written, or None. The first of these conventions that occurs decides:

    1. ``#### N`` (GSM8K);
    2. ``\\boxed{...}``, braces balanced;
    3. a line ``A: N`` (OpenAI's sampled GSM8K solutions);
    4. ``the answer is N`` or ``answer: N``;
    5. with ``last_number``, the last number anywhere.

    Of several by one convention the last counts: it is the writer's last word.
    """
    text = text[-TEXT_CHARACTERS:]
    for answer in (_last(_HASHES, text), _last_boxed(text), _last(_A_LINE, text), _last(_THE_ANSWER_IS, text)):
        if answer:
            return answer
    numbers = _ANY_NUMBER.findall(text) if last_number else []
    return numbers[-1] if numbers else None


def parse_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else, or None.

    Read are a sign (also U+2212), thousands commas, decimals, ``a/b`` and ``\\frac{a}{b}``, a currency sign before,
    full-width digits, a full stop after, exponents up to 100. ``50%`` is 50: a percent sign is a unit. More than
    200 characters are not a number.
    """
    if len(text) > NUMBER_CHARACTERS:
        return None
    plain = _LATEX.sub("", text.translate(_PLAIN).replace("{,}", ",")).strip().rstrip(". ").strip("$* ").rstrip(".")
    match = _NUMBER.fullmatch(_LATEX_FRACTION.sub(r"\1\2/\3", plain))
    if match is None:
        return None
    exponent = int(match["exponent"] or 0)
    bottom = _exact(match["bottom"] or "1")
    if abs(exponent) > LARGEST_EXPONENT or bottom == 0:
        return None
    value = _exact(match["top"]) / bottom * Fraction(10) ** exponent
    return -value if match["sign"] == "-" else value


def parse_quantity(text: str) -> Fraction | None:
    """The number of ``18 dollars``, ``$18 per day``, ``18``: a number and at most five plain words of a unit.

    None where the words change the number (``1.8 billion``) or there is more arithmetic (``10 + 5``).
    """
    if len(text) > NUMBER_CHARACTERS:
        return None
    number, _, unit = text.strip().partition(" ")
    words = unit.strip(" .*!").lower().split()
    is_unit = len(words) <= _UNIT_WORDS and all(word.isalpha() and word not in _NOT_A_UNIT for word in words)
    value = parse_number(text)
    return parse_number(number) if value is None and is_unit else value


def numbers_equal(a: str, b: str) -> bool:
    """Both are numbers, and the same one, exactly."""
    left, right = parse_quantity(a), parse_quantity(b)
    return left is not None and left == right


@dataclass(frozen=True)
class FinalAnswer:
    """1 where the completion's :func:`final_answer` is the same number as the example's answer, otherwise 0.

    ``example.answer`` is the number itself or a whole solution that ends with it. A completion without a final
    answer, or with one that is no number, gets 0 and the status ``unparseable``. Raises UserError where the example
    has no answer or none that is a number.
    """

    name: str = "answer"
    weight: float = 1.0
    last_number: bool = False
    """Take the last number of a finished completion that follows no convention."""

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        gold = self._gold(rollout)
        found = parse_quantity(final_answer(rollout.text, self.last_number and rollout.finished) or "")
        return Score(0.0, "unparseable") if found is None else Score(float(found == gold))

    def _gold(self, rollout: Rollout) -> Fraction:
        answer = reference_answer(rollout, self.name)
        gold = parse_quantity(final_answer(answer) or answer)
        if gold is None:
            raise UserError(
                f"{rollout.prompt.example.id}: reward '{self.name}' compares numbers, and the answer {answer[:60]!r} "
                "is not one; give a number or a solution that ends with '#### NUMBER', or use the reward 'math'"
            )
        return gold


def reference_answer(rollout: Rollout, reward: str) -> str:
    """The example's answer: the answer itself, or a whole solution. Raises UserError where there is none."""
    answer = rollout.prompt.example.answer
    if answer is None or not answer.strip():
        raise UserError(
            f"{rollout.prompt.example.id}: reward '{reward}' needs an answer to compare with and the row has none; "
            "add a column 'answer'"
        )
    return answer.strip()


def _exact(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").rstrip("."))


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = (match.strip(" \t\r*:") for match in reversed(pattern.findall(text)))
    return next((answer for answer in found if answer), None)


def _last_boxed(text: str) -> str | None:
    """The box that opens last, of those that close. One pass, whatever the nesting."""
    opened: list[tuple[bool, int]] = []
    start, answer = -1, None
    for token in _BRACES.finditer(text):
        if token.lastgroup in ("boxed", "open"):
            opened.append((token.lastgroup == "boxed", token.end()))
        elif token.lastgroup == "close" and opened:
            boxed, begin = opened.pop()
            if boxed and begin > start:
                start, answer = begin, text[begin : token.start()].strip()
    return answer
