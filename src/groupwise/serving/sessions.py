"""This module keeps conversations as rollouts: the ids and log-probabilities of every call, joined to sequences.

A call that goes on from an earlier one is asked with the very ids of that one, and what the template writes between::

    first call     <|user|> 2+2= <|assistant|>   4 <|end|>
    second call    <|user|> 2+2= <|assistant|>   4 <|end|>   <|user|> why? <|assistant|>   two twos <|end|>
    mask                                         1    1         0      0        0           1    1     1

Nothing that was sampled is ever encoded again. A call that goes on from nothing, or from a place where another went on
already, begins a sequence of its own, whose prompt is no part of what is trained.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any

from groupwise.errors import UserError
from groupwise.serving.messages import Digests
from groupwise.serving.request import Asked
from groupwise.tokens.encoding import Encoder
from groupwise.tokens.renderer import Renderer
from groupwise.types import Completion, Example, Message


@dataclass
class TokenSequence:
    """This is what was sampled and what was said between, as a rollout has it."""

    prompt: tuple[int, ...]
    temperature: float
    tokens: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    support: list[tuple[int, ...]] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    """Index into ``tokens`` of each call's last sampled token."""
    finished: bool = True
    """Whether the last call ended by itself."""
    version: int = 0
    """Of the weights that drew it, the oldest where there were several."""
    messages: tuple[Message, ...] = ()
    """What was said so far."""

    def ids(self, length: int) -> tuple[int, ...]:
        """Returns the prompt and the first ``length`` tokens."""
        return (*self.prompt, *self.tokens[:length])

    def add(self, between: tuple[int, ...], completion: Completion) -> None:
        """Adds what stands before a call's answer, and that answer."""
        self.tokens += between + completion.tokens
        self.mask += [False] * len(between) + [True] * len(completion.tokens)
        self.logprobs += [0.0] * len(between) + list(completion.logprobs)
        self.support += [()] * len(between) + list(completion.support or [()] * len(completion.tokens))
        self.version = min(self.version, completion.version) if self.turns else completion.version
        self.turns.append(len(self.tokens) - 1)
        self.finished = completion.finished

    def as_json(self) -> dict[str, Any]:
        """Returns a line of the file without what is the session's."""
        plain = {
            "prompt_tokens": self.prompt,
            "tokens": self.tokens,
            "mask": list(map(int, self.mask)),
            "logprobs": self.logprobs,
            "turns": self.turns,
            "finished": self.finished,
            "temperature": self.temperature,
            "version": self.version,
            "messages": self.messages,
        }
        return plain | ({"support": self.support} if any(self.support) else {})


@dataclass(frozen=True)
class Place:
    """A place that a call may go on from: behind the first ``length`` tokens of a sequence."""

    sequence: TokenSequence
    length: int


@dataclass(frozen=True)
class Opening:
    """This is what a call is asked with."""

    tokens: tuple[int, ...]
    example: Example
    before: Place | None = None
    """What it goes on from."""
    digests: Digests | None = None
    """Of its messages."""


