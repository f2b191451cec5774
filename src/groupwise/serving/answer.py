"""This module says what a client is told of what was drawn, whole or piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.output.printable import UNFINISHED
from groupwise.serving.messages import written
from groupwise.serving.request import ClientRequest
from groupwise.tokens.renderer import Renderer
from groupwise.types import Completion, Example, Message


@dataclass(frozen=True)
class Choice:
    """This is one completion as a client is told of it."""

    message: Message
    """In the template's form."""
    completion: Completion
    was_cut: bool
    """Whether it ended with a text of the client's, which then is left out."""

    @property
    def finish_reason(self) -> str:
        """Returns OpenAI's word for why it ended."""
        if self.message.get("tool_calls"):
            return "tool_calls"
        return "stop" if self.completion.finished or self.was_cut else "length"


def read_choice(renderer: Renderer, example: Example, asked: ClientRequest, completion: Completion) -> Choice:
    """Reads a completion: its text up to the client's stop texts, or its calls."""
    text = renderer.decode(completion.tokens)
    end = _first_stop(text, asked.stops)
    if end < len(text):
        return Choice({"role": "assistant", "content": text[:end]}, completion, True)
    if not asked.is_chat:
        return Choice({"role": "assistant", "content": text}, completion, False)
    _, message = renderer.turn(completion.tokens, completion.finished, example)
    return Choice(message, completion, False)


def _first_stop(text: str, stops: Sequence[str]) -> int:
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))


class TextPieces:
    """Pieces of text come as soon as they are certain, and together are the whole text. Of a long answer they are
    longer: all is decoded anew each time, so that time stays linear."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode, self._stops = decode, stops
        self._tokens: list[int] = []
        self._shown, self._next = "", 1

    def add(self, token: int) -> str:
        """Returns what is certain and new; often nothing."""
        self._tokens.append(token)
        if len(self._tokens) < self._next:
            return ""
        self._next = len(self._tokens) + 1 + len(self._tokens) // 64
        text = self._decode(self._tokens).rstrip(UNFINISHED)
        return self._up_to(text[: min(_first_stop(text, self._stops), len(text) - self._begun(text))])

    def end(self, text: str) -> str:
        """Returns what of the whole text was held back."""
        return self._up_to(text)

    def _begun(self, text: str) -> int:
        """How many letters at the end may begin a stop text."""
        sizes = (size for stop in self._stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
        return max(sizes, default=0)

    def _up_to(self, text: str) -> str:
        if not text.startswith(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._shown += new
        return new


@dataclass(frozen=True)
class Form:
    """A form writes answers as one of OpenAI's two interfaces has them."""

    id: str
    created: int
    model: str
    asked: ClientRequest
    renderer: Renderer
    prompt: tuple[int, ...]

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Returns the answer as one object."""
        told = [self._ended(index, choice) | self._content(index, choice) for index, choice in enumerate(choices)]
        about = {"prompt_token_ids": self.prompt} if self.asked.shows_ids else {}
        return self._head(chunk=False) | {"choices": told, "usage": self.usage(choices)} | about

    def first(self, index: int) -> dict[str, Any]:
        """Returns the piece that begins a message."""
        return self._piece(index, {"delta": {"role": "assistant", "content": ""}})

    def text(self, index: int, text: str) -> dict[str, Any]:
        """Returns a piece of text."""
        return self._piece(index, {"delta": {"content": text}} if self.asked.is_chat else {"text": text})

    def last(self, index: int, choice: Choice) -> list[dict[str, Any]]:
        """Returns the pieces that end a choice, its calls before them."""
        calls = self._written(index, choice).get("tool_calls") or []
        deltas = [{"delta": {"tool_calls": [{"index": place, **call}]}} for place, call in enumerate(calls)]
        empty: dict[str, Any] = {"delta": {}} if self.asked.is_chat else {"text": ""}
        return [
            *(self._piece(index, delta) for delta in deltas),
            self._piece(index, self._ended(index, choice) | empty),
        ]

    def last_usage(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Returns the piece that says how many tokens there were."""
        return self._head(chunk=True) | {"choices": [], "usage": self.usage(choices)}

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Returns how many tokens there were, the prompt counted once."""
        drawn = sum(len(choice.completion.tokens) for choice in choices)
        prompt = len(self.prompt)
        return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}

    def _head(self, chunk: bool) -> dict[str, Any]:
        kind = f"chat.completion{'.chunk' if chunk else ''}" if self.asked.is_chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _piece(self, index: int, what: dict[str, Any]) -> dict[str, Any]:
        return self._head(chunk=True) | {"choices": [{"index": index, "finish_reason": None, "logprobs": None} | what]}

    def _content(self, index: int, choice: Choice) -> dict[str, Any]:
        return {"message": self._written(index, choice)} if self.asked.is_chat else {"text": choice.message["content"]}

    def _written(self, index: int, choice: Choice) -> dict[str, Any]:
        calls = choice.message.get("tool_calls") or ()
        made = (f"call_{self.id[-8:]}_{index}_{place}" for place in range(len(calls)))
        return written(choice.message, [call.get("id") or id for call, id in zip(calls, made, strict=True)])

    def _ended(self, index: int, choice: Choice) -> dict[str, Any]:
        ids = {"token_ids": choice.completion.tokens} if self.asked.shows_ids else {}
        logprobs = self._logprobs(choice.completion) if self.asked.logprobs else None
        return {"index": index, "finish_reason": choice.finish_reason, "logprobs": logprobs} | ids

    def _logprobs(self, completion: Completion) -> dict[str, Any]:
        """Of every token that was drawn, the one that ends it included."""
        names = self.renderer.tokenizer.convert_ids_to_tokens(list(completion.tokens))
        pieces = self.renderer.pieces(completion.tokens)
        texts = [piece or str(name) for piece, name in zip(pieces, names, strict=True)]
        if not self.asked.is_chat:
            offsets = list(itertools.accumulate(map(len, pieces[:-1]), initial=0))
            logprobs = list(completion.logprobs)
            return {"tokens": texts, "token_logprobs": logprobs, "top_logprobs": None, "text_offset": offsets}
        content = [
            {"token": text, "logprob": logprob, "bytes": list(piece.encode()), "top_logprobs": []}
            for text, piece, logprob in zip(texts, pieces, completion.logprobs, strict=True)
        ]
        return {"content": content, "refusal": None}
