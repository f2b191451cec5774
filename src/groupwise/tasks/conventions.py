"""The column conventions that people bring, recognised by their columns.

================  ==========================================================  ======================================
convention        columns                                                     becomes
================  ==========================================================  ======================================
TRL               ``prompt``; ``prompt, completion``                          prompt, completion
TRL, unpaired     ``prompt, completion, label``                               the completion is a demonstration where
                                                                              the label is true
TRL, preference   ``chosen, rejected`` (``prompt`` explicit or implicit)      completion = chosen; the columns chosen
                                                                              and rejected hold what follows the prompt
TRL, stepwise     ``prompt, completions, labels``                             prompt; steps may be wrong: no completion
BIG-Bench         ``input, steps, mistake_index``                             the same; steps are right up to there;
Mistake                                                                       answer = ``target``
MR-GSM8K          ``question, model_output_steps,                             the same; the first wrong step counts
                  model_output_solution_first_error_step``                    from 1; answer = ``ground_truth_answer``
verl              ``data_source, prompt, reward_model, extra_info``           answer = ``reward_model["ground_truth"]``
OpenAI            ``messages``                                                completion = the assistant's last turn
GSM8K             ``question, answer``, every answer with ``####``            completion = answer, answer = after mark
Alpaca            ``instruction, input, output``                              prompt = both, a blank line between
plain             one of PROMPTS, of COMPLETIONS, of ANSWERS                  as named; each of the last two stands in
                                                                              for the other where it is missing
================  ==========================================================  ======================================

Prompts, completions, chosen and rejected are text or messages. All columns stay in ``Example.columns``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from groupwise.errors import UserError
from groupwise.tasks.step_labels import FIRST_ERROR, FirstErrorStep, FirstMistake, Stepwise
from groupwise.tasks.values import (
    answer_of,
    cell,
    common_prompt,
    continuation_of,
    conversation_of,
    is_conversation,
    nearest,
    opens_with_prompt,
    prompt_of,
    shown,
    text_of,
)
from groupwise.types import Example, Text

PROMPTS = ("prompt", "question", "problem", "instruction", "query", "input")
COMPLETIONS = ("completion", "solution", "output", "response")
ANSWERS = ("answer", "final_answer", "ground_truth", "golden", "gold", "target")
"""Names of columns, the first that is there counts; upper and lower case are the same. A demonstration may be null
where the answer has a column of its own."""

ANSWER_MARK = "####"
LOOKED_AT = 20
"""So many rows decide which columns there are."""


class Convention(Protocol):
    """How a row becomes an example."""

    @property
    def description(self) -> str:
        """One line: what was detected."""
        ...

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Raises UserError, naming row and column, for what is missing, null, empty or of a wrong type."""
        ...


@dataclass(frozen=True)
class Columns:
    """Prompt, completion and answer each in a column of its own (TRL, GSM8K, Alpaca, plain names)."""

    prompt: tuple[str, ...]
    """Several are joined by a blank line; those that are empty are left out."""
    completion: str | None = None
    answer: str | None = None
    label: str | None = None
    """False in this column: the completion is no demonstration."""
    marked: bool = False
    """The answer is what follows the last ``####``."""
    others: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        parts = {
            "prompt": " + ".join(self.prompt),
            "completion": f"{self.completion} where {self.label} is true" if self.label else self.completion,
            "answer": f"{self.answer} after {ANSWER_MARK}" if self.marked else self.answer,
            "for rewards by name": ", ".join(self.others),
        }
        return "; ".join(f"{part}: {columns}" for part, columns in parts.items() if columns)

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        prompt = self._prompt(id, row)
        completion = answer = None
        if self.completion is not None:
            prompt, completion = self._completed(prompt, cell(id, row, self.completion), f"{id}: {self.completion}")
        if self.answer is not None:
            value = completion if self.answer == self.completion else cell(id, row, self.answer)
            answer = self._final(answer_of(value, f"{id}: {self.answer}"), f"{id}: {self.answer}")
        if self.label is not None and not cell(id, row, self.label):
            completion = None
        return Example(id, prompt, completion, answer, dict(row))

    def _prompt(self, id: str, row: Mapping[str, Any]) -> Text:
        if len(self.prompt) == 1:
            return prompt_of(cell(id, row, self.prompt[0]), f"{id}: {self.prompt[0]}")
        values = [cell(id, row, column) for column in self.prompt]
        return text_of("\n\n".join(str(value) for value in values if value), f"{id}: {' + '.join(self.prompt)}")

    def _completed(self, prompt: Text, value: Any, where: str) -> tuple[Text, str | None]:
        if value is None and self.completion != self.answer:
            return prompt, None
        return continuation_of(prompt, value if is_conversation(value) else answer_of(value, where), where)

    def _final(self, answer: str, where: str) -> str:
        if not self.marked:
            return answer
        _, mark, final = answer.rpartition(ANSWER_MARK)
        if not mark:
            raise UserError(f"{where} has no {ANSWER_MARK} as the rows before it; expected it before the answer")
        return final.strip()


