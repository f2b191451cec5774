"""This module compares final answers here and at once: numbers with their units, choices, and lists of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from groupwise.errors import UserError
from groupwise.rewards.reading.conventions import CONVENTIONS
from groupwise.rewards.reading.equality import DOZEN, compare_values
from groupwise.rewards.reading.notation import in_ascii
from groupwise.rewards.reading.quantities import NUMBER_CHARACTERS, Quantity, quantity
from groupwise.rewards.reading.reader import Reader, marked_answer
from groupwise.rewards.reading.references import read_reference
from groupwise.rewards.reading.spans import Reference
from groupwise.rewards.reading.structure import TEXT_CHARACTERS, opens_thinking
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.rewards.reading.values import Value, Words, is_plain
from groupwise.types import Example, Rollout, Score

__all__ = [
    "NUMBER_CHARACTERS",
    "TEXT_CHARACTERS",
    "FinalAnswer",
    "final_answer",
    "numbers_equal",
    "parse_number",
    "parse_quantity",
]

_COMMAND = re.compile(r"\\[a-zA-Z]+")
_LETTERS = re.compile(r"[^\W\d_]{2,}|[\u4e00-\u9fff]|[0-9}]\s*[a-df-zA-DF-Z]")
ANSWER_COLUMNS = ("answer", "final_answer", "ground_truth", "golden", "gold", "target", "solution", "label")
"""Columns that an answer may have come from: where a row has one and it is empty, the row alone is at fault."""


def final_answer(text: str, last_number: bool = False) -> str | None:
    """The answer a text ends with, as written, or None. What stands in a thinking block is none.

    The first of these conventions that occurs with something that can be read decides: ``<answer>``, ``#### N``,
    ``\\boxed{...}``, a line ``A: N``, ``the answer is N`` and its siblings in English and Chinese, the output of a
    program; with ``last_number`` the last number anywhere. Of several by one convention the last counts.
    """
    return marked_answer(text, last_number)


def parse_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else, or None.

    Read are a sign (also U+2212), thousands commas, decimals, fractions and mixed numbers in any notation, powers of
    ten, a currency sign before, a full stop after, exponents up to 100. ``50%`` is 50: a percent sign is a unit. More
    than 200 characters are not a number.
    """
    found = quantity(text)
    is_alone = (
        found is not None
        and not found.name
        and len(found.unit) < 2
        and not _LETTERS.search(_COMMAND.sub("", in_ascii(text)))
    )
    return found.value if found is not None and is_alone else None


def parse_quantity(text: str) -> Fraction | None:
    """The number of ``18 dollars``, ``$18 per day``, ``1.8 billion``, ``5元``, ``18``: a number and its unit.

    None where there is more arithmetic (``10 + 5``) or more text than a unit, and of dozens.
    """
    found = quantity(text)
    return None if found is None or DOZEN in found.unit else found.value


def numbers_equal(a: str, b: str) -> bool:
    """Says whether both are numbers, and the same one, exactly."""
    left, right = parse_quantity(a), parse_quantity(b)
    return left is not None and left == right


