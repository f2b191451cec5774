"""A conversation with the answers that are to be learned, as text, and where in it each answer lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groupwise.errors import AnswerRewritten, UserError
from groupwise.tokens.encoding import GUARD
from groupwise.types import Message

SHOWN_LETTERS = 60
_FIRST = re.compile(r'[^"\\\n<>&]*')

Fill = Callable[[Sequence[Message], bool, bool], str]
"""``fill(messages, generate, goes_on)``: as ``ChatTemplate.fill``."""


@dataclass(frozen=True)
class Transcript:
    """A transcript is text up to the end of the last answer."""

    text: str
    answers: tuple[tuple[int, int], ...]
    """``[start, end)`` of each answer with what ends its turn; the first begins where the prompt ends."""
    added: str = ""
    """What the template writes around an answer and nobody gave: an empty think block, say."""
    ended: bool = True
    """Whether the last answer has what ends a turn."""


@dataclass(frozen=True)
class Writer:
    """Writes transcripts through one template. Errors begin with ``where``, a row's id."""

    fill: Fill
    where: str
    name: str
    """Of the model, as error messages say it."""
    ends: tuple[str, ...] = ()
    """Special tokens that end an assistant's turn, that of a last turn first."""
    tail: str = ""
    """What the template writes behind the assistant's last message."""

    def prompt(self, messages: Sequence[Message]) -> str:
        """Writes up to where the assistant's answer begins, or where what it began breaks off."""
        begun = messages[-1]["role"] == "assistant" and messages[-1]["content"]
        if begun:
            return self.fill(messages, False, True)
        return self.fill(messages[:-1] if messages[-1]["role"] == "assistant" else messages, True, False)

    def appended(self, messages: Sequence[Message], turns: Sequence[Message]) -> Transcript:
        """The prompt as it is asked, and the answer's own text behind it. Raises UserError for several turns."""
        if len(turns) > 1 or turns[0].get("tool_calls"):
            what = "several turns" if len(turns) > 1 else "calls of tools"
            raise UserError(f'{self.where}: an answer of {what} cannot be appended; expected demonstrations="template"')
        before = self.prompt(messages)
        end = self.tail.find(self.ends[0]) + len(self.ends[0]) if self.ends else 0
        text = before + turns[0]["content"] + self.tail[:end]
        return Transcript(text, ((len(before), len(text)),), ended=bool(self.ends))

    def written(self, messages: Sequence[Message], turns: Sequence[Message], context: Sequence[int] = ()) -> Transcript:
        """The conversation as the template writes it: ``turns`` begin and end with the assistant's, and those in
        ``context`` are no answers, whoever speaks.

        Raises UserError where the template rewrites what stands before an answer once it follows, and AnswerRewritten
        where it drops or changes a part of an answer.
        """
        opens = messages[-1]["role"] == "assistant"
        first = {**turns[0], "content": joined(messages[-1]["content"], turns[0]["content"])} if opens else turns[0]
        given = [*(messages[:-1] if opens else messages), first, *turns[1:]]
        whole = self.fill(given, False, False)
        unsaid = next((turn for turn in turns if turn["role"] == "tool" and not _follow(whole, [turn])), None)
        if unsaid:
            raise UserError(
                f"{self.where}: the chat template of {self.name} leaves out what a tool says "
                f"({_short(unsaid['content'])}); take a template that knows the role tool"
            )
        answers: list[tuple[int, int]] = []
        added = ""
        for place, turn in enumerate(turns):
            if turn["role"] != "assistant" or place in context:
                continue
            number = len(given) - len(turns) + place
            before = self.prompt(messages) if place == 0 else self.fill(given[:number], True, False)
            if not whole.startswith(before):
                raise UserError(self._rewritten(len(turns)))
            if answers and len(before) < answers[-1][1]:
                raise UserError(self._ended_otherwise())
            if turn.get("tool_calls"):
                start, end, around = self._calling(whole, len(before), turn, turns[place + 1 :])
            else:
                start, end, around = self._answer(whole, len(before), turn["content"], turns[place + 1 :])
            answers.append((start, end))
            added = added or around
        ended = any(whole[: answers[-1][1]].endswith(text) for text in self.ends)
        return Transcript(whole[: answers[-1][1]], tuple(answers), added, ended)

    def _answer(self, whole: str, start: int, content: str, following: Sequence[Message]) -> tuple[int, int, str]:
        """Where an answer ends, with what ends its turn, and what the template adds to it; it ends before anything of
        ``following``."""
        at = whole.find(content.strip(), start)
        kept = at + len(content.strip()) if at >= 0 else start
        found = [(whole.find(text, kept), text) for text in (self.ends if following else self.ends[:1])]
        stop, text = min(((at, text) for at, text in found if at >= 0), default=(-1, ""))
        if stop >= 0 and not _follow(whole[stop + len(text) :], following):
            raise UserError(self._ended_otherwise())
        if stop < 0 and following:
            raise UserError(
                f"{self.where}: the chat template of {self.name} ends no turn with a special token, so that several "
                "turns of an answer cannot be learned; keep the last one"
            )
        end = len(whole.removesuffix(self.tail)) if stop < 0 else stop
        shown = whole[start:end]
        if at >= 0 and kept <= end:
            added = shown.replace(content.strip(), "", 1)
        elif _letters(content) and _letters(content) in _letters(shown):
            added = ""
        else:
            raise AnswerRewritten(self._dropped(content, shown))
        return start, end + len(text), added.replace(GUARD, "").strip()

    def _calling(self, whole: str, start: int, turn: Message, following: Sequence[Message]) -> tuple[int, int, str]:
        """As ``_answer``, of a turn that calls tools; it ends before anything of ``following``."""
        names = [call["function"]["name"] for call in turn["tool_calls"]]
        kept = start
        for name in names:
            kept = max(kept, whole.find(name, kept) + len(name))
        found = [(at, text) for text in self.ends if (at := whole.find(text, kept)) >= 0]
        stop, text = min(found, default=(-1, ""))
        end = stop if stop >= 0 else len(whole.removesuffix(self.tail))
        if following and not (stop >= 0 and _follow(whole[stop + len(text) :], following)):
            raise UserError(
                f"{self.where}: the chat template of {self.name} ends a turn that calls tools with no special token, "
                "so that it cannot be learned together with what follows; keep the last turn"
            )
        content, shown = (turn["content"] or "").strip(), whole[start:end]
        if not _in_order(names, shown) or _letters(content) not in _letters(shown):
            raise AnswerRewritten(self._dropped(f"{content} {', '.join(names)}".strip(), shown))
        return start, end + len(text), ""

    def _ended_otherwise(self) -> str:
        return (
            f"{self.where}: the chat template of {self.name} ends a turn that others follow with no token that ends a "
            "completion, so that several turns of an answer cannot be learned; keep the last one"
        )

    def _rewritten(self, turns: int) -> str:
        if turns > 1:
            return (
                f"{self.where}: the chat template of {self.name} writes a turn otherwise once another follows, "
                "so that several answers are no one text; take a template that appends, or the last turn"
            )
        return (
            f"{self.where}: the chat template of {self.name} rewrites the prompt once an answer follows it, so that "
            "the model would learn on another prompt than it is asked; use a template that only appends, or "
            'demonstrations="appended" (the prompt as it is asked, and the answer behind it)'
        )

    def _dropped(self, content: str, shown: str) -> str:
        return (
            f"{self.where}: the chat template of {self.name} drops or changes a part of the answer: "
            f"of {_short(content)} it writes {_short(shown)}, and the rest would never be learned; use a "
            "template that keeps it, or "
            'demonstrations="appended" (the prompt as it is asked, and the answer behind it)'
        )


def joined(begun: str, rest: str, guarded: Callable[[str], str] | None = None) -> str:
    """Returns both as one text; a guard stands between them where they would spell a special token together."""
    if guarded is not None and guarded((begun + rest).replace(GUARD, "")) != begun + rest:
        return begun + GUARD + rest
    return begun + rest


def _letters(text: str) -> str:
    return "".join(text.split())


def _in_order(names: Sequence[str], text: str) -> bool:
    """Says whether the names stand in a text one behind the other: of two calls of a tool a template may write one."""
    at = 0
    for name in names:
        at = text.find(name, at)
        if at < 0:
            return False
        at += len(name)
    return True


def _follow(text: str, messages: Sequence[Message]) -> bool:
    """Says whether the messages stand in a text, in their order: each one's first words, which no template escapes."""
    at = 0
    for message in messages:
        first = _FIRST.match((message["content"] or "").strip())
        words = first[0].strip() if first else ""
        at = text.find(words, at)
        if at < 0:
            return False
        at += len(words)
    return True


def _short(text: str) -> str:
    text = text.replace(GUARD, "")
    return repr(text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS // 2]} ... {text[-20:]}")
