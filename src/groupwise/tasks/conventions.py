"""The column conventions that people bring, recognised by the columns of all rows.

================  ==========================================================  ======================================
convention        columns                                                     becomes
================  ==========================================================  ======================================
TRL               ``prompt``; ``prompt, completion``                          prompt, completion
TRL, unpaired     ``prompt, completion, label``                               a demonstration where the label is true
TRL, preference   ``chosen, rejected`` and the prompt by any of its names,    completion = chosen; the columns chosen
                  or what both begin with                                     and rejected hold what follows the prompt
TRL, stepwise     ``prompt, completions, labels``                             prompt; steps may be wrong: no completion
BIG-Bench M.      ``input, steps, mistake_index``                             steps are right up to it; ``target``
MR-GSM8K          ``question, model_output_steps,                             the same; the first wrong step counts
                  model_output_solution_first_error_step``                    from 1; answer = ``ground_truth_answer``
ranked            several answers with ranks, scores or a vote (``ranked``)   the best is chosen, the worst rejected
Math-Shepherd,    ``input, label``; ``question, label``                       the same as TRL's stepwise
PRM800K
verl              ``data_source, prompt, reward_model, extra_info``           answer = ``reward_model["ground_truth"]``
OpenAI, ShareGPT  ``messages``, ``conversations`` ...                         completion = the last turn, or all
GSM8K             ``question, answer``, every answer with ``####``            completion = answer, answer = after mark
Alpaca            ``instruction, input, output``                              prompt = both, a blank line between
plain             one of PROMPTS, of COMPLETIONS, of ANSWERS                  as named; the last two for each other
documents         ``text`` (``content``, ``raw_content``), and none of     completion = the text; no prompt
                  the others
choices           a question, and choices in any shape of ``offers``          lettered in the prompt; answer = a letter
================  ==========================================================  ======================================

Around any of them ``system``, ``history``, ``context``, ``tools`` and ``chat_template_kwargs`` (``context_columns``).
Prompts, completions, chosen and rejected are text or messages. All columns stay in ``Example.columns``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks import columns as usual
from groupwise.tasks.choices import choices_of
from groupwise.tasks.columns import Columns
from groupwise.tasks.context_columns import Convention, with_context_columns
from groupwise.tasks.documents import plain_text
from groupwise.tasks.golds import Structured, alternatives_of, answer_of, verified_answer
from groupwise.tasks.messages import (
    completion_of,
    conversation_of,
    is_conversation,
    learn_flags,
    says_weight,
    unspelled,
)
from groupwise.tasks.preference import Preference, joined_prompt
from groupwise.tasks.prompt_completion import PromptCompletion, split_conversation, with_completion
from groupwise.tasks.ranked import ranked
from groupwise.tasks.raw_step_labels import raw_step_labels
from groupwise.tasks.step_labels import FIRST_ERROR, FirstErrorStep, FirstMistake, Stepwise
from groupwise.tasks.values import cell, is_nothing, nearest, truth_of
from groupwise.tasks.verl_rows import Verl
from groupwise.tasks.weights import Turns
from groupwise.tokens.documents import content_of
from groupwise.types import Example, Text
from groupwise.values.spelled import structure_of

ANSWER_MARK = "####"


@dataclass(frozen=True)
class Plain:
    """This convention has prompt, completion and answer each in a column of its own (TRL, GSM8K, Alpaca, plain
    names)."""

    prompt: tuple[str, ...]
    """Several are joined by a blank line; those that are empty are left out."""
    completion: str | None = None
    answer: str | None = None
    label: str | None = None
    """False in this column: the completion is no demonstration."""
    marked: bool = False
    """The answer is what follows the last ``####``."""
    others: tuple[str, ...] = ()
    structured: Structured = "error"

    @property
    def description(self) -> str:
        """Says which columns hold the prompt, the completion and the answer, for a person."""
        parts = {
            "prompt": " + ".join(self.prompt),
            "completion": f"{self.completion} where {self.label} is true" if self.label else self.completion,
            "answer": f"{self.answer} after {ANSWER_MARK}" if self.marked else self.answer,
            "for rewards by name": ", ".join(self.others),
        }
        return "; ".join(f"{part}: {columns}" for part, columns in parts.items() if columns)

    @property
    def used(self) -> tuple[str, ...]:
        answer = self.answer.partition(".")[0] if self.answer else None
        return tuple(dict.fromkeys(filter(None, (*self.prompt, self.completion, self.answer, answer, self.label))))

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Makes an example of a row. Raises UserError where a column holds something else than its name says."""
        prompt, where = joined_prompt(id, row, self.prompt), f"{id}: {self.completion}"
        bad = self.label is not None and not truth_of(cell(id, row, self.label), f"{id}: {self.label}")
        value = row.get(self.completion) if self.completion else None
        if self.completion != self.answer and is_nothing(value):
            value = None  # a row without a solution has its answer
        if self.completion and self.completion == self.answer:
            value = cell(id, row, self.completion)
        found = self._completed(prompt, value, where) if self.completion else PromptCompletion(prompt)
        bad = bad or found.is_bad
        answer, others = self._gold(id, row, found)
        completion, context = (None, ()) if bad else (found.completion, found.context_turns)
        return Example(id, found.prompt, completion, answer, dict(row), others, bad, context)

    def _gold(self, id: str, row: Mapping[str, Any], found: PromptCompletion) -> tuple[str | None, tuple[str, ...]]:
        if self.answer is None:
            return None, ()
        where, value = f"{id}: {self.answer}", cell(id, row, self.answer)
        if self.answer == self.completion and is_conversation(unspelled(value, where)):
            value = conversation_of(value, where)[-1]["content"]
        answer = self._final(answer_of(value, where, self.structured), where)
        return answer, alternatives_of(value, where, self.structured)

    def _completed(self, prompt: Text, value: Any, where: str) -> PromptCompletion:
        if value is None and self.completion != self.answer:
            return PromptCompletion(prompt)
        value = unspelled(value, where)
        if not is_conversation(value):
            return PromptCompletion(prompt, completion_of(answer_of(value, where, self.structured), where))
        return with_completion(prompt, value, where)

    def _final(self, answer: str, where: str) -> str:
        if not self.marked:
            return answer
        _, mark, final = answer.rpartition(ANSWER_MARK)
        final = final.partition("\nThe answer is: ")[0]  # MetaMath says it once more on the next line
        if not mark:
            raise UserError(f"{where} has no {ANSWER_MARK} as most rows have; expected it before the answer")
        return final.strip()


@dataclass(frozen=True)
class Messages:
    """This convention is OpenAI's and ShareGPT's: one conversation a row; where the assistant has the last word, that
    is the demonstration."""

    column: str = "messages"
    answer: str | None = None
    label: str | None = None
    """False in this column: the assistant's turns are no demonstration."""
    turns: Turns | None = None
    structured: Structured = "error"
    weighted: bool = False
    """Some messages say themselves whether they are learned."""

    @property
    def description(self) -> str:
        """Says in which column the conversation stands and which of its turns are learned, for a person."""
        learned = ", all turns of the assistant's" if self.turns == "all" else ""
        learned += ", learned or not as their weights say" if self.weighted else ""
        parts = [f"OpenAI messages{'' if self.column == 'messages' else f' in {self.column}'}{learned}"]
        parts += [f"where {self.label} is true"] if self.label else []
        return "; ".join([*parts, *([f"answer: {self.answer}"] if self.answer else [])])

    @property
    def used(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.column, self.answer, self.label)))

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Makes an example of a row's conversation. Raises UserError where it is none."""
        messages = conversation_of(cell(id, row, self.column), f"{id}: {self.column}")
        answer: str | None = None
        others: tuple[str, ...] = ()
        if self.answer:
            value, where = cell(id, row, self.answer), f"{id}: {self.answer}"
            answer = answer_of(value, where, self.structured)
            others = alternatives_of(value, where, self.structured)
        where = f"{id}: {self.column}"
        found = split_conversation(messages, learn_flags(row[self.column], where), where, self.turns)
        bad = self.label is not None and not truth_of(cell(id, row, self.label), f"{id}: {self.label}")
        completion, context = (None, ()) if bad else (found.completion, found.context_turns)
        bad = bad or found.is_bad
        return Example(id, found.prompt, completion, answer, dict(row), others, bad, context)