@dataclass(frozen=True)
class FinalAnswer:
    """This reward is 1 where the completion's final answer is the example's, otherwise 0. docs/answers.md says how both
    are read.

    ``example.answer`` is the answer itself or a whole solution that ends with it: a number with or without a unit, a
    choice, or a list of these. A completion without a final answer, or with one that cannot be read, gets 0 and the
    status ``unparseable``. A row whose answer cannot be read is ``failed``, with the reason. Raises UserError where a
    row has no answer at all.
    """

    name: str = "answer"
    weight: float = 1.0
    last_number: bool = False
    """Take the last number of a finished completion that follows no convention."""
    tolerance: str = "exact"
    """How far a number may be off: 'exact', 'absolute 1e-3', 'relative 1e-4', 'percent' (a factor of 100), several."""
    conventions: tuple[str, ...] = tuple(CONVENTIONS)
    """Tried in this order; of ``tags``, ``hashes``, ``finals``, ``boxes``, ``lines``, ``phrases``, ``output``."""
    begins_in_thinking: bool = False
    """The chat template opens the thinking block: a completion that never closes it has no answer."""
    several: str = ""
    """What a row's JSON list of several answers means: ``any`` of them is right, or they are ``all`` one."""

    def __post_init__(self) -> None:
        check_options(self.tolerance, self.conventions, self.several)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns one score a rollout: 1 where the final answer is the reference, 0 where it is another one or there is
        none."""
        references = references_of(rollouts, self.name, self.reference)
        return [self._score(rollout, gold) for rollout, gold in zip(rollouts, references, strict=True)]

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Gives equal numbers to equal answers under this reward's own equality; None: no answer."""
        gold = self.reference(rollouts[0].prompt.example) if rollouts else Reference()
        values = [self._read(rollout, gold) for rollout in rollouts]
        near, classes = tolerance(self.tolerance), list(gold.values)
        found: list[int | None] = []
        for value in values:
            if value is None or not is_plain(value):
                found.append(None)
                continue
            same = (place for place, one in enumerate(classes) if compare_values(one, value, near) == "equal")
            place = next(same, len(classes))
            classes += [value] if place == len(classes) else []
            found.append(0 if place < len(gold.values) else place)
        return found

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns for each example "" where its answer can be read, else why not."""
        return [self.reference(example).why for example in examples]

    def _score(self, rollout: Rollout, gold: Reference) -> Score:
        if not gold.values:
            return Score(None, "failed", reason=gold.why)
        found = self._read(rollout, gold)
        if found is None or not is_plain(found):
            return Score(0.0, "unparseable")
        near = tolerance(self.tolerance)
        return Score(float(any(compare_values(value, found, near) == "equal" for value in gold.values)))

    def _read(self, rollout: Rollout, gold: Reference) -> Value | None:
        reader = Reader(self.conventions, self.begins_in_thinking)
        unmarked = self.last_number and rollout.finished
        inside = rollout.prompt.opens_thinking or opens_thinking(rollout.prompt.example.prompt)
        value = reader.answer(rollout.text, gold, unmarked, inside)
        is_number = bool(gold.values) and isinstance(gold.values[0], Quantity)
        return None if is_number and isinstance(value, Words) else value

    def reference(self, example: Example) -> Reference:
        """The example's answer as it is read; without values and with the reason where it cannot be."""
        if example.answer is None or not example.answer.strip():
            return Reference(why="the row has no answer")
        gold = read_reference(example.answer, self.several)
        if gold.values and not all(is_plain(value) and not isinstance(value, Words) for value in gold.values):
            why = f"'{self.name}' compares numbers and choices, and {example.answer.strip()[:60]!r} is not one"
            return Reference(
                why=f"{why}; give a number or a solution that ends with '#### NUMBER', or use the reward 'math'"
            )
        return gold


def check_options(near: str, conventions: tuple[str, ...], several: str) -> None:
    """Raises UserError where a reader's options say nothing that it knows."""
    tolerance(near)
    Reader(tuple(conventions))
    if several not in ("", "any", "all"):
        raise UserError(
            f"several={several!r}: expected 'any' (each of a list is right) or 'all' (together they are one answer)"
        )


def references_of(rollouts: Sequence[Rollout], reward: str, read: Callable[[Example], Reference]) -> list[Reference]:
    """Returns each rollout's reference. Raises UserError where a row has no answer and no column that could hold
    one."""
    for rollout in rollouts:
        example = rollout.prompt.example
        if not (example.answer or "").strip() and not any(name in example.columns for name in ANSWER_COLUMNS):
            raise UserError(
                f"{example.id}: reward '{reward}' needs an answer to compare with and the row has none; "
                "add a column 'answer'"
            )
    return [read(rollout.prompt.example) for rollout in rollouts]
