"""The usual names of columns, and which of them a file has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PROMPTS = (
    *("prompt", "question", "problem", "instruction", "query", "input"),
    *(
        "user_prompt",
        "user_input",
        "user_query",
        "user_message",
        "question_text",
        "question_content",
        "problem_statement",
    ),
)
CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
"""Whole conversations: a question and, where the assistant has the last word, its answer."""
COMPLETIONS = (
    *("completion", "solution", "output", "response", "demonstration", "rationale"),
    *("generated_solution", "gold_standard_solution", "ground_truth_solution"),
)
ANSWERS = (
    *("final_answer", "ground_truth", "golden", "gold", "golden_answers", "target"),
    *("expected_answer", "reference_answer", "correct_answer", "ground_truth_answer", "answer_number", "answer"),
)
"""Beside one that names the reference answer, ``answer`` is the whole solution."""
NUMBER = "answer_number"
"""MGSM's answer, beside a solution that is null in its test rows."""
VERIFICATION = "verification_info.ground_truth"
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("accepted", "rejected"),
    ("response_j", "response_k"),
)
LABELS = ("label", "kto_tag", "is_correct")
SYSTEM = ("system", "system_prompt", "system_message")
HISTORY = ("history",)
CONTEXT = ("context", "passage", "body")
TOOLS = ("tools", "functions")
ARGUMENTS = ("chat_template_kwargs",)
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
MEANINGFUL = (
    *PROMPTS,
    *CONVERSATIONS,
    *COMPLETIONS,
    *ANSWERS,
    *(name for pair in PAIRS for name in pair),
    *LABELS,
    *("choices", "options", "endings", "documents", "document", "article", "paragraph", "story"),
    *("answers", "verification_info", "scores", "ranks"),
    *("weight", "weights", "sample_weight", "loss_weight", "loss_mask"),
)
"""Names of what can be asked or learned, or belongs to a question: where nothing uses such a column, that is said."""


class Columns:
    """The columns of all rows of a file, by their names in lower case.

    Among several usual names that a file has, one that every row has goes before one that only some have; then the
    order of the names counts.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.count = 0
        seen: Counter[str] = Counter()
        for row in rows:
            self.count += 1
            seen.update(row.keys())
        self.names = tuple(seen)
        self._seen = seen
        self._by_name: dict[str, str] = {}
        for name in seen:
            self._by_name.setdefault(name.lower(), name)

    def first(self, names: Sequence[str], without: Sequence[str | None] = ()) -> str | None:
        """The column of the first of the names."""
        found = [self._by_name[name] for name in names if name in self._by_name]
        found = [name for name in found if name not in without]
        return max(found, key=lambda name: self._seen[name], default=None)

    def all_of(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """The columns of these names where all are there."""
        found = tuple(self._by_name[name] for name in names if name in self._by_name)
        return found if len(found) == len(names) else None

    def of(self, names: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
        """Every column that has one of the names."""
        return tuple(name for name in self.names if name.lower() in names and name not in without)

    def series(self, start: str, ends: str) -> tuple[str, ...]:
        """The columns ``start`` followed by each of ``ends``, as long as they are there."""
        found = []
        for end in ends:
            if start + end not in self._by_name:
                break
            found.append(self._by_name[start + end])
        return tuple(found)