@dataclass(frozen=True)
class Messages:
    """OpenAI: one conversation a row; the assistant's last turn is the demonstration."""

    answer: str | None = None

    @property
    def description(self) -> str:
        return f"OpenAI messages{f'; answer: {self.answer}' if self.answer else ''}"

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        *before, last = conversation_of(cell(id, row, "messages"), f"{id}: messages")
        answer = answer_of(cell(id, row, self.answer), f"{id}: {self.answer}") if self.answer else None
        if last["role"] != "assistant":
            return Example(id, (*before, last), None, answer, dict(row))
        if not before:
            raise UserError(f"{id}: messages has the assistant's turn only; expected a user's message before it")
        return Example(id, tuple(before), last["content"], answer, dict(row))


@dataclass(frozen=True)
class Verl:
    """verl: a prompt of messages and its ground truth in ``reward_model``."""

    @property
    def description(self) -> str:
        return "verl: prompt; answer: reward_model.ground_truth"

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        reward_model = cell(id, row, "reward_model")
        if not isinstance(reward_model, Mapping) or "ground_truth" not in reward_model:
            raise UserError(f'{id}: reward_model is {shown(reward_model)}; expected {{"ground_truth": ...}}')
        answer = answer_of(reward_model["ground_truth"], f"{id}: reward_model.ground_truth")
        return Example(id, prompt_of(cell(id, row, "prompt"), f"{id}: prompt"), None, answer, dict(row))


@dataclass(frozen=True)
class Preference:
    """TRL: a chosen and a rejected completion; without a prompt column it is what both begin with."""

    @property
    def description(self) -> str:
        return "TRL preference: chosen, rejected"

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        chosen, rejected = cell(id, row, "chosen"), cell(id, row, "rejected")
        prompt = None if opens_with_prompt(chosen) or "prompt" not in row else prompt_of(row["prompt"], f"{id}: prompt")
        if prompt is None:
            prompt, chosen, rejected = common_prompt(chosen, rejected, id)
        _, chosen = continuation_of("", chosen, f"{id}: chosen")
        _, rejected = continuation_of("", rejected, f"{id}: rejected")
        return Example(id, prompt, chosen, None, {**row, "chosen": chosen, "rejected": rejected})


def recognise(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    prompt_column: str | Sequence[str] | None = None,
    answer_column: str | None = None,
) -> Convention:
    """The convention of the first rows. Columns named by the caller come first; several prompt columns are joined.

    Raises UserError, with the columns that were seen, where a named column is missing or none looks like a prompt.
    """
    first = [row for _, row in rows[:LOOKED_AT]]
    columns = tuple(dict.fromkeys(column for row in first for column in row))
    named = (prompt_column,) if isinstance(prompt_column, str) else tuple(prompt_column or ())
    for column in (*named, *([answer_column] if answer_column else [])):
        if column not in columns:
            raise UserError(f'no column "{column}"{nearest(column, columns)}; seen: {", ".join(columns)}')
    if not named and not answer_column:
        if {"prompt", "reward_model"} <= set(columns):
            return Verl()
        if {"chosen", "rejected"} <= set(columns):
            return Preference()
        if {"prompt", "completions", "labels"} <= set(columns):
            return Stepwise()
        if {"input", "steps", "mistake_index"} <= set(columns):
            return FirstMistake()
        if {"question", "model_output_steps", FIRST_ERROR} <= set(columns):
            return FirstErrorStep()
    if not named and "messages" in columns and "prompt" not in columns:
        return Messages(answer_column or _first(ANSWERS, columns))
    return _plain(first, columns, named, answer_column)


def examples(rows: Iterable[tuple[str, Mapping[str, Any]]], convention: Convention) -> list[Example]:
    """Every row as an example, in order. Raises UserError at the first row that does not follow the convention."""
    return [convention.example(id, row) for id, row in rows]


def duplicates(examples: Iterable[Example]) -> int:
    """How many examples ask what an earlier one asks already."""
    prompts = [str(example.prompt) for example in examples]
    return len(prompts) - len(set(prompts))


def _plain(
    first: Sequence[Mapping[str, Any]], columns: tuple[str, ...], named: tuple[str, ...], answer_column: str | None
) -> Columns:
    prompt = named or _alpaca(columns) or tuple(filter(None, [_first(PROMPTS, columns)]))
    if not prompt:
        raise UserError(f"no prompt among the columns {', '.join(columns)}; name it as prompt_column")
    rest = tuple(column for column in columns if column not in prompt)
    completion = _first(COMPLETIONS, rest)
    answer = answer_column or _first(ANSWERS, rest) or completion
    completion = completion or answer
    label = "label" if completion == "completion" and all(isinstance(row.get("label"), bool) for row in first) else None
    marked = answer is not None and all(ANSWER_MARK in str(row.get(answer)) for row in first)
    others = tuple(column for column in rest if column not in (completion, answer, label))
    return Columns(prompt, completion, answer, label, marked, others)


def _alpaca(columns: Sequence[str]) -> tuple[str, ...]:
    return ("instruction", "input") if {"instruction", "input"} <= set(columns) else ()


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    by_name = {column.lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)