@dataclass(frozen=True)
class Reading:
    """This is what the caller says of a file's columns; nothing said, they are recognised."""

    prompt: tuple[str, ...] = ()
    """Joined by a blank line."""
    answer: str | None = None
    """``a.b``: the field b of the column a."""
    ignored: tuple[str, ...] = ()
    """Columns that are treated as if they were not there; rewards still receive them."""
    turns: Turns | None = None
    structured: Structured = "error"


def recognise(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    prompt_column: str | Sequence[str] | None = None,
    answer_column: str | None = None,
    reading: Reading | None = None,
) -> Convention:
    """The convention of the rows. Columns named by the caller come first; several prompt columns are joined.

    Raises UserError, with the columns that were seen, where a named column is missing or none looks like a prompt.
    """
    named = (prompt_column,) if isinstance(prompt_column, str) else tuple(prompt_column or ())
    reading = reading or Reading(named, answer_column)
    every = Columns(row for _, row in rows)
    for column in (*reading.prompt, *([reading.answer] if reading.answer else []), *reading.ignored):
        if column not in every.names and column.partition(".")[0] not in every.names:
            raise UserError(f'no column "{column}"{nearest(column, every.names)}; seen: {", ".join(every.names)}')
    ignored = set(reading.ignored)
    seen = Columns({name: value for name, value in row.items() if name not in ignored} for _, row in rows)
    convention = _convention(rows, seen, reading)
    return with_context_columns(convention, seen)


