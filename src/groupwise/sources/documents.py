"""This source draws x ~ P: plain text, document after document, cut into sequences that fill the model's context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from groupwise.algorithm import Algorithm, Source
from groupwise.errors import UserError
from groupwise.seeding import shuffled, stable_seed
from groupwise.sources.draw import DrawContext, Position, RolloutBatch
from groupwise.sources.rows import rows_of
from groupwise.tasks.shares import Share
from groupwise.tasks.task import Task
from groupwise.tokens.documents import document_ids, end_of_text, is_document
from groupwise.tokens.renderer import Renderer
from groupwise.types import DEMONSTRATED, Example, Group, Prompt, Rollout


@dataclass(frozen=True)
class Documents(Source):
    """This source draws x ~ P: a step takes ``prompts_per_step`` sequences of text, without padding.

    Documents follow one another in seeded order, EOS behind each, and every token is learned once an epoch: a sequence
    begins with the last token of the one before it, which is read and not learned. Files with a weight share the
    *tokens* by it: whichever file is furthest behind gives the next document. The position is a place in a document,
    so that a stopped run goes on with the very next token.
    """

    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""
    sequence_tokens: Annotated[int, "[0, inf)"] = 0
    """Of each sequence; 0: as many as the model's context has."""
    across_documents: bool = True
    """Whether a sequence goes on with the next document, whose tokens then see the one before; otherwise each document
    begins a sequence of its own, and a step has as many as make up the same number of tokens."""

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Draws groups of one. Raises UserError for a row that is no document, and where all are empty."""
        size = self._size(context)
        reader = _Reader(context, position)
        before = reader.begun
        left = context.prompts_per_step * (size - 1)
        groups: list[Group] = []
        while left > 0:
            example, first, tokens = reader.sequence(min(size - 1, left), self.across_documents)
            groups.append(_group(context.renderer, example, first, tokens))
            left -= len(tokens)
        return RolloutBatch(groups, reader.position(), {"documents": float(reader.begun - before)})

    def reads_documents(self) -> bool:
        """Says whether its rows are plain text, read as it stands."""
        return True

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        document_ids(context.renderer, example)
        return None

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.advantage.compares() or algorithm.advantage.judges():
            yield "documents have no rewards and no group, so this advantage has nothing to compare"
        if algorithm.trains_scorer:
            yield "documents have neither a better one nor a label, and a scorer learns from one of them"
        if algorithm.reference.sees:
            yield "a document has no prompt beside which a reference could see more; leave reference.sees out"

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        rows = task.train if isinstance(task.train, list | tuple) else ()
        asked = next((row for row in rows if not is_document(row)), None)
        if asked is not None:
            yield (
                f"row {asked.id} has a prompt, and this source reads documents; expected rows with a column text, or a "
                "method that learns from answers, such as sft"
            )

    def _size(self, context: DrawContext) -> int:
        room = context.engine.context_tokens
        if self.sequence_tokens > room:
            raise UserError(
                f"{context.name}: sequence_tokens is {self.sequence_tokens}; the model's context has {room}: lower it"
            )
        size = self.sequence_tokens or room
        if size < 2:
            raise UserError(f"{context.name}: a sequence of {size} token has none to learn; expected at least 2")
        return size


def _group(renderer: Renderer, example: Example, first: int, tokens: list[int]) -> Group:
    prompt = Prompt(example, (first,))
    text = str(renderer.tokenizer.decode(tokens, skip_special_tokens=True))
    ones, zeros = (True,) * len(tokens), (0.0,) * len(tokens)
    return Group(prompt, (Rollout(prompt, tuple(tokens), ones, zeros, text, finished=True, version=DEMONSTRATED),))


@dataclass
class _File:
    """These are rows that share a weight, and how far they were read."""

    name: str
    start: int
    rows: int
    weight: float
    begun: int = 0  # documents
    tokens: int = 0


@dataclass
class _Reader:
    """This reader gives tokens in the order in which a stage learns them, from a position on."""

    context: DrawContext
    position_before: Position
    files: list[_File] = field(init=False)
    file: int = field(init=False)  # whose document is under way; -1: none
    place: int = field(init=False)  # in it
    document: tuple[Example, tuple[int, ...]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        rows, start = rows_of(self.context), 0
        self.files = []
        for share in self.context.task.shares or (Share("", len(rows)),):
            self.files.append(_File(share.name or self.context.task.name, start, share.rows, share.weight))
            start += share.rows
        saved: Any = self.position_before
        for file, (begun, tokens) in zip(self.files, saved.get("files", ()), strict=False):
            file.begun, file.tokens = begun, tokens
        self.file, self.place = saved.get("file", -1), saved.get("token", 0)
        if self.file >= 0:
            self.document = self._read(self.file, self.files[self.file].begun - 1)

    @property
    def begun(self) -> int:
        """Counts the documents that were begun."""
        return sum(file.begun for file in self.files)

    def position(self) -> dict[str, Any]:
        """Says where the next sequence begins."""
        return {
            "prompts": self.begun,
            "files": [[file.begun, file.tokens] for file in self.files],
            "file": self.file,
            "token": self.place,
        }

    def sequence(self, most: int, across: bool) -> tuple[Example, int, list[int]]:
        """Returns the document where it begins, the token before it, and at most so many tokens."""
        self._open()
        assert self.document is not None
        example, ids = self.document
        first = ids[self.place - 1] if self.place else end_of_text(self.context.renderer)
        tokens: list[int] = []
        while len(tokens) < most:
            if tokens:
                self._open()
            part = self.document[1][self.place : self.place + most - len(tokens)]
            tokens += part
            self.place += len(part)
            self.files[self.file].tokens += len(part)
            if not across:
                break
        return example, first, tokens

    def _open(self) -> None:
        """Has a document with tokens left under way. Raises UserError where a file's turn comes and each of its
        documents is empty."""
        empty: Counter[int] = Counter()
        while self.document is None or self.place >= len(self.document[1]):
            self.file, self.place = self._next_file(), 0
            file = self.files[self.file]
            self.document = self._read(self.file, file.begun)
            file.begun += 1
            if len(self.document[1]) < 2:  # EOS alone
                self.place = len(self.document[1])
                empty[self.file] += 1
                if empty[self.file] > 2 * file.rows:
                    raise UserError(f"{self.context.name}: every document of {file.name} is empty")

    def _next_file(self) -> int:
        """Returns the one that is furthest behind its share of the tokens."""
        return min(range(len(self.files)), key=lambda each: (self.files[each].tokens / self.files[each].weight, each))

    def _read(self, number: int, taken: int) -> tuple[Example, tuple[int, ...]]:
        """Returns the document at that place in the order of its file, epoch after epoch."""
        file = self.files[number]
        epoch, place = divmod(taken, file.rows)
        order = shuffled(file.rows, stable_seed(self.context.seed, self.context.name, "documents", number, epoch))
        example = rows_of(self.context)[file.start + order[place]]
        return example, document_ids(self.context.renderer, example)
