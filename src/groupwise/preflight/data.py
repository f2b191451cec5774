"""This module says what is wrong with a stage's rows, and whether its chat template gives back what went in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.preflight.findings import Notebook
from groupwise.sources import DrawContext, row_order
from groupwise.tasks.task import Task
from groupwise.tokens.documents import content_of
from groupwise.training.intake import template_notes
from groupwise.training.stage import Stage
from groupwise.types import Example, Message, Prompt

LOOKED_AT = 300  # rows, evenly spread, that are rendered
COMPARED = 20_000  # rows whose prompts are compared with each other
FEW = 0.2
"""Share of rows with an earlier one's prompt, up to which that looks like an accident."""
SHOWN = 3  # rows that are named


def spread(rows: Sequence[Example], most: int) -> list[Example]:
    """Returns some rows evenly spread, the first among them."""
    step = max(1, -(-len(rows) // most))
    return [rows[number] for number in range(0, len(rows), step)]


def named(ids: Sequence[str]) -> str:
    """Returns ``train:3, train:7 and 5 more``."""
    more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more


def tell_rows(notes: Notebook, stage: Stage, context: DrawContext, limit: float) -> None:
    """Tells of rows that cannot be used, do not fit, or stand twice. Every row is read as the stage's source reads it,
    in the order in which the stage takes them, for at most ``limit`` seconds; of rows that are made on demand a few
    hundred."""
    task = stage.task
    if not len(task.train):
        notes.problem("data", f"task {task.name} has no training rows")
        return
    rows, held_out = _in_order(context), spread(task.held_out, LOOKED_AT) if len(task.held_out) else []
    prompts, looked_at, refused = _read(stage, context, rows, reader(stage, context), limit)
    for reason, ids in refused.items():
        notes.problem("data", f"{len(ids)} of {looked_at} rows looked at cannot be used ({named(ids)}): {reason}")
    _, evaluated, unread = _read(stage, context, held_out, context.renderer.prompt, limit)
    for reason, ids in unread.items():
        notes.problem("data", f"{len(ids)} of {evaluated} held-out rows cannot be evaluated ({named(ids)}): {reason}")
    _tell_too_long(notes, stage, context, prompts)
    tell_repeated(notes, task)
    if prompts:
        lengths = sorted(len(prompt.tokens) for prompt in prompts)
        middle = lengths[len(lengths) // 2]
        spelled = f"{lengths[0]} to {counted(lengths[-1], 'token')}, half of them at most {middle}"
        words = f"{len(task.train):,} rows, {len(task.held_out):,} held out; of {looked_at:,} looked at, prompts of "
        words += spelled if lengths[0] < lengths[-1] else f"{counted(middle, 'token')}"
        words += ", without what the environment says" if task.episodes is not None else ""
        notes.fact("data", words, rows=len(task.train), held_out=len(task.held_out), longest_prompt=lengths[-1])


def _in_order(context: DrawContext) -> Iterator[Example]:
    """As the stage takes them, where all of them are there; else evenly spread."""
    rows = context.task.train
    if isinstance(rows, list | tuple):
        return (rows[place] for place in row_order(context, 0))
    return iter(spread(rows, LOOKED_AT))


Reader = Callable[[Example], Prompt | None]


def reader(stage: Stage, context: DrawContext) -> Reader:
    """Returns what the stage's source makes of a row before anything is sampled. Raises UserError as the source
    does."""
    return lambda row: stage.algorithm.source.prompt_of(context, row)


def _read(
    stage: Stage, context: DrawContext, rows: Iterable[Example], read: Reader, limit: float
) -> tuple[list[Prompt], int, dict[str, list[str]]]:
    """Prompts, how many rows were looked at, and those that are refused by why: of reasons that quote a row, the
    first."""
    prompts: list[Prompt] = []
    refused: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    started, looked_at = time.perf_counter(), 0
    for row in rows:
        if looked_at and time.perf_counter() - started > limit:
            break
        looked_at += 1
        try:
            prompt = read(row)
            prompts += [prompt] if prompt else []
            for answer in stage.algorithm.source.texts_of(row):
                context.renderer.demonstration(answer)
        except UserError as error:
            reason = _without_row(str(error), stage.name, row.id)
            refused.setdefault(kinds.setdefault(reason.partition("'")[0], reason), []).append(row.id)
    return prompts, looked_at, refused


def _without_row(words: str, stage: str, row: str) -> str:
    """The sentence of a refusal without the stage and the row that it names: the same for all rows of a kind."""
    words = words.removeprefix(f"{stage}: ")
    for named_so in (f"row {row}: ", f"row {row} ", f"{row}: "):
        words = words.removeprefix(named_so)
    return words


def _tell_too_long(notes: Notebook, stage: Stage, context: DrawContext, prompts: Sequence[Prompt]) -> None:
    room = context.engine.context_tokens - stage.algorithm.source.max_completion_tokens
    ids = [prompt.example.id for prompt in prompts if len(prompt.tokens) > room]
    if not ids:
        return
    words = (
        f"{len(ids)} of {len(prompts)} rows looked at ({named(ids)}) leave no room for a completion in the context of "
        f"{counted(context.engine.context_tokens, 'token')}"
    )
    if len(ids) == len(prompts) or stage.long_prompts == "error":
        notes.problem("data", f"{words}; lower max_completion_tokens, or take a model with a longer context")
    else:
        notes.remark("data", f"{words}: they are skipped and counted")


def tell_repeated(notes: Notebook, task: Task) -> None:
    """Tells of prompts that stand twice, with other answers, or among those that evaluate. Generated tasks repeat
    prompts."""
    train, held_out = spread(task.train, COMPARED), task.held_out
    first: dict[str, Example] = {}
    asked = _world if task.episodes is not None else _asked
    again = [row for row in train if first.setdefault(asked(row), row) is not row]
    other = [row.id for row in again if row.answer != first[asked(row)].answer]
    if other:
        notes.remark(
            "data",
            f"{counted(len(other), 'row')} ({named(other)}) of {len(train):,} with the prompt of an earlier "
            "row and another answer",
            contradicting=len(other),
        )
    elif again and len(again) < FEW * len(train):
        notes.remark(
            "data",
            f"{counted(len(again), 'row')} ({named([row.id for row in again])}) of {len(train):,} with the "
            "prompt of an earlier row",
            repeated=len(again),
        )
    both = [row.id for row in spread(held_out, COMPARED) if asked(row) in first] if len(held_out) else []
    if both:
        notes.remark(
            "data",
            f"{counted(len(both), 'held-out row')} ({named(both)}) with a prompt that is trained on, so that "
            "evaluation flatters",
            contaminated=len(both),
        )


def _asked(row: Example) -> str:
    return content_of(row)


def _world(row: Example) -> str:
    """All that an environment knows of a row: what it says depends on it."""
    return repr((row.prompt, sorted(row.columns.items(), key=lambda column: column[0])))


def tell_template(notes: Notebook, stage: Stage, context: DrawContext) -> None:
    """Says whether prompts and answers come back from their tokens as they went in, each turn ended by a stop token."""
    rows = spread(stage.task.train, LOOKED_AT)
    broken = {why: [row.id for row in rows if fails(stage, context, row)] for why, fails in _faults().items()}
    for why, ids in broken.items():
        if ids:
            notes.problem("template", f"{len(ids)} of {counted(len(rows), 'row')} ({named(ids)}): {why}")
    for line in template_notes(stage, context.renderer):
        notes.remark("template", line)
    if not any(broken.values()):
        kind = "chat template" if context.renderer.tokenizer.chat_template is not None else "plain prompts"
        notes.fact("template", f"{kind}: {len(rows)} of {len(rows)} prompts come back from their tokens, answers too")


def _faults() -> dict[str, Callable[[Stage, DrawContext, Example], bool]]:
    return {
        "the prompt's text is not what its tokens spell": _loses_prompt,
        "an answer's text is not what its tokens spell": _loses_answer,
        "the text before the prompt (BOS) stands twice": _begins_twice,
    }


def _loses_prompt(stage: Stage, context: DrawContext, row: Example) -> bool:
    tokens = list(context.renderer.prompt(row).tokens)
    text = str(context.renderer.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    return not all(part.strip() in text for part in _contents(row))


def _contents(row: Example) -> Iterator[str]:
    """What the prompt must hold. Of the assistant's earlier turns templates leave out what was thought."""
    messages: tuple[Message, ...] = ({"content": row.prompt},) if isinstance(row.prompt, str) else row.prompt
    said = (message for message in messages if message.get("role") != "assistant")
    return (str(message["content"]) for message in said if message.get("content"))


def _loses_answer(stage: Stage, context: DrawContext, row: Example) -> bool:
    """Of answers that are learned; blanks, and what a template adds, are no loss."""
    for answer in stage.algorithm.source.texts_of(row):
        shown = context.renderer.demonstration(answer)
        letters = "".join(shown.text.split())
        if any("".join(given.split()) not in letters for given in _learned_texts(answer)):
            return True
        if shown.tokens[-1] not in context.renderer.stop_tokens:
            return True
    return False


def _learned_texts(answer: Example) -> list[str]:
    if not isinstance(answer.completion, tuple):
        return [answer.completion or ""]
    return [turn["content"] for turn in answer.completion if turn["role"] == "assistant"]


def _begins_twice(stage: Stage, context: DrawContext, row: Example) -> bool:
    tokens, begin = context.renderer.prompt(row).tokens, context.renderer.tokenizer.bos_token_id
    return begin is not None and tokens[:2] == (begin, begin)