def examples(rows: Iterable[tuple[str, Mapping[str, Any]]], convention: Convention) -> list[Example]:
    """Every row as an example, in order. Raises UserError at the first row that does not follow the convention."""
    return [convention.example(id, row) for id, row in rows]


def duplicates(examples: Iterable[Example]) -> int:
    """Counts how many examples ask what an earlier one asks already."""
    prompts = [content_of(example) for example in examples]
    return len(prompts) - len(set(prompts))


def _convention(rows: Sequence[tuple[str, Mapping[str, Any]]], seen: Columns, reading: Reading) -> Convention:
    names, named = set(seen.names), reading.prompt
    if {"parent_id", "text", "role"} <= names and not (named or _prompt(seen) or seen.first(usual.CONVERSATIONS)):
        raise UserError(
            "each row is one message of a tree (parent_id, role, text), as OpenAssistant's; expected one conversation "
            "a row: join the messages from a root to a leaf into a column messages"
        )
    sides = next((pair for pair in map(seen.all_of, usual.PAIRS) if pair), None)
    if sides:
        prompt = named or _prompt(seen) or tuple(filter(None, [seen.first(usual.CONVERSATIONS)]))
        answer = reading.answer or seen.first(usual.ANSWERS, without=prompt)
        return Preference(prompt, sides[0], sides[1], answer, reading.structured)
    if not named and not reading.answer:
        if convention := ranked(rows, seen) or raw_step_labels(rows, seen):
            return convention
        if {"prompt", "reward_model"} <= names:
            return Verl(reading.structured)
        if {"prompt", "completions", "labels"} <= names:
            return Stepwise()
        if {"input", "steps", "mistake_index"} <= names:
            return FirstMistake()
        if {"question", "model_output_steps", FIRST_ERROR} <= names:
            return FirstErrorStep()
    conversation = seen.first(usual.CONVERSATIONS)
    if (
        conversation
        and _prompt(seen)
        and not any(is_conversation(structure_of(row.get(conversation))) for _, row in rows)
    ):
        conversation = None  # an id, or a number of turns
    answers = (*usual.COMPLETIONS, *usual.ANSWERS)
    if conversation and not named and (not _prompt(seen) or not seen.first(answers, without=_prompt(seen))):
        answer = reading.answer or seen.first(usual.ANSWERS)
        weighted = any(says_weight(row.get(conversation)) for _, row in rows)
        return Messages(conversation, answer, seen.first(usual.LABELS), reading.turns, reading.structured, weighted)
    choices = choices_of(rows, seen, named, reading.answer)
    if choices:
        return replace(choices, otherwise=_plain(rows, seen, replace(reading, prompt=choices.stem)))
    return _plain(rows, seen, reading)


def _plain(rows: Sequence[tuple[str, Mapping[str, Any]]], seen: Columns, reading: Reading) -> Convention:
    prompt = reading.prompt or _prompt(seen)
    answered = reading.answer or seen.first((*usual.COMPLETIONS, *usual.ANSWERS))
    if not (prompt or answered) and (documents := plain_text(seen)):
        return documents
    if not prompt:
        raise UserError(f"no prompt among the columns {', '.join(seen.names)}; name it as prompt_column")
    gold = reading.answer or seen.first(usual.ANSWERS, without=prompt) or verified_answer(rows)
    completion = seen.first(usual.COMPLETIONS, without=(*prompt, gold))
    if completion is None and gold is not None and gold.lower() != "answer" and not reading.answer:
        completion = seen.first(("answer",), without=(*prompt, gold))
    answer = gold or completion
    completion = completion or (answer if answer in seen.names and answer != usual.NUMBER else None)
    label = seen.first(usual.LABELS, without=(*prompt, answer)) if completion else None
    marks = [ANSWER_MARK in str(row.get(answer)) for _, row in rows] if answer else []
    used = (*prompt, completion, answer, label)
    others = tuple(column for column in seen.names if column not in used)
    return Plain(prompt, completion, answer, label, 2 * sum(marks) > len(marks), others, reading.structured)


def _prompt(seen: Columns) -> tuple[str, ...]:
    """Alpaca's two columns, or the first usual name that is there."""
    return seen.all_of(("instruction", "input")) or tuple(filter(None, [seen.first(usual.PROMPTS)]))
