"""This module measures how well a model predicts plain text: bits per byte on held-out documents.

Bits per byte do not depend on the tokenizer, so that models with different vocabularies compare: the sum of
-log2 p(token) over all tokens of all documents, divided by their length in UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log, sqrt
from typing import TYPE_CHECKING, Any

from groupwise.errors import UserError
from groupwise.evaluation.statistics import Z_95, Interval
from groupwise.output.counting import counted
from groupwise.tokens.documents import document_ids, end_of_text
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout

if TYPE_CHECKING:
    from groupwise.learning.trainable import Trainable
    from groupwise.tokens.renderer import Renderer

TOGETHER = 64  # windows whose log-probabilities are asked for at once


@dataclass(frozen=True)
class TextEvaluation:
    """This is how well one model predicts one set of documents."""

    task: str
    ids: tuple[str, ...]
    bits: tuple[float, ...]
    """Of each document."""
    bytes: tuple[int, ...]
    """Of each document, in UTF-8."""
    tokens: int
    bits_per_byte: Interval
    """Of all documents together, with its 95 % interval over documents."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextEvaluation:
        """Reads what ``to_json`` gave, also after a round through text."""
        lists = {name: tuple(values[name]) for name in ("ids", "bits", "bytes")}
        interval = Interval(**values["bits_per_byte"])
        return cls(values["task"], **lists, tokens=values["tokens"], bits_per_byte=interval)

    def headline(self) -> str:
        """Returns the number that matters, with its interval."""
        found = self.bits_per_byte
        words = f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}] bits per byte on "
        return words + f"{counted(len(self.ids), 'document')} of {counted(sum(self.bytes), 'byte')}"


def evaluate_text(
    learner: Trainable, renderer: Renderer, rows: Sequence[Example], task: str = "text"
) -> TextEvaluation:
    """Measures the learner's present weights on documents.

    A document is read in windows that fill the context, each begun with the last token of the one before it, the first
    with EOS: every token is predicted once, EOS behind the document not among them. Raises UserError for a row that is
    no document, and where all are empty.
    """
    rows = [row for row in rows if row.completion]
    if not rows:
        raise UserError(f"task {task!r} has no held-out document with text to evaluate on")
    windows = [(place, window) for place, row in enumerate(rows) for window in _windows(learner, renderer, row)]
    bits = [0.0] * len(rows)
    for start in range(0, len(windows), TOGETHER):
        part = windows[start : start + TOGETHER]
        logprobs = learner.logprobs([window for _, window in part], 1.0).double().sum(dim=1).tolist()
        for (place, _), total in zip(part, logprobs, strict=True):
            bits[place] -= total / log(2)
    sizes = [len(str(row.completion).encode("utf-8", "surrogatepass")) for row in rows]
    tokens = sum(len(window.tokens) for _, window in windows)
    ids = tuple(row.id for row in rows)
    return TextEvaluation(task, ids, tuple(bits), tuple(sizes), tokens, ratio_interval(bits, sizes))


def _windows(learner: Trainable, renderer: Renderer, row: Example) -> list[Rollout]:
    ids, size = document_ids(renderer, row)[:-1], learner.context_tokens - 1
    found = []
    for start in range(0, len(ids), size):
        tokens = ids[start : start + size]
        prompt = Prompt(row, (ids[start - 1] if start else end_of_text(renderer),))
        ones, zeros = (True,) * len(tokens), (0.0,) * len(tokens)
        found.append(Rollout(prompt, tokens, ones, zeros, "", finished=True, version=DEMONSTRATED))
    return found


def ratio_interval(sums: Sequence[float], sizes: Sequence[float]) -> Interval:
    """The ratio of two totals with its 95 % interval over the units that they are of: the normal one of the linearised
    ratio. Raises ValueError where the sizes sum to nothing."""
    total = sum(sizes)
    if not total:
        raise ValueError("a ratio needs a size above 0")
    ratio, n = sum(sums) / total, len(sums)
    square = sum((a - ratio * b) ** 2 for a, b in zip(sums, sizes, strict=True)) * n / max(1, n - 1)
    half = Z_95 * sqrt(square) / total
    return Interval(ratio, ratio - half, ratio + half)


def text_difference(before: TextEvaluation, after: TextEvaluation) -> Interval:
    """The difference of bits per byte, after minus before, paired over documents. Raises ValueError where the documents
    are not the same."""
    if before.ids != after.ids or before.bytes != after.bytes:
        raise ValueError("a paired difference needs the same documents")
    return ratio_interval([b - a for a, b in zip(before.bits, after.bits, strict=True)], before.bytes)