class Session:
    """A session is one episode: the calls of one name until its reward is told."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0
        self.sequences: list[TokenSequence] = []
        self.sampled = 0
        """Tokens that were drawn, in all."""
        self.is_used_up = False
        """Whether a call was refused because there were as many as there may be."""
        self._places: dict[str, Place] = {}
        self._text_places: dict[tuple[int, str], Place] = {}
        self._lock = threading.Lock()

    def begin(self, asked: Asked, renderer: Renderer, plain: Renderer) -> tuple[Opening, int]:
        """Returns what a call is asked with, and its number. Raises UserError for what the template refuses."""
        with self._lock:
            self.calls += 1
            return self._opening(asked, renderer, plain), self.calls

    def keep(self, opening: Opening, asked: Asked, completion: Completion, said: Message | None) -> None:
        """Takes the answer down. ``said`` is what the client was told of it; None: not all of it was told, so that
        nothing can go on from here."""
        with self._lock:
            before = opening.before
            goes_on = (
                before is not None
                and before.length == len(before.sequence.tokens)
                and before.sequence.temperature == asked.temperature
            )
            if before is not None and goes_on:
                sequence = before.sequence
                between = opening.tokens[len(sequence.prompt) + before.length :]
            else:
                sequence, between = TokenSequence(opening.tokens, asked.temperature), ()
                self.sequences.append(sequence)
            sequence.add(between, completion)
            sequence.messages = (*asked.messages, said) if said is not None else asked.messages
            self.sampled += len(completion.tokens)
            place = Place(sequence, len(sequence.tokens))
            if said is None:
                return
            if opening.digests is not None:
                self._places[opening.digests.after(said)] = place
            elif asked.text is not None:
                data = (asked.text + said["content"]).encode()
                self._text_places[len(data), hashlib.sha256(data).hexdigest()] = place

    def as_json(self, reward: float, group: str | None) -> list[dict[str, Any]]:
        """Returns the lines of the file, one a sequence."""
        about = {"session": self.name, "group": group, "reward": reward, "sequences": len(self.sequences)}
        with self._lock:
            return [about | {"sequence": number} | each.as_json() for number, each in enumerate(self.sequences)]

    def _opening(self, asked: Asked, renderer: Renderer, plain: Renderer) -> Opening:
        example = example_of(asked, self.name)
        if asked.is_chat:
            return self._chat(asked, renderer, example)
        if asked.ids is not None:
            return Opening(asked.ids, example, self._place_of_ids(asked.ids))
        assert asked.text is not None
        data = asked.text.encode()
        place, size = self._place_of_text(data)
        if place is None:
            return Opening(plain.prompt(example).tokens, example)
        before, rest = place.sequence.ids(place.length), data[size:].decode()
        then = Encoder(plain.tokenizer).after(rest)
        again = then[:1] == before[-1:] and before[-1] in plain.stop_tokens  # the client spells out how a turn ends
        return Opening((*before, *then[again:]), example, place)

    def _chat(self, asked: Asked, renderer: Renderer, example: Example) -> Opening:
        digests = digests_of(asked)
        found: tuple[Place, int] | None = None
        for count, message in enumerate(asked.messages, 1):
            place = self._places.get(digests.add(message))
            found = (place, count) if place is not None else found
        if found is not None:
            place, count = found
            before = place.sequence.ids(place.length)
            said = asked.messages[count:]
            try:
                between = renderer.between.ids(example, asked.messages[:count], said, before[-1])
                return Opening((*before, *between), example, place, digests)
            except UserError:  # the template writes earlier turns otherwise now: a sequence of its own
                pass
        return Opening(renderer.prompt(example).tokens, example, None, digests)

    def _place_of_ids(self, ids: tuple[int, ...]) -> Place | None:
        """The longest beginning of these ids that a call ended with."""
        found: tuple[int, Place | None] = (0, None)
        for sequence in self.sequences:
            for end in sequence.turns:
                length = len(sequence.prompt) + end + 1
                if found[0] < length < len(ids) and ids[:length] == sequence.ids(end + 1):
                    found = length, Place(sequence, end + 1)
        return found[1]

    def _place_of_text(self, data: bytes) -> tuple[Place | None, int]:
        """The same of a text, and how many bytes of it are known."""
        found: tuple[Place | None, int] = (None, 0)
        hashed, done = hashlib.sha256(), 0
        for size in sorted({size for size, _ in self._text_places if size < len(data)}):
            hashed.update(data[done:size])
            done = size
            place = self._text_places.get((size, hashed.copy().hexdigest()))
            found = (place, size) if place is not None else found
        return found


def opening_of(asked: Asked, renderer: Renderer, plain: Renderer) -> Opening:
    """Returns what a call of no session is asked with. Raises UserError for what the template refuses."""
    example = example_of(asked, "")
    if asked.ids is not None:
        return Opening(asked.ids, example)
    return Opening((renderer if asked.is_chat else plain).prompt(example).tokens, example)


def digests_of(asked: Asked) -> Digests:
    """The beginning of a conversation with these tools and template arguments."""
    return Digests({"tools": asked.tools, "arguments": asked.template_arguments})


def example_of(asked: Asked, session: str) -> Example:
    """The request as a row, which the renderer reads."""
    columns: dict[str, Any] = {"tools": list(asked.tools)} if asked.tools else {}
    if asked.template_arguments:
        columns["chat_template_kwargs"] = dict(asked.template_arguments)
    name = f"session {session}" if session else "the request"
    return Example(name, asked.messages if asked.is_chat else asked.text or "", columns=columns)


def plain_renderer(renderer: Renderer) -> Renderer:
    """Shows a text as it is, special tokens included."""
    return Renderer(
        renderer.tokenizer,
        chat="never",
        name=renderer.name,
        eos_tokens=renderer.eos_tokens,
        stop_strings=renderer.stop_strings,
    )
